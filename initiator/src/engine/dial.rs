//! A TCP connection to a portal.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::text::TargetAddress;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::Error;

/// Connects to the first address of the portal that answers, within `limit` in all.
pub(super) async fn dial(portal: &TargetAddress, limit: Duration) -> Result<TcpStream, Error> {
    let slow = |_| Error::Slow { portal: portal.clone(), what: "accept a connection", limit };
    timeout(limit, connect(portal)).await.map_err(slow)?
}

async fn connect(portal: &TargetAddress) -> Result<TcpStream, Error> {
    let resolve = |source| Error::Resolve { portal: portal.clone(), source: Arc::new(source) };
    let addresses = lookup_host((portal.host.as_str(), portal.port)).await.map_err(resolve)?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small commands must not wait for the acknowledgement of earlier ones.
                stream.set_nodelay(true).map_err(|source| broken(portal, source))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(broken(portal, last))
}

fn broken(portal: &TargetAddress, source: io::Error) -> Error {
    Error::Connect { portal: portal.clone(), source: Arc::new(source) }
}
