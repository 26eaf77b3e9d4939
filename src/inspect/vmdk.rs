//! VMDK: a header, a descriptor, which is text, and perhaps a footer; or the text alone.
//!
//! The text may name files of the host, so that every line of it has to be understood. Only kinds
//! that need no other file are taken.

use super::read::{array, u32_le, u64_le};
use super::{Danger, VirtualSize};
use crate::limits::{INSPECT_DESCRIPTOR_BYTES_MAX, MIB};

const MAGIC: &[u8] = b"KDMV";
const SECTOR: usize = 512;
/// What the header's fields take, of the sector that it has.
const FIELDS: usize = 64;
/// Where the descriptor has to stand, and its longest length, which is QEMU's.
const DESCRIPTOR: u64 = SECTOR as u64;
const DESCRIPTOR_BYTES_MAX: u64 = MIB as u64 - 1;
/// In place of an address: the footer has it.
const AT_END: u64 = u64::MAX;
/// A marker, the footer, and the marker of the end.
const FOOTER: usize = 3 * SECTOR;

/// Kinds that need no other file, in small letters.
const SELF_CONTAINED: [&[u8]; 2] = [b"monolithicsparse", b"streamoptimized"];

/// A VMDK that passes by.
#[derive(Debug)]
pub(super) struct Vmdk {
    at: u64,
    header: Option<Header>,
    /// The descriptor up to its first zero, until it is judged.
    text: Vec<u8>,
    text_has_ended: bool,
    /// Where the descriptor ends.
    text_end: u64,
    verdict: Option<Verdict>,
    /// The last bytes, where there is a footer.
    tail: Option<Vec<u8>>,
    is_whole: bool,
    allowed_types: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    version: u32,
    sectors: u64,
    descriptor_at: u64,
    descriptor_sectors: u64,
    directory_at: u64,
}

/// What the descriptor has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    is_safe: bool,
    size: VirtualSize,
}

const REFUSED: Verdict = Verdict { is_safe: false, size: VirtualSize::Unset };

impl Header {
    /// The header at `at`, whatever its magic says.
    fn read(bytes: &[u8], at: usize) -> Option<Self> {
        let fields: [u8; FIELDS] = array(bytes, at)?;
        Some(Self {
            version: u32_le(&fields, 4)?,
            sectors: u64_le(&fields, 12)?,
            descriptor_at: u64_le(&fields, 28)?,
            descriptor_sectors: u64_le(&fields, 36)?,
            directory_at: u64_le(&fields, 56)?,
        })
    }

    fn is_known(&self) -> bool {
        (1..=3).contains(&self.version) && self.descriptor_at == 1
    }
}

impl Vmdk {
    /// Whether the beginning is of one. It has to be fed all the same, so that it comes once.
    pub(super) fn begin(window: &[u8], allowed_types: &[String]) -> Option<Self> {
        let mut vmdk = Self {
            at: 0,
            header: None,
            text: Vec::new(),
            text_has_ended: false,
            text_end: 0,
            verdict: None,
            tail: None,
            is_whole: true,
            allowed_types: allowed_types.iter().map(|kind| kind.to_ascii_lowercase()).collect(),
        };
        if window.starts_with(MAGIC) {
            vmdk.begin_with(Header::read(window, 0));
            Some(vmdk)
        } else if window.len() >= FIELDS && is_text(window) {
            vmdk.is_text_alone(window).then_some(vmdk)
        } else {
            None
        }
    }

    fn begin_with(&mut self, header: Option<Header>) {
        match header {
            None => self.is_whole = false,
            Some(header) if !header.is_known() => {
                self.is_whole = header.directory_at != AT_END;
                self.verdict = Some(REFUSED);
            }
            Some(header) => {
                let length = header.descriptor_sectors.saturating_mul(SECTOR as u64);
                self.text_end = DESCRIPTOR + length.min(DESCRIPTOR_BYTES_MAX);
                self.tail = (header.directory_at == AT_END).then(Vec::new);
                self.header = Some(header);
            }
        }
    }

