//! The systemd unit: systemd understands every line of it, its sandbox is tight, and its example configuration is accepted.

use std::fs;
use std::path::Path;
use std::process::Command;

use cratekeeper_tests::{
    Authority, CertificateFiles, Containers, Leaf, Scratch, cratekeeper, figure, workspace,
};

/// Of 10; systemd calls anything up to 2 "OK".
const EXPOSURE_MAX: &str = "15";

#[test]
fn systemd_accepts_the_unit_and_its_sandbox_is_tight() {
    let scratch = Scratch::new("systemd_unit");
    let unit = scratch.path().join("cratekeeper.service");
    let text = text("deploy/systemd/cratekeeper.service");
    let binary = cratekeeper().display().to_string();
    let here = text.replace(
        "ExecStart=/usr/bin/cratekeeper",
        &format!("ExecStart={binary}"),
    );
    assert_ne!(here, text, "the unit starts /usr/bin/cratekeeper");
    fs::write(&unit, here).expect("the test's directory is writable");

    // It succeeds with unknown keys, too, but says so.
    let said = analyze(&["verify", "--man=no"], &unit);
    assert_eq!(said, "", "systemd-analyze verify has nothing to say");
    let arguments = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold",
        EXPOSURE_MAX,
    ];
    let said = analyze(&arguments, &unit);
    let exposure = said.split("cratekeeper.service: ").nth(1);
    let exposure = exposure.and_then(|rest| rest.split_whitespace().next());
    figure(
        "systemd unit: exposure (0 to 10)",
        exposure.expect("an overall exposure level"),
    );
}

#[test]
fn the_unit_leaves_time_to_drain_and_does_not_repeat_what_is_wrong() {
    let unit = text("deploy/systemd/cratekeeper.service");
    let value = |key: &str| -> String {
        let mut lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines
            .next()
            .unwrap_or_else(|| panic!("no {key}"))
            .to_owned()
    };
    let stop: u64 = value("TimeoutStopSec").parse().expect("plain seconds");
    // The defaults: 20 s until the others hold quorum, 5 s for balancers to notice, and 25 s that a publish may take.
    assert!(stop >= 20 + 5 + 25, "{stop} s is too short to drain");
    assert_eq!(value("Restart"), "on-failure");
    assert_eq!(value("RestartPreventExitStatus"), "2 78");
    assert_eq!(
        value("StateDirectory"),
        "cratekeeper",
        "the default of node.data_dir"
    );
}

#[test]
fn the_user_and_the_directories_of_the_unit_are_made() {
    let scratch = Scratch::new("systemd_user");
    let root = format!("--root={}", scratch.path().display());
    fs::create_dir_all(scratch.path().join("etc")).expect("it is writable");
    let file = |name: &str| workspace().join("deploy/systemd").join(name);
    ok(Command::new("systemd-sysusers")
        .arg(&root)
        .arg(file("cratekeeper.sysusers.conf")));
    let users = fs::read_to_string(scratch.path().join("etc/passwd"));
    let users = users.expect("systemd-sysusers made it");
    assert!(users.contains("cratekeeper:x:"), "{users}");
    // Owners can only be set by root.
    if Containers::impossible().is_none() {
        let file = file("cratekeeper.tmpfiles.conf");
        ok(Command::new("systemd-tmpfiles")
            .args(["--create", &root])
            .arg(file));
        let credentials = scratch.path().join("etc/cratekeeper/credentials");
        assert!(credentials.is_dir(), "systemd-tmpfiles made it");
    }
}

#[test]
fn the_example_configuration_is_accepted_and_so_is_what_it_shows_in_comments() {
    let scratch = Scratch::new("systemd_example");
    let example = text("deploy/systemd/cratekeeper.toml");
    check(&scratch, &example);

    let uncommented = example
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        // Words of a comment, a token of a form that is its own, and the other kind of store.
        .filter(|line| !line.starts_with(' ') && !line.starts_with("admin_token_file"))
        .filter(|line| !line.starts_with("kind = \"disk\""))
        .fold(String::new(), |text, line| text + line + "\n");
    for shown in ["secret_access_key_file", "http.crt", "endpoint"] {
        assert!(uncommented.contains(shown), "{shown}: {uncommented}");
    }
    check(&scratch, &uncommented);
}

/// With certificates and secrets where the configuration says, below the test's directory.
fn check(scratch: &Scratch, configuration: &str) {
    let place = |below: &str| scratch.path().join(below);
    let authority = Authority::new("example");
    for (name, host) in [
        ("http", "crates.example.org"),
        ("peer", "crates-1.example.org"),
    ] {
        let files = CertificateFiles {
            certificate: place("tls").join(format!("{name}.crt")),
            key: place("tls").join(format!("{name}.key")),
            ca: place("tls").join(format!("{name}-ca.crt")),
        };
        fs::create_dir_all(place("tls")).expect("the test's directory is writable");
        files.issue(&Leaf::of(host), &authority);
        files.trust(&[&authority]);
    }
    fs::create_dir_all(place("credentials")).expect("the test's directory is writable");
    let secret = place("credentials").join("secret_s3-secret-access-key");
    fs::write(secret, "a secret").expect("the test's directory is writable");
    let moved = [
        ("/etc/cratekeeper/tls", place("tls")),
        ("/run/credentials/cratekeeper.service", place("credentials")),
    ];
    let here = moved
        .iter()
        .fold(configuration.to_owned(), |text, (from, to)| {
            text.replace(from, &to.display().to_string())
        });
    let file = place("cratekeeper.toml");
    fs::write(&file, here).expect("the test's directory is writable");
    let mut check = Command::new(cratekeeper());
    check.args(["config", "check", "--config"]).arg(&file);
    ok(check.env_clear());
}

#[test]
fn a_wrong_configuration_has_an_exit_code_of_its_own() {
    let serve = |set: &str| {
        let mut serve = Command::new(cratekeeper());
        serve
            .args(["serve", "--set", set])
            .env_clear()
            .output()
            .expect("it starts")
    };
    for set in ["http.public_url=nowhere", "http.lissten=x"] {
        let output = serve(set);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains("the configuration is wrong: "), "{said}");
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn analyze(arguments: &[&str], unit: &Path) -> String {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(unit).env("LANG", "C.UTF-8");
    ok(&mut command)
}

/// Everything it said; panics unless it succeeds.
fn ok(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/setup"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
