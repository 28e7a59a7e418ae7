//! For tests: a registry in memory, to which requests are put and which answers in words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{
    Actor, Checksum, Command, CrateName, Dependency, DependencyKind, Event, Login, Policy, Publish,
    Recorded, RequestId, Role, Scope, StreamId, StreamState, TokenHash, TokenId, Version,
    VersionFacts, View, decide,
};

pub(crate) const NOW_MS: u64 = 1_763_700_000_000;

pub(crate) struct Registry {
    pub(crate) view: View,
    pub(crate) policy: Policy,
    pub(crate) now_ms: u64,
    sequence: u64,
    requests: u8,
    positions: BTreeMap<StreamId, u64>,
}

impl Registry {
    /// With accounts that each hold one token with every scope their role allows.
    pub(crate) fn with(accounts: &[(&str, Role)]) -> Registry {
        let mut registry = Registry {
            view: View::default(),
            policy: Policy {
                require_known_dependencies: true,
            },
            now_ms: NOW_MS,
            sequence: 0,
            requests: 0,
            positions: BTreeMap::new(),
        };
        for (login, role) in accounts {
            let scopes = Scope::ALL.into_iter().filter(|scope| role.allows(*scope));
            registry.account(login, *role);
            registry.token(login, &format!("{login}'s token"), |token| {
                if let Event::TokenIssued { scopes: all, .. } = token {
                    *all = scopes.collect();
                }
            });
        }
        registry
    }

    fn account(&mut self, login: &str, role: Role) {
        let created = Event::AccountCreated {
            login: self::login(login),
            name: None,
            role,
        };
        self.happened(StreamId::Account(self::login(login)), created);
    }

    /// Another token, as `change` makes it.
    pub(crate) fn token(&mut self, login: &str, name: &str, change: impl FnOnce(&mut Event)) {
        let mut issued = Event::TokenIssued {
            token: token(name),
            name: name.to_owned(),
            hash: TokenHash(Checksum::of(name.as_bytes()).0),
            scopes: Vec::new(),
            crates: Vec::new(),
            expires_at_ms: None,
        };
        change(&mut issued);
        self.happened(StreamId::Account(self::login(login)), issued);
    }

    pub(crate) fn happened(&mut self, stream: StreamId, event: Event) {
        self.record(stream, event, RequestId::default());
    }

    fn record(&mut self, stream: StreamId, event: Event, request: RequestId) {
        self.sequence += 1;
        let position = self.positions.entry(stream.clone()).or_default();
        *position += 1;
        let recorded = Recorded {
            sequence: self.sequence,
            stream: stream.clone(),
            position: *position,
            time_ms: self.now_ms,
            actor: Actor::default(),
            request,
            event,
        };
        if let Event::CrateCreated { name } = &recorded.event {
            let known = &mut self.view.known_crates;
            known.insert(name.canonical(), name.clone());
        }
        let state = self.view.streams.entry(stream.clone());
        let state = state.or_insert_with(|| Arc::new(StreamState::new(&stream)));
        Arc::make_mut(state).fold(&recorded);
    }

    /// A new request of `login` with its first token.
    pub(crate) fn ask(&mut self, login: &str, command: Command) -> String {
        self.ask_with(login, &format!("{login}'s token"), command)
    }

    pub(crate) fn ask_with(&mut self, login: &str, token: &str, command: Command) -> String {
        self.requests += 1;
        let actor = Actor {
            login: Some(self::login(login)),
            token: Some(self::token(token)),
        };
        self.execute(&actor, command)
    }

    /// A request of the cluster itself.
    pub(crate) fn ask_itself(&mut self, command: Command) -> String {
        self.requests += 1;
        self.execute(&Actor::default(), command)
    }

    /// The same request once more.
    pub(crate) fn repeat(&mut self, login: &str, command: Command) -> String {
        self.requests -= 1;
        self.ask(login, command)
    }

    fn execute(&mut self, actor: &Actor, command: Command) -> String {
        let request = RequestId([self.requests; 16]);
        // A decision may look at nothing but what the command says it reads.
        let reads = command.reads(actor);
        let mut view = self.view.clone();
        view.streams.retain(|stream, _| reads.contains(stream));
        let names = command.dependency_names();
        view.known_crates.retain(|name, _| names.contains(name));
        let now_ms = self.now_ms;
        match decide(&command, actor, request, &view, &self.policy, now_ms) {
            Err(rejection) => format!("{:?}: {}", rejection.kind, rejection.sentence),
            Ok(events) if events.is_empty() => "nothing to do".to_owned(),
            Ok(events) => {
                let words: Vec<String> = events.iter().map(in_words).collect();
                for (stream, event) in events {
                    assert!(reads.contains(&stream), "writes only what it reads");
                    self.record(stream, event, request);
                }
                words.join("\n")
            }
        }
    }
}

fn in_words((stream, event): &(StreamId, Event)) -> String {
    match event {
        Event::VersionPublished { facts, .. } => {
            format!("{stream} VersionPublished {}", facts.version)
        }
        Event::TokenIssued {
            name,
            scopes,
            crates,
            ..
        } => {
            let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let crates: Vec<&str> = crates.iter().map(|krate| krate.as_str()).collect();
            let (scopes, crates) = (scopes.join(" "), crates.join(" "));
            format!("{stream} TokenIssued `{name}` [{scopes}] [{crates}]")
        }
        other => format!("{stream} {other:?}"),
    }
}

pub(crate) fn login(text: &str) -> Login {
    Login::parse(text).unwrap()
}

pub(crate) fn krate(text: &str) -> CrateName {
    CrateName::parse(text).unwrap()
}

pub(crate) fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

/// The id of the token with this name.
pub(crate) fn token(name: &str) -> TokenId {
    let hash = Checksum::of(name.as_bytes()).0;
    TokenId::from_random(*hash.first_chunk().unwrap())
}

pub(crate) fn facts(name: &str, version: &str) -> VersionFacts {
    VersionFacts {
        name: krate(name),
        version: self::version(version),
        dependencies: Vec::new(),
        features: BTreeMap::new(),
        links: None,
        rust_version: None,
        description: None,
        homepage: None,
        documentation: None,
        repository: None,
        license: None,
        license_file: None,
        keywords: Vec::new(),
        categories: Vec::new(),
    }
}

/// On this registry.
pub(crate) fn dependency(name: &str) -> Dependency {
    Dependency {
        name: name.to_owned(),
        req: "^1".to_owned(),
        features: Vec::new(),
        optional: false,
        default_features: true,
        target: None,
        kind: DependencyKind::Normal,
        registry: None,
        package: None,
        public: None,
        artifact: None,
        bindep_target: None,
        lib: false,
    }
}

/// A tarball with `content`.
pub(crate) fn publish(name: &str, version: &str, content: &str) -> Command {
    publish_facts(facts(name, version), content)
}

pub(crate) fn publish_facts(facts: VersionFacts, content: &str) -> Command {
    Command::Publish(Box::new(Publish {
        facts,
        checksum: Checksum::of(content.as_bytes()),
        tarball_bytes: content.len() as u64,
    }))
}

/// One entry of a tarball, as raw as it gets.
pub(crate) fn entry(kind: u8, path: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let name = &mut header.as_old_mut().name;
    let bytes = &path.as_bytes()[..path.len().min(name.len())];
    name[..bytes.len()].copy_from_slice(bytes);
    header.set_cksum();
    let mut entry = header.as_bytes().to_vec();
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(512), 0);
    entry
}

/// The archive of these entries, ended as it should be.
pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = entries.concat();
    archive.resize(archive.len() + 1024, 0);
    archive
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
