//! A tarball's own Cargo.toml, judged: the facts of the index come from it, and cargo's JSON must agree in meaning.

mod agreement;
mod dependencies;
mod features;
mod json;
mod metadata;
mod readable;
mod registry;

use std::io::Read;

use cargo_util_schemas::manifest::{TomlManifest, TomlPackage};

use crate::rejection::{invalid, shown};
use crate::tarball::{Bounds, read_manifest};
use crate::{CrateName, Rejection, Version, VersionFacts};
use json::PublishJson;

/// What the operator set; see limits.rs for what is fixed.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Index URLs that mean this registry (the canonical one first), as they appear in `registry-index`: `sparse+https://…/index/`.
    pub own_index_urls: Vec<String>,
    /// Index URLs of other registries that dependencies may name, beside crates.io; `None`: any.
    pub allowed_registries: Option<Vec<String>>,
    pub unpacked_bytes_max: u64,
    pub entries_max: u64,
    pub features_max: usize,
    pub dependencies_max: usize,
    pub require_description: bool,
    pub require_license: bool,
    pub allow_wildcard_requirements: bool,
    /// Canonical names nobody may publish, beside those reserved for the toolchain and for Windows.
    pub reserved_names: Vec<String>,
}

/// What publishing would record, and what cargo should print as warnings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub facts: VersionFacts,
    pub warnings: Vec<String>,
}

/// Opens the tarball, judges every entry and the manifest, compares with cargo's JSON, and makes sure that cargo can read the index line.
pub fn judge(
    json: &[u8],
    tarball: impl Read,
    tarball_bytes: u64,
    rules: &Rules,
) -> Result<Judged, Rejection> {
    let json = PublishJson::parse(json)?;
    let name = CrateName::parse(&json.name)?;
    let version = Version::parse(&json.vers)?;
    name.refuse_reserved(&rules.reserved_names)?;

    let bounds = Bounds::of(rules.unpacked_bytes_max, rules.entries_max, tarball_bytes);
    let text = read_manifest(tarball, &name, &version, bounds)?;
    let manifest = parse(&text)?;
    let package = package_of(&manifest, &name, &version)?;

    let mut warnings = Vec::new();
    let declared = dependencies::declared(&manifest, rules, &mut warnings)?;
    let features = features::declared(&manifest, rules)?;
    features::validate(&features, &declared.dependencies)?;
    let mut facts = metadata::judge(package, name, version, rules, &mut warnings)?;
    facts.dependencies = declared.dependencies;
    facts.features = features;

    agreement::must_agree(&facts, &declared.unversioned, &json, rules)?;
    readable::by_cargo(&facts, &mut warnings)?;
    Ok(Judged { facts, warnings })
}

fn parse(text: &str) -> Result<TomlManifest, Rejection> {
    let manifest: TomlManifest = match toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            return invalid(format!(
                "the tarball's Cargo.toml cannot be read: {}",
                shown(error.message()),
            ));
        }
    };
    for (table, present) in [
        ("patch", manifest.patch.is_some()),
        ("replace", manifest.replace.is_some()),
    ] {
        if present {
            return invalid(format!(
                "the tarball's Cargo.toml has a `[{table}]` table, which means nothing in a published crate; remove it, or build the tarball with `cargo package`, which does"
            ));
        }
    }
    Ok(manifest)
}

fn package_of<'a>(
    manifest: &'a TomlManifest,
    name: &CrateName,
    version: &Version,
) -> Result<&'a TomlPackage, Rejection> {
    let Some(package) = manifest.package() else {
        return invalid("the tarball's Cargo.toml has no `[package]` table");
    };
    let Some(named) = &package.name else {
        return invalid("the tarball's Cargo.toml has no `name` in `[package]`");
    };
    if named.as_ref() != name.as_str() {
        return invalid(format!(
            "the tarball's Cargo.toml names the package `{}`, the request `{name}`; they must be the same",
            shown(named.as_ref()),
        ));
    }
    let inherited = |_| inheritance("version");
    let Some(versioned) = package.normalized_version().map_err(inherited)? else {
        return invalid("the tarball's Cargo.toml has no `version` in `[package]`");
    };
    if versioned != version.semver() {
        return invalid(format!(
            "the tarball's Cargo.toml has the version {}, the request {version}; they must be the same",
            shown(&versioned.to_string()),
        ));
    }
    Ok(package)
}

