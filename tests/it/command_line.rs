//! The command line as scripts and people meet it: exit codes, a certificate of one's own, and what it prints about itself.

use std::fs;
use std::path::Path;
use std::process::Output;

use cratekeeper_tests::{Scratch, Setup, cratekeeper, free_port};

async fn run(arguments: &[&str]) -> Output {
    tokio::process::Command::new(cratekeeper())
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary starts")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    format!("{text}{}", String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_a_refusal_from_a_registry_that_is_away() {
    let cluster = Setup::nodes(1).start("exit_codes").await;
    let server = ["--server", cluster.public_url.as_str()];
    let away = format!("http://127.0.0.1:{}", free_port());
    let tls = cluster.public_url.replace("http://", "https://");
    for (arguments, code, sentence) in [
        (
            &["account", "list", server[0], server[1]][..],
            1,
            "this needs a token",
        ),
        (
            &["account", "list", "--server", &away],
            3,
            "cannot be reached",
        ),
        (
            &["account", "list", "--server", &tls],
            3,
            "does not speak TLS",
        ),
        (
            &["account", "list", "--server", "nonsense"],
            1,
            "no URL of a registry",
        ),
        (&["account", "lists"], 2, "account"),
        (
            &["account", "list", "--token-file", "/nowhere/token"],
            1,
            "/nowhere/token",
        ),
        (
            &["account", "list", "--ca-file", "/nowhere/ca.pem"],
            1,
            "/nowhere/ca.pem",
        ),
    ] {
        let output = run(arguments).await;
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_is_trusted_by_name() {
    let mut cluster = Setup::nodes(1).start("own_authority").await;
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let place = cluster.scratch.path().to_owned();
    let file = |name: &str, text: String| {
        let file = place.join(name);
        fs::write(&file, text).expect("the test's directory is writable");
        file.display().to_string()
    };
    let certificate = file("certificate.pem", pair.cert.pem());
    let key = file("key.pem", pair.signing_key.serialize_pem());
    let node = &mut cluster.nodes[0];
    node.stop().await;
    node.set("http.tls_certificate", certificate.clone());
    node.set("http.tls_key", key);
    node.start_and_wait().await;

    let server = format!("https://localhost:{}", node.http.port());
    let token = place.join("admin-token").display().to_string();
    let asked = [
        "account",
        "list",
        "--server",
        &server,
        "--token-file",
        &token,
    ];
    let output = run(&asked).await;
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("--ca-file"), "{}", said(&output));
    let trusting = [&asked[..], &["--ca-file", &certificate]].concat();
    let output = run(&trusting).await;
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("admin"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_describes_itself() {
    let scratch = Scratch::new("it_describes_itself");
    let pages = scratch.path().join("man");
    let output = run(&["man", "--to", &pages.display().to_string()]).await;
    assert!(output.status.success(), "{}", said(&output));
    for page in [
        "cratekeeper.1",
        "cratekeeper-serve.1",
        "cratekeeper-token-create.1",
    ] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_default();
        assert!(text.contains(".TH"), "{page}: {text}");
    }
    assert!(said(&run(&["man"]).await).contains(".TH cratekeeper 1"));
    assert!(said(&run(&["completions", "bash"]).await).contains("complete -F"));

    let file = scratch.path().join("cratekeeper.toml");
    let written = String::from_utf8(run(&["config", "init"]).await.stdout).expect("text");
    let check = |file: &Path| file.display().to_string();
    fs::write(&file, &written).expect("the test's directory is writable");
    let output = run(&["config", "check", "--config", &check(&file)]).await;
    assert!(said(&output).contains("is not set"), "{}", said(&output));

    let filled = written
        .replace(
            "#public_url = \"\"",
            "public_url = \"https://crates.example.org\"",
        )
        .replace("#id = \"\"", "id = \"example\"")
        .replace("#bucket = \"\"", "bucket = \"crates\"")
        .replace("#insecure = false", "insecure = true");
    fs::write(&file, filled).expect("the test's directory is writable");
    let output = run(&["config", "check", "--config", &check(&file)]).await;
    assert!(output.status.success(), "{}", said(&output));
}
