//! Where the binary under test and the workspace are.

use std::path::{Path, PathBuf};

/// The `cratekeeper` to test: `CRATEKEEPER_BIN`, or the one beside the test binary's directory (`debug/cratekeeper`).
pub fn cratekeeper() -> PathBuf {
    if let Some(path) = std::env::var_os("CRATEKEEPER_BIN") {
        return PathBuf::from(path);
    }
    let path = target_profile_dir().join("cratekeeper");
    assert!(
        path.exists(),
        "{} is not there: build it with `cargo build -p cratekeeper-server`, or name it in CRATEKEEPER_BIN",
        path.display()
    );
    path
}

/// The root of this workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests are a directory of the workspace")
        .to_owned()
}

/// `target/debug`, from the place of the running test: `target/debug/deps/it-…`.
pub(crate) fn target_profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("the running test has a path");
    test.ancestors()
        .nth(2)
        .expect("a test binary lies in target/debug/deps")
        .to_owned()
}

/// Where `scripts/setup` puts what tests need beside Debian's packages.
pub(crate) fn tools() -> PathBuf {
    let tools = std::env::var_os("CRATEKEEPER_TOOLS").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(PathBuf::from);
    tools
        .or_else(|| Some(home()?.join(".cache/cratekeeper/tools")))
        .expect("CRATEKEEPER_TOOLS or HOME is set")
}
