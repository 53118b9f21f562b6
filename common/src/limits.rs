//! Every bound of the protocol layer, with its reason. Bounds of a program live in that program's `limits`.

/// Longest iSCSI name in bytes (RFC 7143 §4.2.7.1).
pub const ISCSI_NAME_LEN_MAX: usize = 223;

/// MaxRecvDataSegmentLength before negotiation, and during the whole login phase (RFC 7143 §13.12).
pub const DATA_SEGMENT_LEN_DEFAULT: u32 = 8192;

/// Smallest MaxRecvDataSegmentLength, MaxBurstLength and FirstBurstLength (RFC 7143 §13.12 to §13.14).
pub const DATA_SEGMENT_LEN_MIN: u32 = 512;

/// Largest length that a 24-bit DataSegmentLength can state (RFC 7143 §11.2.1.6).
pub const DATA_SEGMENT_LEN_MAX: u32 = (1 << 24) - 1;

/// Largest TotalAHSLength: an 8-bit count of four-byte words (RFC 7143 §11.2.1.5).
pub const AHS_LEN_MAX: usize = 255 * 4;

/// Bytes of text keys that one side may send in a login or text exchange over all its PDUs.
/// RFC 7143 §6.2 asks for at least 8192 bytes of key=value pairs per negotiation; eight times that holds every key with the
/// longest value, and a peer cannot make us buffer more.
pub const TEXT_LEN_MAX: usize = 64 * 1024;

/// Pairs in one text. An honest login has some thirty; each unknown key costs an answer that is longer than the key.
pub const TEXT_PAIRS_MAX: usize = 256;

/// Login requests in one login phase. The longest honest login (mutual CHAP, text over several PDUs) needs below twenty.
pub const LOGIN_EXCHANGES_MAX: u32 = 64;

/// Longest key name (RFC 7143 §6.1, `key-name`).
pub const KEY_NAME_LEN_MAX: usize = 63;

/// Longest value unless the key says otherwise (RFC 7143 §6.1, `text-value` and others: 255 bytes).
pub const KEY_VALUE_LEN_MAX: usize = 255;

/// Longest CHAP challenge in bytes (RFC 7143 §12.1.3: binary, below 1024 bytes).
pub const CHAP_CHALLENGE_LEN_MAX: usize = 1023;

/// Shortest CHAP secret that RFC 7143 §9.2.1 lets stand without IPsec: 96 bits.
pub const CHAP_SECRET_LEN_MIN: usize = 12;

/// Longest sense data in bytes (SPC-4 §4.5.1).
pub const SENSE_LEN_MAX: usize = 252;

/// Longest CDB: 16 bytes in the header and up to 244 in an extended CDB AHS (SPC-4 §4.2.2: 260 bytes in all).
pub const CDB_LEN_MAX: usize = 260;
