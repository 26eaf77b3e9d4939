//! Which archives there are, how each is known, and what reads it.
//!
//! All of the decoders are Rust, since they read what anybody may send, and run in this process:
//! none allocates by a number that it has read, but for the dictionary, which is bounded.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::zip::{self, Member, NoMember};
use crate::limits::{KIB, MIB, UNPACK_DICTIONARY_BYTES_MAX, ZSTD_FRAMES_SKIPPED_MAX};

/// What is read of a file to know it by.
const MAGIC_BYTES: u64 = 10;

/// A kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Glance unpacks it.
    Gzip,
    /// And this, where it has one member.
    Zip,
    Xz,
    Zstd,
    Bzip2,
}

/// An archive that is open at its beginning.
pub(super) struct Archive {
    kind: Kind,
    file: File,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

/// Why an archive can't be unpacked; a sentence for whoever has sent it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unpackable {
    /// It says what makes no sense, ends too early, or fails its own checksums.
    #[error("The {0} archive is damaged or incomplete; delete the image and stage it anew")]
    Damaged(Kind),
    /// It asks for too much memory.
    #[error(
        "Unpacking the {0} archive takes more than {max} MiB of memory; pack it with a smaller \
         dictionary",
        max = UNPACK_DICTIONARY_BYTES_MAX / MIB as u64
    )]
    Greedy(Kind),
    /// There is no one member in it, or none that can be read.
    #[error(transparent)]
    Zip(#[from] NoMember),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zip => "zip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
        })
    }
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [Self::Gzip, Self::Zip, Self::Xz, Self::Zstd, Self::Bzip2];

    /// The kind by the first bytes; none for what is left as it is, LHA among it.
    fn of(head: &[u8]) -> Option<Self> {
        /// The first block, or the end where there is none.
        const BZIP2_BLOCKS: [&[u8]; 2] = [b"1AY&SY", b"\x17rE8P\x90"];
        let begins = |magic: &[u8]| head.starts_with(magic);
        if begins(b"\x1f\x8b\x08") {
            Some(Self::Gzip)
        } else if begins(b"PK\x03\x04") {
            Some(Self::Zip)
        } else if begins(b"\xfd7zXZ\0") {
            Some(Self::Xz)
        } else if begins(b"\x28\xb5\x2f\xfd") {
            Some(Self::Zstd)
        } else if begins(b"BZh") && BZIP2_BLOCKS.iter().any(|block| head[3..].ends_with(block)) {
            Some(Self::Bzip2)
        } else {
            None
        }
    }
}

impl Archive {
    /// Opens a file, if it is an archive. Blocking.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut head = Vec::new();
        (&mut file).take(MAGIC_BYTES).read_to_end(&mut head)?;
        let kind = match Kind::of(&head) {
            None if skipped_bytes(&head).is_some() => zstd_behind(&mut file)?,
            kind => kind,
        };
        file.rewind()?;
        Ok(kind.map(|kind| Self { kind, file }))
    }

    /// What is packed, as it comes out. `watched` sees every reading of the archive.
    pub(super) fn unpacked<R: Read + Send + 'static>(
        mut self,
        watched: impl FnOnce(File) -> R,
    ) -> Result<Unpacked, Unpackable> {
        let kind = self.kind;
        let member = match kind {
            Kind::Zip => Some(zip::only_member(&mut self.file).map_err(|error| error.of(kind))?),
            _ => None,
        };
        let packed = BufReader::with_capacity(64 * KIB, watched(self.file));
        let reader: Box<dyn Read + Send> = match (kind, member) {
            (Kind::Gzip, _) => Box::new(Gzip(Some(GzDecoder::new(packed)))),
            (Kind::Bzip2, _) => Box::new(MultiBzDecoder::new(packed)),
            (Kind::Xz, _) => Box::new(XzReader::new_mem_limit(packed, true, xz_limit_kib())),
            (Kind::Zip, Some(member)) => Member::reader(member, packed),
            (Kind::Zstd | Kind::Zip, _) => Box::new(Zstd::new(packed)),
        };
        Ok(Unpacked { kind, reader })
    }
}

