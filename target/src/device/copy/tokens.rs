//! The ROD tokens of a logical unit: point in time copies that are *change vulnerable* (SPC-4 §5.16.6.2).
//!
//! A token stands for the bytes that its ranges held when it was made. Nothing is kept of them, so the token is revoked as soon as a
//! write of any of them is let in, whoever writes, and WRITE USING TOKEN then ends with TOKEN REVOKED: its sender copies in another way.
//! A token is never used for anything but what it was made from.
//!
//! Tokens that are of no use any more are remembered for a while, to tell why they are not.

use std::ops::Range;

use lunkeep_common::scsi::third_party_copy::list::IDENTIFICATION_CSCD;
use lunkeep_common::scsi::third_party_copy::rod::{TokenFacts, rod_type};
use lunkeep_common::scsi::third_party_copy::{BlockRange, RodToken};
use lunkeep_common::scsi::{Asc, Sense};

use super::super::commands::naa_of_unit;
use super::super::config::{LogicalUnitConfig, MediumShape};
use super::super::step::NexusId;
use crate::limits::{TOKEN_INACTIVITY_DEFAULT, TOKENS_PER_NEXUS_MAX, TOKENS_PER_UNIT_MAX};

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Valid,
    Revoked,
    Deleted,
}

#[derive(Debug)]
struct Token {
    token: Box<RodToken>,
    /// Who made it: for its share of the tokens, not for who may use it.
    nexus: NexusId,
    ranges: Vec<Range<u64>>,
    timeout_ms: u64,
    expires_ms: u64,
    fate: Fate,
}

impl Token {
    fn state(&self, now_ms: u64) -> Result<(), Asc> {
        match self.fate {
            Fate::Valid if now_ms < self.expires_ms => Ok(()),
            Fate::Valid => Err(Asc::TOKEN_EXPIRED),
            Fate::Revoked => Err(Asc::TOKEN_REVOKED),
            Fate::Deleted => Err(Asc::TOKEN_DELETED),
        }
    }
}

/// The tokens of a logical unit, oldest first.
#[derive(Debug, Default)]
pub(in super::super) struct Tokens {
    tokens: Vec<Token>,
}

impl Tokens {
    /// Keeps a token. Its `timeout` is in seconds, zero for the default.
    ///
    /// # Errors
    /// The sense to send when there are too many.
    pub(super) fn add(
        &mut self,
        nexus: NexusId,
        token: RodToken,
        ranges: Vec<Range<u64>>,
        timeout: u32,
        now_ms: u64,
    ) -> Result<(), Sense> {
        let own = self.tokens.iter().filter(|token| token.nexus == nexus).count();
        if own >= TOKENS_PER_NEXUS_MAX {
            self.drop_first(
                |token| token.nexus == nexus && token.state(now_ms).is_err(),
                |token| token.nexus == nexus,
            );
        }
        if self.tokens.len() >= TOKENS_PER_UNIT_MAX {
            self.drop_first(|token| token.state(now_ms).is_err(), |_| false);
        }
        if self.tokens.len() >= TOKENS_PER_UNIT_MAX {
            return Err(Sense::illegal_request(Asc::INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN));
        }
        let timeout = if timeout == 0 { TOKEN_INACTIVITY_DEFAULT } else { timeout };
        let timeout_ms = u64::from(timeout) * 1000;
        let expires_ms = now_ms.saturating_add(timeout_ms);
        let token = Box::new(token);
        self.tokens.push(Token { token, nexus, ranges, timeout_ms, expires_ms, fate: Fate::Valid });
        Ok(())
    }

    /// Forgets the oldest that is `best` to lose, or else the oldest that is `good` enough.
    fn drop_first(&mut self, best: impl Fn(&Token) -> bool, good: impl Fn(&Token) -> bool) {
        let at = self.tokens.iter().position(best).or_else(|| self.tokens.iter().position(good));
        if let Some(at) = at {
            self.tokens.remove(at);
        }
    }

    fn find(&mut self, token: &RodToken) -> Option<&mut Token> {
        self.tokens.iter_mut().find(|known| known.token.matches(token))
    }

    /// First byte and length of each range; see `LogicalUnit::token_ranges`.
    pub(super) fn ranges(&mut self, token: &RodToken, now_ms: u64) -> Option<Result<Vec<(u64, u64)>, Sense>> {
        let token = self.find(token)?;
        if let Err(asc) = token.state(now_ms) {
            return Some(Err(Sense::illegal_request(asc)));
        }
        token.expires_ms = now_ms.saturating_add(token.timeout_ms);
        Some(Ok(token.ranges.iter().map(|range| (range.start, range.end - range.start)).collect()))
    }

    pub(super) fn delete(&mut self, token: &RodToken) {
        if let Some(token) = self.find(token)
            && token.fate == Fate::Valid
        {
            token.fate = Fate::Deleted;
        }
    }

    /// Whether there is anything that a change could revoke.
    pub(in super::super) const fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// These bytes are about to change.
    pub(in super::super) fn changed(&mut self, changed: &Range<u64>) {
        for token in &mut self.tokens {
            if token.fate == Fate::Valid && token.ranges.iter().any(|range| overlap(range, changed)) {
                token.fate = Fate::Revoked;
            }
        }
    }
}

