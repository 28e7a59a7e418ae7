//! Every limit of the rules, one constant each, with its reason. What an operator may set is in `Rules` and `Policy` instead.

/// As the public registry: longer names break file systems and tables.
pub const NAME_CHARS_MAX: usize = 64;
/// As the public registry; semver itself has no bound.
pub const VERSION_CHARS_MAX: usize = 150;
/// Fits every table and log line.
pub const LOGIN_CHARS_MAX: usize = 64;
/// A display name, shown in owner lists.
pub const ACCOUNT_NAME_CHARS_MAX: usize = 128;
/// A token's name is a label for people.
pub const TOKEN_NAME_CHARS_MAX: usize = 128;
/// Tokens in force of one account: an account is folded whole for each decision of its owner.
pub const TOKENS_MAX: usize = 1_000;
/// Crate patterns of one token, all compared at each mutation.
pub const TOKEN_PATTERNS_MAX: usize = 100;
/// Logins in one request to change owners.
pub const OWNERS_PER_REQUEST_MAX: usize = 50;
/// Owners of one crate: they are all named in the sentence that refuses somebody else.
pub const OWNERS_MAX: usize = 200;
/// A reason is kept for ever; a paragraph is enough.
pub const REASON_CHARS_MAX: usize = 1_000;
/// Nodes ask for admission with an identifier of their volume.
pub const INCARNATION_CHARS_MAX: usize = 128;
