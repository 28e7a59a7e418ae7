//! `cratekeeper`: a private cargo registry that stays up. The command line says what to do; `serve` is where a node begins.

mod app;
mod backup;
mod causes;
mod cli;
mod config;
mod dev;
mod drain;
mod http;
mod listen;
mod observe;
mod ops;
mod recover;
mod search;
mod serve;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cratekeeper_cluster::Failure;

/// What scripts tell from a refusal, because trying again may help.
const UNREACHABLE: u8 = 3;

/// What the runtime may still have in its blocking threads when everything has stopped.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

/// Raft or the storage below it has stopped (`EX_SOFTWARE`): the node may work again when it is started again.
const BROKEN: u8 = 70;

/// The configuration is wrong (`EX_CONFIG`): trying again does not help.
const MISCONFIGURED: u8 = 78;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::print::error(&format!("start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(cli::run(arguments));
    runtime.shutdown_timeout(RUNTIME_GRACE);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print::error(&format!("{error:#}"));
            exit_code(&error)
        }
    }
}

/// 2 is clap's, for a command line that makes no sense; 1 is for everything else that did not work.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<cli::Unreachable>() {
        return ExitCode::from(UNREACHABLE);
    }
    if error.is::<config::Misconfigured>() {
        return ExitCode::from(MISCONFIGURED);
    }
    match error.downcast_ref::<Failure>() {
        Some(Failure::Broken(_)) => ExitCode::from(BROKEN),
        Some(Failure::Refused(_)) | None => ExitCode::FAILURE,
    }
}
