//! Every bound of the initiator, with its reason. Bounds of the protocol are in `lunkeep_common::limits`.

use std::time::Duration;

/// Commands that one session holds at a time, sent or waiting for the target's window. Deep enough to keep a fast target
/// busy with small commands; each costs at most [`TRANSFER_LEN_MAX`] of memory.
pub const TASKS_MAX: usize = 256;

/// Longest data of one command in bytes. Targets state their own limit (Block Limits VPD page); this one bounds our memory.
pub const TRANSFER_LEN_MAX: u32 = 16 * 1024 * 1024;

/// Text responses of one exchange. A list of targets in the smallest data segments needs 128 of them.
pub const TEXT_ROUNDS_MAX: u32 = 1024;

/// Connections that are given up for one request that nothing answers, before the session is: a target that answers pings on three
/// connections and this request on none has lost it for good.
pub const CONNECTIONS_GIVEN_UP_MAX: u32 = 2;

/// The first and the longest pause between two tries to replace a lost connection. Short enough to come back well within a usual
/// Time2Retain of 20 s, long enough not to flood a target that is starting.
pub const REJOIN_PAUSE_MIN: Duration = Duration::from_millis(250);
/// See [`REJOIN_PAUSE_MIN`].
pub const REJOIN_PAUSE_MAX: Duration = Duration::from_secs(4);

/// Connections of one session: more gain nothing, and each is a socket at the target.
pub const CONNECTIONS_MAX: u16 = 64;

/// Redirections followed in one login, so that targets that point at each other end in an error.
pub const REDIRECTS_MAX: u32 = 4;

/// Bytes of encoded PDUs that wait for the socket. More are encoded when these have left, so that sequence numbers and task
/// management are never far from the wire.
pub const OUTPUT_LEN_MAX: usize = 1024 * 1024;

/// Path slots of one state folder: sessions that one node can have at a time under one name.
pub const SLOTS_MAX: u16 = 64;

/// How often TEST UNIT READY is tried while unit attentions are reported: each clears one, and a target queues few.
pub const UNIT_ATTENTIONS_MAX: u32 = 16;

/// LUNs that REPORT LUNS may return; 16384 is all that single-level addressing has.
pub const LUNS_MAX: usize = 16384;

/// Bytes of one READ or WRITE of `read`, `write` and the block device, unless the target allows less.
pub const CHUNK_LEN: u32 = 1024 * 1024;

/// READs or WRITEs that `read` and `write` keep under way.
pub const PIPELINE_DEPTH: usize = 8;

/// Sessions of one `bench`: as many as a target of a large cluster has, well within the usual limit of 1024 open files.
pub const BENCH_SESSIONS_MAX: u16 = 1000;
