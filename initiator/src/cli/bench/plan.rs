//! What is read or written, and where: a plan for all sessions, and the share of each.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use clap::ValueEnum;

use super::Arguments;
use crate::cli::failure::Failure;
use crate::cli::size;
use crate::cli::transfer::Unit;
use crate::commands::{CommandError, Operation, Read, Request, Write};

/// `--read-share` when it is not given.
const READ_SHARE: u8 = 70;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(super) enum Pattern {
    /// Read one block after the other.
    SeqRead,
    /// Write one block after the other.
    SeqWrite,
    /// Read at random addresses.
    RandRead,
    /// Write at random addresses.
    RandWrite,
    /// Read and write at random addresses.
    Mixed,
}

impl Pattern {
    pub(super) const fn writes(self) -> bool {
        !matches!(self, Self::SeqRead | Self::RandRead)
    }

    const fn is_sequential(self) -> bool {
        matches!(self, Self::SeqRead | Self::SeqWrite)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SeqRead => "seqread",
            Self::SeqWrite => "seqwrite",
            Self::RandRead => "randread",
            Self::RandWrite => "randwrite",
            Self::Mixed => "mixed",
        })
    }
}

/// Checked against the LUN.
#[derive(Debug)]
pub(super) struct Plan {
    pattern: Pattern,
    /// Reads in a hundred commands.
    read_share: u64,
    block_len: u32,
    /// Blocks of one command.
    blocks: u32,
    /// Commands that fit the span.
    pub(super) places: u64,
    sessions: u64,
    seed: u64,
    depth: usize,
    data: Arc<Bytes>,
}

impl Plan {
    pub(super) fn new(arguments: &Arguments, unit: Unit, seed: u64) -> Result<Self, Failure> {
        let Unit { block_len, len, longest, .. } = unit;
        let size = arguments.block_size;
        if size == 0 || !size.is_multiple_of(block_len.into()) {
            return Err(Failure::usage(format!(
                "--block-size {size} is not a multiple of the LUN's {block_len} byte blocks"
            )));
        }
        let blocks = u32::try_from(size / u64::from(block_len)).unwrap_or(u32::MAX);
        if blocks > longest {
            let most = size::show(u64::from(longest) * u64::from(block_len));
            return Err(Failure::usage(format!(
                "the LUN takes at most {most} per command; make --block-size smaller"
            )));
        }
        let span = arguments.span.unwrap_or(len);
        if span > len {
            return Err(Failure::usage(format!(
                "--span goes beyond the end of the LUN, which has {len} bytes"
            )));
        }
        let (places, sessions) = (span / size, u64::from(arguments.sessions));
        if places < sessions {
            return Err(Failure::usage(format!(
                "a span of {span} bytes has no room for a block of {size} bytes per session"
            )));
        }
        let mut random = Random(seed);
        let data: Vec<u8> = (0..size.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
        let read_share = match arguments.pattern {
            Pattern::SeqRead | Pattern::RandRead => 100,
            Pattern::SeqWrite | Pattern::RandWrite => 0,
            Pattern::Mixed => arguments.read_share.unwrap_or(READ_SHARE).into(),
        };
        Ok(Self {
            pattern: arguments.pattern,
            read_share,
            block_len,
            blocks,
            places,
            sessions,
            seed: random.next(),
            depth: usize::from(arguments.queue_depth),
            // A multiple of eight bytes was drawn; blocks of a LUN may be shorter in theory.
            data: Arc::new(Bytes::from(data).slice(..usize::try_from(size).unwrap_or(0))),
        })
    }

    /// The commands of one session.
    pub(super) fn share(&self, session: u16) -> Share {
        let begin = self.places * u64::from(session) / self.sessions;
        let end = self.places * (u64::from(session) + 1) / self.sessions;
        let mut random = Random(self.seed ^ (u64::from(session) << 32));
        random.next();
        Share {
            sequential: self.pattern.is_sequential().then_some(Sequence { begin, end, next: begin }),
            places: self.places,
            read_share: self.read_share,
            block_len: self.block_len,
            blocks: self.blocks,
            depth: self.depth,
            random,
            data: Bytes::clone(&self.data),
        }
    }

    /// Bytes of one command.
    pub(super) fn block_size(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_len)
    }
}

/// A part of the span that is gone through again and again.
#[derive(Debug)]
struct Sequence {
    begin: u64,
    end: u64,
    next: u64,
}

/// Endless commands for one session.
#[derive(Debug)]
pub(super) struct Share {
    sequential: Option<Sequence>,
    places: u64,
    read_share: u64,
    block_len: u32,
    blocks: u32,
    pub(super) depth: usize,
    random: Random,
    data: Bytes,
}

/// Which way a command's data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Share {
    /// The next command and its first place in the span.
    pub(super) fn next(&mut self) -> (Direction, u64) {
        let place = match &mut self.sequential {
            Some(sequence) => {
                let place = sequence.next;
                sequence.next = if place + 1 < sequence.end { place + 1 } else { sequence.begin };
                place
            }
            None => self.random.below(self.places),
        };
        let reads = match self.read_share {
            0 => false,
            100 => true,
            share => self.random.below(100) < share,
        };
        (if reads { Direction::Read } else { Direction::Write }, place)
    }

    pub(super) fn request(&self, direction: Direction, place: u64) -> Result<Request, CommandError> {
        let (lba, blocks, block_len) = (place * u64::from(self.blocks), self.blocks, self.block_len);
        match direction {
            Direction::Read => Read { lba, blocks, block_len, force_unit_access: false }.request(),
            Direction::Write => {
                Write { lba, data: self.data.clone(), block_len, force_unit_access: false }.request()
            }
        }
    }

    /// Bytes of one command.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_len)
    }
}

/// SplitMix64: even enough for addresses, and it costs next to nothing.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not zero, by multiplication; the bias is below 2^-20 for any disk.
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}
