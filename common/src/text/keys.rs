//! The table of every key (RFC 7143 §12, §13). Code, documentation and tests read the same rows.
//!
//! A key is used by one side or both, in one phase or several. `IO` (initialize only) keys belong to the login of any
//! connection, `LO` (leading only) keys to the login of a session's first connection, `FFPO` keys to the full feature
//! phase, `ALL` keys to both.

use crate::limits::{
    CHAP_CHALLENGE_LEN_MAX, DATA_SEGMENT_LEN_MAX, DATA_SEGMENT_LEN_MIN, ISCSI_NAME_LEN_MAX, KEY_VALUE_LEN_MAX,
};

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that opened the connection.
    Initiator,
    /// The side that serves.
    Target,
}

impl Role {
    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Target,
            Self::Target => Self::Initiator,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Target => "target",
        })
    }
}

/// Where a connection stands, as far as keys care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Login, SecurityNegotiation.
    Security,
    /// Login, LoginOperationalNegotiation.
    Operational,
    /// After login: Text Requests and Text Responses.
    FullFeature,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Security => "security negotiation",
            Self::Operational => "operational negotiation",
            Self::FullFeature => "full feature phase",
        })
    }
}

/// When one side may send a key (RFC 7143 §13, "Use").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Use {
    /// Only in the security stage: AuthMethod and the keys of the methods (RFC 7143 §12).
    Security,
    /// `IO`, and also in the security stage (RFC 7143 §12 lists which).
    LoginAnyStage,
    /// `IO`: login of any connection, operational stage.
    InitializeOnly,
    /// `LO`: login of the leading connection, operational stage.
    LeadingOnly,
    /// `FFPO`.
    FullFeatureOnly,
    /// `ALL`, but not in the security stage.
    Any,
    /// `ALL`, and also in the security stage.
    AnyStage,
}

impl Use {
    /// Whether a key with this use may stand in a text of this phase.
    #[must_use]
    pub const fn allows(self, phase: Phase) -> bool {
        match phase {
            Phase::Security => matches!(self, Self::Security | Self::LoginAnyStage | Self::AnyStage),
            Phase::Operational => !matches!(self, Self::Security | Self::FullFeatureOnly),
            Phase::FullFeature => matches!(self, Self::FullFeatureOnly | Self::Any | Self::AnyStage),
        }
    }
}

/// What a key's result holds for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The session (`SW`).
    Session,
    /// One connection (`CO`).
    Connection,
}

/// What a declared value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An iSCSI name.
    Name,
    /// UTF-8 text of so many bytes at most.
    Text {
        /// Longest value in bytes.
        len_max: usize,
    },
    /// A number within bounds, both included.
    Number {
        /// Smallest value.
        low: u32,
        /// Largest value.
        high: u32,
    },
    /// One word of a list.
    OneOf(&'static [&'static str]),
    /// `host[:port][,portal-group-tag]`.
    Address,
}

/// How a key's result comes about (RFC 7143 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One side states a value; there is no answer (RFC 7143 §6.2, declarative).
    Declaration(Form),
    /// The responder picks the first member of the originator's list that it supports (RFC 7143 §6.2.1).
    List(&'static [&'static str]),
    /// Yes when both say Yes.
    And,
    /// Yes when either says Yes.
    Or,
    /// The smaller number.
    Minimum {
        /// Smallest value.
        low: u32,
        /// Largest value.
        high: u32,
    },
    /// The larger number.
    Maximum {
        /// Smallest value.
        low: u32,
        /// Largest value.
        high: u32,
    },
    /// Part of an authentication method's own exchange; no answer of the same key (RFC 7143 §12.1).
    Authentication {
        /// The AuthMethod that the key belongs to.
        method: &'static str,
        /// Longest value in bytes, after decoding.
        len_max: usize,
    },
    /// Obsolete: always answered with this constant, never NotUnderstood (RFC 7143 §13.25).
    Obsolete {
        /// The answer.
        answer: &'static str,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub key: Key,
    /// Its name on the wire.
    pub name: &'static str,
    /// Where RFC 7143 defines it.
    pub clause: &'static str,
    /// When an initiator may send it first, if at all.
    pub initiator: Option<Use>,
    /// When a target may send it first, if at all.
    pub target: Option<Use>,
    /// What the result holds for.
    pub scope: Scope,
    /// "Irrelevant when SessionType=Discovery".
    pub irrelevant_in_discovery: bool,
    /// The rule.
    pub kind: Kind,
    /// The value that holds when the key is not used.
    pub default: Option<&'static str>,
}

impl KeyRow {
    /// When `role` may send the key first, if at all.
    #[must_use]
    pub const fn used_by(&self, role: Role) -> Option<Use> {
        match role {
            Role::Initiator => self.initiator,
            Role::Target => self.target,
        }
    }

    /// Whether the key may stand several times in one text: a listing of targets (RFC 7143 Appendix C).
    #[must_use]
    pub const fn repeatable(&self) -> bool {
        matches!(self.key, Key::TargetName | Key::TargetAddress)
    }

