//! Text requests in full feature phase: SendTargets and negotiation (RFC 7143 §11.10, §11.11, appendix C).

use std::fmt;

use bytes::Bytes;
use lunkeep_common::login::Negotiation;
use lunkeep_common::name::{Cid, IscsiName};
use lunkeep_common::pdu::reject::RejectReason;
use lunkeep_common::pdu::{InitiatorTaskTag, TargetTransferTag, TextRequest};
use lunkeep_common::text::address::{DiscoveredTarget, encode_listing};
use lunkeep_common::text::keys::{Key, Phase, Role};
use lunkeep_common::text::pairs::Pairs;
use lunkeep_common::text::transfer::{TextPiece, TextReceiver, TextSender};

use super::transmit::Item;
use super::{Session, SessionKind};

/// Which targets a SendTargets asks for (RFC 7143 appendix C).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendTargets<'a> {
    /// All, in a discovery session only.
    All,
    /// The one named.
    Named(&'a IscsiName),
    /// The target that the session is with.
    Own,
}

/// What discovery tells on one connection. It answers for the initiator that logged in and the portal it came to.
pub trait Directory: Send + Sync + fmt::Debug {
    /// The targets that the initiator may know of; empty when there is none.
    fn send_targets(&self, which: SendTargets<'_>) -> Vec<DiscoveredTarget>;
}

/// A text exchange that spans several PDUs; a connection has at most one (RFC 7143 §11.10).
#[derive(Debug, Default)]
pub(super) struct TextExchange {
    receiver: TextReceiver,
    sender: TextSender,
    /// Tag under which the initiator goes on; `None` when no exchange is open.
    open: Option<TargetTransferTag>,
}

impl Session {
    pub(super) fn receive_text(
        &mut self,
        cid: Cid,
        request: &TextRequest,
        data: &[u8],
    ) -> Result<(), RejectReason> {
        if request.itt == InitiatorTaskTag::RESERVED {
            return Err(RejectReason::InvalidPduField);
        }
        let ttt = self.allocate_ttt();
        let Some(connection) = self.connection_mut(cid) else { return Ok(()) };
        let text = &mut connection.text;
        if request.ttt == TargetTransferTag::RESERVED {
            // RFC 7143 §11.10.4: the reserved tag begins a new exchange and drops what was open.
            *text = TextExchange::default();
        } else if text.open != Some(request.ttt) {
            return Err(RejectReason::InvalidPduField);
        }
        if !(text.sender.is_pending() && data.is_empty() && !request.continues) {
            let received = match text.receiver.push(data, request.continues) {
                Ok(received) => received,
                Err(error) => {
                    if self.logs_mistake() {
                        tracing::warn!(cid = cid.0, %error, "text request with bad text");
                    }
                    return Err(RejectReason::ProtocolError);
                }
            };
            let Some(asked) = received else {
                text.open = Some(ttt);
                let itt = request.itt;
                connection.push(Item::Text {
                    itt,
                    ttt,
                    is_final: false,
                    continues: false,
                    data: Bytes::new(),
                });
                return Ok(());
            };
            let answer = self.answer_text(cid, &asked)?;
            let Some(connection) = self.connection_mut(cid) else { return Ok(()) };
            connection.text.sender.begin(&answer);
        }
        self.send_text(cid, request, ttt);
        Ok(())
    }

    /// Sends as much of the answer as one PDU holds; the initiator asks for the rest.
    fn send_text(&mut self, cid: Cid, request: &TextRequest, ttt: TargetTransferTag) {
        let Some(connection) = self.connection_mut(cid) else { return };
        let TextPiece { data, continues } =
            connection.text.sender.next_piece(connection.parameters.peer_max_recv_data_segment_length);
        // RFC 7143 §11.11.1: the exchange ends when both sides say so.
        let is_final = !continues && request.is_final;
        connection.text.open = (!is_final).then_some(ttt);
        let ttt = if is_final { TargetTransferTag::RESERVED } else { ttt };
        connection.push(Item::Text { itt: request.itt, ttt, is_final, continues, data });
    }

    fn answer_text(&mut self, cid: Cid, asked: &Pairs) -> Result<Pairs, RejectReason> {
        let mut answer = Pairs::new();
        let mut rest = Pairs::new();
        for pair in asked {
            if Key::from_name(&pair.name) == Some(Key::SendTargets) {
                answer.append(self.answer_send_targets(cid, &pair.value));
            } else {
                rest.push_named(&pair.name, &pair.value);
            }
        }
        let mut negotiation = Negotiation::new(Role::Target, self.offer.clone());
        if self.kind == SessionKind::Discovery {
            negotiation.set_discovery();
        }
        let received = match negotiation.receive(Phase::FullFeature, &rest) {
            Ok(received) => received,
            Err(error) => {
                if self.logs_mistake() {
                    tracing::warn!(cid = cid.0, %error, "text request with bad negotiation");
                }
                return Err(RejectReason::ProtocolError);
            }
        };
        answer.append(received.answers);
        if let (Some(connection), Some(len)) =
            (self.connection_mut(cid), negotiation.peer_max_recv_data_segment_length())
        {
            connection.parameters.peer_max_recv_data_segment_length = len;
        }
        Ok(answer)
    }

    fn answer_send_targets(&self, cid: Cid, value: &str) -> Pairs {
        let refused = || {
            let mut pairs = Pairs::new();
            pairs.push(Key::SendTargets, "Reject");
            pairs
        };
        let Some(connection) = self.connection(cid) else { return refused() };
        let named;
        let which = match (value, self.kind) {
            ("All", SessionKind::Discovery) => SendTargets::All,
            ("", SessionKind::Normal) => SendTargets::Own,
            // Appendix C: All must not be supported in a normal session, and a discovery session has no own target.
            ("All" | "", _) => return refused(),
            (name, _) => {
                let Ok(name) = name.parse() else { return refused() };
                named = name;
                SendTargets::Named(&named)
            }
        };
        encode_listing(&connection.directory.send_targets(which))
    }
}
