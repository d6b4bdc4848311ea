//! What people and tools do to a directory of manifests, and what the source makes of it.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use kinds::ObjectId;
use sources::{Batch, SourceChange, file};
use tokio::sync::mpsc::{Receiver, channel};

fn service(name: &str, port: u16) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: {port}}}]}}\n")
}

struct Watched {
    directory: tempfile::TempDir,
    batches: Receiver<Batch>,
}

impl Watched {
    /// A directory that is followed once it has been filled.
    async fn start(fill: impl FnOnce(&Path)) -> (Self, Batch) {
        let directory = tempfile::tempdir().unwrap();
        fill(directory.path());
        let (sender, batches) = channel(64);
        let paths = vec![directory.path().to_path_buf()];
        std::thread::spawn(move || file::watch(paths, &sender));
        let mut watched = Self { directory, batches };
        let first = watched.next().await;
        (watched, first)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn next(&mut self) -> Batch {
        tokio::time::timeout(Duration::from_secs(20), self.batches.recv()).await.unwrap().unwrap()
    }

    /// Everything up to the batch in which an object comes or changes.
    async fn until(&mut self, name: &str) -> Vec<Batch> {
        let mut seen = Vec::new();
        loop {
            seen.push(self.next().await);
            if seen.last().is_some_and(|batch| put(batch).contains(name)) {
                return seen;
            }
        }
    }
}

fn put(batch: &Batch) -> BTreeSet<String> {
    let names = batch.changes.iter().filter_map(|change| match change {
        SourceChange::Put(object) => Some(object.id.name.to_string()),
        SourceChange::Remove(_) => None,
    });
    names.collect()
}

fn removed(batch: &Batch) -> Vec<&ObjectId> {
    let ids = batch.changes.iter().filter_map(|change| match change {
        SourceChange::Remove(id) => Some(id),
        SourceChange::Put(_) => None,
    });
    ids.collect()
}

#[tokio::test]
async fn an_editor_replaces_a_file() {
    let (mut watched, first) = Watched::start(|path| fs::write(path.join("a.yaml"), service("a", 80)).unwrap()).await;
    assert_eq!(put(&first), ["a".to_owned()].into());
    fs::write(watched.path(".a.yaml.swp"), "half: [").unwrap();
    fs::write(watched.path("a.yaml.new"), service("a", 81)).unwrap();
    fs::rename(watched.path("a.yaml"), watched.path("a.yaml~")).unwrap();
    fs::rename(watched.path("a.yaml.new"), watched.path("a.yaml")).unwrap();
    let seen = watched.until("a").await;
    assert!(seen.iter().all(|batch| removed(batch).is_empty() && batch.diagnostics.is_empty()), "{seen:?}");
}

/// As Kubernetes mounts a `ConfigMap`, and as git-sync changes its checkout.
#[tokio::test]
async fn a_link_is_turned_to_another_directory() {
    let (mut watched, first) = Watched::start(|path| {
        fs::create_dir(path.join("..one")).unwrap();
        fs::write(path.join("..one/a.yaml"), service("a", 80)).unwrap();
        fs::write(path.join("..one/b.yaml"), service("b", 80)).unwrap();
        symlink("..one", path.join("..data")).unwrap();
        symlink("..data/a.yaml", path.join("a.yaml")).unwrap();
        symlink("..data/b.yaml", path.join("b.yaml")).unwrap();
    })
    .await;
    assert_eq!(put(&first), ["a".to_owned(), "b".to_owned()].into(), "each once");
    assert!(first.diagnostics.is_empty(), "{:?}", first.diagnostics);

    fs::create_dir(watched.path("..two")).unwrap();
    fs::write(watched.path("..two/a.yaml"), service("a", 81)).unwrap();
    fs::write(watched.path("..two/b.yaml"), service("b", 81)).unwrap();
    symlink("..two", watched.path("..data_tmp")).unwrap();
    fs::rename(watched.path("..data_tmp"), watched.path("..data")).unwrap();
    fs::remove_dir_all(watched.path("..one")).unwrap();
    let seen = watched.until("a").await;
    assert!(seen.iter().all(|batch| removed(batch).is_empty()), "{seen:?}");
    assert_eq!(put(seen.last().unwrap()), ["a".to_owned(), "b".to_owned()].into(), "both in one step");
}

/// The order in which git writes: the old file goes, the new one comes, one after the other.
#[tokio::test]
async fn a_checkout_of_hundreds_of_files_is_one_step() {
    const FILES: usize = 400;
    let write = |path: &Path, port: u16| {
        for n in 0..FILES {
            let path = path.join(format!("{n}.yaml"));
            let _ = fs::remove_file(&path);
            fs::write(path, service(&format!("s{n}"), port)).unwrap();
        }
    };
    let (mut watched, first) = Watched::start(|path| write(path, 80)).await;
    assert_eq!(put(&first).len(), FILES);
    write(watched.directory.path(), 81);
    let mut changed = BTreeSet::new();
    let mut steps = 0;
    while changed.len() < FILES {
        let batch = watched.next().await;
        assert!(removed(&batch).is_empty(), "{:?}", batch.changes);
        changed.extend(put(&batch));
        steps += 1;
    }
    assert_eq!(steps, 1);
}

/// Half a file reads like a whole one from which objects are gone.
#[tokio::test]
async fn a_file_that_is_being_written_is_waited_for() {
    let all = || (0..20).map(|n| service(&format!("s{n}"), 80)).collect::<String>();
    let (mut watched, first) = Watched::start(|path| fs::write(path.join("all.yaml"), all()).unwrap()).await;
    assert_eq!(put(&first).len(), 20);
    let path = watched.path("all.yaml");
    let writer = tokio::task::spawn_blocking(move || {
        let mut file = fs::File::create(path).unwrap();
        for n in 0..20 {
            file.write_all(service(&format!("s{n}"), 81).as_bytes()).unwrap();
            file.flush().unwrap();
            // Longer than the quiet after which an edit counts as over.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let batch = watched.next().await;
    assert!(removed(&batch).is_empty(), "{:?}", batch.changes);
    assert_eq!(put(&batch).len(), 20);
    writer.await.unwrap();
}

#[tokio::test]
async fn what_else_lies_there_delays_nothing() {
    let (mut watched, first) = Watched::start(|path| {
        fs::write(path.join("README.md"), "not: [yaml").unwrap();
        fs::write(path.join("empty.yaml"), "# nothing yet\n").unwrap();
        fs::write(path.join("values.yaml"), "replicas: 3\n").unwrap();
        fs::write(path.join("broken.yaml"), "a: [\n").unwrap();
        symlink(".", path.join("loop")).unwrap();
        symlink("nowhere", path.join("dangling.yaml")).unwrap();
        fs::create_dir_all(path.join("below/further")).unwrap();
        fs::write(path.join("below/further/a.yaml"), service("a", 80)).unwrap();
    })
    .await;
    assert_eq!(put(&first), ["a".to_owned()].into());
    fs::create_dir(watched.path("new")).unwrap();
    fs::write(watched.path("new/b.yaml"), service("b", 80)).unwrap();
    watched.until("b").await;
    fs::rename(watched.path("new"), watched.path("newer")).unwrap();
    fs::write(watched.path("newer/c.yaml"), service("c", 80)).unwrap();
    let seen = watched.until("c").await;
    assert!(seen.iter().all(|batch| removed(batch).is_empty()), "{seen:?}");
}
