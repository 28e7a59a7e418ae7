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

/// The commonest refusal, as a value to return.
pub(crate) fn invalid<T>(sentence: impl Into<String>) -> Result<T, Rejection> {
    Err(Rejection::new(RejectionKind::Invalid, sentence))
}

/// A value from outside as a sentence may show it: control characters escaped, cut where it gets long.
pub(crate) fn shown(value: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut shown: String = value
        .chars()
        .take(CHARS_MAX)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if value.chars().nth(CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}
