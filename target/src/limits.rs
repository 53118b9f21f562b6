//! Every bound of the target, with its reason.

/// Findings of one check that are kept and printed; beyond that they are only counted. A report a person can read.
pub const MAX_CHECK_FINDINGS: usize = 1000;

/// Processes that the error about a locked image names: enough to find them all by and by.
pub const LOCK_HOLDERS_NAMED_MAX: usize = 4;

/// Longest file of durable state in bytes. A reservation record of [`REGISTRATIONS_MAX`] registrations with the longest names is
/// shorter; a longer file is not ours.
pub const STATE_FILE_LEN_MAX: u64 = 2 << 20;

/// Files in one chain of differencing disks. Each read may pass through all of them; labs have a handful.
pub const MAX_CHAIN_DEPTH: usize = 64;

/// Longest configuration file in bytes. Thousands of LUNs fit.
pub const CONFIG_LEN_MAX: u64 = 4 * 1024 * 1024;

/// Longest CHAP secret in bytes: what a hash takes does not depend on it, initiators allow 16 to 255.
pub const CHAP_SECRET_LEN_MAX: usize = 255;

/// Longest unit serial number in characters. SPC-4 sets no bound; 64 is more than initiators show.
pub const SERIAL_LEN_MAX: usize = 64;

/// Blocks of one VHD disk. The largest disk of the format, 2040 GiB, has this many of 512 KiB, the smallest block that Hyper-V
/// makes. The table takes 5 bytes of memory per block, so 20 MiB, and 8 more per block that has a place while it is opened.
pub const MAX_VHD_BLOCKS: u32 = 2040 * 2048;

/// Bytes of blocks that are moved between two syncs when an image is compacted: enough that the syncs cost nothing.
pub const PACK_BATCH_BYTES: u64 = 256 << 20;

/// Blocks of a VHDX file that are moved when it is compacted, at 24 bytes each, and half as much again for gaps. A file of 16 TiB
/// with blocks of 1 MiB has as many.
pub const MAX_VHDX_PACKED_BLOCKS: usize = 16 << 20;

/// Places for blocks that one VHD disk remembers as free, at 16 bytes each. What is beyond stays unused in the file.
pub const MAX_VHD_FREE_SLOTS: usize = 65_536;

/// Memory for sector bitmaps of one VHD disk whose blocks are partly written, in bytes. Those that a flush has to write come on
/// top, at most as many as [`MAX_VHD_UNFLUSHED`].
pub const MAX_VHD_BITMAP_MEMORY: usize = 16 << 20;

/// Changed table entries after which a VHD disk flushes by itself, so that the list of what is not durable stays small.
pub const MAX_VHD_UNFLUSHED: usize = 65_536;

/// Bytes that one READ, WRITE or VERIFY may move. Such a command's data is in memory at once, within the session's buffers. Initiators
/// send far less by default (Linux 1.25 MiB, Windows 1 MiB); 32 MiB is what `iscsi-test-cu` moves in one command.
pub const TRANSFER_LEN_MAX: u32 = 32 << 20;

/// Bytes that one WRITE SAME may write: an abort waits for it, so it must end soon on a slow disk.
pub const WRITE_SAME_LEN_MAX: u32 = 64 << 20;

/// Logical blocks of one COMPARE AND WRITE: all that its CDB can count. Both halves of its data are in memory at once.
pub const COMPARE_AND_WRITE_BLOCKS_MAX: u8 = 255;

/// Bytes that one PRE-FETCH brings into the host's cache; of a longer range it brings the beginning and says so.
pub const PRE_FETCH_LEN_MAX: u64 = 64 << 20;

/// Descriptors that one GET LBA STATUS returns: each may be a look into the image's metadata.
pub const LBA_STATUS_DESCRIPTORS_MAX: usize = 1024;

/// Longest logical unit identifying information in bytes (SPC-4 §6.43: 64 at least).
pub const IDENTIFYING_LEN_MAX: usize = 64;

