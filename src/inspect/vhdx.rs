//! VHDX: a table of regions leads to a table of facts, which leads to the size.
//!
//! Each of the three may stand anywhere, so they are followed as they pass by. oslo.utils takes one
//! such step a piece of 64 KiB, and reads what has gone by already from where it is; this does the
//! same, piece by piece, but keeps only the pieces in which there is something to read.

use super::VirtualSize;
use super::read::{array, u16_le, u32_le, u64_le};
use crate::limits::{INSPECT_WINDOW_BYTES, KIB};

const IDENT_BYTES: u64 = 32;
const TABLE_AT: u64 = 192 * KIB as u64;
/// Both tables have this length: a head, and up to 2047 entries of 32 bytes.
const TABLE_BYTES: usize = 64 * KIB;
const ENTRY: usize = 32;
const ENTRIES_MAX: u32 = 2047;

/// 8B7CA206-4790-4B9A-B8FE-575F050F886E: the region with the facts.
pub(super) const METADATA: [u8; 16] = [
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e,
];
/// 2FA54224-CD1B-4876-B211-5DBED83BF4B8: the fact that is the size.
pub(super) const DISK_SIZE: [u8; 16] = [
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8,
];

/// A VHDX that passes by.
#[derive(Debug)]
pub(super) struct Vhdx {
    /// Where the present piece begins.
    at: u64,
    /// The present piece so far, if it is wanted.
    piece: Vec<u8>,
    piece_bytes: usize,
    piece_is_wanted: bool,
    regions: Region,
    metadata: Option<Region>,
    size: Option<Region>,
    /// The facts have grown since they were looked through.
    is_pending: bool,
    /// A table is none: nothing is followed any more.
    is_broken: bool,
}

/// A part of the image that is wanted.
#[derive(Debug)]
struct Region {
    at: u64,
    length: usize,
    data: Vec<u8>,
}

/// A table that is none.
#[derive(Debug)]
struct Broken;

impl Region {
    fn new(at: u64, length: usize) -> Self {
        Self { at, length, data: Vec::new() }
    }

    fn is_whole(&self) -> bool {
        self.data.len() == self.length
    }

    /// Whether something is taken from a piece that begins at `at`.
    fn wants(&self, at: u64, length: usize) -> bool {
        let end = at.saturating_add(length as u64);
        let own_end = self.at.saturating_add(self.length as u64);
        !self.is_whole() && ((at..=end).contains(&self.at) || (self.at..=own_end).contains(&at))
    }

    /// Takes what is wanted of a piece. Where the beginning was missed, what comes is taken for it:
    /// so does oslo.utils.
    fn take(&mut self, piece: &[u8], at: u64) {
        if self.wants(at, piece.len()) {
            let skipped = usize::try_from(self.at.saturating_sub(at)).unwrap_or(usize::MAX);
            let new = piece.get(skipped..).unwrap_or_default();
            let room = self.length.saturating_sub(self.data.len());
            self.data.extend_from_slice(&new[..new.len().min(room)]);
        }
    }
}

impl Default for Vhdx {
    fn default() -> Self {
        Self {
            at: 0,
            piece: Vec::new(),
            piece_bytes: 0,
            piece_is_wanted: false,
            regions: Region::new(TABLE_AT, TABLE_BYTES),
            metadata: None,
            size: None,
            is_pending: false,
            is_broken: false,
        }
    }
}

impl Vhdx {
    /// Follows the image.
    pub(super) fn feed(&mut self, mut chunk: &[u8]) {
        while !chunk.is_empty() {
            if self.piece_bytes == 0 {
                self.piece_is_wanted = self.wants_next();
            }
            let missing = INSPECT_WINDOW_BYTES - self.piece_bytes;
            let (now, later) = chunk.split_at(missing.min(chunk.len()));
            if self.piece_is_wanted {
                self.piece.extend_from_slice(now);
            }
            self.piece_bytes += now.len();
            if self.piece_bytes == INSPECT_WINDOW_BYTES {
                self.end_piece();
            }
            chunk = later;
        }
    }

    /// The image has ended. Glance's last reading is of nothing, and is a step too.
    pub(super) fn finish(&mut self) {
        if self.piece_bytes > 0 {
            self.end_piece();
        }
        self.step(&[]);
        self.piece = Vec::new();
    }

    pub(super) fn is_settled(&self) -> bool {
        let is_over = |region: &Region| {
            region.is_whole() || self.at > region.at.saturating_add(region.length as u64)
        };
        let more = [&self.metadata, &self.size];
        let all = std::iter::once(&self.regions).chain(more.into_iter().flatten());
        self.is_broken || (!self.is_pending && all.into_iter().all(is_over))
    }

