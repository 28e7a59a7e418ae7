//! Why bytes could not be read.

use cratekeeper_domain::Rejection;

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A newer release wrote it; this one must stop rather than skip a fact.
    #[error(
        "this release does not know events of kind `{kind}` in schema {schema}; a newer one wrote them"
    )]
    UnknownEvent { kind: String, schema: u32 },
    #[error("not a message of its kind")]
    Malformed(#[from] prost::DecodeError),
    /// A well-formed message whose content breaks a rule of the domain.
    #[error("a value breaks its rules")]
    Value(#[from] Rejection),
    /// A field has the wrong size, is absent, or is from an enumeration this release does not know.
    #[error("the field `{0}` is absent or wrong")]
    Field(&'static str),
}