/// Longest text identifying information in bytes, with the zero that ends it (SPC-4 §6.43: 256 at most).
pub const IDENTIFYING_TEXT_LEN_MAX: usize = 256;

/// Logical blocks that one UNMAP may free, over all its descriptors: an abort waits for it.
pub const UNMAP_BLOCKS_MAX: u32 = 1 << 20;

/// Descriptors in one UNMAP: each is at least one change of an image's metadata, and an abort waits for all of them.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 256;

/// Operations that run on one logical unit's medium at a time, each on a thread that blocks. More gain nothing on any medium, and a
/// medium that stalls must leave threads to the others: tokio has 512 of them.
pub const UNIT_OPERATIONS_MAX: usize = 64;

/// Buffers of 1 MiB that the server keeps for reads to come, 32 MiB in all: what eight sessions with reads of 128 KiB at a queue depth of 4 use.
pub const BUFFERS_KEPT_MAX: usize = 32;

/// Longest write in bytes that waits its turn behind others in a logical unit's lane. A longer one gets a thread of its own, so that
/// short ones never wait for its copy.
pub const LANE_WRITE_MAX: usize = 256 << 10;

/// Connections that have not finished their login; the oldest has to go when another comes. All nodes of a large cluster may come back
/// at the same time, and peers that never say a word must neither use up the files of the process nor keep others out.
pub const LOGINS_MAX: usize = 512;

/// Tasks of one nexus in one logical unit; the next one ends with TASK SET FULL. Initiators keep 32 to 128.
pub const TASKS_PER_NEXUS_MAX: usize = 256;

/// Tasks in one logical unit over all nexuses: 64 nodes with 64 tasks each.
pub const TASKS_PER_UNIT_MAX: usize = 4096;

/// Nexuses whose unit attentions a logical unit keeps, those that are away included. An initiator that logs in again and again
/// under new names must not fill the memory; 64 nodes with 16 paths each fit.
pub const NEXUSES_REMEMBERED_MAX: usize = 1024;

/// Tags of aborted R2Ts that a session remembers, so that data still on its way for them is dropped and not refused. A peer
/// has at most MaxOutstandingR2T of them per aborted task; older ones than this have long arrived.
pub const STALE_TRANSFER_TAGS_MAX: usize = 1024;

/// Task management, text and logout requests of one session that wait for their answer.
pub const REQUESTS_PER_SESSION_MAX: usize = 32;

/// Statuses of one connection that are kept until the initiator acknowledges them (error recovery level 1 and above). With each the
/// data of one read may be kept. An initiator acknowledges with every PDU that it sends, so an honest one stays far below.
pub const STATUSES_RETAINED_MAX: usize = 512;

/// Answers that wait until the initiator acknowledges earlier ones, beyond [`STATUSES_RETAINED_MAX`] that it has got: those to all the
/// commands of a window and some more. The next request ends the connection. Each may hold a NOP-Out's data.
pub const ANSWERS_HELD_BACK_MAX: usize = 256;

/// Lines that the mistakes of one session may put into the log, so that a broken or hostile initiator cannot fill the disk with it.
pub const MISTAKES_LOGGED_MAX: u32 = 50;

/// Longest segment of write data that is copied together with its neighbours. A longer one is kept as it came, and keeps the receive
/// buffer of some 64 KiB alive: data takes four times its length in memory at most.
pub const DATA_OUT_COPIED_MAX: usize = 16 << 10;

/// Repetitions that one connection may have asked for by SNACK and not got yet: each is small to ask for and long to answer.
pub const REPETITIONS_QUEUED_MAX: usize = 64;

/// Unsolicited data PDUs that are kept for one command that waits for its turn. FirstBurstLength bounds their bytes; in segments
/// of 8 KiB it is reached long before this.
pub const EARLY_DATA_PDUS_MAX: usize = 2048;

