//! Real containers without a daemon: Cratekeeper's image built by buildah, run by podman and runc as root, in a network of their
//! own. Everything goes when it is dropped; what a killed test left is removed by the next one.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::binary::{cratekeeper, target_profile_dir, tools, workspace};
use crate::bridge::{self, Bridge};
use crate::name_server::NameServer;

/// The image that is tested.
pub const IMAGE: &str = "localhost/cratekeeper";
/// A minimal Debian.
pub const BASE_IMAGE: &str = "localhost/debian-base";
const PROGRAMS: [&str; 5] = ["buildah", "podman", "runc", "ip", "strip"];

#[derive(Debug)]
pub struct Containers {
    directory: PathBuf,
    cgroup: String,
    pub bridge: Bridge,
    pub names: NameServer,
}

impl Containers {
    /// Why there cannot be containers here, if so.
    pub fn impossible() -> Option<String> {
        let user = fs::metadata("/proc/self").map(|own| own.uid());
        if user.ok() != Some(0) {
            return Some("only root can make network namespaces and run containers".to_owned());
        }
        let missing = PROGRAMS.iter().find(|program| !installed(program));
        if let Some(program) = missing {
            return Some(format!("{program} is not installed: run scripts/setup"));
        }
        let base = base_tarball();
        (!base.exists()).then(|| format!("{} is not there: run scripts/setup", base.display()))
    }

    /// A network, its name server and Cratekeeper's image.
    pub async fn start() -> Containers {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let all = target_profile_dir().join("containers");
        remove_stale(&all);
        let own = format!(
            "{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let directory = all.join(&own);
        fs::create_dir_all(&directory).expect("the build directory is writable");
        let bridge = Bridge::new();
        let containers = Containers {
            cgroup: cgroup(&own),
            directory,
            names: NameServer::start(bridge.gateway()).await,
            bridge,
        };
        containers.build().await;
        containers
    }

    async fn build(&self) {
        let context = self.directory.join("context");
        fs::create_dir_all(&context).expect("the build directory is writable");
        for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
            fs::copy(workspace().join(license), context.join(license))
                .expect("the workspace has licences");
        }
        let program = context.join("cratekeeper");
        let strip: [&OsStr; 3] = [
            "-o".as_ref(),
            program.as_os_str(),
            &cratekeeper().into_os_string(),
        ];
        ok(tokio::process::Command::new("strip").args(strip)).await;

        let base = base_tarball().display().to_string();
        self.buildah(&["from", "--name", "base", "scratch"]).await;
        self.buildah(&["add", "base", &base, "/"]).await;
        self.buildah(&["commit", "--quiet", "--rm", "base", BASE_IMAGE])
            .await;
        let file = workspace().join("deploy/container/Dockerfile");
        let base = format!("BASE_IMAGE={BASE_IMAGE}");
        let mut command = tokio::process::Command::new("unshare");
        // Without a network: nothing may be downloaded.
        command
            .args(["--net", "buildah"])
            .args(self.storage())
            .args(["build", "--quiet", "--isolation", "chroot", "--pull-never"])
            .args(["--format", "docker", "--tag", IMAGE])
            .args(["--build-arg", "BINARY=prebuilt", "--build-arg", &base])
            .args(["--build-arg", "VERSION=0.0.0-test"])
            .arg("--file")
            .args([&file, &context]);
        ok(&mut command).await;
    }

    async fn buildah(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new("buildah");
        ok(command.args(self.storage()).args(arguments)).await
    }

    /// Runs `podman`; panics unless it succeeds, and gives what it printed.
    pub async fn podman(&self, arguments: &[&str]) -> String {
        let mut command = tokio::process::Command::new("podman");
        ok(command.args(self.engine()).args(arguments)).await
    }

    /// Runs `podman`, which may fail.
    pub async fn try_podman(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new("podman");
        command.args(self.engine()).args(arguments);
        command.output().await.expect("podman starts")
    }

    fn storage(&self) -> Vec<String> {
        storage(&self.directory)
    }

    pub(crate) fn engine(&self) -> Vec<String> {
        engine(&self.directory)
    }

    pub(crate) fn cgroup(&self) -> &str {
        &self.cgroup
    }

    /// A directory for volumes and the like, outside of the engine's own.
    pub fn place(&self, name: &str) -> PathBuf {
        let place = self.directory.join("places").join(name);
        fs::create_dir_all(&place).expect("the build directory is writable");
        place
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        remove(&self.directory, &self.cgroup);
    }
}

/// Where the engine has its sockets, whose paths must be short.
fn run_directory(directory: &Path) -> PathBuf {
    let own = directory.file_name().unwrap_or_default();
    Path::new("/run/cratekeeper-tests").join(own)
}

fn storage(directory: &Path) -> Vec<String> {
    let run = run_directory(directory).join("run");
    let options = [
        ("--storage-driver", "vfs".to_owned()),
        ("--root", directory.join("store").display().to_string()),
        ("--runroot", run.display().to_string()),
    ];
    let options = options
        .into_iter()
        .flat_map(|(option, value)| [option.to_owned(), value]);
    options.collect()
}

fn engine(directory: &Path) -> Vec<String> {
    let mut options = storage(directory);
    let temporary = run_directory(directory).join("tmp");
    options.extend(["--tmpdir".to_owned(), temporary.display().to_string()]);
    options.extend(["--runtime", "runc", "--cgroup-manager", "cgroupfs"].map(str::to_owned));
    options.extend(["--events-backend", "file"].map(str::to_owned));
    options
}

fn cgroup(own: &str) -> String {
    format!("/cratekeeper-tests-{own}")
}

/// Ends containers, takes away what they mounted, and deletes the directory.
fn remove(directory: &Path, cgroup: &str) {
    let mut podman = Command::new("podman");
    podman.args(engine(directory));
    let _ = podman
        .args(["rm", "--all", "--force", "--time", "0"])
        .output();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| {
            let point = Path::new(point);
            point.starts_with(directory) || point.starts_with(run_directory(directory))
        })
        .collect();
    points.sort_unstable();
    for point in points.iter().rev() {
        let _ = Command::new("umount").args(["--lazy", point]).output();
    }
    let _ = fs::remove_dir_all(directory);
    let _ = fs::remove_dir_all(run_directory(directory));
    // Gone with the last one.
    let _ = fs::remove_dir("/run/cratekeeper-tests");
    let controllers = fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten();
    let controllers = controllers.map(|entry| entry.path());
    for controller in controllers.chain([PathBuf::from("/sys/fs/cgroup")]) {
        remove_cgroup(&controller.join(cgroup.trim_start_matches('/')));
    }
}

/// A group can be removed when it has no processes and no groups in it.
fn remove_cgroup(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_cgroup(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}

fn remove_stale(all: &Path) {
    bridge::remove_stale();
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.split('-').next().unwrap_or_default();
        if !Path::new("/proc").join(process).exists() {
            remove(&entry.path(), &cgroup(&name));
        }
    }
}

fn base_tarball() -> PathBuf {
    tools().join("debian-base.tar")
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// Panics with what it said unless it succeeds; gives what it printed.
async fn ok(command: &mut tokio::process::Command) -> String {
    let output = command.kill_on_drop(true).output().await;
    let output = output.expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
