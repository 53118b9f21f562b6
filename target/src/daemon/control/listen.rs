//! The control socket: HTTP/1.1 for the user who runs `serve`, and for nobody else.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::Mode;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::address::Reachable;
use super::refusal::Body;
use super::routes::{ROUTES, Route};
use super::{Manager, Refusal};
use crate::limits::{CONTROL_BODY_LEN_MAX, CONTROL_CONNECTIONS_MAX};

/// How long a client may take to send the header of a question.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to send the rest of it.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Pause after the host had no file or memory left for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds between two accepts.
const BACKLOG: i32 = 16;

/// A bound control socket. Its name goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Somebody answers there.
    #[error("another server answers at the control socket {}; give this one another with --control PATH", .0.display())]
    InUse(PathBuf),
    /// The host refused.
    #[error("cannot make the control socket {}: {source}; give another with --control PATH, or do without with --no-control", path.display())]
    Host {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Makes the socket `path`, which only this user can open. A name that a server left behind when it was killed is taken over.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Host { path: path.to_owned(), source };
        let way = Reachable::to(path).map_err(failed)?;
        match BlockingStream::connect(way.path()) {
            Ok(_) => return Err(ControlError::InUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        let listener = listen(&way).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers questions until `stop`. What was begun then goes on by itself.
    pub async fn serve(self, manager: Arc<Manager>, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => match places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let manager = manager.clone();
                        tokio::spawn(async move {
                            converse(stream, manager).await;
                            drop(place);
                        });
                    }
                    Err(_) => tracing::warn!("too many connections to the control socket: one was closed"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections to the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A name that is gone already is no loss.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn listen(way: &Reachable) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // The name gets the mode that the socket has before it is bound, so there is no moment in which others could open it.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(&SockAddr::unix(way.path())?)?;
    rustix::fs::chmod(way.path(), Mode::RUSR | Mode::WUSR)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

async fn converse(stream: UnixStream, manager: Arc<Manager>) {
    let service = service_fn(|request| {
        let manager = manager.clone();
        async move { Ok::<_, Infallible>(answer(request, manager).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the control socket ended");
    }
}

async fn answer(request: Request<Incoming>, manager: Arc<Manager>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let of_path: Vec<&Route> = ROUTES.iter().filter(|route| route.path == path).collect();
    let Some(route) = of_path.iter().find(|route| route.method == head.method) else {
        return match of_path.first() {
            None => refused(&Refusal::absent(format!("there is no {path}"))),
            Some(route) => {
                let mut response = refused(&Refusal {
                    status: StatusCode::METHOD_NOT_ALLOWED,
                    reason: format!("{path} takes {}", route.method),
                });
                let allowed = if route.method == Method::GET { "GET" } else { "POST" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                response
            }
        };
    };
    let received = tokio::time::timeout(BODY_TIME, Limited::new(body, CONTROL_BODY_LEN_MAX).collect());
    let body = match received.await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return refused(&Refusal::malformed(format!("the body: {error}"))),
        Err(_) => return refused(&Refusal::malformed("the body did not come in time")),
    };
    // A change goes on when the client goes away.
    let done = tokio::spawn((route.run)(manager, &body)).await;
    if route.method != Method::GET {
        tracing::info!(path, "a change was asked for over the control socket");
    }
    match done {
        Ok(Ok(value)) => respond(StatusCode::OK, &value),
        Ok(Err(refusal)) => refused(&refusal),
        Err(error) => refused(&Refusal::failed(error.to_string())),
    }
}

fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    tracing::info!(reason = %refusal.reason, "a question at the control socket was refused");
    respond(refusal.status, &Body { error: refusal.reason.clone() })
}

fn respond(status: StatusCode, value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    // What is serialized has text as keys only, so this cannot fail.
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