/// How often missing data of one command is asked for while none of it comes, before the command is given up.
pub const RECOVERIES_MAX: u32 = 32;

/// How often a NOP-In is repeated where a PDU may be lost without its connection, before the connection is given up.
pub const PINGS_MAX: u32 = 3;

/// Immediate SCSI commands of one session at a time: the command window does not bound them (RFC 7143 §4.2.2.1).
pub const IMMEDIATE_COMMANDS_MAX: usize = 16;

/// Smallest memory for the data of one session: less would not hold one large command beside small ones.
pub const SESSION_MEMORY_MIN: u32 = 16 << 20;

/// Longest VHDX file that is made or accepted when its log asks for a length: a disk of 64 TiB with all its tables needs
/// little more than half of that.
pub const MAX_VHDX_FILE_LEN: u64 = 128 << 40;

/// Longest VHDX log that is replayed. Programs write logs of 1 MiB; a ring can be 4 GiB and would take that to read.
pub const MAX_VHDX_LOG_LEN: u64 = 256 << 20;

/// Pages of 4 KiB that a read-only open of a VHDX file holds in memory for a log that was not replayed: 64 MiB.
pub const MAX_VHDX_OVERLAY_PAGES: usize = 16 << 10;

/// Clean pages of 4 KiB of a VHDX block allocation table that are kept in memory: 16 MiB, the whole table of a disk of
/// 64 TiB with 32 MiB blocks.
pub const MAX_VHDX_BAT_PAGES: usize = 4 << 10;

/// Changed pages of a VHDX block allocation table at which a write flushes first: 4 MiB, and as much again for their images.
pub const MAX_VHDX_DIRTY_PAGES: usize = 1 << 10;

/// Unmapped blocks of a VHDX file that wait to become free, at which an unmap flushes first.
pub const MAX_VHDX_FREED: usize = 4 << 10;

/// Free places of a VHDX file that are remembered for new blocks: 8 MiB. Places beyond that are given back to the host,
/// but not used again before the image is compacted.
pub const MAX_VHDX_FREE_PLACES: usize = 1 << 20;

/// Longest block allocation table of a VHDX file that is read as a whole to find the end of the last block: that of a disk
/// of 64 TiB with 32 MiB blocks. With a longer one, new blocks keep clear of the end of the file by almost one block.
pub const MAX_VHDX_BAT_SCAN: u64 = 17 << 20;

/// Largest OPTIMAL UNMAP GRANULARITY that is reported, in logical blocks. It is a hint; QEMU 7.2 writes zeros in pieces of at most
/// 65535 blocks, what WRITE SAME(10) can count, rounds these down to the granularity, and aborts when nothing is left. The
/// 32 MiB blocks of a VHDX with 512-byte sectors are 65536.
pub const UNMAP_GRANULARITY_REPORTED_MAX: u32 = 32_768;

/// Registrations of one logical unit: 64 nodes with 16 paths each. Its record is written as a whole at every change, and stays
/// within [`STATE_FILE_LEN_MAX`].
pub const REGISTRATIONS_MAX: usize = 1024;

/// Bytes of a PERSISTENT RESERVE OUT parameter list: TransportIDs of the longest names for 64 initiator ports.
pub const RESERVATION_LIST_LEN_MAX: u32 = 16 << 10;

/// PERSISTENT RESERVE OUT and RESERVE commands that wait in one logical unit for the one before them; the next one ends with BUSY.
/// Each waits no longer than the fences before it, and 64 nodes with 4 paths each fit.
pub const RESERVATION_COMMANDS_WAITING_MAX: usize = 256;

/// How often a change of reservations that waits for the medium may find more to wait for, because others registered meanwhile, before
/// it lets nobody pass any more.
pub const FENCE_ROUNDS_OVERTAKEN_MAX: u32 = 8;

