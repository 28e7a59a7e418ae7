//! Why a request was refused: something the client can fix, said in a sentence that tells how.

/// What family of mistake a [`Rejection`] is; the HTTP edge maps it to a status, nothing else reads meaning into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectionKind {
    /// The request, a name, a version, a manifest or a tarball breaks a rule.
    Invalid,
    /// Something is larger than its limit.
    TooLarge,
    /// No token, or one that is unknown, expired or revoked.
    Unauthenticated,
    /// The caller is known but may not do this.
    Forbidden,
    /// The crate, version, account or token named does not exist.
    Missing,
    /// It contradicts what is already there (a version published with other bytes, a taken name).
    Conflict,
}

/// A refusal. `sentence` names the value, the rule and the way out; it is shown to the user as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Rejection {
    pub kind: RejectionKind,
    pub sentence: String,
}

impl Rejection {
    pub fn new(kind: RejectionKind, sentence: impl Into<String>) -> Rejection {
        Rejection {
            kind,
            sentence: sentence.into(),
        }
    }
}
