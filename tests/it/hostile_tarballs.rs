//! Archives that no honest cargo makes: every entry type, every path trick, bombs, two manifests. All refused, nothing stored.

use std::io::Write;

use cratekeeper_tests::{Package, Tar, frame, gzip};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::hostile_input::Attack;

fn honest() -> Package {
    Package::new("hostile", "1.0.0")
}

/// The honest files, then the entry.
fn with_entry(kind: u8, path: &str, target: &str, content: &[u8]) -> Vec<u8> {
    honest()
        .tar()
        .entry(kind, path.as_bytes(), target, content)
        .tarball()
}

/// The honest files, then a file of this name.
fn with_file(path: &[u8]) -> Vec<u8> {
    honest().tar().entry(b'0', path, "", b"boo").tarball()
}

async fn refuse_all(attack: &mut Attack, status: u16, cases: Vec<(String, Vec<u8>)>) {
    let json = honest().metadata().to_string();
    for (what, tarball) in cases {
        attack
            .refused(&what, frame(json.as_bytes(), &tarball), status, &[])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_and_directories_are_taken() {
    let mut attack = Attack::begin("entry_types").await;
    let allowed = [0, b'0', b'5', b'L'];
    let kinds = (0..=u8::MAX).filter(|kind| !allowed.contains(kind));
    let cases = kinds.map(|kind| {
        let tarball = with_entry(kind, "hostile-1.0.0/entry", "/etc/passwd", b"");
        (format!("an entry of type {:?}", char::from(kind)), tarball)
    });
    refuse_all(&mut attack, 400, cases.collect()).await;
    attack.end("tar entry types").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_plain_paths_below_the_root_are_taken() {
    let mut attack = Attack::begin("entry_paths").await;
    let paths: [&[u8]; 20] = [
        b"hostile-1.0.0/../evil",
        b"hostile-1.0.0/src/../../evil",
        b"../hostile-1.0.0/evil",
        b"hostile-1.0.0/./evil",
        b"./hostile-1.0.0/evil",
        b"hostile-1.0.0//evil",
        b"/hostile-1.0.0/evil",
        b"/etc/passwd",
        b"evil",
        b"other-1.0.0/evil",
        b"hostile-1.0.01/evil",
        b"Hostile-1.0.0/evil",
        b"hostile-1.0.0",
        b"hostile-1.0.0/back\\slash",
        b"hostile-1.0.0/C:evil",
        b"hostile-1.0.0/\xff\xfe",
        b"hostile-1.0.0/line\nbreak",
        b"hostile-1.0.0/nul",
        b"hostile-1.0.0/src/aux.rs",
        b"hostile-1.0.0/.cargo-ok",
    ];
    let cases = paths.iter().map(|path| {
        (
            format!("the path {:?}", String::from_utf8_lossy(path)),
            with_file(path),
        )
    });
    refuse_all(&mut attack, 400, cases.collect()).await;
    let colliding: [&[u8]; 6] = [
        b"hostile-1.0.0/src/lib.rs",
        b"hostile-1.0.0/src/LIB.rs",
        b"hostile-1.0.0/SRC/lib.rs",
        b"hostile-1.0.0/src",
        b"hostile-1.0.0/src/lib.rs/below-a-file",
        b"hostile-1.0.0/CARGO.TOML",
    ];
    let cases = colliding.iter().map(|path| {
        (
            format!("the second path {:?}", String::from_utf8_lossy(path)),
            with_file(path),
        )
    });
    refuse_all(&mut attack, 400, cases.collect()).await;
    let long = [
        ("a long name that leads out", "hostile-1.0.0/../".repeat(10)),
        (
            "a long name that is absolute",
            format!("/{}", "a".repeat(200)),
        ),
    ];
    let cases = long.map(|(what, path)| {
        let tar = honest()
            .tar()
            .entry(b'L', b"././@LongLink", "", format!("{path}\0").as_bytes());
        (what.to_owned(), tar.file("short", b"boo").tarball())
    });
    refuse_all(&mut attack, 400, cases.into()).await;
    attack.end("tar paths").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_refused() {
    let mut attack = Attack::begin("damaged_archives").await;
    let good = honest().tarball();
    let tar = honest().tar().finish();
    let mut bad_sum = tar.clone();
    bad_sum[148] ^= 1;
    let cut = honest()
        .tar()
        .entry_claiming(b'0', b"hostile-1.0.0/x", "", b"few", 5000);
    let endless = honest()
        .tar()
        .entry_claiming(b'0', b"hostile-1.0.0/x", "", b"few", u64::MAX / 2);
    let long_name = honest()
        .tar()
        .entry_claiming(b'L', b"././@LongLink", "", b"x", 1 << 33);
    let cases = vec![
        ("no gzip", b"this is not gzip".to_vec()),
        ("a bare tar", tar.clone()),
        ("gzip of noise", gzip(b"this is not tar")),
        ("gzip of nothing", gzip(b"")),
        ("gzip cut short", good[..good.len() - 9].to_vec()),
        ("bytes after gzip", [good.as_slice(), b"more"].concat()),
        ("two gzip members", [good.as_slice(), &gzip(&tar)].concat()),
        ("a header with a bad sum", gzip(&bad_sum)),
        ("an entry longer than the archive", gzip(&cut.unfinished())),
        ("an entry of eight exbibytes", gzip(&endless.unfinished())),
        ("a name of eight gibibytes", gzip(&long_name.unfinished())),
        (
            "a long name of nothing",
            with_entry(b'L', "././@LongLink", "", b"hostile-1.0.0/x\0"),
        ),
        (
            "entries after the end",
            gzip(&[tar.as_slice(), &tar].concat()),
        ),
    ];
    let cases = cases
        .into_iter()
        .map(|(what, tarball)| (what.to_owned(), tarball));
    refuse_all(&mut attack, 400, cases.collect()).await;
    attack.end("damaged archives").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_is_defused() {
    let mut attack = Attack::begin("bombs").await;
    let one_file = zeros_in_one_file(2 << 30);
    let mut flood = honest().tar();
    for number in 0..150_000 {
        flood = flood.file(&format!("hostile-1.0.0/f{number}"), b"");
    }
    let manifest = honest().manifest() + &"# padding\n".repeat(4 << 20);
    let manifest = Tar::new().file("hostile-1.0.0/Cargo.toml", manifest.as_bytes());
    let cases = vec![
        ("two gibibytes of zeros".to_owned(), one_file),
        ("150,000 empty files".to_owned(), flood.tarball()),
        (
            "a manifest of forty mebibytes".to_owned(),
            manifest.tarball(),
        ),
    ];
    refuse_all(&mut attack, 413, cases).await;
    attack.end("bombs").await;
}

/// The honest files, then a file of so many zeros, compressed as they come.
fn zeros_in_one_file(bytes: u64) -> Vec<u8> {
    let head = honest().tar();
    let head = head
        .entry_claiming(b'0', b"hostile-1.0.0/zeros", "", b"", bytes)
        .unfinished();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    let written = encoder
        .write_all(&head)
        .and_then(|()| (0..(bytes >> 20) + 1).try_for_each(|_| encoder.write_all(&zeros)));
    written
        .and_then(|()| encoder.finish())
        .expect("memory can be written")
}

#[expect(clippy::too_many_lines, reason = "one table of mistakes and answers")]
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_breaks_the_rules_is_refused() {
    let mut attack = Attack::begin("hostile_manifests").await;
    let package = honest();
    let good = package.manifest();
    let tarball = |manifest: &str| {
        let tar = Tar::new().file("hostile-1.0.0/Cargo.toml", manifest.as_bytes());
        tar.file("hostile-1.0.0/src/lib.rs", b"").tarball()
    };
    let two = package
        .tar()
        .file("hostile-1.0.0/cargo.toml", good.as_bytes())
        .tarball();
    let twice = package
        .tar()
        .file("hostile-1.0.0/Cargo.toml", good.as_bytes())
        .tarball();
    let none = Tar::new().file("hostile-1.0.0/src/lib.rs", b"").tarball();
    let lower = Tar::new()
        .file("hostile-1.0.0/src/Cargo.toml", good.as_bytes())
        .tarball();
    let mut cases = vec![
        ("two manifests in two spellings".to_owned(), two),
        ("two manifests in one spelling".to_owned(), twice),
        ("no manifest".to_owned(), none),
        ("a manifest in the wrong place".to_owned(), lower),
    ];
    let dependency = |line: &str| format!("{good}\n[dependencies]\n{line}\n");
    let manifests = [
        ("no TOML", "[package".to_owned()),
        ("no package", "[lib]\n".to_owned()),
        ("another name", good.replace("hostile", "friendly")),
        ("another version", good.replace("1.0.0", "1.0.1")),
        (
            "an inherited version",
            good.replace("version = \"1.0.0\"", "version.workspace = true"),
        ),
        (
            "a patch",
            format!("{good}\n[patch.crates-io]\nserde = {{ path = \"/tmp\" }}\n"),
        ),
        ("a bad requirement", dependency("serde = \"one\"")),
        ("a bad dependency name", dependency("\"se rde\" = \"1\"")),
        (
            "an unknown registry",
            dependency(
                "x = { version = \"1\", registry-index = \"sparse+https://evil.example/\" }",
            ),
        ),
        (
            "a registry URL that is none",
            dependency("x = { version = \"1\", registry-index = \"::::\" }"),
        ),
        (
            "a feature of nothing",
            format!("{good}\n[features]\nf = [\"nothing\"]\n"),
        ),
        (
            "a feature of no optional dependency",
            format!("{good}\n[features]\nf = [\"dep:x\"]\n"),
        ),
        (
            "a bad feature name",
            format!("{good}\n[features]\n\"a/b\" = []\n"),
        ),
        (
            "a bad target",
            format!("{good}\n[target.'cfg(('.dependencies]\nx = \"1\"\n"),
        ),
        (
            "a bad rust-version",
            good.replace("[lib]", "rust-version = \"x\"\n[lib]"),
        ),
        (
            "a script as a link",
            good.replace("[lib]", "homepage = \"javascript:alert(1)\"\n[lib]"),
        ),
        (
            "an optional dev-dependency",
            format!("{good}\n[dev-dependencies]\nx = {{ version = \"1\", optional = true }}\n"),
        ),
    ];
    let manifests = manifests
        .iter()
        .map(|(what, text)| (what.to_string(), tarball(text)));
    cases.extend(manifests);
    for (what, tarball) in cases {
        // The JSON repeats what the manifest says where it can, so that the manifest itself is what is judged.
        let json = honest().metadata().to_string();
        attack
            .refused(&what, frame(json.as_bytes(), &tarball), 400, &[])
            .await;
    }
    attack.end("hostile manifests").await;
}
