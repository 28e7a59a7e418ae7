//! Every command in the documentation is run as it stands, against real nodes, or says why it is not.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cratekeeper_tests::{
    Client, NO_TOKEN, Page, Process, Scratch, Stage, cratekeeper, figure, free_port, pages,
    wait_for, workspace,
};
use serde_json::Value;

/// All commands of one page.
const PAGE_WITHIN: Duration = Duration::from_secs(400);

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_the_documentation_works_or_says_why_it_is_not_run() {
    let (mut run, mut not_run) = (0, 0);
    for page in pages() {
        for block in &page.blocks {
            match &block.not_run {
                Some(why) => {
                    assert!(why.len() > 10, "{}:{}: say why", page.path, block.line);
                    not_run += 1;
                }
                None if block.prepares => {}
                None => run += 1,
            }
        }
        if page.blocks.iter().any(|block| block.not_run.is_none()) {
            run_page(&page).await;
        }
    }
    figure("blocks of commands in the documentation, run", run);
    figure("the same, not run for a reason that is given", not_run);
}

/// In an empty directory and home, where `cratekeeper` is the one under test and `deploy` and `docs` are those of the workspace.
async fn run_page(page: &Page) {
    let scratch = Scratch::new(&format!("docs-{}", page.path.replace(['/', '.'], "-")));
    let place = scratch.path().join("place");
    let programs = scratch.path().join("bin");
    for directory in [&place, &programs, &scratch.path().join("home")] {
        fs::create_dir_all(directory).expect("the test's directory is writable");
    }
    symlink(cratekeeper(), programs.join("cratekeeper")).expect("it is writable");
    symlink(workspace().join("deploy"), place.join("deploy")).expect("it is writable");
    fake_install(&programs);
    let stage = match page.stage {
        Stage::Nothing => None,
        Stage::Nodes(nodes) => Some(Running::start(&scratch, &place, nodes).await),
    };
    let mut script = page.script();
    if let Some(stage) = &stage {
        script = script
            .replace("https://crates.example.com", &stage.url)
            .replace("http://127.0.0.1:9090", &stage.ops)
            .replace("127.0.0.1:8080", stage.url.trim_start_matches("http://"));
    }
    // Where a machine has its own, the test has a directory.
    for system in ["/etc/cratekeeper", "/var/lib/cratekeeper", "/srv/backup"] {
        script = script.replace(system, &format!("{}{system}", place.display()));
    }
    let file = scratch.path().join("commands.sh");
    fs::write(&file, script).expect("it is writable");
    let (success, said) = bash(&scratch, &place, &file).await;
    assert!(success, "{} does not work as it stands:\n{said}", page.path);
}

/// `helm install` and `upgrade` need a cluster of Kubernetes; here they render the chart, with the same values and refusals.
fn fake_install(programs: &Path) {
    let tools = std::env::var("CRATEKEEPER_TOOLS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/cratekeeper/tools")
    });
    let script = format!(
        "#!/bin/sh\nif [ ! -x '{tools}/bin/helm' ]; then echo 'skipped: no helm'; exit 0; fi\n\
         verb=$1; shift\ncase $verb in\n\
         install|upgrade) exec '{tools}/bin/helm' template \"$@\" ;;\n\
         *) exec '{tools}/bin/helm' \"$verb\" \"$@\" ;;\nesac\n"
    );
    let file = programs.join("helm");
    fs::write(&file, script).expect("it is writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

async fn bash(scratch: &Scratch, place: &Path, file: &Path) -> (bool, String) {
    let home = scratch.path().join("home");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let path = format!(
        "{}:{}",
        scratch.path().join("bin").display(),
        variable("PATH")
    );
    let output = tokio::process::Command::new("bash")
        .arg(file)
        .current_dir(place)
        .env_clear()
        .env("PATH", path)
        .env("HOME", &home)
        .env("RUSTUP_HOME", rustup_home())
        .env("RUSTUP_TOOLCHAIN", variable("RUSTUP_TOOLCHAIN"))
        .env("CARGO_HOME", home.join(".cargo"))
        .env("CARGO_TARGET_DIR", scratch.path().join("target"))
        .env("CARGO_TERM_COLOR", "never")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PAGE_WITHIN, output).await;
    let output = output
        .expect("the commands of a page end")
        .expect("bash starts");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn rustup_home() -> String {
    std::env::var("RUSTUP_HOME")
        .unwrap_or_else(|_| format!("{}/.rustup", std::env::var("HOME").unwrap_or_default()))
}

/// `cratekeeper dev` in the page's directory, as a reader would have it.
struct Running {
    url: String,
    /// Of the first node.
    ops: String,
    _process: Process,
}

impl Running {
    async fn start(scratch: &Scratch, place: &Path, nodes: usize) -> Running {
        let address = format!("127.0.0.1:{}", free_port());
        let data = place.join("cratekeeper-data");
        let arguments = [
            "dev".to_owned(),
            "--nodes".to_owned(),
            nodes.to_string(),
            "--http".to_owned(),
            address.clone(),
            "--data-dir".to_owned(),
            data.display().to_string(),
        ];
        let process = Process::start("dev", &cratekeeper(), arguments, &scratch.log("dev"));
        let ops = wait_for("the stage is ready", Duration::from_secs(60), async || {
            let nodes: Value =
                serde_json::from_slice(&fs::read(data.join("nodes.json")).ok()?).ok()?;
            let mut all = Vec::new();
            for node in nodes.as_array()? {
                node["pid"].as_u64()?;
                let ops = format!("http://{}", node["ops"].as_str()?);
                let probe = Client::new(&ops, NO_TOKEN);
                let answer = probe.try_send(reqwest::Method::GET, "/readyz", None, &[]);
                if answer.await.ok()?.status != 200 {
                    return None;
                }
                all.push(ops);
            }
            all.into_iter().next()
        })
        .await;
        fs::copy(data.join("admin-token"), place.join("admin-token")).expect("dev wrote it");
        Running {
            url: format!("http://{address}"),
            ops,
            _process: process,
        }
    }
}
