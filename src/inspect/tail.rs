//! The end of an image, where a fixed VHD says what it is: its beginning is the disk's (`FI-09`).
//!
//! Source: Microsoft's Virtual Hard Disk Image Format Specification.

use super::read::{u32_be, u64_be};

/// The footer of a VHD.
const FOOTER_BYTES: usize = 512;

/// What a footer says of a disk without holes, and where it says it.
const KIND_FIXED: u32 = 2;
const SIZE_AT: usize = 48;
const KIND_AT: usize = 60;
const CHECKSUM_AT: usize = 64;

/// The last bytes that have passed, as far as a footer needs them.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn feed(&mut self, chunk: &[u8]) {
        let rest = chunk.len().saturating_sub(FOOTER_BYTES);
        self.0.extend_from_slice(&chunk[rest..]);
        let surplus = self.0.len().saturating_sub(FOOTER_BYTES);
        self.0.drain(..surplus);
    }

    /// The size of the disk, if this is the footer of an image of so many bytes that has nothing
    /// else.
    pub(super) fn fixed_vhd_bytes(&self, image_bytes: u64) -> Option<u64> {
        let footer = self.0.as_slice();
        let disk = u64_be(footer, SIZE_AT)?;
        let is_footer = footer.len() == FOOTER_BYTES
            && footer.starts_with(b"conectix")
            && u32_be(footer, KIND_AT) == Some(KIND_FIXED)
            && u32_be(footer, CHECKSUM_AT) == Some(checksum(footer))
            && disk.checked_add(FOOTER_BYTES as u64) == Some(image_bytes);
        is_footer.then_some(disk)
    }
}

/// The complement of the sum of all other bytes.
fn checksum(footer: &[u8]) -> u32 {
    let summed = footer[..CHECKSUM_AT].iter().chain(&footer[CHECKSUM_AT + 4..]);
    !summed.map(|byte| u32::from(*byte)).sum::<u32>()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn footer(disk: u64) -> Vec<u8> {
        let mut footer = vec![0; FOOTER_BYTES];
        footer[..8].copy_from_slice(b"conectix");
        footer[SIZE_AT..SIZE_AT + 8].copy_from_slice(&disk.to_be_bytes());
        footer[KIND_AT..KIND_AT + 4].copy_from_slice(&KIND_FIXED.to_be_bytes());
        let sum = checksum(&footer);
        footer[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_be_bytes());
        footer
    }

    fn said(image: &[u8], piece_bytes: usize) -> Option<u64> {
        let mut tail = Tail::default();
        image.chunks(piece_bytes).for_each(|piece| tail.feed(piece));
        assert!(tail.0.len() <= FOOTER_BYTES);
        tail.fixed_vhd_bytes(image.len() as u64)
    }

    #[test]
    fn fi_09_a_fixed_vhd_is_known_by_its_end() {
        let whole = [vec![7; 5120], footer(5120)].concat();
        for piece in [1, 7, 511, 512, 513, 4000, 9000] {
            assert_eq!(said(&whole, piece), Some(5120), "{piece}");
            assert_eq!(said(&whole[1..], piece), None, "another length");
            assert_eq!(said(&whole[..5300], piece), None);
            assert_eq!(said(&[&whole[..], b"x"].concat(), piece), None);
        }
        for at in [0, SIZE_AT + 7, KIND_AT + 3, 300] {
            let mut other = whole.clone();
            other[5120 + at] ^= 1;
            assert_eq!(said(&other, 512), None, "{at}");
        }
        assert_eq!(said(b"", 1), None);
    }
}
