//! One binary with all integration tests, a file per topic; the harness is the library of this package.

mod api_document;
mod chart;
mod command_line;
mod docs;
mod hostile_input;
mod hostile_tarballs;
mod hosts_what_it_is_built_from;
mod killing_nodes;
mod leaving;
mod membership;
mod mistakes;
mod object_store_away;
mod plain_cargo;
mod rate_limits;
mod readers;
mod rebuild;
mod rolling;
mod smoke;
mod snapshots;
mod tarballs_on_s3;
mod tidy;
mod traffic;
mod workload;