    /// Whether the other side answers the key with the same key.
    #[must_use]
    pub const fn is_negotiated(&self) -> bool {
        !matches!(self.kind, Kind::Declaration(_) | Kind::Authentication { .. })
    }
}

/// Both sides use the key alike.
const fn both(when: Use) -> [Option<Use>; 2] {
    [Some(when), Some(when)]
}

/// Only the initiator sends it.
const fn initiator(when: Use) -> [Option<Use>; 2] {
    [Some(when), None]
}

/// Only the target sends it.
const fn target(when: Use) -> [Option<Use>; 2] {
    [None, Some(when)]
}

const RELEVANT: bool = false;
const IRRELEVANT: bool = true;

const SEGMENT: (u32, u32) = (DATA_SEGMENT_LEN_MIN, DATA_SEGMENT_LEN_MAX);
const ALIAS: Kind = Kind::Declaration(Form::Text { len_max: KEY_VALUE_LEN_MAX });
const MARKER: Kind = Kind::Obsolete { answer: "No" };
const MARKER_INTERVAL: Kind = Kind::Obsolete { answer: "Reject" };

const fn method(method: &'static str, len_max: usize) -> Kind {
    Kind::Authentication { method, len_max }
}

/// Longest Kerberos ticket or SRP number that is let through before the method is refused; neither is supported.
const FOREIGN_LEN_MAX: usize = 4096;

/// Writes the enumeration of keys and the table from one list, so that neither can lack what the other has.
macro_rules! key_table {
    ($($key:ident $name:literal $clause:literal $who:expr, $scope:ident, $discovery:ident, $kind:expr, $default:expr;)*) => {
        /// A key of RFC 7143.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Key {
            $(#[doc = concat!("`", $name, "`, RFC 7143 §", $clause)] $key,)*
        }

        /// Every key, in the order of the clauses.
        pub static KEYS: &[KeyRow] = &[$(*Key::$key.row(),)*];

        impl Key {
            /// The key's row.
            #[must_use]
            pub const fn row(self) -> &'static KeyRow {
                match self {
                    $(Self::$key => {
                        const ROW: &KeyRow = &KeyRow {
                            key: Key::$key,
                            name: $name,
                            clause: $clause,
                            initiator: $who[0],
                            target: $who[1],
                            scope: Scope::$scope,
                            irrelevant_in_discovery: $discovery,
                            kind: $kind,
                            default: $default,
                        };
                        ROW
                    })*
                }
            }

            /// The key with this name; names differ by case (RFC 7143 §6.1).
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)*
                    _ => None,
                }
            }
        }
    };
}

use Use::{
    Any, AnyStage, FullFeatureOnly, InitializeOnly, LeadingOnly, LoginAnyStage, Security as SecurityOnly,
};

