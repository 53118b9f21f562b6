//! All keys of one login, or of one text exchange in the full feature phase (RFC 7143 §6.2, §6.3, §6.4).
//!
//! Each side may begin any key that its row allows. A [`Negotiation`] answers what the peer begins, checks the answers
//! to what this side began, and keeps the results. It does not care how texts travel.
//!
//! Invariants: a key is begun once by each side at most (RFC 7143 §6.3: more is a login reject); an answer that the rule
//! does not allow is an error, never a value; FirstBurstLength never ends above MaxBurstLength.
//!
//! Not here: what identity and authentication keys mean. Declarations are handed out by [`Negotiation::declared`],
//! authentication keys by [`Received::authentication`].

use std::collections::{BTreeMap, HashSet};

use super::Fault;
use super::offer::ValidOffer;
use super::parameters::{ConnectionParameters, SessionParameters, TaskReporting};
use super::rules::{IRRELEVANT, NOT_UNDERSTOOD, Outcome, REJECT, Reply, Rule};
use crate::limits::DATA_SEGMENT_LEN_DEFAULT;
use crate::text::grammar::number;
use crate::text::keys::{Form, KEYS, Key, KeyRow, Kind, Phase, Role, Use};
use crate::text::pairs::{Pair, Pairs};

/// Why a negotiation fails. The login status of all of them is 0200, Initiator Error, on a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationError {
    /// The peer began the same key twice.
    #[error("the {peer} sent key {key} a second time (RFC 7143 6.3)")]
    Repeated {
        /// Who did it.
        peer: Role,
        /// The key's name.
        key: String,
    },
    /// A key that the sender may never send, or not in this phase.
    #[error("the {peer} may not send key {key} in the {phase} (RFC 7143 {clause})", clause = key.row().clause)]
    Misplaced {
        /// Who sent it.
        peer: Role,
        /// The key.
        key: Key,
        /// Where the connection stands.
        phase: Phase,
    },
    /// A declared value that the key does not allow.
    #[error("{key}={value:?} from the {peer} is not {expected} (RFC 7143 {clause})", clause = key.row().clause)]
    BadValue {
        /// Who sent it.
        peer: Role,
        /// The key.
        key: Key,
        /// The value.
        value: String,
        /// What the key allows.
        expected: String,
    },
    /// An answer that does not follow from our offer.
    #[error("the {peer} answered {key}={answered:?} to our {key}={offered} (RFC 7143 6.2)")]
    BadAnswer {
        /// Who answered.
        peer: Role,
        /// The key.
        key: Key,
        /// What we offered.
        offered: String,
        /// What came back.
        answered: String,
    },
    /// `Reject`, `NotUnderstood` or `Irrelevant` for a key that we did not begin.
    #[error("the {peer} answered {key}={value} to nothing we sent")]
    AnswerToNothing {
        /// Who answered.
        peer: Role,
        /// The key's name.
        key: String,
        /// The answer.
        value: String,
    },
    /// The login would end with a key of ours unanswered.
    #[error("the {peer} left our {key}={offered} without an answer (RFC 7143 6.2)")]
    Unanswered {
        /// Who did not answer.
        peer: Role,
        /// The key.
        key: Key,
        /// What we offered.
        offered: String,
    },
    /// No value suits both sides.
    #[error("no common value for {key}: we need {ours}, the result is {result}")]
    NoCommonValue {
        /// The key.
        key: Key,
        /// What we need.
        ours: String,
        /// What would hold.
        result: String,
    },
    /// The peer made FirstBurstLength larger than MaxBurstLength.
    #[error("FirstBurstLength={first} is larger than MaxBurstLength={max} (RFC 7143 13.14)")]
    FirstBurstTooLong {
        /// FirstBurstLength.
        first: u32,
        /// MaxBurstLength.
        max: u32,
    },
}

impl NegotiationError {
    /// Who is at fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::BadValue { .. } => Fault::PeerNonsense,
            Self::NoCommonValue { .. } => Fault::NoCommonOption,
            _ => Fault::PeerBrokeRules,
        }
    }
}

/// How much of an over-long value an error shows.
const SHOWN_CHARS: usize = 40;

