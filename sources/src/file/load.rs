//! Reading everything there is, from whole files, and making one set of objects of it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinds::{Diagnostic, FieldPath, Object, ObjectId, Origin, Parsed, Place, document, parse_document};

use super::layout;

/// The objects of a set of paths, and what was found on the way.
#[derive(Debug, Default)]
pub struct Inventory {
    pub objects: BTreeMap<ObjectId, Arc<Object>>,
    pub diagnostics: Vec<Diagnostic>,
    /// Objects whose document is there but refused.
    pub refused: Vec<ObjectId>,
}

/// Reads paths: directories with all below them, single files, and `-` for standard input.
#[must_use]
pub fn load(paths: &[PathBuf]) -> Inventory {
    let mut inventory = Inventory::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            match std::io::stdin().read_to_string(&mut text) {
                Ok(_) => inventory.add_text("standard input", &text),
                Err(error) => inventory.unreadable(Path::new("standard input"), &error),
            }
            continue;
        }
        let files = match layout::manifests(path) {
            Ok(files) => files,
            Err(error) => {
                inventory.unreadable(path, &error);
                continue;
            }
        };
        for file in files {
            match std::fs::read_to_string(&file) {
                Ok(text) => inventory.add_text(&file.display().to_string(), &text),
                Err(error) => inventory.unreadable(&file, &error),
            }
        }
    }
    inventory
}

impl Inventory {
    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let origin = Origin::without_text(path.display().to_string());
        let place = Place { origin, path: FieldPath::root() };
        self.diagnostics.push(Diagnostic::error("unreadable-file", place, format!("cannot be read: {error}")));
    }

    /// Adds the documents of a file's text.
    pub fn add_text(&mut self, file: &str, text: &str) {
        for origin in document::split(&Arc::from(file), &Arc::from(text)) {
            for parsed in parse_document(&origin) {
                self.add(parsed);
            }
        }
    }

    fn add(&mut self, parsed: Parsed) {
        match parsed {
            Parsed::Object(object, remarks) => {
                self.diagnostics.extend(remarks);
                if let Some(first) = self.objects.get(&object.id) {
                    self.diagnostics.push(twice(first, &object));
                } else {
                    self.objects.insert(object.id.clone(), Arc::from(object));
                }
            }
            Parsed::Refused(id, diagnostics) => {
                self.refused.extend(id);
                self.diagnostics.extend(diagnostics);
            }
            Parsed::Skipped(remark) => self.diagnostics.push(remark),
        }
    }
}

fn twice(first: &Object, second: &Object) -> Diagnostic {
    let at = |object: &Object| Place { origin: object.origin.clone(), path: FieldPath::from("metadata.name") };
    Diagnostic::error("duplicate-object", at(second), format!("{} is written twice", second.id))
        .about(&second.id)
        .related(at(first), "the first one is in force")
        .help("remove one of the two documents")
}
