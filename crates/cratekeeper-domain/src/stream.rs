//! Streams: the events of one crate, one account or the installation itself, and the state they fold into.

use std::sync::Arc;

use crate::rejection::{invalid, shown};
use crate::{Account, CanonicalName, Installation, Krate, Login, Recorded, Rejection};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    Crate(CanonicalName),
    Account(Login),
    /// The installation: its founding, node ids, feature level.
    Installation,
}

impl std::fmt::Display for StreamId {
    /// `crate:serde_json`, `account:alice`, `installation`: the stored form.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StreamId::Crate(name) => write!(f, "crate:{name}"),
            StreamId::Account(login) => write!(f, "account:{login}"),
            StreamId::Installation => f.write_str("installation"),
        }
    }
}

impl StreamId {
    pub fn parse(text: &str) -> Result<StreamId, Rejection> {
        if let Some(name) = text.strip_prefix("crate:") {
            return Ok(StreamId::Crate(CanonicalName::parse(name)?));
        }
        if let Some(login) = text.strip_prefix("account:") {
            return Ok(StreamId::Account(Login::parse(login)?));
        }
        if text == "installation" {
            return Ok(StreamId::Installation);
        }
        invalid(format!(
            "`{}` is not a stream: write `crate:name`, `account:login` or `installation`",
            shown(text),
        ))
    }
}

/// A folded stream; the state's own variant is set by the stream it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    Crate(Option<Krate>),
    /// Shared, because every request of the account looks at it.
    Account(Option<Arc<Account>>),
    Installation(Option<Installation>),
}

impl StreamState {
    /// The state before the first event.
    pub fn new(stream: &StreamId) -> StreamState {
        match stream {
            StreamId::Crate(_) => StreamState::Crate(None),
            StreamId::Account(_) => StreamState::Account(None),
            StreamId::Installation => StreamState::Installation(None),
        }
    }
    /// Deterministic and total; events of another kind of stream are ignored (they cannot be there).
    pub fn fold(&mut self, recorded: &Recorded) {
        match self {
            StreamState::Crate(krate) => Krate::fold(krate, recorded),
            StreamState::Account(account) => {
                let mut own = account.take().map(Arc::unwrap_or_clone);
                Account::fold(&mut own, recorded);
                *account = own.map(Arc::new);
            }
            StreamState::Installation(installation) => Installation::fold(installation, recorded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_have_a_stored_form() {
        for text in ["crate:serde_json", "account:alice", "installation"] {
            assert_eq!(StreamId::parse(text).unwrap().to_string(), text);
        }
        for bad in ["crate:Foo", "crate:", "account:A", "installation:", ""] {
            assert!(StreamId::parse(bad).is_err(), "{bad}");
        }
        insta::assert_snapshot!(StreamId::parse("team:x").unwrap_err(), @"`team:x` is not a stream: write `crate:name`, `account:login` or `installation`");
    }
}
