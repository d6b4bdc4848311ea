//! Following a directory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use kinds::Diagnostic;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::Sender;

use super::scan::Scanner;
use crate::Batch;

/// One edit is over when nothing happened for this long.
const QUIET: Duration = Duration::from_millis(4);
/// Many files at once are a checkout or a copy: it is over when nothing happened for longer.
const BULK: usize = 4;
const BULK_QUIET: Duration = Duration::from_millis(60);
/// However busy the directory, it is looked at after this.
const CAP: Duration = Duration::from_secs(1);
/// Where events may be lost (network file systems, full queues), a look now and then finds what they missed.
const ANYWAY: Duration = Duration::from_secs(10);

/// Delivers the first state of the paths, then every change. Ends when nobody listens any more.
///
/// It blocks: it wants a thread of its own.
pub fn watch(paths: Vec<PathBuf>, batches: &Sender<Batch>) {
    let (events, happened) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let happening = match event {
            // Reading a file is no change of it.
            Ok(event) if event.kind.is_access() && !closes_after_writing(&event) => return,
            Ok(event) => Happening { begins: writes(&event), paths: event.paths },
            Err(_) => Happening { begins: false, paths: Vec::new() },
        };
        let _ = events.send(happening);
    })
    .ok();
    if watcher.is_none() {
        tracing::warn!("files cannot be watched here: they are looked at every {} s", ANYWAY.as_secs());
    }
    let mut watched = BTreeSet::new();
    let mut scanner = Scanner::new(paths);
    watch_roots(scanner.paths(), watcher.as_mut(), &mut watched);
    let mut known: Option<Vec<Diagnostic>> = None;
    let mut noticed = SystemTime::now();
    loop {
        let batch = Batch { noticed: Some(noticed), ..scanner.scan() };
        let news = !batch.changes.is_empty() || known.as_ref() != Some(&batch.diagnostics);
        if news {
            known = Some(batch.diagnostics.clone());
            if batches.blocking_send(batch).is_err() {
                return;
            }
        }
        match happened.recv_timeout(ANYWAY) {
            Ok(first) => {
                noticed = SystemTime::now();
                settle(&happened, first);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => noticed = SystemTime::now(),
            Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(ANYWAY),
        }
        if batches.is_closed() {
            return;
        }
        watch_roots(scanner.paths(), watcher.as_mut(), &mut watched);
    }
}

fn closes_after_writing(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// Whether a file is being written, which another event will end: half of one reads like a whole with objects gone.
fn writes(event: &notify::Event) -> bool {
    use notify::event::{EventKind, ModifyKind};
    cfg!(target_os = "linux") && matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)))
}

/// Something happened to files: their writing goes on, or else it is over.
struct Happening {
    begins: bool,
    paths: Vec<PathBuf>,
}

/// Waits until what happens is over.
fn settle(happened: &mpsc::Receiver<Happening>, first: Happening) {
    let begin = Instant::now();
    let mut touched = BTreeSet::new();
    let mut written = BTreeSet::new();
    let mut next = Some(first);
    loop {
        match next {
            Some(Happening { begins: true, paths }) => {
                written.extend(paths.iter().cloned());
                touched.extend(paths);
            }
            Some(Happening { begins: false, paths }) => {
                written.retain(|path| !paths.contains(path));
                touched.extend(paths);
            }
            None if written.is_empty() => return,
            None => {}
        }
        let left = CAP.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return;
        }
        let quiet = if touched.len() >= BULK { BULK_QUIET } else { QUIET };
        next = match happened.recv_timeout(quiet.min(left)) {
            Ok(happening) => Some(happening),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
    }
}

/// A file is watched through its directory, since editors replace files; a root that comes later is taken up then.
fn watch_roots(paths: &[PathBuf], watcher: Option<&mut RecommendedWatcher>, watched: &mut BTreeSet<PathBuf>) {
    let Some(watcher) = watcher else { return };
    for path in paths.iter().filter(|path| path.as_os_str() != "-") {
        let (root, mode) = if path.is_dir() {
            (path.as_path(), RecursiveMode::Recursive)
        } else {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent, RecursiveMode::NonRecursive)
        };
        if watched.contains(root) {
            continue;
        }
        match watcher.watch(root, mode) {
            Ok(()) => drop(watched.insert(root.to_path_buf())),
            Err(error) => tracing::warn!(path = %root.display(), %error, "cannot be watched"),
        }
    }
}
