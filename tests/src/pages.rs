//! Pages of documentation as the tests read them: the blocks of commands, and which of them are not run, and why.

use std::fs;
use std::path::Path;

use crate::binary::workspace;

/// What runs while a page's commands are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Nothing,
    /// `cratekeeper dev` with that many nodes.
    Nodes(usize),
}

#[derive(Debug)]
pub struct Page {
    /// From the root of the workspace.
    pub path: String,
    pub stage: Stage,
    /// Only blocks of commands.
    pub blocks: Vec<Block>,
}

#[derive(Debug)]
pub struct Block {
    /// Where its first command stands, from 1.
    pub line: usize,
    pub commands: String,
    /// Why it is not run, if it is not.
    pub not_run: Option<String>,
    /// Not shown to readers: it brings about what the page speaks of.
    pub prepares: bool,
}

/// README.md and every page in `docs/`; panics with a sentence where one is not written as the tests need it.
pub fn pages() -> Vec<Page> {
    let mut paths = vec!["README.md".to_owned()];
    let docs = fs::read_dir(workspace().join("docs")).expect("there is documentation");
    paths.extend(docs.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.ends_with(".md").then(|| format!("docs/{name}"))
    }));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &str) -> Page {
    let text = fs::read_to_string(workspace().join(Path::new(path))).expect("a page can be read");
    let blocks = blocks(path, &text);
    let first = text.lines().next().unwrap_or_default();
    let stage = match first {
        "<!-- stage: one node -->" => Stage::Nodes(1),
        "<!-- stage: three nodes -->" => Stage::Nodes(3),
        "<!-- stage: none -->" => Stage::Nothing,
        _ if blocks.is_empty() => Stage::Nothing,
        _ => panic!(
            "{path}: a page with commands begins with <!-- stage: none|one node|three nodes -->"
        ),
    };
    Page {
        path: path.to_owned(),
        stage,
        blocks,
    }
}

fn blocks(path: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == "<!-- prepare" {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside: Vec<&str> = inside.take_while(|line| *line != "-->").collect();
            blocks.push(Block {
                line: at + 2,
                commands: inside.join("\n"),
                not_run: None,
                prepares: true,
            });
        }
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let inside: Vec<&str> = lines
                .by_ref()
                .map(|(_, line)| line)
                .take_while(|line| !line.trim_start().starts_with("```"))
                .collect();
            assert!(
                !["bash", "shell", "console", ""].contains(&language),
                "{path}:{}: commands are `sh`, and everything else has a language",
                at + 1
            );
            if language == "sh" {
                let not_run = above.strip_prefix("<!-- not run: ");
                let not_run = not_run.and_then(|why| why.strip_suffix(" -->"));
                blocks.push(Block {
                    line: at + 2,
                    commands: inside.join("\n"),
                    not_run: not_run.map(str::to_owned),
                    prepares: false,
                });
            }
        }
        above = line;
    }
    blocks
}

impl Page {
    /// One script of all blocks that are run; it stops at the first command that fails and has said which block that was.
    pub fn script(&self) -> String {
        let mut script = String::from("set -euo pipefail\n");
        for block in self.blocks.iter().filter(|block| block.not_run.is_none()) {
            script.push_str(&format!("echo '== {}:{}'\n", self.path, block.line));
            script.push_str(&block.commands);
            script.push('\n');
        }
        script
    }
}
