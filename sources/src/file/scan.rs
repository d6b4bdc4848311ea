//! One look at everything: what is read again, parsed again, and how the documents of all files become one set of objects.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kinds::{Diagnostic, FieldPath, Object, ObjectId, Origin, Parsed, Place, document, parse_document};

use rustc_hash::FxHashMap;

use super::layout;
use crate::{Batch, SourceChange};

/// Reads paths again and again, each time only what changed.
#[derive(Debug)]
pub struct Scanner {
    paths: Vec<PathBuf>,
    files: BTreeMap<PathBuf, File>,
    /// What the last batch left in force.
    objects: BTreeMap<ObjectId, Arc<Object>>,
}

#[derive(Debug)]
struct File {
    stamp: Stamp,
    documents: Vec<Written>,
}

/// A document as it is written, and what it turned out to be: several things when it is a list.
#[derive(Debug)]
struct Written {
    origin: Origin,
    found: Vec<Document>,
}

/// What of a file's metadata changes when its content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: u64,
}

#[derive(Debug)]
enum Document {
    Object(Arc<Object>, Vec<Diagnostic>),
    Refused(Option<ObjectId>, Vec<Diagnostic>),
    Skipped(Diagnostic),
}

impl Scanner {
    /// Reads directories with all below them, single files, and `-` for standard input, which is read once.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, files: BTreeMap::new(), objects: BTreeMap::new() }
    }

    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Looks at everything and returns the step from the last look to this one.
    pub fn scan(&mut self) -> Batch {
        let mut diagnostics = Vec::new();
        let files = self.read(&mut diagnostics);
        self.files = files;
        self.merge(diagnostics)
    }

    fn read(&mut self, diagnostics: &mut Vec<Diagnostic>) -> BTreeMap<PathBuf, File> {
        let mut files = BTreeMap::new();
        let mut changed: Vec<Changed> = Vec::new();
        for path in &self.paths {
            if path.as_os_str() == "-" {
                let file = self.files.remove(path).unwrap_or_else(|| standard_input(diagnostics));
                files.insert(path.clone(), file);
                continue;
            }
            let listed = match layout::manifests(path) {
                Ok(listed) => listed,
                Err(error) => {
                    diagnostics.push(unreadable(path, &error));
                    continue;
                }
            };
            for path in listed {
                match stamp(&path) {
                    Ok(stamp) => match self.files.remove(&path) {
                        Some(known) if known.stamp == stamp => drop(files.insert(path, known)),
                        before => {
                            let before = before.map(|file| file.documents).unwrap_or_default();
                            changed.push(Changed { path, stamp, before });
                        }
                    },
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => diagnostics.push(unreadable(&path, &error)),
                }
            }
        }
        for (path, stamp, result) in in_parallel(changed) {
            match result {
                Ok(documents) => drop(files.insert(path, File { stamp, documents })),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => diagnostics.push(unreadable(&path, &error)),
            }
        }
        files
    }

    /// The first document of an object is in force. One that is refused leaves the last good version there.
    fn merge(&mut self, mut diagnostics: Vec<Diagnostic>) -> Batch {
        let mut objects: BTreeMap<ObjectId, Arc<Object>> = BTreeMap::new();
        let mut broken: Vec<(&ObjectId, Option<&Diagnostic>)> = Vec::new();
        // Files with a broken document of which not even the object is known: it may be any that was there.
        let mut unknown: BTreeMap<Arc<str>, &Diagnostic> = BTreeMap::new();
        for document in self.files.values().flat_map(|file| &file.documents).flat_map(|written| &written.found) {
            match document {
                Document::Object(object, remarks) => {
                    diagnostics.extend(remarks.iter().cloned());
                    match objects.get(&object.id) {
                        Some(first) => diagnostics.push(twice(first, object)),
                        None => drop(objects.insert(object.id.clone(), object.clone())),
                    }
                }
                Document::Refused(id, findings) => {
                    diagnostics.extend(findings.iter().cloned());
                    match (id, findings.first()) {
                        (Some(id), finding) => broken.push((id, finding)),
                        (None, Some(finding)) => drop(unknown.insert(finding.place.origin.file.clone(), finding)),
                        (None, None) => {}
                    }
                }
                Document::Skipped(remark) => diagnostics.push(remark.clone()),
            }
        }
        for (id, finding) in broken {
            if let (false, Some(good)) = (objects.contains_key(id), self.objects.get(id)) {
                diagnostics.extend(finding.map(|finding| stale(id, finding)));
                objects.insert(id.clone(), good.clone());
            }
        }
        for (id, good) in &self.objects {
            let Some(finding) = unknown.get(&good.origin.file) else { continue };
            if !objects.contains_key(id) {
                diagnostics.push(stale(id, finding));
                objects.insert(id.clone(), good.clone());
            }
        }
        let mut changes: Vec<SourceChange> =
            self.objects.keys().filter(|id| !objects.contains_key(*id)).cloned().map(SourceChange::Remove).collect();
        let put =
            objects.values().filter(|object| !self.objects.get(&object.id).is_some_and(|old| Arc::ptr_eq(old, object)));
        changes.extend(put.cloned().map(SourceChange::Put));
        self.objects = objects;
        Batch { changes, diagnostics, noticed: None }
    }
}

