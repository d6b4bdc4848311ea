//! The binary alone: with nothing in its root but itself and the libraries that it is linked with, without root's rights, and
//! with nowhere to write but the state directory. So it is in its image.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::{Envoy, HttpClient, eventually, free_port};

const SOON: Duration = Duration::from_secs(60);
/// As the chart has it.
const NOBODY: u32 = 65532;

const MANIFESTS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec: {gatewayClassName: chancery, listeners: [{name: http, port: PORT, protocol: HTTP}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: default}
spec:
  parentRefs: [{name: web}]
  rules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: elsewhere.example}}]}]
";

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A root with the binary and what it is linked with, manifests, and a state directory that is the user's own.
fn image() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let put = |from: &Path, to: &str| {
        let to = root.path().join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    };
    let binary = env!("CARGO_BIN_EXE_chancery");
    put(Path::new(binary), "/chancery");
    let linked = Command::new("ldd").arg(binary).output().unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        put(Path::new(library), library);
    }
    let libraries: BTreeSet<&str> = linked.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // What a slim image has; anything else would have to be put into ours.
    for library in libraries {
        let known = ["linux-vdso.so", "libgcc_s.so", "libm.so", "libc.so", "/lib64/ld-linux"];
        assert!(known.iter().any(|known| library.starts_with(known)), "{library} is in no slim image");
    }
    for directory in ["state", "manifests"] {
        std::fs::create_dir(root.path().join(directory)).unwrap();
    }
    chown(root.path().join("state"), Some(NOBODY), Some(NOBODY)).unwrap();
    std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
    root
}

fn serve(root: &Path, xds: u16, admin: u16) -> Process {
    let child = Command::new("chroot")
        .arg(format!("--userspec={NOBODY}:{NOBODY}"))
        .arg(root)
        .args(["/chancery", "serve", "/manifests", "--state-dir", "/state"])
        .args(["--xds", &format!("127.0.0.1:{xds}"), "--admin", &format!("127.0.0.1:{admin}")])
        .args(["--ratelimit", &format!("127.0.0.1:{}", free_port())])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdout(Stdio::null())
        .spawn();
    Process(child.unwrap())
}

/// Every file below, by whose it is.
fn files(directory: &Path, all: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = path.symlink_metadata().unwrap();
        all.push((path.clone(), about.uid()));
        if about.is_dir() {
            files(&path, all);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_nothing_beside_it_and_writes_its_state_and_nothing_else() {
    let user = Command::new("id").arg("-u").output().unwrap();
    if user.stdout != b"0\n" {
        // Not `eprintln!`: the harness would hide it from whoever runs the tests.
        let _ = writeln!(std::io::stderr(), "SKIPPED: only root can give another root to a process");
        return;
    }
    let image = image();
    let (xds, admin, port) = (free_port(), free_port(), free_port());
    std::fs::write(image.path().join("manifests/web.yaml"), MANIFESTS.replace("PORT", &port.to_string())).unwrap();
    let ready = || async { HttpClient::new(admin).get("/readyz").await.ok().filter(|reply| reply.status == 200) };
    let control = serve(image.path(), xds, admin);
    eventually("it is ready", SOON, ready).await;

    let bootstrap = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(["bootstrap", "--gateway", "default/web", "--admin", "127.0.0.1:{admin}"])
        .args(["--xds", &format!("127.0.0.1:{xds}")])
        .output()
        .unwrap();
    let _envoy = Envoy::start(&String::from_utf8(bootstrap.stdout).unwrap()).await.unwrap();
    let answers = || async { HttpClient::new(port).get("/").await.ok().filter(|reply| reply.status == 302) };
    eventually("an Envoy serves what it says", SOON, answers).await;
    let saved = || async { std::fs::read_dir(image.path().join("state")).unwrap().next().map(drop) };
    eventually("its state is saved", SOON, saved).await;

    let mut all = Vec::new();
    files(image.path(), &mut all);
    let state = image.path().join("state");
    for (path, owner) in all {
        assert!(owner != NOBODY || path.starts_with(&state), "it wrote {}", path.display());
    }
    // What it saved is what it needs to go on.
    drop(control);
    let _control = serve(image.path(), xds, admin);
    eventually("it is ready again", SOON, ready).await;
}