    /// A text without a header is one if it names its kind. Text that is not ASCII is looked through
    /// in the same way and is never safe.
    fn is_text_alone(&mut self, window: &[u8]) -> bool {
        let text = until_zero(window).to_ascii_lowercase();
        let Some(kind) = kind(&text).filter(|kind| *kind != b"formatnotfound") else {
            return false;
        };
        // Its size would stand in the header that it hasn't got.
        let size = match SELF_CONTAINED.contains(&kind) {
            true => VirtualSize::Unreadable,
            false => VirtualSize::Unset,
        };
        self.verdict = Some(Verdict { is_safe: self.is_safe(&text), size });
        true
    }

    /// Follows the image. Answers the danger when that is found.
    pub(super) fn feed(&mut self, chunk: &[u8]) -> Option<Danger> {
        if let Some(tail) = &mut self.tail {
            push_tail(tail, chunk);
        }
        self.collect(chunk);
        self.at = self.at.saturating_add(chunk.len() as u64);
        let is_new = self.verdict.is_none() && self.is_text_whole();
        if is_new {
            self.verdict = Some(self.judge());
            self.text = Vec::new();
        }
        // A danger that the beginning has shown is told with the first bytes.
        let is_first = self.at == chunk.len() as u64;
        let is_refused = self.verdict.is_some_and(|verdict| !verdict.is_safe);
        (is_refused && (is_new || is_first)).then_some(Danger::Descriptor)
    }

    /// The image has ended; a footer is judged now.
    pub(super) fn finish(&mut self) -> Option<Danger> {
        self.is_whole &= self.verdict.is_some();
        let (Some(tail), Some(header)) = (&self.tail, &self.header) else {
            return None;
        };
        self.is_whole &= tail.len() == FOOTER;
        (tail.len() == FOOTER && !is_footer_of(header, tail)).then_some(Danger::Footer)
    }

    pub(super) fn is_settled(&self) -> bool {
        self.tail.is_none() && (self.verdict.is_some() || self.header.is_none())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn virtual_size(&self) -> VirtualSize {
        self.verdict.map_or(VirtualSize::Unset, |verdict| verdict.size)
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.text.capacity() + self.tail.as_ref().map_or(0, Vec::capacity)
    }

    /// Whether all of the descriptor has passed. A longer text than is kept is judged at once.
    fn is_text_whole(&self) -> bool {
        self.header.is_some()
            && (self.at >= self.text_end || self.text.len() > INSPECT_DESCRIPTOR_BYTES_MAX)
    }

    /// Keeps what of a chunk is text of the descriptor.
    fn collect(&mut self, chunk: &[u8]) {
        if self.text_has_ended || self.verdict.is_some() || self.header.is_none() {
            return;
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let (from, to) = (place(DESCRIPTOR), place(self.text_end).min(chunk.len()));
        let Some(piece) = chunk.get(from..to) else {
            return;
        };
        let text = until_zero(piece);
        self.text_has_ended = text.len() < piece.len();
        let room = INSPECT_DESCRIPTOR_BYTES_MAX + 1 - self.text.len();
        let text = &text[..text.len().min(room)];
        let wanted = self.text.len() + text.len();
        if wanted > self.text.capacity() {
            let doubled = (2 * self.text.capacity()).min(INSPECT_DESCRIPTOR_BYTES_MAX + 1);
            self.text.reserve_exact(wanted.max(doubled) - self.text.len());
        }
        self.text.extend_from_slice(text);
    }

    /// Judges the descriptor of an image with a header.
    fn judge(&self) -> Verdict {
        let text = self.text.to_ascii_lowercase();
        if text.is_empty() || !text.is_ascii() || text.len() > INSPECT_DESCRIPTOR_BYTES_MAX {
            return REFUSED;
        }
        let sectors = self.header.as_ref().map_or(0, |header| header.sectors);
        let bytes = sectors.checked_mul(SECTOR as u64);
        let size = match kind(&text) {
            Some(kind) if SELF_CONTAINED.contains(&kind) => {
                bytes.map_or(VirtualSize::Unreadable, VirtualSize::said)
            }
            _ => VirtualSize::Unset,
        };
        Verdict { is_safe: self.is_safe(&text), size }
    }

    /// Whether a descriptor, in small letters, is of an allowed kind and every line is understood.
    fn is_safe(&self, text: &[u8]) -> bool {
        let is_allowed = |kind: &[u8]| {
            SELF_CONTAINED.contains(&kind)
                && self.allowed_types.iter().any(|allowed| allowed.as_bytes() == kind)
        };
        let mut extents = 0;
        for line in text.split(|byte| *byte == b'\n').map(strip) {
            match Line::of(line) {
                Line::Harmless => {}
                Line::Extent if line.contains(&b'/') => return false,
                Line::Extent => extents += 1,
                Line::Unknown => return false,
            }
        }
        text.is_ascii() && kind(text).is_some_and(is_allowed) && extents > 0
    }
}

/// What a line of a descriptor is.
enum Line {
    /// A comment, a field, or a fact for VMware alone.
    Harmless,
    /// A file, or a piece of this one, with data.
    Extent,
    Unknown,
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let word = |end: u8| line.split(|byte| *byte == end).next().unwrap_or_default();
        let is_field = line.contains(&b'=') && !word(b'=').contains(&b' ');
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b"ddb") || is_field {
            Self::Harmless
        } else if [&b"rw"[..], b"rdonly", b"noaccess"].contains(&word(b' ')) {
            Self::Extent
        } else {
            Self::Unknown
        }
    }
}

