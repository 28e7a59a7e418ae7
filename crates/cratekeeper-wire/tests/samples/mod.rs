//! One event of every kind, with every field set, and an arbitrary one for round trips.

use std::collections::BTreeMap;

use cratekeeper_domain::{
    Checksum, CrateName, CratePattern, Dependency, DependencyKind, Event, Login, Role, Scope,
    TokenHash, TokenId, Version, VersionFacts,
};

pub(crate) fn login(text: &str) -> Login {
    Login::parse(text).expect("a login")
}

pub(crate) fn krate(text: &str) -> CrateName {
    CrateName::parse(text).expect("a crate name")
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).expect("a version")
}

pub(crate) fn token() -> TokenId {
    TokenId::from_random([1, 2, 3, 4, 5, 6, 7, 8])
}

pub(crate) fn dependency() -> Dependency {
    Dependency {
        name: "json".to_owned(),
        req: "^1.0".to_owned(),
        features: vec!["std".to_owned(), "alloc".to_owned()],
        optional: true,
        default_features: true,
        target: Some("cfg(unix)".to_owned()),
        kind: DependencyKind::Build,
        registry: Some("https://github.com/rust-lang/crates.io-index".to_owned()),
        package: Some("serde_json".to_owned()),
        public: Some(true),
        artifact: Some(vec!["bin".to_owned()]),
        bindep_target: Some("target".to_owned()),
        lib: true,
    }
}

pub(crate) fn facts() -> VersionFacts {
    let text = |text: &str| Some(text.to_owned());
    let features = [
        ("default".to_owned(), vec!["std".to_owned()]),
        ("std".to_owned(), vec!["json?/std".to_owned()]),
    ];
    VersionFacts {
        name: krate("Foo-Bar"),
        version: version("1.2.3-rc.1+linux"),
        dependencies: vec![dependency()],
        features: BTreeMap::from(features),
        links: text("z"),
        rust_version: text("1.70"),
        description: text("what it does"),
        homepage: text("https://example.com/"),
        documentation: text("https://example.com/docs"),
        repository: text("https://example.com/repository"),
        license: text("MIT"),
        license_file: text("LICENSE"),
        keywords: vec!["one".to_owned(), "two".to_owned()],
        categories: vec!["three".to_owned()],
    }
}

pub(crate) fn token_issued() -> Event {
    Event::TokenIssued {
        token: token(),
        name: "ci".to_owned(),
        hash: TokenHash([0xcd; 32]),
        scopes: Scope::ALL.to_vec(),
        crates: vec![CratePattern::parse("foo-*").expect("a pattern")],
        expires_at_ms: Some(1_800_000_000_000),
    }
}

/// Each with the name of its fixture.
#[expect(clippy::too_many_lines, reason = "one table of events")]
pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let version = version("1.2.3");
    vec![
        (
            "crate_created",
            Event::CrateCreated {
                name: krate("Foo-Bar"),
            },
        ),
        (
            "version_published",
            Event::VersionPublished {
                facts: Box::new(facts()),
                checksum: Checksum([0xab; 32]),
                tarball_bytes: 12_345,
            },
        ),
        (
            "version_yanked",
            Event::VersionYanked {
                version: version.clone(),
            },
        ),
        (
            "version_unyanked",
            Event::VersionUnyanked {
                version: version.clone(),
            },
        ),
        (
            "version_removed",
            Event::VersionRemoved {
                version,
                reason: "a secret in it".to_owned(),
            },
        ),
        (
            "owner_added",
            Event::OwnerAdded {
                login: login("bob"),
            },
        ),
        (
            "owner_removed",
            Event::OwnerRemoved {
                login: login("bob"),
            },
        ),
        (
            "account_created",
            Event::AccountCreated {
                login: login("alice"),
                name: Some("Alice".to_owned()),
                role: Role::Publisher,
            },
        ),
        ("account_disabled", Event::AccountDisabled),
        ("account_enabled", Event::AccountEnabled),
        ("token_issued", token_issued()),
        ("token_revoked", Event::TokenRevoked { token: token() }),
        (
            "cluster_founded",
            Event::ClusterFounded {
                cluster: "c1".to_owned(),
                history: "h1".to_owned(),
            },
        ),
        (
            "node_admitted",
            Event::NodeAdmitted {
                node: 3,
                incarnation: "volume".to_owned(),
            },
        ),
        (
            "feature_level_raised",
            Event::FeatureLevelRaised { level: 2 },
        ),
        (
            "history_restored",
            Event::HistoryRestored {
                from_cluster: "c1".to_owned(),
                from_history: "h1".to_owned(),
                sequence: 300,
                chain: [7; 32],
                cluster: "c2".to_owned(),
                history: "h2".to_owned(),
            },
        ),
    ]
}
