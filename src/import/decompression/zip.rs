//! ZIP, as far as an archive of one member needs it (APPNOTE 6.3.10; ZIP64, too).
//!
//! A reader of whole archives keeps a list of all members, and an archive of ten million costs it
//! gigabytes. Here the end of the archive says how many there are, and any number but one is
//! refused before anything else is read. Names are skipped unread, but for a last letter that says
//! that it is a directory's.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::archive::{Kind, Unpackable};

/// The record at the end, without its comment, which may be as long as a u16 says.
const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 65_535;
/// What says where the large record is, right before the end.
const LOCATOR_BYTES: usize = 20;

/// Values that stand for what is said elsewhere.
const IN_LARGE_16: u64 = 0xffff;
const IN_LARGE_32: u64 = 0xffff_ffff;

/// Why there is no one member, in a sentence for whoever has sent the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoMember {
    /// Not one file.
    #[error("The zip archive has to have exactly one file in it")]
    NotOne,
    /// It needs a password.
    #[error("The zip archive is encrypted; pack it without a password")]
    Encrypted,
    /// It is packed in some rare way.
    #[error("The zip archive is packed by a method that is not served; use deflate")]
    Method,
}

/// What looking for the member failed with.
#[derive(Debug)]
pub(super) enum ZipError {
    NoMember(NoMember),
    Damaged,
}

impl ZipError {
    pub(super) fn of(self, kind: Kind) -> Unpackable {
        match self {
            Self::NoMember(why) => why.into(),
            Self::Damaged => Unpackable::Damaged(kind),
        }
    }
}

impl From<io::Error> for ZipError {
    fn from(error: io::Error) -> Self {
        tracing::info!(%error, "a zip archive can't be read");
        Self::Damaged
    }
}

/// The one file in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Where its data begins.
    at: u64,
    packed_bytes: u64,
    bytes: u64,
    crc: u32,
    is_deflated: bool,
}

/// The member of an archive that has one; the file is at its data then.
pub(super) fn only_member(file: &mut File) -> Result<Member, ZipError> {
    let directory = directory_of_one(file)?;
    let member = member_at(file, directory)?;
    file.seek(SeekFrom::Start(member.at))?;
    Ok(member)
}

/// Little-endian numbers at a place of a record.
fn number(record: &[u8], at: usize, bytes: usize) -> Result<u64, ZipError> {
    let digits = record.get(at..at + bytes).ok_or(ZipError::Damaged)?;
    Ok(digits.iter().rev().fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
}

fn record(file: &mut File, at: u64, bytes: usize, magic: &[u8]) -> Result<Vec<u8>, ZipError> {
    let mut record = vec![0; bytes];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut record)?;
    if record.starts_with(magic) { Ok(record) } else { Err(ZipError::Damaged) }
}

/// Where the directory is, which has to have one entry.
fn directory_of_one(file: &mut File) -> Result<u64, ZipError> {
    let len = file.seek(SeekFrom::End(0))?;
    let tail_bytes = len.min((END_BYTES + COMMENT_BYTES_MAX) as u64);
    let tail_at = len - tail_bytes;
    let tail = record(file, tail_at, usize::try_from(tail_bytes).unwrap_or(0), b"")?;
    let ends_here = |at: &usize| {
        let comment = number(&tail, at + 20, 2);
        tail[*at..].starts_with(b"PK\x05\x06")
            && comment.is_ok_and(|bytes| (at + END_BYTES) as u64 + bytes == tail.len() as u64)
    };
    let last = tail.len().checked_sub(END_BYTES).ok_or(ZipError::Damaged)?;
    let at = (0..=last).rev().find(ends_here).ok_or(ZipError::Damaged)?;
    let end = &tail[at..];
    let (mut entries, mut directory) = (number(end, 10, 2)?, number(end, 16, 4)?);
    if entries == IN_LARGE_16 || directory == IN_LARGE_32 || number(end, 12, 4)? == IN_LARGE_32 {
        let locator_at = (tail_at + at as u64).checked_sub(LOCATOR_BYTES as u64);
        let locator_at = locator_at.ok_or(ZipError::Damaged)?;
        let locator = record(file, locator_at, LOCATOR_BYTES, b"PK\x06\x07")?;
        let large = record(file, number(&locator, 8, 8)?, 56, b"PK\x06\x06")?;
        (entries, directory) = (number(&large, 32, 8)?, number(&large, 48, 8)?);
    }
    match entries {
        1 => Ok(directory),
        _ => Err(ZipError::NoMember(NoMember::NotOne)),
    }
}