/// How long a skippable frame is, of which this is the beginning; none for anything else.
fn skipped_bytes(head: &[u8]) -> Option<u64> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let is_skippable = magic[0] & 0xf0 == 0x50 && magic[1..] == *b"\x2a\x4d\x18";
    let length = u32::from_le_bytes(*rest.first_chunk()?);
    is_skippable.then_some(8 + u64::from(length))
}

/// Zstandard, where that is what comes after skippable frames. They are LZ4's as well, and say
/// nothing by themselves.
fn zstd_behind(file: &mut File) -> io::Result<Option<Kind>> {
    let mut at = 0;
    for _ in 0..=ZSTD_FRAMES_SKIPPED_MAX {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(at))?;
        file.take(MAGIC_BYTES).read_to_end(&mut head)?;
        match skipped_bytes(&head) {
            Some(length) => at += length,
            None => return Ok(Kind::of(&head).filter(|kind| *kind == Kind::Zstd)),
        }
    }
    Ok(None)
}

/// The dictionary, and what a decoder has besides.
fn xz_limit_kib() -> u32 {
    let bytes = UNPACK_DICTIONARY_BYTES_MAX + MIB as u64;
    u32::try_from(bytes / KIB as u64).unwrap_or(0)
}

/// What comes out of an archive.
pub(super) struct Unpacked {
    kind: Kind,
    reader: Box<dyn Read + Send>,
}

impl Unpacked {
    /// The next bytes; none at the end.
    pub(super) fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.reader.read(piece)
    }

    /// What a failed reading says about the archive.
    pub(super) fn fault(&self, error: &io::Error) -> Unpackable {
        match error.kind() {
            ErrorKind::OutOfMemory => Unpackable::Greedy(self.kind),
            _ => Unpackable::Damaged(self.kind),
        }
    }
}

/// Members of gzip, one after another; there is none any more at the end. Zeros after a member are
/// padding, as media of whole blocks have it: GNU's program and Glance pass over them, too.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(piece)?;
            if read > 0 || piece.is_empty() {
                return Ok(read);
            }
            self.0 = after_zeros(self.0.take().map(GzDecoder::into_inner))?.map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// The reader at the first byte that is no zero, if there is one.
fn after_zeros<R: BufRead>(packed: Option<R>) -> io::Result<Option<R>> {
    let Some(mut packed) = packed else { return Ok(None) };
    loop {
        let piece = packed.fill_buf()?;
        if piece.is_empty() {
            return Ok(None);
        }
        match piece.iter().position(|byte| *byte != 0) {
            None => {
                let zeros = piece.len();
                packed.consume(zeros);
            }
            Some(zeros) => {
                packed.consume(zeros);
                return Ok(Some(packed));
            }
        }
    }
}

/// A sequence of frames, of which some may be skippable.
struct Zstd<R> {
    packed: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(packed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(UNPACK_DICTIONARY_BYTES_MAX);
        Self { packed, decoder, is_in_frame: false }
    }

    /// Begins the next frame that has data; false at the end.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = (&mut self.packed).take(length.into());
                    if io::copy(&mut skipped, &mut io::sink())? < length.into() {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                    return Err(ErrorKind::OutOfMemory.into());
                }
                Err(error) => return Err(io::Error::new(ErrorKind::InvalidData, error)),
            }
        }
        Ok(false)
    }

    /// The frame is over, and was what it says.
    fn end(&mut self) -> io::Result<()> {
        self.is_in_frame = false;
        let said = self.decoder.get_checksum_from_data();
        match said.is_none_or(|said| self.decoder.get_calculated_checksum() == Some(said)) {
            true => Ok(()),
            false => Err(io::Error::new(ErrorKind::InvalidData, "a frame's checksum")),
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_in_frame {
                if !self.begin()? {
                    return Ok(0);
                }
                self.is_in_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let blocks = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.packed, blocks);
                decoded.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            }
            match self.decoder.read(piece)? {
                0 => self.end()?,
                read => return Ok(read),
            }
        }
    }
}

#[cfg(test)]
mod tests;
