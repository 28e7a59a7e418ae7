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

/// A tarball's Cargo.toml is held in memory and parsed; the largest public ones have a few hundred KiB.
pub const MANIFEST_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Of one path in a tarball, also of a GNU long name. Windows gives up far earlier.
pub const PATH_BYTES_MAX: usize = 1024;
/// What remembering all paths of a tarball may cost, to compare them with each other.
pub const PATHS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Cargo itself refuses to unpack more than this, or [`CARGO_UNPACKED_FACTOR`] times the tarball's size if that is more.
pub const CARGO_UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;
pub const CARGO_UNPACKED_FACTOR: u64 = 20;
/// As the public registry; longer ones are only warned about.
pub const DESCRIPTION_CHARS_MAX: usize = 1_000;
/// Longer licence expressions are not parsed.
pub const LICENSE_CHARS_MAX: usize = 1_000;
/// As the public registry; more are only warned about.
pub const KEYWORDS_MAX: usize = 5;
pub const KEYWORD_CHARS_MAX: usize = 20;
pub const CATEGORIES_MAX: usize = 5;
/// Of a dependency's `cfg(…)`; and how deep it may nest, because cargo parses it by recursion.
pub const TARGET_BYTES_MAX: usize = 4_096;
pub const TARGET_DEPTH_MAX: usize = 64;
