//! The client's end of the control socket.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::cli::Exit;
use crate::daemon::control::address::Reachable;
use crate::daemon::control::refusal::Body;
use crate::limits::CONTROL_ANSWER_LEN_MAX;

/// Why a question was not answered with a success.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// Nobody answers.
    #[error("no server answers at {}: {source}. Is it running? It tells its control socket when it starts", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The server refused, or failed.
    #[error("{0}")]
    Refused(String),
    /// What came is no answer.
    #[error("the server's answer makes no sense: {0}")]
    Nonsense(String),
}

impl Failure {
    pub(super) fn nonsense(error: impl Display) -> Self {
        Self::Nonsense(error.to_string())
    }

    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } => Exit::Unreachable,
            Self::Refused(_) | Self::Nonsense(_) => Exit::Failure,
        }
    }
}

/// Asks the server behind one control socket.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| self.unreachable(source))?;
        runtime.block_on(self.converse(method, path, body))
    }

    fn unreachable(&self, source: io::Error) -> Failure {
        Failure::Unreachable { path: self.socket.clone(), source }
    }

    async fn converse(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Bytes, Failure> {
        let way = Reachable::to(&self.socket).map_err(|source| self.unreachable(source))?;
        let stream = UnixStream::connect(way.path()).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::nonsense)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "lunkeep")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(Failure::nonsense)?;
        let response = sender.send_request(request).await.map_err(|error| {
            Failure::Nonsense(format!("{error}; what was asked for may have been done: see `ctl status`"))
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), CONTROL_ANSWER_LEN_MAX).collect().await;
        let body = body.map_err(Failure::nonsense)?.to_bytes();
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(match serde_json::from_slice::<Body>(&body) {
            Ok(Body { error }) => Failure::Refused(error),
            Err(_) => Failure::Nonsense(format!("status {status}")),
        })
    }
}