    pub(super) fn is_whole(&self) -> bool {
        let is_whole = |region: &Option<Region>| region.as_ref().is_none_or(Region::is_whole);
        self.at >= IDENT_BYTES
            && self.regions.is_whole()
            && is_whole(&self.metadata)
            && is_whole(&self.size)
    }

    pub(super) fn virtual_size(&self) -> VirtualSize {
        match self.size.as_ref().filter(|size| size.is_whole()) {
            None => VirtualSize::Unset,
            Some(size) => match <[u8; 8]>::try_from(size.data.as_slice()) {
                Ok(bytes) => VirtualSize::said(u64::from_le_bytes(bytes)),
                Err(_) => VirtualSize::Unreadable,
            },
        }
    }

    pub(super) fn held_bytes(&self) -> usize {
        let more = [&self.metadata, &self.size];
        let all = std::iter::once(&self.regions).chain(more.into_iter().flatten());
        self.piece.capacity() + all.map(|region| region.data.capacity()).sum::<usize>()
    }

    /// Whether there is something to read in the piece that begins now.
    fn wants_next(&self) -> bool {
        let wants = |region: &Region| region.wants(self.at, INSPECT_WINDOW_BYTES);
        let more = [&self.metadata, &self.size];
        let mut all = std::iter::once(&self.regions).chain(more.into_iter().flatten());
        !self.is_broken && (self.is_pending || all.any(wants))
    }

    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if self.piece_is_wanted {
            self.step(&piece);
        }
        self.at = self.at.saturating_add(self.piece_bytes as u64);
        self.piece_bytes = 0;
        self.piece = piece;
        self.piece.clear();
    }

    /// One piece: takes what is wanted, then one step further, then what that step wants.
    fn step(&mut self, piece: &[u8]) {
        if self.is_broken {
            return;
        }
        let more = [&mut self.metadata, &mut self.size];
        let all = std::iter::once(&mut self.regions).chain(more.into_iter().flatten());
        for region in all.filter(|region| !region.is_whole()) {
            region.take(piece, self.at);
        }
        self.is_pending = false;
        match self.find_next() {
            Err(Broken) => self.is_broken = true,
            Ok(None) => {}
            Ok(Some(mut region)) => {
                region.take(piece, self.at);
                self.is_pending = self.metadata.is_none();
                let place = if self.is_pending { &mut self.metadata } else { &mut self.size };
                *place = Some(region);
            }
        }
    }

    /// The region that what is known leads to.
    fn find_next(&mut self) -> Result<Option<Region>, Broken> {
        match &mut self.metadata {
            None if self.regions.is_whole() => find_metadata(&self.regions.data),
            Some(metadata) if self.size.is_none() => find_size(metadata),
            _ => Ok(None),
        }
    }
}

/// Where the facts stand, by the table of regions.
fn find_metadata(table: &[u8]) -> Result<Option<Region>, Broken> {
    let count = u32_le(table, 8).filter(|count| *count <= ENTRIES_MAX).ok_or(Broken)?;
    if !table.starts_with(b"regi") {
        return Err(Broken);
    }
    let entry = find(&table[16..], count, &METADATA);
    let at = entry.and_then(|entry| u64_le(entry, 16));
    Ok(at.map(|at| Region::new(at, TABLE_BYTES)))
}

/// Where the size stands, by the table of facts, as soon as all of that is there. Then no more of
/// it is wanted.
fn find_size(metadata: &mut Region) -> Result<Option<Region>, Broken> {
    let table = &metadata.data;
    if table.len() < ENTRY {
        return Ok(None);
    }
    let count = u16_le(table, 10).ok_or(Broken)?;
    if !table.starts_with(b"metadata") {
        return Err(Broken);
    }
    if table.len() < ENTRY + usize::from(count) * ENTRY {
        return Ok(None);
    }
    let Some(entry) = find(&table[ENTRY..], u32::from(count), &DISK_SIZE) else {
        return Ok(None);
    };
    let (Some(offset), Some(length)) = (u32_le(entry, 16), u32_le(entry, 20)) else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(TABLE_BYTES);
    let at = metadata.at.saturating_add(u64::from(offset));
    metadata.length = table.len();
    Ok(Some(Region::new(at, length)))
}

/// The first of so many entries that has this name.
fn find<'a>(entries: &'a [u8], count: u32, name: &[u8; 16]) -> Option<&'a [u8]> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut entries = entries.chunks_exact(ENTRY).take(count);
    entries.find(|entry| array(entry, 0) == Some(*name))
}
