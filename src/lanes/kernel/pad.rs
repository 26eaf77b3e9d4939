//! Cuts a stream of bytes into blocks, and pads its end.

use super::words::Half;

/// Chaining values with the bytes that do not fill a block yet.
#[derive(Clone, Debug)]
pub(super) struct Cut<W, const BLOCK: usize> {
    pub(super) words: W,
    carry: [u8; BLOCK],
    total: u64,
}

impl<W, const BLOCK: usize> Cut<W, BLOCK> {
    pub(super) fn new(words: W) -> Self {
        Self { words, carry: [0; BLOCK], total: 0 }
    }

    fn carried(&self) -> usize {
        // Less than a block, so it fits.
        usize::try_from(self.total % BLOCK as u64).unwrap_or_default()
    }

    /// Appends bytes. Answers the blocks to hash, in order: one that was carried and is now full,
    /// then those in `data`. The rest is carried.
    pub(super) fn append<'a>(
        &mut self,
        mut data: &'a [u8],
    ) -> (Option<[u8; BLOCK]>, &'a [[u8; BLOCK]]) {
        let carried = self.carried();
        self.total += data.len() as u64;
        let mut full = None;
        if carried > 0 {
            let (fill, rest) = data.split_at(data.len().min(BLOCK - carried));
            self.carry[carried..carried + fill.len()].copy_from_slice(fill);
            if carried + fill.len() < BLOCK {
                return (None, &[]);
            }
            full = Some(self.carry);
            data = rest;
        }
        let (blocks, rest) = data.as_chunks();
        self.carry[..rest.len()].copy_from_slice(rest);
        (full, blocks)
    }

    /// What is carried, and how many bits there were in all.
    fn end(&self) -> (&[u8], u64) {
        (&self.carry[..self.carried()], self.total.wrapping_mul(8))
    }
}

/// `tail`, a one bit, zeros, and `length` at the end of the last block.
fn padded(tail: &[u8], length: &[u8], block: usize) -> Vec<u8> {
    let mut end = tail.to_vec();
    end.push(0x80);
    end.resize((end.len() + length.len()).next_multiple_of(block) - length.len(), 0);
    end.extend_from_slice(length);
    end
}

/// Ends MD5 over a stream that may be cut into other blocks than its own.
pub(super) fn md5<W, const BLOCK: usize>(mut words: [u32; 4], cut: &Cut<W, BLOCK>) -> Vec<u8> {
    let (tail, bits) = cut.end();
    let end = padded(tail, &bits.to_le_bytes(), size_of::<Half>());
    md5::block_api::compress(&mut words, end.as_chunks().0);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Ends SHA-256.
pub(super) fn sha256<W>(mut words: [u32; 8], cut: &Cut<W, 64>) -> Vec<u8> {
    let (tail, bits) = cut.end();
    let end = padded(tail, &bits.to_be_bytes(), 64);
    sha2::block_api::compress256(&mut words, end.as_chunks().0);
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Ends one of the SHA-512 family, of which the first `bytes` are the digest.
pub(super) fn sha512<W>(mut words: [u64; 8], cut: &Cut<W, 128>, bytes: usize) -> Vec<u8> {
    let (tail, bits) = cut.end();
    let end = padded(tail, &u128::from(bits).to_be_bytes(), 128);
    sha2::block_api::compress512(&mut words, end.as_chunks().0);
    words.iter().flat_map(|word| word.to_be_bytes()).take(bytes).collect()
}