/// The kind that a descriptor in small letters says. One without an end goes on to the last but one
/// byte, and one of 64 bytes is none: so does oslo.utils.
fn kind(text: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"createtype=\"";
    let start = text.windows(NAME.len()).position(|window| window == NAME)? + NAME.len();
    let rest = text.get(start..)?;
    match rest.iter().position(|byte| *byte == b'"') {
        Some(end) => rest.get(..end).filter(|kind| kind.len() < 64),
        None => rest.get(..rest.len().saturating_sub(1)),
    }
}

/// Whether the first sector reads as text.
fn is_text(window: &[u8]) -> bool {
    let sector = window.get(..SECTOR).unwrap_or(window);
    sector.iter().all(|byte| is_blank(*byte) || byte.is_ascii_graphic())
}

/// Blanks as Python sees them.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ')
}

fn strip(line: &[u8]) -> &[u8] {
    let Some(start) = line.iter().position(|byte| !is_blank(*byte)) else {
        return &[];
    };
    let end = line.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or(bytes)
}

/// Keeps the last bytes of all that came.
fn push_tail(tail: &mut Vec<u8>, chunk: &[u8]) {
    let newest = &chunk[chunk.len().saturating_sub(FOOTER)..];
    let excess = (tail.len() + newest.len()).saturating_sub(FOOTER);
    tail.drain(..excess.min(tail.len()));
    tail.reserve_exact(FOOTER - tail.len());
    tail.extend_from_slice(newest);
}

/// Whether the end repeats the header, between its markers. It is what QEMU goes by.
fn is_footer_of(header: &Header, tail: &[u8]) -> bool {
    const FOOTER_MARKER: u32 = 3;
    let Some(footer) = Header::read(tail, SECTOR) else {
        return false;
    };
    let is_marker = |sector: &[u8], kind: u32| {
        u32_le(sector, 8) == Some(0)
            && u32_le(sector, 12) == Some(kind)
            && sector.get(16..SECTOR).is_some_and(|pad| pad.iter().all(|byte| *byte == 0))
    };
    let end = tail.get(2 * SECTOR..).unwrap_or_default();
    tail.get(SECTOR..).is_some_and(|sector| sector.starts_with(MAGIC))
        && footer.version == header.version
        && footer.descriptor_at == header.descriptor_at
        && footer.descriptor_sectors == header.descriptor_sectors
        && footer.directory_at != AT_END
        && is_marker(tail, FOOTER_MARKER)
        && u64_le(end, 0) == Some(0)
        && is_marker(end, 0)
}
