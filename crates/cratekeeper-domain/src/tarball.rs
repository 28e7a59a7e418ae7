//! The grammar of a `.crate`: which archives are unambiguous, and the walk that refuses all others.
