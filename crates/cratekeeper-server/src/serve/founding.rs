//! The first administrator's token, where the operator has not chosen one.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use cratekeeper_domain::{TokenId, TokenText};

/// The token in `<data_dir>/admin-token`; made there, readable by the owner only, unless the directory has a node already (whose
/// administrator has been told, and for whom the answer does not matter).
pub(super) fn admin_token(data_dir: &Path) -> anyhow::Result<TokenText> {
    let file = data_dir.join("admin-token");
    if file.exists() {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        return TokenText::parse(text.trim()).with_context(|| format!("read {}", file.display()));
    }
    let token = new_token()?;
    if !data_dir.join("NODE").exists() {
        write_secret(&file, token.as_str()).with_context(|| format!("write {}", file.display()))?;
        tracing::warn!(
            file = %file.display(),
            "the first administrator's token is in this file; keep it somewhere safe and delete the file"
        );
    }
    Ok(token)
}

pub(crate) fn new_token() -> anyhow::Result<TokenText> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).context("draw randomness from the operating system")?;
    Ok(TokenText::from_random(bytes))
}

pub(crate) fn token_id() -> anyhow::Result<TokenId> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("draw randomness from the operating system")?;
    Ok(TokenId::from_random(bytes))
}

/// Creates `file` with one line that only its owner may read; durable when it returns, and whole or not there after a crash.
pub(crate) fn write_secret(file: &Path, line: &str) -> std::io::Result<()> {
    let unfinished = file.with_extension("unfinished");
    let mut writer = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    writer.write_all(line.as_bytes())?;
    writer.write_all(b"\n")?;
    writer.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    let directory = file.parent().unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}