/// What came of one text of the peer.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Received {
    /// Answers to send.
    pub answers: Pairs,
    /// AuthMethod and the keys of authentication methods, for who handles them.
    pub authentication: Vec<(Key, String)>,
}

/// The state of all keys.
#[derive(Clone, Debug)]
pub struct Negotiation {
    role: Role,
    offer: ValidOffer,
    discovery: bool,
    leading: bool,
    /// Keys that the peer sent, known or not.
    received: HashSet<String>,
    /// Keys that we began and that have no answer yet, with the value offered.
    outstanding: BTreeMap<Key, String>,
    /// Results of negotiated keys.
    results: BTreeMap<Key, Outcome>,
    /// Declared values of the peer.
    declared: BTreeMap<Key, String>,
    /// Whether we declared our MaxRecvDataSegmentLength.
    declared_ours: bool,
}

impl Negotiation {
    /// A negotiation with no key sent. It is taken for the leading login of a normal session until
    /// [`set_discovery`](Self::set_discovery) or [`set_not_leading`](Self::set_not_leading).
    #[must_use]
    pub fn new(role: Role, offer: ValidOffer) -> Self {
        Self {
            role,
            offer,
            discovery: false,
            leading: true,
            received: HashSet::new(),
            outstanding: BTreeMap::new(),
            results: BTreeMap::new(),
            declared: BTreeMap::new(),
            declared_ours: false,
        }
    }

    /// The session is a discovery session: keys without a meaning there are answered Irrelevant.
    pub const fn set_discovery(&mut self) {
        self.discovery = true;
    }

    /// The connection joins a session that exists: keys of the leading login are answered Irrelevant.
    pub const fn set_not_leading(&mut self) {
        self.leading = false;
    }

    /// Our MaxRecvDataSegmentLength, the first time.
    pub fn declare(&mut self) -> Pairs {
        let mut pairs = Pairs::new();
        if !std::mem::replace(&mut self.declared_ours, true) {
            pairs.push(Key::MaxRecvDataSegmentLength, self.offer.max_recv_data_segment_length.to_string());
        }
        pairs
    }

    /// What this side begins now, and counts as sent.
    ///
    /// An initiator begins every key that has a meaning. A target begins only keys whose default it cannot accept and
    /// that the initiator did not begin, so it calls this when the initiator has no more keys. Calling it again begins
    /// nothing twice.
    pub fn begin(&mut self) -> Pairs {
        let mut pairs = Pairs::new();
        for row in KEYS {
            let Some(rule) = self.rule(row.key) else { continue };
            let open = self.outstanding.contains_key(&row.key) || self.results.contains_key(&row.key);
            let wanted = match self.role {
                Role::Initiator => !matches!(row.key, Key::TaskReporting | Key::IscsiProtocolLevel),
                Role::Target => false,
            };
            let needed = !row.default.is_some_and(|default| rule.accepts(default));
            if !open && (wanted || needed) && self.is_relevant(row) {
                pairs.push(row.key, rule.offered());
                self.outstanding.insert(row.key, rule.offered());
            }
        }
        pairs
    }

    /// Takes a whole text of the peer.
    ///
    /// # Errors
    /// [`NegotiationError`]; the negotiation is then over.
    pub fn receive(&mut self, phase: Phase, text: &Pairs) -> Result<Received, NegotiationError> {
        let mut received = Received::default();
        // FirstBurstLength is bounded by MaxBurstLength and MaxOutstandingR2T by ErrorRecoveryLevel, so those are settled before,
        // wherever they stand in the text.
        let bounded = |pair: &&Pair| {
            pair.name == Key::FirstBurstLength.name() || pair.name == Key::MaxOutstandingR2T.name()
        };
        let mut answers = BTreeMap::new();
        let order = text.iter().filter(|pair| !bounded(pair)).chain(text.iter().filter(bounded));
        for pair in order {
            if let Some(answer) = self.take(phase, pair, &mut received.authentication)? {
                answers.insert(pair.name.as_str(), answer);
            }
        }
        for pair in text {
            if let Some(answer) = answers.remove(pair.name.as_str()) {
                received.answers.push_named(pair.name.as_str(), answer);
            }
        }
        Ok(received)
    }

