//! Streams: the events of one crate, one account or the installation itself, and the state they fold into.

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
        todo!("{f:?}")
    }
}

impl StreamId {
    pub fn parse(text: &str) -> Result<StreamId, Rejection> {
        todo!("{text}")
    }
}

/// A folded stream; the state's own variant is set by the stream it was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamState {
    Crate(Option<Krate>),
    Account(Option<Account>),
    Installation(Option<Installation>),
}

impl StreamState {
    /// The state before the first event.
    pub fn new(stream: &StreamId) -> StreamState {
        todo!("{stream:?}")
    }
    /// Deterministic and total; events of another kind of stream are ignored (they cannot be there).
    pub fn fold(&mut self, recorded: &Recorded) {
        todo!("{recorded:?}")
    }
}
