//! A connection that carries PDUs: framing and digests on the way in, vectored writes on the way out.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use lunkeep_common::pdu::{Bhs, Digests, FrameError, FrameLimits, Framer, Header, Pdu, TargetPdu, WirePdu};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::error::LostCause;
use crate::session::SessionError;

/// The receiving half.
#[derive(Debug)]
pub(super) struct Receiver {
    half: OwnedReadHalf,
    framer: Framer,
}

/// What arrived.
#[derive(Debug)]
pub(super) enum Received {
    /// A sound PDU.
    Pdu(TargetPdu),
    /// A PDU whose data digest is wrong; its header is sound.
    Damaged(Box<Bhs>),
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Sender {
    half: OwnedWriteHalf,
    digests: Digests,
    queue: VecDeque<WirePdu>,
    /// Bytes of the first PDU that have left.
    sent_of_first: usize,
    len: usize,
}

/// PDUs in one write: three slices each, far below the operating system's limit of 1024.
const PDUS_PER_WRITE: usize = 32;

pub(super) fn split(stream: TcpStream) -> (Receiver, Sender) {
    let (read, write) = stream.into_split();
    let receiver = Receiver { half: read, framer: Framer::new(FrameLimits::default()) };
    let sender =
        Sender { half: write, digests: Digests::NONE, queue: VecDeque::new(), sent_of_first: 0, len: 0 };
    (receiver, sender)
}

impl Receiver {
    /// Switches digests and limits for every PDU that was not taken yet.
    pub(super) fn enter_full_feature(&mut self, digests: Digests, limits: FrameLimits) {
        self.framer.set_digests(digests);
        self.framer.set_limits(limits);
    }

    /// A PDU that is complete already.
    pub(super) fn take(&mut self) -> Result<Option<Received>, SessionError> {
        match self.framer.next_pdu() {
            Ok(Some(raw)) => Ok(Some(Received::Pdu(TargetPdu::decode(raw)?))),
            Ok(None) => Ok(None),
            Err(FrameError::DataDigest { bhs, .. }) => Ok(Some(Received::Damaged(bhs))),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for more bytes. May be dropped at any time without losing any.
    pub(super) async fn fill(&mut self) -> Result<(), LostCause> {
        match self.half.read_buf(self.framer.buffer_mut()).await? {
            0 => Err(SessionError::Closed.into()),
            _ => Ok(()),
        }
    }

    /// Waits for a PDU of the login, in which there are no digests.
    pub(super) async fn receive(&mut self) -> Result<TargetPdu, LostCause> {
        loop {
            match self.take()? {
                Some(Received::Pdu(pdu)) => return Ok(pdu),
                Some(Received::Damaged(bhs)) => {
                    return Err(SessionError::Unrecoverable { opcode: bhs[0] & 0x3f }.into());
                }
                None => self.fill().await?,
            }
        }
    }
}

impl Sender {
    pub(super) fn enter_full_feature(&mut self, digests: Digests) {
        self.digests = digests;
    }

    pub(super) fn push<H: Header>(&mut self, pdu: &Pdu<H>) -> Result<(), LostCause> {
        let wire = pdu.encode(self.digests)?;
        self.len += wire.len();
        self.queue.push_back(wire);
        Ok(())
    }

    /// Bytes that wait to be written.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Writes once, as much as the socket takes. May be dropped at any time: then nothing was written.
    pub(super) async fn write(&mut self) -> Result<(), LostCause> {
        let mut slices: Vec<IoSlice<'_>> =
            self.queue.iter().take(PDUS_PER_WRITE).flat_map(WirePdu::slices).collect();
        let mut slices = slices.as_mut_slice();
        IoSlice::advance_slices(&mut slices, self.sent_of_first);
        let written = self.half.write_vectored(slices).await?;
        if written == 0 {
            return Err(io::Error::from(io::ErrorKind::WriteZero).into());
        }
        self.len -= written;
        self.sent_of_first += written;
        while let Some(first) = self.queue.front()
            && first.len() <= self.sent_of_first
        {
            self.sent_of_first -= first.len();
            self.queue.pop_front();
        }
        Ok(())
    }

    /// Writes all that waits.
    pub(super) async fn flush(&mut self) -> Result<(), LostCause> {
        while self.len > 0 {
            self.write().await?;
        }
        Ok(())
    }
}
