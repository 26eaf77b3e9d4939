//! Streams that come and go as a script says, for the fuzz target `lanes` and for unit tests.
//!
//! Any bytes are a script. Each four of them do one thing: open a stream of some algorithm, append
//! pieces to some of those that are open, in one batch, end one, or drop one half way. Every tier
//! that the CPU has plays the whole script, and what ends must have the oracle's digests.

use std::sync::OnceLock;

use super::kernel::{Chain, Tier, advance, chains, collect, finish};
use crate::image::{Digests, HashAlgo};

/// Streams open at a time: more than a batch of the widest kernels.
const OPEN_MAX: usize = 12;
/// Actions of one script, and bytes of one piece: some MiB in all.
const ACTIONS_MAX: usize = 256;
const PIECE_BYTES_MAX: usize = 4096;

/// A stream under way, with a copy of what it was fed.
struct Open {
    algo: HashAlgo,
    chains: Vec<Chain>,
    data: Vec<u8>,
}

/// Plays `script` on every tier.
///
/// # Panics
/// When a stream's digests are not those of `oracle`.
pub fn come_and_go(script: &[u8], oracle: impl Fn(HashAlgo, &[u8]) -> Digests) {
    static TIERS: OnceLock<Vec<Tier>> = OnceLock::new();
    for &tier in TIERS.get_or_init(Tier::available) {
        play(tier, script, &oracle);
    }
}

fn play(tier: Tier, script: &[u8], oracle: &impl Fn(HashAlgo, &[u8]) -> Digests) {
    let mut open = Vec::new();
    for &[what, who, low, high] in script.as_chunks().0.iter().take(ACTIONS_MAX) {
        let (who, len) = (usize::from(who), usize::from(u16::from_le_bytes([low, high])));
        match what % 8 {
            0..2 if open.len() < OPEN_MAX => {
                let algo = HashAlgo::ALL[who % HashAlgo::ALL.len()];
                open.push(Open { algo, chains: chains(tier, algo), data: Vec::new() });
            }
            0..6 => append(&mut open, who, len),
            6 if !open.is_empty() => judge(tier, open.swap_remove(who % open.len()), oracle),
            _ if !open.is_empty() => drop(open.swap_remove(who % open.len())),
            _ => {}
        }
    }
    open.into_iter().for_each(|open| judge(tier, open, oracle));
}

/// Appends a piece to each stream that has its bit in `who`, all in one batch.
fn append(open: &mut [Open], who: usize, len: usize) {
    let takes = |n: usize| (who >> (n % 8)) & 1 == 1;
    let mut before = Vec::new();
    for (n, stream) in open.iter_mut().enumerate() {
        before.push(stream.data.len());
        if takes(n) {
            // Of different lengths, so that lanes run out one after the other.
            let end = stream.data.len() + (len + n * (len >> 4)) % PIECE_BYTES_MAX;
            stream.data.extend((before[n]..end).map(|at| noise(n, at)));
        }
    }
    let mut batch: Vec<(&mut Chain, &[u8])> = Vec::new();
    for (n, stream) in open.iter_mut().enumerate().filter(|(n, _)| takes(*n)) {
        let piece = &stream.data[before[n]..];
        batch.extend(stream.chains.iter_mut().map(|chain| (chain, piece)));
    }
    advance(&mut batch);
}

/// A byte without a pattern that a kernel could hide behind.
fn noise(stream: usize, at: usize) -> u8 {
    let mixed = (at ^ (stream << 20)).wrapping_add(1).wrapping_mul(0x9e37_79b9);
    (mixed ^ (mixed >> 15)).to_le_bytes()[1]
}

fn judge(tier: Tier, open: Open, oracle: &impl Fn(HashAlgo, &[u8]) -> Digests) {
    let Open { algo, chains, data } = open;
    let digests = collect(algo, chains.into_iter().flat_map(finish));
    assert_eq!(digests, oracle(algo, &data), "{tier:?} {algo}, {} bytes", data.len());
}
