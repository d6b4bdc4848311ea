//! A cluster on this machine, and the programs that stand for the images of the manifests.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::{envoy_binary, eventually, free_port};

pub(crate) const LONG: Duration = Duration::from_secs(180);

/// What the manifests ask a kubelet for, and this one does not do by itself: a user who is not root and has no capabilities,
/// volumes of that user's group, ports below 1024, and a root that nobody can write.
const CONFINED: &str = "#!/bin/sh
set -e
for volume in /tmp /data /var/lib/chancery; do
  if mountpoint -q $volume; then chgrp 65532 $volume; chmod 2770 $volume; fi
done
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
mount -o remount,bind,ro /
exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all \"$@\"
";

/// Where it is in a container, whose `/tmp` is its own.
const WRAPPER: &str = "/confined";

pub(crate) struct Lab {
    binary: PathBuf,
    child: Child,
    directory: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Asked to end, it takes away its processes and its network.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What is missing of what the tests need.
fn missing() -> Option<String> {
    if std::env::var_os("KUBE_LAB").is_none() {
        return Some("KUBE_LAB names no binary that runs a cluster".to_owned());
    }
    let user = Command::new("id").arg("-u").output().ok()?;
    if user.stdout != b"0\n" {
        return Some("only root can run a cluster here".to_owned());
    }
    let programs = ["redis-server", "setpriv", "kubectl", "curl", "mountpoint", "python3"];
    let there = |program: &&str| Command::new("which").arg(program).output().is_ok_and(|found| found.status.success());
    if let Some(program) = programs.iter().find(|program| !there(program)) {
        return Some(format!("there is no {program}"));
    }
    let limits = root().join(".cache/ratelimit/service_cmd");
    (!limits.exists()).then(|| format!("{}, which tests of the rate limit service build, is missing", limits.display()))
}

impl Lab {
    /// A cluster with the definitions of Gateway API and Envoy Gateway; none, and a line that says why, where there is none.
    pub(crate) async fn start() -> Option<Self> {
        if let Some(missing) = missing() {
            // Not `eprintln!`: the harness would hide it from whoever runs the tests.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {missing}");
            return None;
        }
        // Its name is that of a network, too.
        let directory = tempfile::Builder::new().prefix("lab").rand_bytes(5).tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let script = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path.display().to_string()
        };
        let confined = script("confined", CONFINED);
        let limits = root().canonicalize().unwrap().join(".cache/ratelimit/service_cmd");
        let ratelimit = script("ratelimit", &format!("#!/bin/sh\nexec {WRAPPER} {}\n", limits.display()));
        let envoy = envoy_binary().unwrap().canonicalize().unwrap();
        let mut images = vec!["images:".to_owned()];
        for (image, program) in [
            ("chancery/chancery:*", env!("CARGO_BIN_EXE_chancery").to_owned()),
            ("envoyproxy/envoy:*", envoy.display().to_string()),
            // Its image lets in whoever can reach it.
            ("redis:*", "redis-server, --protected-mode, 'no'".to_owned()),
        ] {
            let files = format!("{WRAPPER}: {confined}");
            images.push(format!("- {{image: '{image}', entrypoint: [{WRAPPER}, {program}], files: {{{files}}}}}"));
        }
        images.push("- {image: 'app:*', entrypoint: [python3, -m, http.server, '8080']}".to_owned());
        let files = format!("{WRAPPER}: {confined}, /bin/ratelimit: {ratelimit}");
        images.push(format!("- {{image: 'envoyproxy/ratelimit:*', files: {{{files}}}}}"));
        let images_file = script("images.yaml", &images.join("\n"));

        let binary = PathBuf::from(std::env::var_os("KUBE_LAB").unwrap());
        let home = directory.path().join("cluster");
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let name = directory.path().file_name().unwrap().to_str().unwrap().to_lowercase();
        let child = Command::new(&binary)
            .args(["up", "--images", &images_file, "--max-grace", "1s", "--port", &free_port().to_string()])
            .args(["--name", &name])
            .arg("--dir")
            .arg(&home)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut lab = Self { binary, child, directory };
        eventually("the cluster is ready", LONG, || {
            let log = std::fs::read_to_string(lab.directory.path().join("log")).unwrap_or_default();
            assert!(lab.child.try_wait().unwrap().is_none(), "{log}");
            let ready = log.lines().any(|line| line.starts_with("ready"));
            async move { ready.then_some(()) }
        })
        .await;
        let groups = "gateway.networking.k8s.io,gateway.envoyproxy.io";
        let definitions =
            Command::new(env!("CARGO_BIN_EXE_chancery")).args(["crds", "--only", groups]).output().unwrap();
        lab.apply(&["--server-side"], &String::from_utf8(definitions.stdout).unwrap()).await;
        lab.kubectl(&["wait", "--for=condition=Established", "--timeout=120s", "crd", "--all"]).unwrap();
        Some(lab)
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("cluster")
    }

    /// What `kubectl ARGS` prints, or says against it.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output =
            Command::new("kubectl").args(args).env("KUBECONFIG", self.home().join("kubeconfig")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies objects, again while their kinds or namespaces are only on their way.
    pub(crate) async fn apply(&self, options: &[&str], objects: &str) {
        let file = self.directory.path().join("objects.yaml");
        std::fs::write(&file, objects).unwrap();
        let args = [&["apply", "-f", file.to_str().unwrap()], options].concat();
        eventually("objects are taken", LONG, || async { self.kubectl(&args).ok() }).await;
    }

    /// The manifests of that name, installed and running.
    pub(crate) async fn install(&self, name: &str) {
        let manifests = std::fs::read_to_string(root().join(format!("deploy/manifests/{name}.yaml"))).unwrap();
        self.kubectl(&["create", "namespace", "chancery-system"]).unwrap();
        self.apply(&[], &manifests).await;
        let rolled = self.kubectl(&[
            "-n",
            "chancery-system",
            "wait",
            "--for=condition=Available",
            "--timeout=90s",
            "deployment",
            "--all",
        ]);
        if let Err(error) = rolled {
            let pods = self.kubectl(&["-n", "chancery-system", "get", "pods"]).unwrap();
            let logs = ["chancery", "chancery-ratelimit", "chancery-redis"].map(|app| {
                let selector = format!("app.kubernetes.io/name={app}");
                self.kubectl(&["-n", "chancery-system", "logs", "--tail=15", "-l", &selector]).unwrap_or_default()
            });
            panic!("{error}\n{pods}\n{}", logs.join("\n"));
        }
    }

    /// The status with which an address answers a caller of that name, inside the cluster; none where nobody answers.
    pub(crate) fn ask(&self, address: &str, user: &str) -> Option<u16> {
        let output = Command::new(&self.binary)
            .args(["exec", "--dir"])
            .arg(self.home())
            .args(["--", "curl", "-s", "-o", "/dev/null", "-m", "5", "-w", "%{http_code}"])
            .args(["-H", &format!("x-user: {user}"), &format!("http://{address}/")])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().ok().filter(|status| *status != 0)
    }
}