/// Whether two ranges have a byte in common.
pub(super) fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

/// The bytes of ranges of blocks that lie within the medium; empty ones are left out.
pub(super) fn byte_ranges(medium: &MediumShape, ranges: &[BlockRange]) -> Vec<Range<u64>> {
    let block = u64::from(medium.logical_block);
    let bytes = |range: &BlockRange| range.lba * block..(range.lba + u64::from(range.blocks)) * block;
    ranges.iter().filter(|range| range.blocks != 0).map(bytes).collect()
}

/// A token for this many blocks. The first 8 of the bytes that nobody can guess are its identifier.
pub(super) fn new_token(config: &LogicalUnitConfig, blocks: u64, random: &[u8; 40]) -> RodToken {
    let (identifier, secret) = random.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let mut creator = [0; 32];
    creator[0] = IDENTIFICATION_CSCD;
    let name = naa_of_unit(&config.identity).encode();
    creator[4..28].iter_mut().zip(name).for_each(|(to, from)| *to = from);
    creator[29..].copy_from_slice(&config.medium.logical_block.to_be_bytes()[1..]);
    let mut capacity = [0; 24];
    let whole = config.medium.capacity().encode_16();
    capacity.iter_mut().zip(whole.iter().skip(8)).for_each(|(to, from)| *to = *from);
    RodToken::of(&TokenFacts {
        rod_type: rod_type::POINT_IN_TIME_CHANGE_VULNERABLE,
        identifier: u64::from_be_bytes(*identifier),
        creator,
        bytes: blocks.saturating_mul(config.medium.logical_block.into()),
        capacity,
        secret,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NexusId = NexusId(1);

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    fn token(number: u8) -> RodToken {
        let mut token = RodToken::zero();
        token.0[200] = number;
        token
    }

    fn asc(tokens: &mut Tokens, number: u8, now_ms: u64) -> Option<Asc> {
        tokens.ranges(&token(number), now_ms)?.err().map(|sense| sense.asc)
    }

    #[test]
    fn a_token_ends_when_it_is_not_used_for_its_time() {
        let mut tokens = Tokens::default();
        tokens.add(ONE, token(1), one(512..1024), 2, 0).unwrap();
        for now in [0, 1999, 3998] {
            assert_eq!(tokens.ranges(&token(1), now), Some(Ok(vec![(512, 512)])), "each use counts");
        }
        assert_eq!(asc(&mut tokens, 1, 5998), Some(Asc::TOKEN_EXPIRED));
        tokens.add(ONE, token(2), vec![], 0, 0).unwrap();
        assert_eq!(asc(&mut tokens, 2, u64::from(TOKEN_INACTIVITY_DEFAULT) * 1000), Some(Asc::TOKEN_EXPIRED));
        assert_eq!(tokens.ranges(&token(3), 0), None);
    }

    #[test]
    fn a_change_of_one_byte_revokes_and_one_beside_it_does_not() {
        let mut tokens = Tokens::default();
        tokens.add(ONE, token(1), vec![512..1024, 4096..8192], 1, 0).unwrap();
        for beside in [0..512, 1024..4096, 8192..9000, 600..600] {
            tokens.changed(&beside);
            assert_eq!(asc(&mut tokens, 1, 0), None, "{beside:?}");
        }
        tokens.changed(&(8191..8192));
        assert_eq!(asc(&mut tokens, 1, 0), Some(Asc::TOKEN_REVOKED));
        tokens.delete(&token(1));
        assert_eq!(asc(&mut tokens, 1, 0), Some(Asc::TOKEN_REVOKED));
    }

    #[test]
    fn a_deleted_token_is_told_as_deleted() {
        let mut tokens = Tokens::default();
        tokens.add(ONE, token(1), one(0..1), 1, 0).unwrap();
        tokens.delete(&token(1));
        assert_eq!(asc(&mut tokens, 1, 0), Some(Asc::TOKEN_DELETED));
    }

    #[test]
    fn a_nexus_loses_its_own_oldest_token_and_never_anothers() {
        let mut tokens = Tokens::default();
        let numbered = |number: usize| {
            let mut token = RodToken::zero();
            token.0[200..208].copy_from_slice(&(number as u64).to_be_bytes());
            token
        };
        tokens.add(NexusId(2), numbered(9999), vec![], 1, 0).unwrap();
        for number in 0..=TOKENS_PER_NEXUS_MAX {
            tokens.add(ONE, numbered(number), vec![], 1, 0).unwrap();
        }
        let mut known = |number| tokens.ranges(&numbered(number), 0).is_some();
        assert_eq!((known(9999), known(0), known(1)), (true, false, true));
        let mut full = Tokens::default();
        let nexus = |number: usize| NexusId((number / TOKENS_PER_NEXUS_MAX) as u64);
        for number in 0..TOKENS_PER_UNIT_MAX {
            full.add(nexus(number), numbered(number), vec![], 1, 0).unwrap();
        }
        let refused = full.add(NexusId(99), numbered(9999), vec![], 1, 0).unwrap_err();
        assert_eq!(refused.asc, Asc::INSUFFICIENT_RESOURCES_TO_CREATE_ROD_TOKEN);
        assert!(full.add(NexusId(99), numbered(9999), vec![], 1, 1000).is_ok(), "the others have expired");
    }
}
