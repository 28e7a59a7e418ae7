//! Whatever is encoded decodes to the same.

mod samples;

use std::collections::BTreeMap;

use cratekeeper_domain::{
    Checksum, Command, CratePattern, Dependency, DependencyKind, Event, Publish, Rejection,
    RejectionKind, Role, Scope, TokenHash, VersionFacts,
};
use cratekeeper_wire::{
    decode_command, decode_event, decode_rejection, encode_command, encode_event, encode_rejection,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use samples::{krate, login, token, version};

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(".{0,8}", 0..4)
}

fn any_dependency() -> impl Strategy<Value = Dependency> {
    let kind = prop::sample::select(vec![
        DependencyKind::Normal,
        DependencyKind::Build,
        DependencyKind::Dev,
    ]);
    let names = (".{0,8}", ".{0,8}", texts(), kind);
    let flags = any::<(bool, bool, bool, Option<bool>)>();
    let optional = (
        option::of(".{0,8}"),
        option::of(".{0,8}"),
        option::of(".{0,8}"),
        option::of(texts()),
        option::of(".{0,8}"),
    );
    (names, flags, optional).prop_map(|(names, flags, optional)| Dependency {
        name: names.0,
        req: names.1,
        features: names.2,
        kind: names.3,
        optional: flags.0,
        default_features: flags.1,
        lib: flags.2,
        public: flags.3,
        target: optional.0,
        registry: optional.1,
        package: optional.2,
        artifact: optional.3,
        bindep_target: optional.4,
    })
}

fn any_facts() -> impl Strategy<Value = VersionFacts> {
    let name = "[A-Za-z][A-Za-z0-9_-]{0,20}";
    let numbers = any::<(u64, u64, u64)>();
    let lists = (
        vec(any_dependency(), 0..4),
        btree_map(".{0,8}", texts(), 0..4),
        texts(),
        texts(),
    );
    (name, numbers, lists, vec(option::of(".{0,8}"), 8)).prop_map(
        |(name, (major, minor, patch), lists, mut optional): (
            _,
            _,
            (_, BTreeMap<_, _>, _, _),
            Vec<_>,
        )| {
            let mut next = || optional.pop().flatten();
            VersionFacts {
                name: krate(&name),
                version: version(&format!("{major}.{minor}.{patch}-rc.1+build")),
                dependencies: lists.0,
                features: lists.1,
                keywords: lists.2,
                categories: lists.3,
                links: next(),
                rust_version: next(),
                description: next(),
                homepage: next(),
                documentation: next(),
                repository: next(),
                license: next(),
                license_file: next(),
            }
        },
    )
}

proptest! {
    #[test]
    fn published_versions(facts in any_facts(), checksum: [u8; 32], tarball_bytes: u64) {
        let checksum = Checksum(checksum);
        let event = Event::VersionPublished {
            facts: Box::new(facts.clone()),
            checksum,
            tarball_bytes,
        };
        let encoded = encode_event(&event);
        let decoded = decode_event(encoded.kind, encoded.schema, &encoded.payload).expect("decodes");
        prop_assert_eq!(decoded, event);
        let command = Command::Publish(Box::new(Publish { facts, checksum, tarball_bytes }));
        let decoded = decode_command(&encode_command(&command)).expect("decodes");
        prop_assert_eq!(decoded, command);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..64), kind in 0_usize..15) {
        let (kind, _) = samples::events().swap_remove(kind);
        let _ = decode_event(kind, 1, &bytes);
        let _ = decode_command(&bytes);
        let _ = cratekeeper_wire::decode_record(&bytes);
        let _ = cratekeeper_wire::decode_append(bytes.into());
    }
}

#[test]
fn every_command() {
    let of = || (krate("Foo-Bar"), version("1.0.0"));
    let logins = || vec![login("alice"), login("bob")];
    let commands = [
        {
            let (krate, version) = of();
            Command::Yank { krate, version }
        },
        {
            let (krate, version) = of();
            Command::Unyank { krate, version }
        },
        {
            let (krate, version) = of();
            Command::RemoveVersion {
                krate,
                version,
                reason: "r".to_owned(),
            }
        },
        Command::AddOwners {
            krate: krate("foo"),
            logins: logins(),
        },
        Command::RemoveOwners {
            krate: krate("foo"),
            logins: logins(),
        },
        Command::CreateAccount {
            login: login("alice"),
            name: Some("A".to_owned()),
            role: Role::Reader,
        },
        Command::DisableAccount {
            login: login("alice"),
        },
        Command::EnableAccount {
            login: login("alice"),
        },
        Command::IssueToken {
            login: login("alice"),
            token: token(),
            name: "ci".to_owned(),
            hash: TokenHash([1; 32]),
            scopes: Scope::ALL.to_vec(),
            crates: vec![CratePattern::parse("*").expect("a pattern")],
            expires_at_ms: Some(1),
        },
        Command::RevokeToken {
            login: login("alice"),
            token: token(),
        },
        Command::Found {
            cluster: "c".to_owned(),
            history: "h".to_owned(),
            admin: login("root"),
            token: token(),
            hash: TokenHash([2; 32]),
            feature_level: 2,
        },
        Command::AdmitNode {
            incarnation: "i".to_owned(),
        },
        Command::RaiseFeatureLevel { level: 2 },
    ];
    for command in commands {
        let decoded = decode_command(&encode_command(&command)).expect("decodes");
        assert_eq!(decoded, command);
    }
}

#[test]
fn every_kind_of_rejection() {
    for kind in [
        RejectionKind::Invalid,
        RejectionKind::TooLarge,
        RejectionKind::Unauthenticated,
        RejectionKind::Forbidden,
        RejectionKind::Missing,
        RejectionKind::Conflict,
    ] {
        let rejection = Rejection::new(kind, "a sentence");
        let decoded = decode_rejection(encode_rejection(&rejection)).expect("decodes");
        assert_eq!(decoded, rejection);
    }
}
