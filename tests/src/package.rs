//! A small crate made in memory: its manifest, its tarball, and the frame that publishes it.

use bytes::Bytes;
use serde_json::Value;

use crate::cargo_json::metadata;
use crate::tar_bytes::Tar;

#[derive(Debug, Clone)]
pub struct Package {
    pub name: String,
    pub version: String,
    package_lines: String,
    tables: String,
    source: String,
    own_index: String,
}

impl Package {
    pub fn new(name: &str, version: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            package_lines: String::new(),
            tables: String::new(),
            source: "//! Made by a test.\n".to_owned(),
            own_index: String::new(),
        }
    }

    /// More lines in `[package]`.
    pub fn package_lines(mut self, lines: &str) -> Package {
        self.package_lines.push_str(lines);
        self.package_lines.push('\n');
        self
    }

    /// More tables after `[package]` and `[lib]`.
    pub fn tables(mut self, tables: &str) -> Package {
        self.tables.push_str(tables);
        self.tables.push('\n');
        self
    }

    /// What `src/lib.rs` says; makes versions of one crate differ in their bytes.
    pub fn source(mut self, source: &str) -> Package {
        source.clone_into(&mut self.source);
        self
    }

    /// A dependency on a crate of the registry whose index is at `index`, as cargo writes it into a published manifest.
    pub fn depends_on(mut self, name: &str, requirement: &str, index: &str) -> Package {
        index.clone_into(&mut self.own_index);
        self.tables(&format!(
            "[dependencies.{name}]\nversion = \"{requirement}\"\nregistry-index = \"{index}\"\n"
        ))
    }

    pub fn manifest(&self) -> String {
        let Package {
            name,
            version,
            package_lines,
            tables,
            ..
        } = self;
        format!(
            "[package]\nedition = \"2021\"\nname = \"{name}\"\nversion = \"{version}\"\n\
             description = \"Made by a test\"\nlicense = \"MIT\"\n{package_lines}\n\
             [lib]\nname = \"{lib}\"\npath = \"src/lib.rs\"\n\n{tables}",
            lib = name.replace('-', "_"),
        )
    }

    /// `{name}-{version}/{file}`.
    pub fn path(&self, file: &str) -> String {
        format!("{}-{}/{file}", self.name, self.version)
    }

    /// The files of the tarball, to which a test may add.
    pub fn tar(&self) -> Tar {
        Tar::new()
            .file(&self.path("Cargo.toml"), self.manifest().as_bytes())
            .file(&self.path("src/lib.rs"), self.source.as_bytes())
    }

    pub fn tarball(&self) -> Vec<u8> {
        self.tar().tarball()
    }

    /// What cargo would send beside the tarball.
    pub fn metadata(&self) -> Value {
        let manifest = self.manifest();
        let manifest: toml::Table = toml::from_str(&manifest).expect("a test's manifest is TOML");
        metadata(&manifest, &self.own_index, None)
    }

    pub fn frame(&self) -> Bytes {
        frame(self.metadata().to_string().as_bytes(), &self.tarball())
    }
}

/// The body of a publish: both parts, each after its length.
pub fn frame(json: &[u8], tarball: &[u8]) -> Bytes {
    let length = |part: &[u8]| u32::try_from(part.len()).expect("a part is below 4 GiB");
    frame_claiming(length(json), json, length(tarball), tarball)
}

/// The same with lengths that may lie.
pub fn frame_claiming(json_bytes: u32, json: &[u8], tarball_bytes: u32, tarball: &[u8]) -> Bytes {
    let json_bytes = json_bytes.to_le_bytes();
    let tarball_bytes = tarball_bytes.to_le_bytes();
    Bytes::from([&json_bytes, json, &tarball_bytes, tarball].concat())
}
