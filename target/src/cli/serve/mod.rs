//! `lunkeep-target serve`: opens what is to be served, serves it until a signal comes, and closes it again.

mod args;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

pub use args::ServeArgs;

use super::{Exit, output};
use crate::daemon::addresses;
use crate::daemon::facts::Facts;
use crate::daemon::prepare::{self, Prepared};
use crate::daemon::server_config::server_config;
use crate::daemon::spec::{PortalSpec, ServeSpec};
use crate::engine::{Server, StartError};

/// How long sessions get to end by themselves once a signal came.
const GRACE: Duration = Duration::from_secs(5);

/// Runs `serve`.
pub fn run(args: &ServeArgs) -> Exit {
    if let Err(error) = start_log(&args.log) {
        output::error(error);
        return Exit::Usage;
    }
    let mut spec = match args.spec() {
        Ok(spec) => spec,
        Err(error) => {
            output::error(error);
            return Exit::Usage;
        }
    };
    spec.notes.iter().for_each(output::note);
    if args.check {
        return check(&spec);
    }
    if spec.default_portals && !addresses::has_ipv6() {
        spec.portals.retain(|portal| portal.listen.is_ipv4());
    }
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(format_args!("cannot start the threads: {error}"));
            return Exit::Failure;
        }
    };
    let exit = runtime.block_on(serve(&Arc::new(spec), args.json));
    // A media operation that hangs in the host must not keep the process.
    runtime.shutdown_background();
    exit
}

fn check(spec: &ServeSpec) -> Exit {
    match prepare::check(spec) {
        Ok(()) => {
            let luns: usize = spec.targets.iter().map(|target| target.luns.len()).sum();
            output::line(format_args!("Nothing is wrong: targets {}, LUNs {luns}.", spec.targets.len()));
            Exit::Success
        }
        Err(errors) => {
            errors.iter().for_each(output::error);
            Exit::Failure
        }
    }
}

/// Logs to standard error what passes `filter`.
fn start_log(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("--log {filter:?}: {error}; write error, warn, info, debug or trace"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| error.to_string())
}

/// Each session and each image needs a file descriptor; the usual soft limit of 1024 is soon used up.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!(%error, "the limit of open files stays as it is");
        }
    }
}

/// A signal that follows another one within this time is the same one: timeout(1), for example, signals the process and then its
/// group.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// SIGINT and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    last: Option<Instant>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            last: None,
        })
    }

    /// Returns with the next of the two that is not a repetition of the last.
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            let now = Instant::now();
            if self.last.replace(now).is_none_or(|last| now - last >= SAME_SIGNAL) {
                return;
            }
        }
    }
}

async fn serve(spec: &Arc<ServeSpec>, json: bool) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            output::error(format_args!("cannot wait for signals: {error}"));
            return Exit::Failure;
        }
    };
    let opening = {
        let spec = Arc::clone(spec);
        tokio::task::spawn_blocking(move || Prepared::open(&spec))
    };
    let prepared = tokio::select! {
        opened = opening => opened,
        () = signals.next() => {
            output::error("stopped by a signal before anything was served");
            return Exit::Killed;
        }
    };
    let prepared = match prepared
        .map_err(|error| error.to_string())
        .and_then(|opened| opened.map_err(|e| e.to_string()))
    {
        Ok(prepared) => Arc::new(prepared),
        Err(error) => {
            output::error(error);
            return Exit::Failure;
        }
    };
    prepared.notes.iter().for_each(output::note);
    let failure = match Server::start(server_config(spec, &prepared)).await {
        Ok(server) => {
            announce(spec, &prepared, &server.portals(), json);
            signals.next().await;
            stop(server, &mut signals).await
        }
        Err(error) => {
            output::error(explain(&error));
            Some(Exit::Failure)
        }
    };
    if failure == Some(Exit::Killed) {
        return Exit::Killed;
    }
    let closed = close(&prepared, &mut signals).await;
    failure.unwrap_or(closed)
}

/// Says what is served, to whoever waits for it.
fn announce(spec: &ServeSpec, prepared: &Prepared, bound: &[SocketAddr], json: bool) {
    let portals: Vec<(PortalSpec, SocketAddr)> =
        spec.portals.iter().cloned().zip(bound.iter().copied()).collect();
    let facts = Facts::new(prepared, &spec.discovery, &portals, &addresses::of_host());
    if json {
        match serde_json::to_string(&facts) {
            Ok(document) => output::line(document),
            Err(error) => output::error(format_args!("cannot write the facts as JSON: {error}")),
        }
    } else {
        output::line(facts);
    }
}

/// Ends the sessions. `Some`: the exit code that this makes certain.
async fn stop(server: Server, signals: &mut Signals) -> Option<Exit> {
    tracing::info!(
        "stopping: sessions are ended and images closed; a second signal ends the process at once"
    );
    tokio::select! {
        report = server.shutdown(GRACE) => {
            if !report.complete {
                output::note(format_args!("not all of {} sessions ended within {GRACE:?}", report.sessions));
            }
            None
        }
        () = signals.next() => Some(killed()),
    }
}

async fn close(prepared: &Arc<Prepared>, signals: &mut Signals) -> Exit {
    let closing = {
        let prepared = Arc::clone(prepared);
        tokio::task::spawn_blocking(move || prepared.close())
    };
    let failed = tokio::select! {
        failed = closing => failed,
        () = signals.next() => return killed(),
    };
    match failed {
        Ok(failed) if failed.is_empty() => Exit::Success,
        Ok(failed) => {
            for (path, error) in failed {
                output::error(format_args!("{}: {error}; what was written last may be lost", path.display()));
            }
            Exit::Failure
        }
        Err(error) => {
            output::error(format_args!("closing the images failed: {error}"));
            Exit::Failure
        }
    }
}

fn killed() -> Exit {
    output::error("ended at once by a second signal; what had not been flushed may be lost");
    Exit::Killed
}

/// What to do about a server that did not start.
fn explain(error: &StartError) -> String {
    let StartError::Bind { address, source } = error else { return error.to_string() };
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there. Stop it, or choose another port with --listen ADDR:PORT (or `listen` in the \
             configuration); port 0 takes any free one"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this host has no such address; 0.0.0.0 and [::] stand for all that it has"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege; 3260 does not",
        _ => return error.to_string(),
    };
    format!("cannot listen on {address}: {advice}")
}