/// A file that is to be read again, and what was in it.
struct Changed {
    path: PathBuf,
    stamp: Stamp,
    before: Vec<Written>,
}

/// Reads and parses files, the large sets on all cores.
fn in_parallel(files: Vec<Changed>) -> Vec<(PathBuf, Stamp, std::io::Result<Vec<Written>>)> {
    let read = |Changed { path, stamp, before }: Changed| {
        let documents = std::fs::read_to_string(&path).map(|text| parse(&path.display().to_string(), &text, &before));
        (path, stamp, documents)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    if files.len() < 64 || workers == 1 {
        return files.into_iter().map(read).collect();
    }
    let share = files.len().div_ceil(workers);
    let mut shares: Vec<Vec<Changed>> = Vec::new();
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        shares.push(files.by_ref().take(share).collect());
    }
    std::thread::scope(|scope| {
        let handles: Vec<_> = shares
            .into_iter()
            .map(|share| scope.spawn(move || share.into_iter().map(read).collect::<Vec<_>>()))
            .collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    })
}

/// Only documents that were not in the file before are parsed: an edit of a large file costs what was edited.
fn parse(file: &str, text: &str, before: &[Written]) -> Vec<Written> {
    let known: FxHashMap<&str, &Written> = before
        .iter()
        .filter(|written| written.found.iter().all(Document::is_good))
        .map(|written| (written.origin.text(), written))
        .collect();
    let documents = document::split(&Arc::from(file), &Arc::from(text));
    let written = documents.into_iter().map(|origin| {
        let found = match known.get(origin.text()) {
            Some(same) => same.found.iter().filter_map(|document| document.moved_to(&origin)).collect(),
            None => parse_document(&origin).into_iter().map(Document::from).collect(),
        };
        Written { origin, found }
    });
    written.collect()
}

impl Document {
    fn is_good(&self) -> bool {
        matches!(self, Self::Object(_, remarks) if remarks.is_empty())
    }

    /// The same object, written in a document that may stand elsewhere.
    fn moved_to(&self, document: &Origin) -> Option<Self> {
        let Self::Object(object, _) = self else { return None };
        let origin = object.origin.moved_to(document);
        Some(Self::Object(Arc::new(Object { origin, ..Object::clone(object) }), Vec::new()))
    }
}

impl From<Parsed> for Document {
    fn from(parsed: Parsed) -> Self {
        match parsed {
            Parsed::Object(object, remarks) => Self::Object(Arc::from(object), remarks),
            Parsed::Refused(id, findings) => Self::Refused(id, findings),
            Parsed::Skipped(remark) => Self::Skipped(remark),
        }
    }
}

fn standard_input(diagnostics: &mut Vec<Diagnostic>) -> File {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        diagnostics.push(unreadable(Path::new("standard input"), &error));
    }
    let stamp = Stamp {
        modified: None,
        length: 0,
        #[cfg(unix)]
        inode: 0,
    };
    File { stamp, documents: parse("standard input", &text, &[]) }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    #[cfg(unix)]
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp {
        modified: metadata.modified().ok(),
        length: metadata.len(),
        #[cfg(unix)]
        inode: metadata.ino(),
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    let origin = Origin::without_text(path.display().to_string());
    let place = Place { origin, path: FieldPath::root() };
    Diagnostic::error("unreadable-file", place, format!("cannot be read: {error}"))
}

