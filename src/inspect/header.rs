//! Formats whose facts all stand in the first bytes: how each is known, what size it says, and what
//! in it is dangerous (`FI-03`, `FI-06`, `FI-10`).

use super::read::{array, u16_be, u16_le, u32_be, u32_le, u64_be, u64_le};
use super::{Danger, Format, SizeRule, VirtualSize};
use crate::limits::KIB;

/// What most formats have to have of their beginning before they are known by it.
const SECTOR: usize = 512;

/// Where an ISO's first volume descriptor stands, and its length.
const ISO_DESCRIPTOR: (usize, usize) = (32 * KIB, 2 * KIB);

/// LUKS: the header with its key slots, and what of it the payload's place is read from.
const LUKS_HEADER: usize = 592;
const LUKS_FIELDS: usize = 168;

/// The fields of a master boot record: four partitions of 16 bytes, and the signature.
const PARTITIONS: usize = 446;
const PARTITION: usize = 16;
const SIGNATURE: usize = 510;

/// Whether the beginning is of that format. Raw is what is left, VMDK has its own file.
pub(super) fn is(format: Format, window: &[u8]) -> bool {
    let has_sector = window.len() >= SECTOR;
    match format {
        Format::Raw | Format::Vmdk => false,
        Format::Qcow2 => has_sector && window.starts_with(b"QFI\xfb"),
        Format::Qed => has_sector && window.starts_with(b"QED\0"),
        Format::Vhd => window.starts_with(b"conectix"),
        Format::Vhdx => window.starts_with(b"vhdxfile"),
        Format::Vdi => has_sector && u32_le(window, 0x40) == Some(0xbeda_107f),
        Format::Iso => iso(window).is_some_and(|descriptor| {
            let kind: Option<[u8; 5]> = array(descriptor, 1);
            kind.is_some_and(|kind| [b"CD001", b"NSR02", b"NSR03"].contains(&&kind))
        }),
        Format::Gpt => u16_le(window, SIGNATURE) == Some(0xaa55) && !is_fat(window),
        Format::Luks => window.starts_with(b"LUKS\xba\xbe"),
    }
}

/// The first sector of a FAT file system carries the signature of a master boot record.
fn is_fat(window: &[u8]) -> bool {
    window.get(0x10) == Some(&2) && window.get(0x15) == Some(&0xf8)
}

/// The whole of an ISO's first volume descriptor.
fn iso(window: &[u8]) -> Option<&[u8]> {
    let (at, length) = ISO_DESCRIPTOR;
    window.get(at..at + length)
}

/// Where the virtual size is found, and whether everything is there that is judged by.
pub(super) fn facts(format: Format, window: &[u8]) -> (SizeRule, bool) {
    let said =
        |bytes: Option<u64>| SizeRule::Said(bytes.map_or(VirtualSize::Unset, VirtualSize::said));
    let has_sector = window.len() >= SECTOR;
    match format {
        Format::Qcow2 => (said(u64_be(window, 24)), true),
        Format::Vhd => (said(u64_be(window, 40).filter(|_| has_sector)), has_sector),
        Format::Vdi => (said(u64_le(window, 0x170)), true),
        Format::Iso => (said(iso(window).and_then(iso_bytes)), true),
        Format::Luks => (luks_payload(window), window.len() >= LUKS_HEADER),
        Format::Raw | Format::Qed | Format::Gpt | Format::Vhdx | Format::Vmdk => {
            (SizeRule::Seen, true)
        }
    }
}

/// What a primary volume descriptor says: so many blocks of such a size.
fn iso_bytes(descriptor: &[u8]) -> Option<u64> {
    let is_primary = descriptor.first() == Some(&1);
    let (blocks, block) = (u32_le(descriptor, 80)?, u16_le(descriptor, 128)?);
    is_primary.then_some(u64::from(blocks) * u64::from(block))
}

fn luks_payload(window: &[u8]) -> SizeRule {
    match u32_be(window, 104).filter(|_| window.len() >= LUKS_FIELDS) {
        Some(sectors) => SizeRule::SeenBeyond(u64::from(sectors) * SECTOR as u64),
        None => SizeRule::Said(VirtualSize::Unreadable),
    }
}

/// What is dangerous in an image of that format.
pub(super) fn dangers(format: Format, window: &[u8]) -> Vec<Danger> {
    match format {
        Format::Qcow2 => qcow2_dangers(window),
        Format::Qed => vec![Danger::Banned],
        // A VMDK that is something else as well is not followed to its end.
        Format::Vmdk => vec![Danger::Descriptor],
        Format::Gpt if !has_sane_partitions(window) => vec![Danger::Mbr],
        Format::Luks if window.len() >= LUKS_FIELDS && u16_be(window, 6) != Some(1) => {
            vec![Danger::Version]
        }
        Format::Raw
        | Format::Vhd
        | Format::Vhdx
        | Format::Vdi
        | Format::Iso
        | Format::Gpt
        | Format::Luks => vec![],
    }
}

/// Another file to read from or with the data, or a feature that nobody here knows. The bits of
/// version 3 are looked at in version 2 as well, where they are something else: so does Glance.
fn qcow2_dangers(window: &[u8]) -> Vec<Danger> {
    const DATA_FILE: u64 = 1 << 2;
    const KNOWN: u64 = 0b1111;
    const EXTENDED_L2: u64 = 1 << 4;
    let features = u64_be(window, 72).unwrap_or(u64::MAX);
    let unknown = match u32_be(window, 4) {
        Some(2) => 0,
        Some(3) => features & !KNOWN,
        _ => u64::MAX,
    };
    let found = [
        (Danger::BackingFile, u64_be(window, 8) != Some(0)),
        (Danger::DataFile, features & DATA_FILE != 0),
        (Danger::ExtendedL2, unknown == EXTENDED_L2),
        (Danger::UnknownFeatures, unknown != 0 && unknown != EXTENDED_L2),
    ];
    found.into_iter().filter_map(|(danger, is_there)| is_there.then_some(danger)).collect()
}

/// Whether a master boot record is one: flags are flags, there is a partition, and one that
/// protects a GPT is the only one and is where it has to be.
fn has_sane_partitions(window: &[u8]) -> bool {
    let partitions = window.get(PARTITIONS..SIGNATURE).unwrap_or_default();
    let mut used = Vec::with_capacity(4);
    let mut protects = false;
    for (index, entry) in partitions.chunks_exact(PARTITION).enumerate() {
        let [flag, head, sector, track, kind] = array(entry, 0).unwrap_or_default();
        if flag != 0 && flag != 0x80 {
            return false;
        }
        if kind == 0xee {
            protects = true;
            if [head, sector, track] != [0, 2, 0] || u32_le(entry, 8) != Some(1) {
                return false;
            }
        }
        if kind != 0 {
            used.push(index);
        }
    }
    !used.is_empty() && (!protects || used == [0])
}
