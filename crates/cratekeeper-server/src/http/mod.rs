//! Everything a client of the registry can ask over HTTP, one file per thing asked for.

mod routes;

pub(crate) use routes::router;