/// Length at which the audit trail of a logical unit begins anew; the one before is kept. Some 20,000 entries.
pub const AUDIT_FILE_LEN_MAX: u64 = 8 << 20;

/// Names of removed targets that are remembered while the server runs, to tell initiators "removed" and not "never heard of": 256 bytes
/// each at most.
pub const TARGETS_REMOVED_REMEMBERED_MAX: usize = 1024;

/// CSCD descriptors of one EXTENDED COPY; a copy has a source and a destination.
pub const COPY_CSCDS_MAX: u16 = 16;

/// Segments of one EXTENDED COPY. ESXi sends one, others a few.
pub const COPY_SEGMENTS_MAX: u16 = 64;

/// Bytes of all descriptors of one EXTENDED COPY: more than [`COPY_CSCDS_MAX`] and [`COPY_SEGMENTS_MAX`] of them need, so that one too
/// many is told as what it is.
pub const COPY_DESCRIPTORS_LEN_MAX: u32 = 4096;

/// Bytes that a third-party copy holds in memory, and between two looks at whether it may go on.
pub const COPY_CHUNK: u32 = 1 << 20;

/// Third-party copies of the whole server at a time; the next one ends with BUSY. Each holds [`COPY_CHUNK`] of memory.
pub const COPIES_MAX: u16 = 64;

/// Third-party copies of one session at a time; the next one ends with BUSY. Nobody may keep all of [`COPIES_MAX`] from the others.
pub const COPIES_PER_SESSION_MAX: u16 = 16;

/// Copies of one logical unit whose list identifiers are remembered; beyond that the oldest that has ended is forgotten.
pub const COPY_RECORDS_MAX: usize = 1024;

/// ROD tokens of one logical unit, each of some 600 bytes and its ranges; POPULATE TOKEN is refused beyond that.
pub const TOKENS_PER_UNIT_MAX: usize = 1024;

/// ROD tokens that one nexus may have in one logical unit; beyond that its oldest goes. Windows has a few for each file that it copies.
pub const TOKENS_PER_NEXUS_MAX: usize = 128;

/// Ranges of one token, and of one WRITE USING TOKEN: fragments of a file.
pub const TOKEN_RANGES_MAX: u16 = 64;

/// Bytes that one token stands for, and that one WRITE USING TOKEN writes. An initiator gives up a command after a while.
pub const TOKEN_TRANSFER_LEN_MAX: u64 = 256 << 20;

/// Bytes of a token that a slow disk still copies within the four seconds that Windows asks for.
pub const TOKEN_TRANSFER_LEN_OPTIMAL: u64 = 64 << 20;

/// Longest time in seconds that a token is kept without being used.
pub const TOKEN_INACTIVITY_MAX: u32 = 600;

/// The same when POPULATE TOKEN asks for no time. Windows uses a token at once.
pub const TOKEN_INACTIVITY_DEFAULT: u32 = 60;

/// Bytes in a second that an erasure is expected to write: an ordinary disk's rate. For the command timeouts that are reported.
pub const ERASE_RATE_NOMINAL: u64 = 128 << 20;

/// Bytes in a second below which an erasure is taken for stuck: a busy disk's rate, shared with everything else that it does.
pub const ERASE_RATE_SLOWEST: u64 = 8 << 20;

/// Passes of one SANITIZE OVERWRITE: OVERWRITE COUNT has five bits (SBC-3 §5.24.2.2).
pub const ERASE_PASSES_MAX: u64 = 31;

/// Longest question at the control socket in bytes: a target with hundreds of LUNs fits.
pub const CONTROL_BODY_LEN_MAX: usize = 256 << 10;

/// Connections to the control socket at one time. Only the user who runs the server can make them.
pub const CONTROL_CONNECTIONS_MAX: usize = 32;

/// Longest answer that `ctl` takes from the control socket in bytes: the status of a server with tens of thousands of LUNs.
pub const CONTROL_ANSWER_LEN_MAX: usize = 64 << 20;
