//! `Transfer-Encoding: chunked` as RFC 9112, section 7.1, read strictly.
//!
//! Strict means: sizes are hexadecimal digits and nothing else, lines end in CR LF, extensions and
//! trailers are bounded and ignored. A proxy in front that reads more leniently must not see a
//! different end of the body than we do.
//!
//! Decoding closes the data up in place: framing is overwritten by the bytes that follow it, one
//! move of each byte at most.

use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// The framing is broken; the text says how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What one call of [`ChunkedDecoder::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Data bytes, now at the front of the slice.
    pub data: usize,
    /// Bytes of the input that belong to the body.
    pub consumed: usize,
}

/// Bytes of one kind.
struct Run {
    len: usize,
    is_data: bool,
}

/// A body's framing under way.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Bytes of the line, or of all trailers, so far.
    line_len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size; how many there were.
    Size { value: u64, digits: u8 },
    /// Behind the size, up to CR.
    Extension { value: u64 },
    /// LF of the size line is due.
    SizeLf { value: u64 },
    /// Bytes of data left.
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    /// Inside a trailer line.
    TrailerField,
    /// LF of a trailer line is due.
    TrailerLf,
    /// LF of the empty last line is due.
    EndLf,
    Done,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// At the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, line_len: 0 }
    }

    /// Whether the last byte of the body has been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads on, moving data to the front of `bytes`.
    ///
    /// # Errors
    /// [`Malformed`]; the body can't be read any further.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Malformed> {
        let (mut data, mut at) = (0, 0);
        while at < bytes.len() && !self.is_done() {
            let run = self.step(&bytes[at..])?;
            if run.is_data {
                bytes.copy_within(at..at + run.len, data);
                data += run.len;
            }
            at += run.len;
        }
        Ok(Decoded { data, consumed: at })
    }

    /// Follows the framing over bytes that somebody else will decode and answers how many of them
    /// belong to the body.
    ///
    /// # Errors
    /// As for [`ChunkedDecoder::decode`].
    pub fn scan(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            at += self.step(&bytes[at..])?.len;
        }
        Ok(at)
    }

    /// A run of data, or one byte of framing, at the start of `rest`, which is not empty.
    fn step(&mut self, rest: &[u8]) -> Result<Run, Malformed> {
        let State::Data(left) = self.state else {
            self.state = self.framing(rest[0])?;
            return Ok(Run { len: 1, is_data: false });
        };
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        self.state = match left - len as u64 {
            0 => State::DataCr,
            left => State::Data(left),
        };
        Ok(Run { len, is_data: true })
    }

    /// One byte of framing.
    fn framing(&mut self, byte: u8) -> Result<State, Malformed> {
        self.bound_line()?;
        match self.state {
            State::Size { value, digits } => size_digit(value, digits, byte),
            State::Extension { value } => match byte {
                b'\r' => Ok(State::SizeLf { value }),
                b'\n' | 0 => Err(Malformed("a control character in a chunk extension")),
                _ => Ok(State::Extension { value }),
            },
            State::SizeLf { value } => {
                expect(byte, b'\n', "a chunk size line without LF")?;
                self.line_len = 0;
                Ok(if value == 0 { State::Trailer } else { State::Data(value) })
            }
            State::DataCr => expect(byte, b'\r', "chunk data without CR LF after it")
                .map(|()| State::DataLf),
            State::DataLf => {
                expect(byte, b'\n', "chunk data without CR LF after it")?;
                self.line_len = 0;
                Ok(State::Size { value: 0, digits: 0 })
            }
            State::Trailer if byte == b'\r' => Ok(State::EndLf),
            State::Trailer | State::TrailerField => match byte {
                b'\r' => Ok(State::TrailerLf),
                b'\n' | 0 => Err(Malformed("a control character in a trailer")),
                _ => Ok(State::TrailerField),
            },
            State::TrailerLf => {
                expect(byte, b'\n', "a trailer line without LF").map(|()| State::Trailer)
            }
            State::EndLf => {
                expect(byte, b'\n', "the last line without LF").map(|()| State::Done)
            }
            // Not framing; `decode` does not come here with them.
            state @ (State::Data(_) | State::Done) => Ok(state),
        }
    }

    fn bound_line(&mut self) -> Result<(), Malformed> {
        self.line_len += 1;
        let is_trailer = matches!(
            self.state,
            State::Trailer | State::TrailerField | State::TrailerLf | State::EndLf
        );
        let (max, what) = if is_trailer {
            (TRAILER_BYTES_MAX, "trailers are too long")
        } else {
            (CHUNK_LINE_BYTES_MAX, "a chunk size line is too long")
        };
        if self.line_len > max { Err(Malformed(what)) } else { Ok(()) }
    }
}

/// Sixteen hexadecimal digits hold any u64; more would overflow or be leading zeros without end.
fn size_digit(value: u64, digits: u8, byte: u8) -> Result<State, Malformed> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ if digits == 0 => return Err(Malformed("a chunk size is not hexadecimal")),
        b'\r' => return Ok(State::SizeLf { value }),
        b';' => return Ok(State::Extension { value }),
        _ => return Err(Malformed("a chunk size is not hexadecimal")),
    };
    if digits == 16 {
        return Err(Malformed("a chunk size is too large"));
    }
    Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
}

fn expect(byte: u8, wanted: u8, what: &'static str) -> Result<(), Malformed> {
    if byte == wanted { Ok(()) } else { Err(Malformed(what)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `wire` given in pieces; the data and what is left over.
    fn decode(wire: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Malformed> {
        let mut decoder = ChunkedDecoder::new();
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for piece in wire.chunks(piece.max(1)) {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece)?;
            data.extend_from_slice(&piece[..decoded.data]);
            rest.extend_from_slice(&piece[decoded.consumed..]);
        }
        Ok((data, rest, decoder.is_done()))
    }

    #[test]
    fn extensions_and_trailers_are_read_over() {
        let wire = b"5;name=\"v\"\r\nhello\r\n6\r\n world\r\n0;x\r\nA: b\r\nC: d\r\n\r\nGET /";
        for piece in 1..wire.len() {
            let (data, rest, done) = decode(wire, piece).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(rest, b"GET /");
            assert!(done);
        }
    }

    #[test]
    fn lenient_forms_are_refused() {
        for bad in [
            &b"\r\n"[..],
            b"x\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r\r\n",
            b"00000000000000005\r\nhello",
            b"10000000000000000\r\n",
            b"5;a\nb\r\n",
            b"0\r\nA: b\nC: d\r\n\r\n",
            b"0\r\n\rX",
        ] {
            assert!(decode(bad, 3).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let long = [b"5;".as_slice(), &vec![b'x'; CHUNK_LINE_BYTES_MAX]].concat();
        assert_eq!(decode(&long, 99), Err(Malformed("a chunk size line is too long")));
        let field = b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n";
        let many = [b"0\r\n".as_slice(), &field.repeat(TRAILER_BYTES_MAX / field.len() + 1)];
        assert_eq!(decode(&many.concat(), 99), Err(Malformed("trailers are too long")));
    }

    proptest! {
        #[test]
        fn what_is_framed_is_what_comes_out(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            piece in 1_usize..500,
            beyond in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let framed = wire.len();
            wire.extend_from_slice(&beyond);
            let (data, rest, done) = decode(&wire, piece).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(&rest, &beyond);
            prop_assert!(done);
            let mut scanner = ChunkedDecoder::new();
            prop_assert_eq!(scanner.scan(&wire), Ok(framed));
        }

        #[test]
        fn no_bytes_make_it_panic(wire in prop::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = decode(&wire, piece);
        }
    }
}