fn twice(first: &Object, second: &Object) -> Diagnostic {
    let at = |object: &Object| Place { origin: object.origin.clone(), path: FieldPath::from("metadata.name") };
    Diagnostic::error("duplicate-object", at(second), format!("{} is written twice", second.id))
        .about(&second.id)
        .related(at(first), "the first one is in force")
        .help("remove one of the two documents")
}

fn stale(id: &ObjectId, finding: &Diagnostic) -> Diagnostic {
    let message = format!("the last good version of {id} stays in force until this document is repaired");
    Diagnostic::warning("stale-object", finding.place.clone(), message).about(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: web}\nspec: {gatewayClassName: c, listeners: [{name: http, port: 80, protocol: HTTP}]}\n";
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: [{port: 80}]}\n";

    fn codes(batch: &Batch) -> Vec<&str> {
        batch.diagnostics.iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn a_broken_document_costs_only_itself_and_keeps_its_last_good_version() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.yaml");
        std::fs::write(&path, format!("{GATEWAY}---\n{SERVICE}")).unwrap();
        let mut scanner = Scanner::new(vec![directory.path().to_path_buf()]);
        assert_eq!(scanner.scan().changes.len(), 2);
        std::fs::write(&path, format!("{GATEWAY}  broken: [\n---\n{SERVICE}# edited\n")).unwrap();
        let batch = scanner.scan();
        assert_eq!(codes(&batch), ["invalid-yaml", "stale-object"]);
        assert!(!batch.changes.iter().any(|change| matches!(change, SourceChange::Remove(_))), "{:?}", batch.changes);
        std::fs::remove_file(&path).unwrap();
        let removed = scanner.scan().changes;
        assert_eq!(removed.len(), 2, "what is removed from the directory is gone, broken or not: {removed:?}");
    }

    #[test]
    fn a_document_that_moved_says_where_it_stands_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.yaml");
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", SERVICE.trim_end().replace('\n', "\n  "));
        std::fs::write(&path, format!("{GATEWAY}---\n{list}\n")).unwrap();
        let mut scanner = Scanner::new(vec![directory.path().to_path_buf()]);
        let before = scanner.scan();
        std::fs::write(&path, format!("# a line more\n{GATEWAY}---\n{list}\n---\n{SERVICE}")).unwrap();
        let after = scanner.scan();
        assert_eq!(codes(&after), ["duplicate-object"]);
        let place = &after.diagnostics[0].related[0].0;
        let first_line = place.origin.locate(&place.path).unwrap().line;
        let object = |batch: &Batch, kind: kinds::Kind| {
            let found = batch.changes.iter().find_map(|change| match change {
                SourceChange::Put(object) if object.id.kind == kind => Some(object.clone()),
                _ => None,
            });
            found.unwrap()
        };
        let (old, new) = (object(&before, kinds::Kind::Service), object(&after, kinds::Kind::Service));
        assert_eq!(*old, *new, "it means the same");
        assert_ne!(old.origin, new.origin);
        assert_eq!(first_line, 12, "where it stands now");
    }

    #[test]
    fn two_documents_of_one_object_are_named_both() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.yaml"), SERVICE).unwrap();
        std::fs::write(directory.path().join("b.yaml"), SERVICE).unwrap();
        let batch = Scanner::new(vec![directory.path().to_path_buf()]).scan();
        assert_eq!(codes(&batch), ["duplicate-object"]);
        assert!(batch.diagnostics[0].place.origin.file.ends_with("b.yaml"));
        assert!(batch.diagnostics[0].related[0].0.origin.file.ends_with("a.yaml"));
    }

    #[test]
    fn an_unchanged_file_is_not_parsed_again() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.yaml"), SERVICE).unwrap();
        let mut scanner = Scanner::new(vec![directory.path().to_path_buf()]);
        scanner.scan();
        std::fs::write(directory.path().join("b.yaml"), GATEWAY).unwrap();
        std::fs::write(directory.path().join("README.md"), "not: [yaml").unwrap();
        let batch = scanner.scan();
        assert_eq!(batch.changes.len(), 1);
        assert!(batch.diagnostics.is_empty());
    }
}