    /// The peer's value of a declared key, if it sent one.
    #[must_use]
    pub fn declared(&self, key: Key) -> Option<&str> {
        self.declared.get(&key).map(String::as_str)
    }

    /// The peer's MaxRecvDataSegmentLength, if it declared one.
    #[must_use]
    pub fn peer_max_recv_data_segment_length(&self) -> Option<u32> {
        // `declare` let it in only within the key's range.
        self.declared(Key::MaxRecvDataSegmentLength)
            .and_then(|text| number(text).ok())
            .and_then(|value| u32::try_from(value).ok())
    }

    /// A key of ours that still needs an answer.
    #[must_use]
    pub fn open_key(&self) -> Option<Key> {
        self.outstanding.keys().copied().find(|&key| !self.answer_is_optional(key))
    }

    /// The results of a login.
    ///
    /// # Errors
    /// [`NegotiationError`] when a key of ours is unanswered or the results do not suit this side.
    pub fn finish(&self) -> Result<(SessionParameters, ConnectionParameters), NegotiationError> {
        if let Some(key) = self.open_key() {
            let offered = self.outstanding.get(&key).cloned().unwrap_or_default();
            return Err(NegotiationError::Unanswered { peer: self.role.peer(), key, offered });
        }
        let mut session = SessionParameters::default();
        let mut connection = ConnectionParameters::default();
        for row in KEYS {
            let Some(rule) = Rule::of(row.key, &self.offer) else { continue };
            if !self.is_relevant(row) {
                continue;
            }
            let unanswered = self.outstanding.contains_key(&row.key).then_some(match rule {
                Rule::And(ours) | Rule::Or(ours) => Outcome::Boolean(ours),
                _ => Outcome::Unchanged,
            });
            match self.results.get(&row.key).or(unanswered.as_ref()) {
                None | Some(Outcome::Unchanged) => require_default(row, &rule)?,
                Some(Outcome::Boolean(value)) => store_boolean(row.key, *value, &mut session),
                Some(Outcome::Number(value)) => store_number(row.key, *value, &mut session),
                Some(Outcome::Choice(value)) => store_choice(row.key, value, &mut session, &mut connection),
            }
        }
        if session.first_burst_length > session.max_burst_length {
            let (first, max) = (session.first_burst_length, session.max_burst_length);
            if matches!(self.results.get(&Key::FirstBurstLength), Some(Outcome::Number(_))) {
                return Err(NegotiationError::FirstBurstTooLong { first, max });
            }
            // Only MaxBurstLength was agreed, below the default of FirstBurstLength: both hold only for the smaller.
            session.first_burst_length = max;
        }
        if session.error_recovery_level > 0 && session.data_sequence_in_order {
            session.max_outstanding_r2t = 1;
        }
        if self.declared_ours {
            connection.max_recv_data_segment_length = self.offer.max_recv_data_segment_length;
        }
        connection.peer_max_recv_data_segment_length =
            self.peer_max_recv_data_segment_length().unwrap_or(DATA_SEGMENT_LEN_DEFAULT);
        Ok((session, connection))
    }

