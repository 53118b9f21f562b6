//! The result of one key, as responder and as originator (RFC 7143 §6.2.1, §6.2.2, §13).

use super::offer::Offer;
use super::parameters::TaskReporting;
use crate::text::grammar::{boolean, encode_boolean, list, number};
use crate::text::keys::{Key, KeyRow, Kind};

/// The answer that refuses a value; the result is as if the key had not been sent (RFC 7143 §6.2).
pub const REJECT: &str = "Reject";
/// The answer to a key that this side does not know.
pub const NOT_UNDERSTOOD: &str = "NotUnderstood";
/// The answer to a key that has no meaning here, for instance in a discovery session.
pub const IRRELEVANT: &str = "Irrelevant";

/// A rule together with what this side wants. The range is in the key's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Yes when both say Yes.
    And(bool),
    /// Yes when either says Yes.
    Or(bool),
    /// The smaller number.
    Minimum(u32),
    /// The larger number.
    Maximum(u32),
    /// The first member of the originator's list that the responder can do.
    List(Vec<&'static str>),
}

/// What a key ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A boolean.
    Boolean(bool),
    /// A number.
    Number(u32),
    /// A member of a list.
    Choice(&'static str),
    /// The key changed nothing: its default holds.
    Unchanged,
}

/// What a responder does with an offered value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The value to answer.
    pub answer: String,
    /// What the key ends with.
    pub outcome: Outcome,
}

impl Reply {
    /// An answer that leaves the key as it was.
    #[must_use]
    pub fn unchanged(answer: &str) -> Self {
        Self { answer: answer.into(), outcome: Outcome::Unchanged }
    }
}

impl Rule {
    /// The rule of a key with the values of an offer. `None` for keys that are not negotiated by an offer.
    #[must_use]
    pub fn of(key: Key, offer: &Offer) -> Option<Self> {
        Some(match key {
            Key::HeaderDigest => Self::List(offer.header_digest.values().to_vec()),
            Key::DataDigest => Self::List(offer.data_digest.values().to_vec()),
            Key::MaxConnections => Self::Minimum(offer.max_connections.into()),
            Key::InitialR2T => Self::Or(offer.initial_r2t),
            Key::ImmediateData => Self::And(offer.immediate_data),
            Key::MaxBurstLength => Self::Minimum(offer.max_burst_length),
            Key::FirstBurstLength => Self::Minimum(offer.first_burst_length),
            Key::DefaultTime2Wait => Self::Maximum(offer.default_time2wait.into()),
            Key::DefaultTime2Retain => Self::Minimum(offer.default_time2retain.into()),
            Key::MaxOutstandingR2T => Self::Minimum(offer.max_outstanding_r2t.into()),
            Key::DataPDUInOrder => Self::Or(offer.data_pdu_in_order),
            Key::DataSequenceInOrder => Self::Or(offer.data_sequence_in_order),
            Key::ErrorRecoveryLevel => Self::Minimum(offer.error_recovery_level.into()),
            Key::TaskReporting => {
                Self::List(offer.task_reporting.iter().copied().map(TaskReporting::as_str).collect())
            }
            Key::IscsiProtocolLevel => Self::Minimum(offer.protocol_level.into()),
            _ => return None,
        })
    }

    /// The value to send as originator.
    #[must_use]
    pub fn offered(&self) -> String {
        match self {
            Self::And(ours) | Self::Or(ours) => encode_boolean(*ours).into(),
            Self::Minimum(ours) | Self::Maximum(ours) => ours.to_string(),
            Self::List(ours) => ours.join(","),
        }
    }

    /// Whether the key's default is something that this side can live with, so that it need not raise the key itself.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match self {
            // A boolean's default is what one side alone cannot be kept from, or what it can do without.
            Self::And(ours) => boolean(value).is_ok_and(|value| !value || *ours),
            Self::Or(ours) => boolean(value).is_ok_and(|value| value || !*ours),
            Self::Minimum(ours) => number(value).is_ok_and(|value| value <= u64::from(*ours)),
            Self::Maximum(ours) => number(value).is_ok_and(|value| value >= u64::from(*ours)),
            Self::List(ours) => ours.contains(&value),
        }
    }

    /// The responder's answer to an offered value.
    ///
    /// A value that the key does not allow is answered Reject (RFC 7143 §6.2.2 lets a responder do so). For a list, the
    /// first member that both can do is the answer; with none in common it is Reject.
    #[must_use]
    pub fn respond(&self, row: &KeyRow, offered: &str) -> Reply {
        match self {
            Self::And(_) | Self::Or(_) => match boolean(offered) {
                Ok(theirs) => {
                    let result = self.join_boolean(theirs);
                    Reply { answer: encode_boolean(result).into(), outcome: Outcome::Boolean(result) }
                }
                Err(_) => Reply::unchanged(REJECT),
            },
            Self::Minimum(_) | Self::Maximum(_) => match in_range(row, offered) {
                Some(theirs) => {
                    let result = self.join_number(theirs);
                    Reply { answer: result.to_string(), outcome: Outcome::Number(result) }
                }
                None => Reply::unchanged(REJECT),
            },
            Self::List(ours) => {
                let common = list(offered).ok().and_then(|theirs| {
                    theirs.iter().find_map(|value| ours.iter().copied().find(|ours| ours == value))
                });
                match common {
                    Some(value) => Reply { answer: value.into(), outcome: Outcome::Choice(value) },
                    None => Reply::unchanged(REJECT),
                }
            }
        }
    }

    /// What an answer to our own offer makes of the key. `None` when the answer is not one that the rule allows, which
    /// is a protocol error of the responder (RFC 7143 §6.2.1, §6.2.2).
    #[must_use]
    pub fn conclude(&self, row: &KeyRow, answered: &str) -> Option<Outcome> {
        // A target that does not know a newer key, or cannot use it, leaves the default in force.
        if matches!(answered, REJECT | NOT_UNDERSTOOD | IRRELEVANT) {
            return Some(Outcome::Unchanged);
        }
        match self {
            // The result function already joined both values, so joining again must change nothing.
            Self::And(_) | Self::Or(_) => {
                let result = boolean(answered).ok()?;
                (self.join_boolean(result) == result).then_some(Outcome::Boolean(result))
            }
            Self::Minimum(_) | Self::Maximum(_) => {
                let result = in_range(row, answered)?;
                (self.join_number(result) == result).then_some(Outcome::Number(result))
            }
            Self::List(ours) => ours.iter().copied().find(|&ours| ours == answered).map(Outcome::Choice),
        }
    }

    /// Whether the answer may be left out: the offer alone decides (RFC 7143 §6.2.2).
    #[must_use]
    pub const fn answer_is_optional(&self) -> bool {
        matches!(self, Self::And(false) | Self::Or(true))
    }

    fn join_boolean(&self, theirs: bool) -> bool {
        match self {
            Self::And(ours) => *ours && theirs,
            Self::Or(ours) => *ours || theirs,
            _ => theirs,
        }
    }

    fn join_number(&self, theirs: u32) -> u32 {
        match self {
            Self::Minimum(ours) => theirs.min(*ours),
            Self::Maximum(ours) => theirs.max(*ours),
            _ => theirs,
        }
    }
}

/// A number within the row's bounds.
pub(super) fn in_range(row: &KeyRow, text: &str) -> Option<u32> {
    let (Kind::Minimum { low, high } | Kind::Maximum { low, high }) = row.kind else { return None };
    let value = u32::try_from(number(text).ok()?).ok()?;
    (low..=high).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests;