/// What the entry of the directory says.
fn member_at(file: &mut File, directory: u64) -> Result<Member, ZipError> {
    let entry = record(file, directory, 46, b"PK\x01\x02")?;
    let [name, extra] = [28, 30].map(|at| number(&entry, at, 2));
    let (name, extra) = (name?, usize::try_from(extra?).unwrap_or(0));
    if name > 0 && record(file, directory + 45 + name, 1, b"")? == b"/" {
        return Err(ZipError::NoMember(NoMember::NotOne));
    }
    let extra = record(file, directory + 46 + name, extra, b"")?;
    let large = large_field(&extra)?;
    let mut left = large;
    // The large field has those of these that do not fit, in this order.
    let mut sized = |at: usize| -> Result<u64, ZipError> {
        match number(&entry, at, 4)? {
            IN_LARGE_32 => {
                let value = number(left, 0, 8)?;
                left = &left[8..];
                Ok(value)
            }
            small => Ok(small),
        }
    };
    let (bytes, packed_bytes, header) = (sized(24)?, sized(20)?, sized(42)?);
    if number(&entry, 8, 2)? & 1 != 0 {
        return Err(ZipError::NoMember(NoMember::Encrypted));
    }
    let is_deflated = match number(&entry, 10, 2)? {
        0 => false,
        8 => true,
        _ => return Err(ZipError::NoMember(NoMember::Method)),
    };
    let local = record(file, header, 30, b"PK\x03\x04")?;
    let skipped = 30 + number(&local, 26, 2)? + number(&local, 28, 2)?;
    let at = header.checked_add(skipped).ok_or(ZipError::Damaged)?;
    let crc = u32::try_from(number(&entry, 16, 4)?).unwrap_or(0);
    Ok(Member { at, packed_bytes, bytes, crc, is_deflated })
}

/// The field of an entry with numbers that are too large for it; empty where there is none.
fn large_field(extra: &[u8]) -> Result<&[u8], ZipError> {
    let mut rest = extra;
    while rest.len() >= 4 {
        let (id, bytes) = (number(rest, 0, 2)?, number(rest, 2, 2)?);
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let field = rest[4..].get(..bytes).ok_or(ZipError::Damaged)?;
        if id == 1 {
            return Ok(field);
        }
        rest = &rest[4 + bytes..];
    }
    Ok(&[])
}

impl Member {
    /// Its data, from a reader that stands at the packed data.
    pub(super) fn reader<R: Read + Send + 'static>(self, packed: R) -> Box<dyn Read + Send> {
        let packed = packed.take(self.packed_bytes);
        let reader: Box<dyn Read + Send> = match self.is_deflated {
            true => Box::new(DeflateDecoder::new(packed)),
            false => Box::new(packed),
        };
        Box::new(Checked { reader, member: self, crc: Crc::new(), come: 0 })
    }
}

/// Data that has to be what the directory says of it.
struct Checked {
    reader: Box<dyn Read + Send>,
    member: Member,
    crc: Crc,
    come: u64,
}

impl Read for Checked {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(piece)?;
        self.crc.update(&piece[..read]);
        self.come += read as u64;
        let is_over = read == 0 && !piece.is_empty();
        let Member { bytes, crc, .. } = self.member;
        if self.come > bytes || (is_over && (self.come != bytes || self.crc.sum() != crc)) {
            let wrong = "a member is not what the directory says";
            return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
        }
        Ok(read)
    }
}
