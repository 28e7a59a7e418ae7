//! Everything a client of the registry can ask over HTTP, one file per thing asked for. `routes` leads in, `envelope` wraps
//! every answer, and only `error` chooses a status.

mod accounts;
mod backup;
mod body;
mod caller;
mod client_address;
mod cluster;
mod crates;
mod document;
mod download;
mod envelope;
mod error;
mod etag;
mod event_json;
mod events;
mod facts;
mod index;
mod limits;
mod me;
mod measure;
mod owners;
mod page;
mod publish;
mod rate_limit;
mod routes;
mod search;
mod spool;
mod time;
mod tokens;
mod yank;

pub(crate) use document::document;
pub(crate) use limits::{SEARCH_WORD_CHARS_MAX, SEARCH_WORDS_MAX};
pub(crate) use routes::router;
