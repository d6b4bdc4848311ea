//! Which files of a directory hold manifests.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The manifest files under a path, sorted; a file that is named itself is one whatever its name.
pub(super) fn manifests(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut found = Vec::new();
    let mut pending = vec![path.to_path_buf()];
    let mut seen = BTreeSet::new();
    while let Some(directory) = pending.pop() {
        // A link may lead back to where it stands.
        if !seen.insert(std::fs::canonicalize(&directory)?) {
            continue;
        }
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            // Hidden files are editors' and version control's, or the inner side of a mounted ConfigMap.
            if name.starts_with('.') {
                continue;
            }
            // A file may vanish between being listed and being looked at.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            if metadata.is_dir() {
                pending.push(path);
            } else if is_manifest(name) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_manifest(name: &str) -> bool {
    [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::is_manifest;

    #[test]
    fn backups_and_other_files_are_not_manifests() {
        for name in ["route.yaml", "route.yml", "route.json"] {
            assert!(is_manifest(name), "{name}");
        }
        for name in ["README.md", "route.yaml~", "route.yaml.swp", "route.yaml.bak", "#route.yaml#", "4913"] {
            assert!(!is_manifest(name), "{name}");
        }
    }
}
