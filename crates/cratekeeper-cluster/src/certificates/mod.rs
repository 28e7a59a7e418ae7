//! Certificates and keys in PEM files: what they say, whether they fit together, and when their files change.

mod facts;
mod files;
mod pair;

pub use facts::CertificateFacts;
pub(crate) use facts::{date, in_words};
pub use files::{Contents, Port, follow, note_certificate};
pub use pair::Pair;
pub(crate) use pair::{algorithms, authorities};