    /// Takes one pair; the value to answer, if any.
    fn take(
        &mut self,
        phase: Phase,
        pair: &Pair,
        authentication: &mut Vec<(Key, String)>,
    ) -> Result<Option<String>, NegotiationError> {
        let peer = self.role.peer();
        let key = Key::from_name(&pair.name);
        let repeatable = phase == Phase::FullFeature && key.is_some_and(|key| key.row().repeatable());
        if !self.received.insert(pair.name.clone()) && !repeatable && key != Some(Key::TargetAddress) {
            return Err(NegotiationError::Repeated { peer, key: pair.name.clone() });
        }
        let is_answer = key.is_some_and(|key| self.outstanding.contains_key(&key));
        let reserved = matches!(pair.value.as_str(), REJECT | NOT_UNDERSTOOD | IRRELEVANT);
        if reserved && !is_answer && !key.is_some_and(is_authentication) {
            let (key, value) = (pair.name.clone(), pair.value.clone());
            return Err(NegotiationError::AnswerToNothing { peer, key, value });
        }
        // Unknown keys and private extensions: RFC 7143 §6.2 and §13.22.
        let Some(key) = key else { return Ok(Some(NOT_UNDERSTOOD.into())) };
        let row = key.row();
        let allowed = |when: Option<Use>| when.is_some_and(|when| when.allows(phase));
        if !(is_answer || allowed(row.used_by(peer))) {
            return Err(NegotiationError::Misplaced { peer, key, phase });
        }
        if is_authentication(key) {
            check_len(peer, row, &pair.value)?;
            authentication.push((key, pair.value.clone()));
            return Ok(None);
        }
        if let Some(offered) = self.outstanding.remove(&key) {
            return self.conclude(row, offered, &pair.value).map(|()| None);
        }
        match row.kind {
            Kind::Declaration(form) => self.take_declaration(row, form, &pair.value).map(|()| None),
            Kind::Obsolete { answer } => Ok(Some(answer.into())),
            _ if !self.is_relevant(row) => Ok(Some(IRRELEVANT.into())),
            _ => Ok(Some(self.respond(row, &pair.value)?)),
        }
    }

    fn respond(&mut self, row: &'static KeyRow, offered: &str) -> Result<String, NegotiationError> {
        // Every negotiated key has a rule; a test walks the table.
        let Some(rule) = self.rule(row.key) else { return Ok(REJECT.into()) };
        let rule = match (row.key, rule) {
            (Key::FirstBurstLength, Rule::Minimum(ours)) => Rule::Minimum(ours.min(self.max_burst_length())),
            (_, rule) => rule,
        };
        let Reply { answer, outcome } = rule.respond(row, offered);
        if outcome == Outcome::Unchanged {
            // Nothing in common. Where the default does not do either, there is no use in going on.
            require_default(row, &rule)?;
        }
        self.results.insert(row.key, outcome);
        Ok(answer)
    }

    fn conclude(
        &mut self,
        row: &'static KeyRow,
        offered: String,
        answered: &str,
    ) -> Result<(), NegotiationError> {
        let rule = Rule::of(row.key, &self.offer);
        let Some(outcome) = rule.and_then(|rule| rule.conclude(row, answered)) else {
            let (peer, answered) = (self.role.peer(), answered.into());
            return Err(NegotiationError::BadAnswer { peer, key: row.key, offered, answered });
        };
        self.results.insert(row.key, outcome);
        Ok(())
    }

    fn take_declaration(
        &mut self,
        row: &'static KeyRow,
        form: Form,
        value: &str,
    ) -> Result<(), NegotiationError> {
        let expected = match form {
            Form::Number { low, high } => {
                let fits = number(value).is_ok_and(|n| (u64::from(low)..=u64::from(high)).contains(&n));
                (!fits).then(|| format!("a number from {low} to {high}"))
            }
            Form::Text { len_max } => {
                (value.len() > len_max).then(|| format!("text of at most {len_max} bytes"))
            }
            // SessionType has a login status of its own, names and addresses have parsers: who reads them checks them.
            Form::OneOf(_) | Form::Name | Form::Address => None,
        };
        if let Some(expected) = expected {
            let (peer, value) = (self.role.peer(), value.chars().take(SHOWN_CHARS).collect());
            return Err(NegotiationError::BadValue { peer, key: row.key, value, expected });
        }
        self.declared.insert(row.key, value.into());
        Ok(())
    }

    /// Our rule for a key. With sequences in order, recovery can ask only for the last one again, so that there may be only one
    /// R2T under way (RFC 7143 §13.19: MaxOutstandingR2T must be 1).
    fn rule(&self, key: Key) -> Option<Rule> {
        let rule = Rule::of(key, &self.offer)?;
        let recovers = match self.results.get(&Key::ErrorRecoveryLevel) {
            Some(Outcome::Number(level)) => *level > 0,
            Some(_) => false,
            None => self.role == Role::Initiator && self.offer.error_recovery_level > 0,
        };
        match (key, rule) {
            (Key::MaxOutstandingR2T, Rule::Minimum(_)) if recovers && self.offer.data_sequence_in_order => {
                Some(Rule::Minimum(1))
            }
            (_, rule) => Some(rule),
        }
    }

