//! One case: its input, what is made of it, and the files that pin it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinds::{Diagnostic, Object, ObjectId, Parsed};
use libtest_mimic::Failed;
use similar::TextDiff;
use translator::{Change, Options, Translator};
use xds_api::{Resource, ResourceType, list_to_yaml};

/// The file of each type.
pub(crate) const FILES: [(ResourceType, &str); 7] = [
    (ResourceType::Listener, "listeners.yaml"),
    (ResourceType::ScopedRoute, "scopes.yaml"),
    (ResourceType::RouteConfiguration, "routes.yaml"),
    (ResourceType::Cluster, "clusters.yaml"),
    (ResourceType::Endpoints, "endpoints.yaml"),
    (ResourceType::Secret, "secrets.yaml"),
    (ResourceType::ExtensionConfig, "extensions.yaml"),
];

#[derive(Clone)]
pub(crate) struct Case {
    /// `AREA/CASE`
    pub name: String,
    golden: PathBuf,
    pub objects: Vec<Arc<Object>>,
    /// What parsing found.
    findings: Vec<Diagnostic>,
}

/// Everything that a translation makes.
#[derive(Debug, PartialEq)]
pub(crate) struct Made {
    pub resources: BTreeMap<ObjectId, Vec<Resource>>,
    /// What the rate limit service is told.
    pub limits: Vec<Resource>,
    pub statuses: BTreeMap<ObjectId, serde_json::Value>,
    pub diagnostics: Vec<Diagnostic>,
    pub graph: String,
}

impl Case {
    pub(crate) fn new(root: &Path, input: PathBuf) -> Self {
        let relative = input.strip_prefix(root.join("testdata")).unwrap_or(&input).to_path_buf();
        let text = std::fs::read_to_string(input.join("input.yaml")).unwrap_or_default();
        let mut case = Self {
            name: relative.display().to_string(),
            golden: root.join("golden").join(&relative),
            objects: Vec::new(),
            findings: Vec::new(),
        };
        for parsed in kinds::parse_text("input.yaml", &text) {
            match parsed {
                Parsed::Object(object, remarks) => {
                    case.findings.extend(remarks);
                    case.objects.push(Arc::from(object));
                }
                Parsed::Refused(_, findings) => case.findings.extend(findings),
                Parsed::Skipped(remark) => case.findings.push(remark),
            }
        }
        case
    }

    pub(crate) fn translate(&self) -> Made {
        let mut translator = Translator::new(Options::default());
        translator.apply(self.objects.iter().cloned().map(Change::Put));
        Made::of(&translator)
    }

    /// Holds what was made against the files, or writes them.
    pub(crate) fn compare(&self, made: &Made) -> Result<(), Failed> {
        let files = self.files(made)?;
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let _ = std::fs::remove_dir_all(&self.golden);
            std::fs::create_dir_all(&self.golden)?;
            for (name, text) in files {
                std::fs::write(self.golden.join(name), text)?;
            }
            return Ok(());
        }
        let mut differences = String::new();
        let there: Vec<String> = std::fs::read_dir(&self.golden)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        for name in there.iter().filter(|name| !files.contains_key(name.as_str())) {
            let _ = writeln!(differences, "golden/{}/{name} is no longer made", self.name);
        }
        for (name, text) in &files {
            let expected = std::fs::read_to_string(self.golden.join(name)).unwrap_or_default();
            if expected != *text {
                let diff = TextDiff::from_lines(&expected, text);
                let header = format!("golden/{}/{name}", self.name);
                let _ = writeln!(differences, "{}", diff.unified_diff().context_radius(3).header(&header, "now"));
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(differences.into()) }
    }

    fn files(&self, made: &Made) -> Result<BTreeMap<String, String>, Failed> {
        let mut files = BTreeMap::new();
        for (kind, file) in FILES {
            let mut parts = Vec::new();
            for (gateway, resources) in &made.resources {
                let of_kind: Vec<&Resource> = resources.iter().filter(|resource| resource.kind == kind).collect();
                if !of_kind.is_empty() {
                    parts.push(format!("# {}/{}\n{}", gateway.namespace, gateway.name, list_to_yaml(of_kind)?));
                }
            }
            if !parts.is_empty() {
                files.insert(file.to_owned(), parts.join("---\n"));
            }
        }
        if !made.limits.is_empty() {
            files.insert("ratelimit.yaml".to_owned(), list_to_yaml(&made.limits)?);
        }
        if !made.statuses.is_empty() {
            let statuses: BTreeMap<String, &serde_json::Value> =
                made.statuses.iter().map(|(id, status)| (id.to_string(), status)).collect();
            files.insert("status.yaml".to_owned(), serde_saphyr::to_string(&statuses)?);
        }
        let findings = kinds::report::to_text(self.findings.iter().chain(&made.diagnostics), false);
        if !findings.is_empty() {
            files.insert("diagnostics.txt".to_owned(), findings);
        }
        if !made.graph.is_empty() {
            files.insert("graph.txt".to_owned(), made.graph.clone());
        }
        Ok(files)
    }

    pub(crate) fn findings<'a>(&'a self, made: &'a Made) -> impl Iterator<Item = &'a Diagnostic> {
        self.findings.iter().chain(&made.diagnostics)
    }
}

impl Made {
    pub(crate) fn of(translator: &Translator) -> Self {
        let mut graph = String::new();
        for (source, edge) in translator.graph().edges() {
            let _ = writeln!(graph, "{source} --{}--> {} ({})", edge.role.name(), edge.target, edge.verdict.words());
        }
        Self {
            resources: translator.resources(),
            limits: translator.limits(),
            statuses: translator.statuses().iter().map(|(id, status)| (id.clone(), status.to_value(id))).collect(),
            diagnostics: translator.diagnostics(),
            graph,
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Resource> {
        self.resources.values().flatten().chain(&self.limits)
    }
}