key_table! {
    // key                      name                       clause     who sends it, when           scope       in discovery rule                                                    default
    AuthMethod                  "AuthMethod"               "12.1"     both(SecurityOnly),          Connection, RELEVANT,    Kind::List(&["CHAP", "None"]),                          Some("None");
    KrbApReq                    "KRB_AP_REQ"               "12.1.1"   initiator(SecurityOnly),     Connection, RELEVANT,    method("KRB5", FOREIGN_LEN_MAX),                        None;
    KrbApRep                    "KRB_AP_REP"               "12.1.1"   target(SecurityOnly),        Connection, RELEVANT,    method("KRB5", FOREIGN_LEN_MAX),                        None;
    SrpU                        "SRP_U"                    "12.1.2"   initiator(SecurityOnly),     Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    TargetAuth                  "TargetAuth"               "12.1.2"   initiator(SecurityOnly),     Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpGroup                    "SRP_GROUP"                "12.1.2"   both(SecurityOnly),          Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpA                        "SRP_A"                    "12.1.2"   initiator(SecurityOnly),     Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpS                        "SRP_s"                    "12.1.2"   target(SecurityOnly),        Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpB                        "SRP_B"                    "12.1.2"   target(SecurityOnly),        Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpM                        "SRP_M"                    "12.1.2"   initiator(SecurityOnly),     Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    SrpHm                       "SRP_HM"                   "12.1.2"   target(SecurityOnly),        Connection, RELEVANT,    method("SRP", FOREIGN_LEN_MAX),                         None;
    ChapA                       "CHAP_A"                   "12.1.3"   both(SecurityOnly),          Connection, RELEVANT,    method("CHAP", KEY_VALUE_LEN_MAX),                      None;
    ChapI                       "CHAP_I"                   "12.1.3"   both(SecurityOnly),          Connection, RELEVANT,    method("CHAP", 1),                                      None;
    ChapC                       "CHAP_C"                   "12.1.3"   both(SecurityOnly),          Connection, RELEVANT,    method("CHAP", CHAP_CHALLENGE_LEN_MAX),                 None;
    ChapN                       "CHAP_N"                   "12.1.3"   both(SecurityOnly),          Connection, RELEVANT,    method("CHAP", KEY_VALUE_LEN_MAX),                      None;
    ChapR                       "CHAP_R"                   "12.1.3"   both(SecurityOnly),          Connection, RELEVANT,    method("CHAP", KEY_VALUE_LEN_MAX),                      None;
    HeaderDigest                "HeaderDigest"             "13.1"     both(InitializeOnly),        Connection, RELEVANT,    Kind::List(&["CRC32C", "None"]),                        Some("None");
    DataDigest                  "DataDigest"               "13.1"     both(InitializeOnly),        Connection, RELEVANT,    Kind::List(&["CRC32C", "None"]),                        Some("None");
    MaxConnections              "MaxConnections"           "13.2"     both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Minimum { low: 1, high: 65535 },                  Some("1");
    SendTargets                 "SendTargets"              "13.3"     initiator(FullFeatureOnly),  Session,    RELEVANT,    Kind::Declaration(Form::Text { len_max: KEY_VALUE_LEN_MAX }), None;
    TargetName                  "TargetName"               "13.4"     [Some(LoginAnyStage), Some(FullFeatureOnly)], Session, RELEVANT, Kind::Declaration(Form::Name),                    None;
    InitiatorName               "InitiatorName"            "13.5"     initiator(LoginAnyStage),    Session,    RELEVANT,    Kind::Declaration(Form::Name),                          None;
    TargetAlias                 "TargetAlias"              "13.6"     target(AnyStage),            Session,    RELEVANT,    ALIAS,                                                  None;
    InitiatorAlias              "InitiatorAlias"           "13.7"     initiator(AnyStage),         Session,    RELEVANT,    ALIAS,                                                  None;
    TargetAddress               "TargetAddress"            "13.8"     target(AnyStage),            Session,    RELEVANT,    Kind::Declaration(Form::Address),                       None;
    TargetPortalGroupTag        "TargetPortalGroupTag"     "13.9"     target(LoginAnyStage),       Session,    RELEVANT,    Kind::Declaration(Form::Number { low: 0, high: 65535 }), None;
    InitialR2T                  "InitialR2T"               "13.10"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Or,                                               Some("Yes");
    ImmediateData               "ImmediateData"            "13.11"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::And,                                              Some("Yes");
    MaxRecvDataSegmentLength    "MaxRecvDataSegmentLength" "13.12"    both(Any),                   Connection, RELEVANT,    Kind::Declaration(Form::Number { low: SEGMENT.0, high: SEGMENT.1 }), Some("8192");
    MaxBurstLength              "MaxBurstLength"           "13.13"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Minimum { low: SEGMENT.0, high: SEGMENT.1 },      Some("262144");
    FirstBurstLength            "FirstBurstLength"         "13.14"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Minimum { low: SEGMENT.0, high: SEGMENT.1 },      Some("65536");
    DefaultTime2Wait            "DefaultTime2Wait"         "13.15"    both(LeadingOnly),           Session,    RELEVANT,    Kind::Maximum { low: 0, high: 3600 },                   Some("2");
    DefaultTime2Retain          "DefaultTime2Retain"       "13.16"    both(LeadingOnly),           Session,    RELEVANT,    Kind::Minimum { low: 0, high: 3600 },                   Some("20");
    MaxOutstandingR2T           "MaxOutstandingR2T"        "13.17"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Minimum { low: 1, high: 65535 },                  Some("1");
    DataPDUInOrder              "DataPDUInOrder"           "13.18"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Or,                                               Some("Yes");
    DataSequenceInOrder         "DataSequenceInOrder"      "13.19"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Or,                                               Some("Yes");
    ErrorRecoveryLevel          "ErrorRecoveryLevel"       "13.20"    both(LeadingOnly),           Session,    RELEVANT,    Kind::Minimum { low: 0, high: 2 },                      Some("0");
    SessionType                 "SessionType"              "13.21"    initiator(LoginAnyStage),    Session,    RELEVANT,    Kind::Declaration(Form::OneOf(&["Discovery", "Normal"])), Some("Normal");
    TaskReporting               "TaskReporting"            "13.23"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::List(&["RFC3720", "ResponseFence", "FastAbort"]), Some("RFC3720");
    IscsiProtocolLevel          "iSCSIProtocolLevel"       "13.24"    both(LeadingOnly),           Session,    IRRELEVANT,  Kind::Minimum { low: 0, high: 31 },                     Some("1");
    IFMarker                    "IFMarker"                 "13.25"    both(InitializeOnly),        Connection, RELEVANT,    MARKER,                                                 Some("No");
    OFMarker                    "OFMarker"                 "13.25"    both(InitializeOnly),        Connection, RELEVANT,    MARKER,                                                 Some("No");
    IFMarkInt                   "IFMarkInt"                "13.25"    both(InitializeOnly),        Connection, RELEVANT,    MARKER_INTERVAL,                                        None;
    OFMarkInt                   "OFMarkInt"                "13.25"    both(InitializeOnly),        Connection, RELEVANT,    MARKER_INTERVAL,                                        None;
    NodeArchitecture            "X#NodeArchitecture"       "13.26"    both(LeadingOnly),           Session,    RELEVANT,    ALIAS,                                                  None;
}

impl Key {
    /// The key's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

const _: () = assert!(ISCSI_NAME_LEN_MAX <= KEY_VALUE_LEN_MAX);

#[cfg(test)]
mod tests;