/// A value that only the workspace knows, which is not in the tarball.
fn inheritance(what: &str) -> Rejection {
    Rejection::new(
        crate::RejectionKind::Invalid,
        format!(
            "the tarball's Cargo.toml takes `{what}` from a workspace, which is not part of the tarball; build it with `cargo package`, which fills in the values"
        ),
    )
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::render_index_line;
    use crate::story::{archive, entry, gzip};

    pub(super) const OWN: &str = "sparse+https://crates.example.com/index/";

    pub(super) fn rules() -> Rules {
        Rules {
            own_index_urls: vec![OWN.to_owned()],
            allowed_registries: Some(vec!["sparse+https://partner.example.com/".to_owned()]),
            unpacked_bytes_max: 10_000_000,
            entries_max: 100,
            features_max: 10,
            dependencies_max: 10,
            require_description: false,
            require_license: false,
            allow_wildcard_requirements: false,
            reserved_names: Vec::new(),
        }
    }

    /// Whatever is said in the request and after `[package]`, `name` and `version`.
    fn judged_by(rules: &Rules, toml: &str, json: serde_json::Value) -> Result<Judged, Rejection> {
        let mut whole = json!({"name": "foo", "vers": "1.0.0"});
        for (key, value) in json.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let manifest = format!("[package]\nname = \"foo\"\nversion = \"1.0.0\"\n{toml}");
        let file = entry(b'0', "foo-1.0.0/Cargo.toml", manifest.as_bytes());
        let tarball = gzip(&archive(&[file]));
        judge(
            whole.to_string().as_bytes(),
            &tarball[..],
            tarball.len() as u64,
            rules,
        )
    }

    fn refused(toml: &str, json: serde_json::Value) -> String {
        judged_by(&rules(), toml, json).unwrap_err().sentence
    }

    /// The part of the index line between the version and the checksum, and from the features on.
    fn line(toml: &str, json: serde_json::Value) -> String {
        let facts = judged_by(&rules(), toml, json).unwrap().facts;
        let line = render_index_line(&facts, &crate::Checksum([0; 32]), false, 0);
        let line = String::from_utf8(line).unwrap();
        let (deps, rest) = line.split_once(",\"cksum\":\"").unwrap();
        let (_, deps) = deps.split_once("\"deps\":").unwrap();
        format!("{deps}\n{}", &rest[66..])
    }

    fn warnings(toml: &str) -> String {
        let mut rules = rules();
        rules.allow_wildcard_requirements = true;
        let quiet = "description = \"d\"\nlicense = \"MIT\"\n";
        let toml = if toml.contains("license") {
            toml.to_owned()
        } else {
            format!("{quiet}{toml}")
        };
        judged_by(&rules, &toml, json!({}))
            .unwrap()
            .warnings
            .join("\n")
    }

    #[test]
    fn the_smallest_manifest_is_enough() {
        assert_snapshot!(line("", json!({})), @r#"
        []
        "features":{},"yanked":false,"links":null,"pubtime":"1970-01-01T00:00:00Z"}
        "#);
        assert_snapshot!(judged_by(&rules(), "", json!({})).unwrap().warnings.join("\n"), @r"
        Cargo.toml has no `description`
        Cargo.toml has neither `license` nor `license-file`
        ");
    }

    #[test]
    fn names_and_versions_must_agree() {
        assert_snapshot!(refused("", json!({"vers": "1.0"})), @"`1.0` is not a semantic version: unexpected end of input while parsing minor version number; write it like `1.2.3` or `1.2.3-rc.1`");
        assert_snapshot!(refused("", json!({"name": "std"})), @"the crate name `std` is reserved: the Rust toolchain has a crate of that name; choose another name");
        assert_snapshot!(refused("", json!({"vers": "1.0.1"})), @"the tarball contains `foo-1.0.0/Cargo.toml`, which is not under `foo-1.0.1/`; build it with `cargo package`");
        let file = |text: &str| {
            let file = entry(b'0', "foo-1.0.0/Cargo.toml", text.as_bytes());
            let tarball = gzip(&archive(&[file]));
            let json = br#"{"name":"foo","vers":"1.0.0"}"#;
            judge(json, &tarball[..], 1_000, &rules())
                .unwrap_err()
                .sentence
        };
        assert_snapshot!(file("[package]\nname = \"Foo\"\nversion = \"1.0.0\""), @"the tarball's Cargo.toml names the package `Foo`, the request `foo`; they must be the same");
        assert_snapshot!(file("[package]\nname = \"foo\"\nversion = \"1.0.0+x\""), @"the tarball's Cargo.toml has the version 1.0.0+x, the request 1.0.0; they must be the same");
        assert_snapshot!(file("[package]\nname = \"foo\""), @"the tarball's Cargo.toml has no `version` in `[package]`");
        assert_snapshot!(file("[package]\nname = \"foo\"\nversion.workspace = true"), @"the tarball's Cargo.toml takes `version` from a workspace, which is not part of the tarball; build it with `cargo package`, which fills in the values");
        assert_snapshot!(file("[lib]"), @"the tarball's Cargo.toml has no `[package]` table");
        assert_snapshot!(file("[package\n"), @"the tarball's Cargo.toml cannot be read: unclosed table, expected `]`");
        let json = judge(b"{", &b""[..], 0, &rules()).unwrap_err();
        assert_snapshot!(json, @"the JSON of the request cannot be read: EOF while parsing an object at line 1 column 1; publish with `cargo publish`");
    }

    #[test]
    fn patches_and_inheritance_are_refused() {
        assert_snapshot!(refused("[patch.crates-io]\nbar = { path = \"x\" }", json!({})), @"the tarball's Cargo.toml has a `[patch]` table, which means nothing in a published crate; remove it, or build the tarball with `cargo package`, which does");
        assert_snapshot!(refused("[replace]\n\"bar:1.0.0\" = { path = \"x\" }", json!({})), @"the tarball's Cargo.toml has a `[replace]` table, which means nothing in a published crate; remove it, or build the tarball with `cargo package`, which does");
        assert_snapshot!(refused("description.workspace = true", json!({})), @"the tarball's Cargo.toml takes `description` from a workspace, which is not part of the tarball; build it with `cargo package`, which fills in the values");
        assert_snapshot!(refused("[dependencies]\nbar.workspace = true", json!({})), @"the tarball's Cargo.toml takes `bar` from a workspace, which is not part of the tarball; build it with `cargo package`, which fills in the values");
    }

    #[test]
    fn dependencies_come_from_the_manifest_in_the_terms_of_the_index() {
        let toml = format!(
            "[dependencies]\nbar = \"1\"\n\
             [dependencies.json]\nversion = \"1.0\"\npackage = \"serde_json\"\nregistry-index = \"{OWN}\"\n\
             default-features = false\nfeatures = [\"std\"]\noptional = true\n\
             [dev-dependencies]\nlocal = {{ path = \"../local\" }}\n\
             [target.'cfg( any(windows,unix) )'.build-dependencies]\nbar = \">= 1.2\"\n"
        );
        let crates_io = "https://github.com/rust-lang/crates.io-index";
        let json = json!({"deps": [
            {"name": "bar", "version_req": "^1", "registry": crates_io, "kind": "normal"},
            {"name": "serde_json", "explicit_name_in_toml": "json", "version_req": "^1.0", "optional": true,
             "default_features": false, "features": ["std"], "kind": "normal"},
            {"name": "bar", "version_req": ">=1.2", "registry": crates_io, "kind": "build", "target": "cfg(any(windows, unix))"},
            {"name": "local", "version_req": "*", "kind": "dev"},
        ]});
        assert_snapshot!(line(&toml, json), @r#"
        [{"name":"bar","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal","registry":"https://github.com/rust-lang/crates.io-index"},{"name":"bar","req":">=1.2","features":[],"optional":false,"default_features":true,"target":"cfg( any(windows,unix) )","kind":"build","registry":"https://github.com/rust-lang/crates.io-index"},{"name":"json","req":"^1.0","features":["std"],"optional":true,"default_features":false,"target":null,"kind":"normal","package":"serde_json"}]
        "features":{},"yanked":false,"links":null,"pubtime":"1970-01-01T00:00:00Z"}
        "#);
    }

    #[test]
    fn dependencies_must_be_usable() {
        let dependency = |text: &str| refused(&format!("[dependencies]\n{text}"), json!({}));
        assert_snapshot!(dependency("bar = \"*\""), @"the dependency `bar` takes any version (`*`), which breaks with its next incompatible release; require a version");
        assert_snapshot!(dependency("bar = \"one\""), @"the dependency `bar` requires the version `one`, which cannot be read: unexpected character 'o' while parsing major version number");
        assert_snapshot!(dependency("bar = { path = \"../bar\" }"), @"the dependency `bar` has no version, only a path or a Git repository, which users of the crate do not have; add `version`");
        assert_snapshot!(dependency("b\u{e4}r = \"1\""), @"the tarball's Cargo.toml cannot be read: invalid unquoted key, expected letters, numbers, `-`, `_`");
        assert_snapshot!(dependency("_bar = { version = \"1\", registry = \"mine\" }"), @"the crate name `_bar` must start with an ASCII letter");
        let from = |url| {
            dependency(&format!(
                "bar = {{ version = \"1\", registry-index = \"{url}\" }}"
            ))
        };
        assert_snapshot!(from("not a URL"), @"the dependency `bar` names the registry `not a URL`, which is not a URL: relative URL without a base");
        assert_snapshot!(from("https://evil.example.com/index"), @"the dependency `bar` comes from the registry `https://evil.example.com/index`: only this registry, crates.io and those its operators list are allowed; publish it here, or ask them");
        assert_snapshot!(refused("[dev-dependencies]\nbar = { version = \"1\", optional = true }", json!({})), @"the dev-dependency `bar` is optional, which cargo does not allow; remove `optional`");
        let target = |text: &str| {
            refused(
                &format!("[target.'{text}'.dependencies]\nbar = \"1\""),
                json!({}),
            )
        };
        assert_snapshot!(target("cfg(unix"), @"the target `cfg(unix` in Cargo.toml cannot be read: failed to parse `cfg(unix` as a cfg expression: invalid target specifier: unexpected `(` character, …");
        assert_snapshot!(target(&format!("cfg({}unix{})", "not(".repeat(100), ")".repeat(100))), @"the target `cfg(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(not(…` in Cargo.toml is longer than 4096 bytes or nested deeper than 64; simplify it");
        let many: String = (0..11).map(|n| format!("bar{n} = \"1\"\n")).collect();
        assert_snapshot!(dependency(&many), @"Cargo.toml has 11 dependencies, this registry takes at most 10; split the crate, or ask its operators for a higher limit");
    }

    #[test]
    fn features_must_add_up() {
        let features = |text: &str| {
            let dependencies =
                "[dependencies]\nbar = { version = \"1\", optional = true }\nbaz = \"1\"\n";
            refused(&format!("{dependencies}[features]\n{text}"), json!({}))
        };
        assert_snapshot!(features("x = [\"nope\"]"), @"the feature `x` enables `nope`, but there is neither a feature nor an optional dependency of that name");
        assert_snapshot!(features("x = [\"baz\"]"), @"the feature `x` enables `baz`, but the dependency `baz` is not optional");
        assert_snapshot!(features("x = [\"dep:baz\"]"), @"the feature `x` enables `dep:baz`, but the dependency `baz` is not optional");
        assert_snapshot!(features("x = [\"dep:nope\"]"), @"the feature `x` enables `dep:nope`, but `nope` is not a dependency");
        assert_snapshot!(features("x = [\"dep:bar\", \"bar\"]"), @"the feature `x` enables `bar`, but the dependency `bar` has no feature of its own; write `dep:bar`");
        assert_snapshot!(features("x = [\"nope/y\"]"), @"the feature `x` enables `nope/y`, but `nope` is not a dependency");
        assert_snapshot!(features("x = [\"baz?/y\"]"), @"the feature `x` enables `baz?/y`, but the dependency `baz` is not optional, so `?` means nothing");
        assert_snapshot!(features("x = [\"dep:bar/y\"]"), @"the feature `x` enables `dep:bar/y`, but `dep:` and `/` do not go together");
        assert_snapshot!(features("x = [\"bar/y/z\"]"), @"the feature `x` enables `bar/y/z`, but after the `/` there must be one feature");
        assert_snapshot!(features("bar = []"), @"no feature enables the optional dependency `bar`; add `dep:bar` to one");
        assert_snapshot!(features("\"a/b\" = []"), @"the tarball's Cargo.toml cannot be read: invalid character `/` in feature name: `a/b`, feature name is not allowed to contain slashes");
        let many: String = (0..11).map(|n| format!("f{n} = []\n")).collect();
        assert_snapshot!(features(&many), @"Cargo.toml has 11 features, this registry takes at most 10; ask its operators for a higher limit");
        let values = ["\"baz/x\""; 11].join(",");
        assert_snapshot!(features(&format!("x = [{values}]")), @"the feature `x` enables 11 others, this registry takes at most 10");
    }

    #[test]
    fn all_syntax_of_features_is_taken() {
        let toml = "[dependencies]\nbar = { version = \"1\", optional = true, registry-index = \"sparse+https://crates.example.com/index/\" }\n\
                    [features]\ndefault = [\"x\"]\nx = [\"bar?/y\", \"dep:bar\"]\n";
        let features = json!({"default": ["x"], "x": ["dep:bar", "bar?/y"]});
        let deps = json!([{"name": "bar", "version_req": "^1", "optional": true}]);
        assert_snapshot!(line(toml, json!({"features": features, "deps": deps})), @r#"
        [{"name":"bar","req":"^1","features":[],"optional":true,"default_features":true,"target":null,"kind":"normal"}]
        "features":{"default":["x"],"x":["bar?/y","dep:bar"]},"yanked":false,"links":null,"pubtime":"1970-01-01T00:00:00Z","v":2}
        "#);
    }

    #[test]
    fn the_request_must_agree_with_the_tarball() {
        let toml =
            "rust-version = \"1.70\"\n[dependencies]\nbar = \"1\"\n[features]\nx = [\"bar/y\"]";
        let bar = |req: &str| {
            let registry = "https://github.com/rust-lang/crates.io-index";
            json!([{"name": "bar", "version_req": req, "registry": registry}])
        };
        let features = json!({"x": ["bar/y"]});
        assert_snapshot!(refused(toml, json!({"deps": bar("^2"), "features": features})), @"the dependencies in the request differ from those in the tarball's Cargo.toml: the tarball has `bar ^1`, normal, from crates.io, the request `bar ^2`, normal, from crates.io; publish with `cargo publish`");
        assert_snapshot!(refused(toml, json!({"features": features})), @"the dependencies in the request differ from those in the tarball's Cargo.toml: the tarball has `bar ^1`, normal, from crates.io, the request nothing else; publish with `cargo publish`");
        assert_snapshot!(refused(toml, json!({"deps": [{"name": "bar", "version_req": "^1"}]})), @"the dependencies in the request differ from those in the tarball's Cargo.toml: the tarball has `bar ^1`, normal, from crates.io, the request `bar ^1`, normal, from this registry; publish with `cargo publish`");
        assert_snapshot!(refused(toml, json!({"deps": bar("1"), "features": {"x": []}})), @"the feature `x` in the request is not the one in the tarball's Cargo.toml; publish with `cargo publish`");
        assert_snapshot!(refused(toml, json!({"deps": bar("1"), "features": {"x": ["bar/y"], "z": []}})), @"the feature `z` in the request is not the one in the tarball's Cargo.toml; publish with `cargo publish`");
        let agreed = json!({"deps": bar("1"), "features": features, "rust_version": "1.71"});
        assert_snapshot!(refused(toml, agreed), @"`rust-version` is `1.71` in the request and `1.70` in the tarball's Cargo.toml; publish with `cargo publish`");
        assert_snapshot!(refused("", json!({"links": "z"})), @"`links` is `z` in the request and `absent` in the tarball's Cargo.toml; publish with `cargo publish`");
        assert_snapshot!(refused("", json!({"deps": [{"name": "b", "version_req": "1", "kind": "odd"}]})), @"the dependency `b` in the request has the kind `odd`; use normal, build or dev");
    }

    #[test]
    fn links_must_be_safe_to_show() {
        assert_snapshot!(refused("homepage = \"javascript:alert(1)\"", json!({})), @"`homepage` in Cargo.toml is `javascript:alert(1)`, which is not an http or https URL; correct or remove it");
        assert_snapshot!(refused("repository = \"example.com\"", json!({})), @"`repository` in Cargo.toml is `example.com`, which is not an http or https URL; correct or remove it");
        assert_snapshot!(refused("rust-version = \"newest\"", json!({})), @r#"the tarball's Cargo.toml cannot be read: expected a version like "1.32""#);
    }

    #[test]
    fn what_only_crates_io_refuses_is_a_warning() {
        assert_snapshot!(warnings("license = \"My Own\"\nkeywords = [\"a b\"]\ncategories = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\"]"), @r"
        Cargo.toml has no `description`
        `license` in Cargo.toml is `My Own`, which is not an SPDX expression
        the keyword `a b` in Cargo.toml is not one that crates.io takes: at most 20 ASCII letters, digits, `_`, `-` and `+`
        Cargo.toml has 6 categories, crates.io takes at most 5
        ");
        assert_snapshot!(warnings("keywords = [\"1\", \"2\", \"3\", \"4\", \"5\", \"6\"]"), @"Cargo.toml has 6 keywords, crates.io takes at most 5");
        let long = "x".repeat(1_001);
        assert_snapshot!(warnings(&format!("license = \"MIT/Apache-2.0\"\ndescription = \"{long}\"")), @"`description` in Cargo.toml has more than 1000 characters");
    }

    #[test]
    fn an_operator_may_require_more() {
        let mut rules = rules();
        rules.require_description = true;
        assert_snapshot!(judged_by(&rules, "", json!({})).unwrap_err(), @"Cargo.toml has no `description`, which this registry requires; add one");
        rules.require_license = true;
        assert_snapshot!(judged_by(&rules, "description = \"d\"", json!({})).unwrap_err(), @"Cargo.toml has neither `license` nor `license-file`, which this registry requires; add one");
        rules.reserved_names = vec!["FOO".to_owned()];
        assert_snapshot!(judged_by(&rules, "", json!({})).unwrap_err(), @"the crate name `foo` is reserved: the operators of this registry reserved it; choose another name");
    }
}
