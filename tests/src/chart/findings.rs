//! What was checked and what was wrong, all of it at once instead of the first.

#[derive(Debug, Default)]
pub struct Findings {
    about: String,
    pub checks: usize,
    pub manifests: usize,
    pub wrong: Vec<String>,
}

impl Findings {
    pub fn new(about: &str) -> Findings {
        Findings {
            about: about.to_owned(),
            ..Findings::default()
        }
    }

    pub fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds {
            self.wrong.push(format!("{}: {}", self.about, otherwise()));
        }
    }

    pub fn add(&mut self, other: Findings) {
        self.checks += other.checks;
        self.manifests += other.manifests;
        self.wrong.extend(other.wrong);
    }

    /// Panics with everything that was wrong.
    pub fn assert_none_wrong(&self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
    }
}
