//! `lunkeep-target serve`: opens what is to be served, serves it until a signal comes, and closes it again.

mod args;
mod signals;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

pub use args::ServeArgs;
use signals::Signals;

use super::{Exit, output};
use crate::daemon::addresses;
use crate::daemon::control::listen::{ControlError, ControlSocket};
use crate::daemon::control::{Manager, address};
use crate::daemon::facts::Facts;
use crate::daemon::prepare::{self, Prepared};
use crate::daemon::server_config::server_config;
use crate::daemon::spec::{Control, PortalSpec, ServeSpec};
use crate::engine::{Server, ShutdownReport, StartError};
use crate::image::DiskError;
use crate::store::StateLocation;

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
            return Exit::Failure;
        }
    };
    let prepared = match prepared
        .map_err(|error| error.to_string())
        .and_then(|opened| opened.map_err(|e| e.to_string()))
    {
        Ok(prepared) => prepared,
        Err(error) => {
            output::error(error);
            return Exit::Failure;
        }
    };
    prepared.notes.iter().for_each(output::note);
    let control = match bind_control(spec, &prepared) {
        Ok(control) => control,
        Err(error) => {
            output::error(error);
            return close(Closing::Prepared(prepared), None, &mut signals).await;
        }
    };
    let server = match Server::start(server_config(spec, &prepared)).await {
        Ok(server) => server,
        Err(error) => {
            output::error(explain(&error));
            return close(Closing::Prepared(prepared), None, &mut signals).await;
        }
    };
    let at = control.as_ref().map(ControlSocket::path);
    announce(spec, &prepared, &server.portals(), at, json);
    let manager = Arc::new(Manager::new(server.handle(), server.portals(), prepared, spec.state.clone()));
    let stop_control = CancellationToken::new();
    if let Some(control) = control {
        tokio::spawn(control.serve(manager.clone(), stop_control.clone()));
    }
    signals.next().await;
    tracing::info!(
        "stopping: sessions are ended and images closed; a second signal ends the process at once"
    );
    stop_control.cancel();
    let failure = stop(server.shutdown(GRACE), signals.next()).await;
    if failure == Some(Exit::Killed) {
        return Exit::Killed;
    }
    close(Closing::Served(manager), failure, &mut signals).await
}

/// Makes the control socket, if there is to be one.
fn bind_control(spec: &ServeSpec, prepared: &Prepared) -> Result<Option<ControlSocket>, ControlError> {
    let path = match (&spec.control, &spec.state) {
        (Control::Absent, _) => None,
        (Control::At(path), _) => Some(path.clone()),
        (Control::InState, StateLocation::Folder(folder)) => Some(folder.join(address::NAME)),
        (Control::InState, StateLocation::BesideImage) => {
            prepared.first_state().map(|folder| folder.join(address::NAME))
        }
    };
    let Some(path) = path else { return Ok(None) };
    // `ctl` may be called from elsewhere.
    let path = std::path::absolute(&path).unwrap_or(path);
    ControlSocket::bind(&path).map(Some)
}

/// Images to close.
enum Closing {
    /// They were never served.
    Prepared(Prepared),
    Served(Arc<Manager>),
}

/// Closes every image. `failure` is what is certain already.
async fn close(closing: Closing, failure: Option<Exit>, signals: &mut Signals) -> Exit {
    let never_served = matches!(closing, Closing::Prepared(_));
    let work = tokio::task::spawn_blocking(move || match closing {
        Closing::Prepared(prepared) => prepared.close(),
        Closing::Served(manager) => manager.close(),
    });
    let closed = tokio::select! {
        closed = work => report_closed(closed.map_err(|error| error.to_string())),
        () = signals.next() => killed(),
    };
    match failure {
        Some(failure) => failure,
        None if never_served && closed == Exit::Success => Exit::Failure,
        None => closed,
    }
}

/// Says what is served, to whoever waits for it.
fn announce(spec: &ServeSpec, prepared: &Prepared, bound: &[SocketAddr], control: Option<&Path>, json: bool) {
    let portals: Vec<(PortalSpec, SocketAddr)> =
        spec.portals.iter().cloned().zip(bound.iter().copied()).collect();
    let facts = Facts::new(prepared, &spec.discovery, &portals, &addresses::of_host(), control);
    if json {
        match serde_json::to_string(&facts) {
            Ok(document) => output::line(document),
            Err(error) => output::error(format_args!("cannot write the facts as JSON: {error}")),
        }
    } else {
        output::line(facts);
    }
}

/// Waits until the sessions are ended, or until a signal comes `again`. `Some`: the exit code that this makes certain.
async fn stop(
    shutdown: impl Future<Output = ShutdownReport>,
    again: impl Future<Output = ()>,
) -> Option<Exit> {
    tokio::select! {
        report = shutdown => {
            if !report.complete {
                output::note(format_args!("not all of {} sessions ended within {GRACE:?}", report.sessions));
            }
            None
        }
        () = again => Some(killed()),
    }
}

/// Says which images could not be closed.
fn report_closed(closed: Result<Vec<(PathBuf, DiskError)>, String>) -> Exit {
    match closed {
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_second_signal_ends_a_shutdown_that_hangs() {
        assert_eq!(stop(pending(), ready(())).await, Some(Exit::Killed));
    }

    #[tokio::test]
    async fn a_shutdown_that_ends_lets_the_images_be_closed() {
        for complete in [true, false] {
            assert_eq!(stop(ready(ShutdownReport { sessions: 1, complete }), pending()).await, None);
        }
    }

    #[test]
    fn an_image_that_cannot_be_closed_is_a_failure() {
        assert_eq!(report_closed(Ok(vec![])), Exit::Success);
        assert_eq!(report_closed(Ok(vec![("a.vhdx".into(), DiskError::Poisoned)])), Exit::Failure);
        assert_eq!(report_closed(Err("gone".into())), Exit::Failure);
    }

    #[test]
    fn a_port_in_use_is_told_with_its_address_and_what_to_do() {
        let address = "127.0.0.1:3260".parse().unwrap();
        let error = StartError::Bind { address, source: io::ErrorKind::AddrInUse.into() };
        let text = explain(&error);
        assert!(text.contains("127.0.0.1:3260") && text.contains("--listen"), "{text}");
    }
}
