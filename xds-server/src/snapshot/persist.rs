//! The last good snapshot of each group, on disk: a server that comes back to broken input, or to none, still serves.
//!
//! A file for each group, written beside the old one and moved over it. It holds secrets: only its owner may read it.
//! A file that is cut short or altered is not loaded.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message;
use xds_api::{Resource, ResourceType};
use xxhash_rust::xxh3::xxh3_64;

use super::{GroupKey, Snapshots};

const MAGIC: &[u8; 8] = b"CHNCRY01";
const SUFFIX: &str = "snapshot";

#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(string, tag = "1")]
    group: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<SavedResource>,
}

#[derive(Clone, PartialEq, Message)]
struct SavedResource {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
}

/// Keeps the snapshots of a server in a directory.
#[derive(Debug)]
pub struct Keeper {
    snapshots: Snapshots,
    directory: PathBuf,
    /// Which change of each group was written last.
    written: BTreeMap<GroupKey, u64>,
}

impl Keeper {
    /// Opens a directory, makes it where there is none, and restores what is in it, for [`Snapshots::fall_back`].
    ///
    /// # Errors
    /// When the directory cannot be made or listed. A file that does not load is left out, with a warning.
    pub fn open(snapshots: Snapshots, directory: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut keeper = Self { snapshots, directory: directory.to_owned(), written: BTreeMap::new() };
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == SUFFIX) {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            match load(&path) {
                Ok((key, resources)) => {
                    tracing::info!(gateway = %key, resources = resources.len(), "restored");
                    let count = keeper.snapshots.restore(&key, resources);
                    keeper.written.insert(key, count);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "a saved snapshot is left out"),
            }
        }
        Ok(keeper)
    }

    /// Writes every group that has changed since it was written. Returns how many.
    ///
    /// # Errors
    /// When a file cannot be written; it is tried again the next time.
    pub fn save_changed(&mut self) -> io::Result<usize> {
        let mut saved = 0;
        for group in self.snapshots.groups() {
            let count = group.changes();
            if self.written.get(&group.key).copied().unwrap_or_default() == count {
                continue;
            }
            let resources = group.resources();
            let path = self.path(&group.key);
            if resources.is_empty() {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            } else {
                save(&path, &group.key, resources)?;
            }
            self.written.insert(group.key.clone(), count);
            saved += 1;
        }
        Ok(saved)
    }

    fn path(&self, key: &GroupKey) -> PathBuf {
        // A hash, since a key may hold what a file name may not.
        self.directory.join(format!("{:016x}.{SUFFIX}", xxh3_64(key.as_str().as_bytes())))
    }
}

fn save(path: &Path, key: &GroupKey, resources: Vec<Resource>) -> io::Result<()> {
    let of = |resource: Resource| SavedResource {
        type_url: resource.kind.type_url().to_owned(),
        name: resource.name.to_string(),
        body: resource.body,
    };
    let saved = Saved { group: key.as_str().to_owned(), resources: resources.into_iter().map(of).collect() };
    let content = saved.encode_to_vec();
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(MAGIC)?;
    file.write_all(&xxh3_64(&content).to_be_bytes())?;
    file.write_all(&content)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

fn load(path: &Path) -> io::Result<(GroupKey, Vec<Resource>)> {
    let bad = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message.to_owned());
    let file = Bytes::from(std::fs::read(path)?);
    let (Some(magic), Some(hash), Some(content)) = (file.get(..8), file.get(8..16), file.get(16..)) else {
        return Err(bad("cut short"));
    };
    if magic != MAGIC {
        return Err(bad("not a snapshot of this version"));
    }
    if hash != xxh3_64(content).to_be_bytes() {
        return Err(bad("altered or cut short"));
    }
    let saved = Saved::decode(file.slice(16..)).map_err(|error| bad(&error.to_string()))?;
    let of = |saved: SavedResource| {
        let kind = ResourceType::from_type_url(&saved.type_url)?;
        Some(Resource { kind, name: saved.name.into(), body: saved.body })
    };
    Ok((GroupKey::new(&saved.group), saved.resources.into_iter().filter_map(of).collect()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Change;

    fn cluster(content: &str) -> Resource {
        let body = Bytes::copy_from_slice(content.as_bytes());
        Resource { kind: ResourceType::Cluster, name: "a".into(), body }
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_served_last_is_restored() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        let key = GroupKey::new("default/web");
        let before = Snapshots::new();
        let mut keeper = Keeper::open(before.clone(), &state).unwrap();
        assert_eq!(keeper.save_changed().unwrap(), 0);
        before.publish(&key, Change { set: vec![cluster("1")], remove: vec![] });
        before.publish(&key, Change { set: vec![cluster("2")], remove: vec![] });
        assert_eq!(keeper.save_changed().unwrap(), 1);
        assert_eq!(keeper.save_changed().unwrap(), 0, "nothing changed since");
        for path in files(&state) {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "it holds secrets");
        }

        let after = Snapshots::new();
        Keeper::open(after.clone(), &state).unwrap();
        assert_eq!(after.resources(&key), [cluster("2")]);
        assert!(!after.may_serve(&key), "there may be something newer");
        assert!(after.fall_back());
        assert!(after.may_serve(&key) && !after.may_serve(&GroupKey::new("default/other")));
        assert!(!after.is_ready());
    }

    #[test]
    fn a_damaged_file_is_left_out_and_a_removed_group_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let key = GroupKey::new("default/web");
        let snapshots = Snapshots::new();
        let mut keeper = Keeper::open(snapshots.clone(), directory.path()).unwrap();
        snapshots.replace(&key, vec![cluster("1")]);
        keeper.save_changed().unwrap();
        let path = files(directory.path()).remove(0);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let damaged = Snapshots::new();
        Keeper::open(damaged.clone(), directory.path()).unwrap();
        assert!(!damaged.fall_back() && !damaged.may_serve(&key));
        snapshots.remove_group(&key);
        keeper.save_changed().unwrap();
        assert!(files(directory.path()).is_empty());
    }
}
