//! One file per command. A command takes its arguments and returns the process's exit code.

mod agent;
mod backup;
mod cancel;
mod completions;
mod components;
mod doctor;
mod dry_run;
mod explain;
mod graph;
mod healthcheck;
mod hub;
mod init;
mod list;
mod logs;
mod man;
mod migrate;
mod monitor;
mod protocols;
mod providers;
mod prune;
mod retry;
mod run;
mod start;
mod status;
mod stop;
mod store;
mod submit;
mod trace;
mod validate;
mod version;
mod watch;

use crate::cli::{Command, StoreCommand};
use crate::error::CommandResult;
use crate::telemetry::Telemetry;

/// Runs a command.
///
/// # Errors
/// The error to show to the user, with its exit code.
pub(crate) fn run(command: Command, telemetry: &Telemetry) -> CommandResult {
    match command {
        Command::Run(args) => run::run(args, telemetry),
        Command::Start(args) => start::run(args, telemetry),
        Command::Stop(args) => stop::run(&args),
        Command::Hub(args) => hub::run(&args, telemetry),
        Command::Agent(args) => agent::run(&args),
        Command::Components(args) => components::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Status(args) => status::run(args),
        Command::List(args) => list::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Trace(args) => trace::run(args),
        Command::Logs(args) => logs::run(args),
        Command::Cancel(args) => cancel::run(args),
        Command::Retry(args) => retry::run(args),
        Command::Prune(args) => prune::run(args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Store(StoreCommand::Check(args)) => store::check(&args),
        Command::Validate(args) => validate::run(args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Graph(args) => graph::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Doctor(args) => doctor::run(args),
        Command::Healthcheck(args) => healthcheck::run(args),
        Command::Man(args) => man::run(&args),
        Command::Monitor(args) => monitor::run(args),
        Command::Providers(args) => providers::run(args),
        Command::Protocols(args) => protocols::run(args),
        Command::Version(args) => version::run(args),
        Command::Completions(args) => completions::run(&args),
    }
}