    /// MaxBurstLength as far as it is known.
    fn max_burst_length(&self) -> u32 {
        match self.results.get(&Key::MaxBurstLength) {
            Some(Outcome::Number(value)) => *value,
            _ if self.outstanding.contains_key(&Key::MaxBurstLength) => self.offer.max_burst_length,
            _ => SessionParameters::default().max_burst_length,
        }
    }

    fn answer_is_optional(&self, key: Key) -> bool {
        Rule::of(key, &self.offer).is_some_and(|rule| rule.answer_is_optional())
    }

    /// Whether a key has a meaning on this connection (RFC 7143 §13: LO, Irrelevant when SessionType=Discovery).
    fn is_relevant(&self, row: &KeyRow) -> bool {
        let leading_only = row.initiator == Some(Use::LeadingOnly);
        !(self.discovery && row.irrelevant_in_discovery || !self.leading && leading_only)
    }
}

/// Keys that the authentication handles itself.
fn is_authentication(key: Key) -> bool {
    key == Key::AuthMethod || matches!(key.row().kind, Kind::Authentication { .. })
}

/// Bounds what authentication has to look at: two digits a byte after `0x` is the longest encoding.
fn check_len(peer: Role, row: &'static KeyRow, value: &str) -> Result<(), NegotiationError> {
    let Kind::Authentication { len_max, .. } = row.kind else { return Ok(()) };
    if value.len() <= 2 * len_max + 2 {
        return Ok(());
    }
    let shown = value.chars().take(SHOWN_CHARS).collect();
    let expected = format!("{len_max} bytes at most");
    Err(NegotiationError::BadValue { peer, key: row.key, value: shown, expected })
}

/// Fails when the default will hold and this side cannot do with it.
fn require_default(row: &KeyRow, rule: &Rule) -> Result<(), NegotiationError> {
    // Nothing breaks when these stay at their defaults.
    let soft = matches!(
        row.key,
        Key::DefaultTime2Wait | Key::DefaultTime2Retain | Key::TaskReporting | Key::IscsiProtocolLevel
    );
    match row.default {
        Some(default) if !soft && !rule.accepts(default) => Err(NegotiationError::NoCommonValue {
            key: row.key,
            ours: rule.offered(),
            result: default.into(),
        }),
        _ => Ok(()),
    }
}

fn store_boolean(key: Key, value: bool, session: &mut SessionParameters) {
    match key {
        Key::InitialR2T => session.initial_r2t = value,
        Key::ImmediateData => session.immediate_data = value,
        Key::DataPDUInOrder => session.data_pdu_in_order = value,
        Key::DataSequenceInOrder => session.data_sequence_in_order = value,
        _ => {}
    }
}

fn store_number(key: Key, value: u32, session: &mut SessionParameters) {
    // The rows bound these values below their types' limits; saturation cannot happen.
    let short = u16::try_from(value).unwrap_or(u16::MAX);
    let byte = u8::try_from(value).unwrap_or(u8::MAX);
    match key {
        Key::MaxConnections => session.max_connections = short,
        Key::MaxBurstLength => session.max_burst_length = value,
        Key::FirstBurstLength => session.first_burst_length = value,
        Key::DefaultTime2Wait => session.default_time2wait = short,
        Key::DefaultTime2Retain => session.default_time2retain = short,
        Key::MaxOutstandingR2T => session.max_outstanding_r2t = short,
        Key::ErrorRecoveryLevel => session.error_recovery_level = byte,
        Key::IscsiProtocolLevel => session.protocol_level = byte,
        _ => {}
    }
}

fn store_choice(
    key: Key,
    value: &str,
    session: &mut SessionParameters,
    connection: &mut ConnectionParameters,
) {
    match key {
        Key::HeaderDigest => connection.digests.header = value == "CRC32C",
        Key::DataDigest => connection.digests.data = value == "CRC32C",
        Key::TaskReporting => {
            let chosen = TaskReporting::ALL.into_iter().find(|way| way.as_str() == value);
            session.task_reporting = chosen.unwrap_or_default();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
