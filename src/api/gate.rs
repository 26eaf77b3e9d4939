//! The gate before hyper: finds where a head ends and keeps the body of hot requests back.
//!
//! hyper reads heads, judges framing and serves everything that is small. For the hot routes it
//! gets exactly the head; the connection, with the body unread behind it, then goes to the data
//! plane, which needs the exact first byte. All other requests pass through, head and body, and
//! the gate follows their framing only to know where the next head begins.
//!
//! A head that two programs could read differently (both lengths, several lengths, an encoding
//! other than chunked, several hosts) is let through to hyper with its body kept back and the note
//! [`HeadNote::Ambiguous`], so that it is answered with 400 and nothing behind it is ever taken
//! for a request.
//!
//! Clients write `"`, `<` and `>` into queries as they are, which Glance takes and the type of hyper's
//! targets does not. The gate writes such bytes as the `%` escapes that they stand for.
//!
//! Writes are buffered here when the socket is full, so that hyper never holds bytes of an answer
//! when the connection is taken from it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::router;
use crate::limits::{ANSWERS_BUFFERED_BYTES_MAX, HEAD_BYTES_MAX, HEAD_READ_BYTES, HEADERS_MAX};
use crate::upload::Framing;
use crate::upload::source::ChunkedDecoder;

/// What the gate knows of a request before hyper reads it. The service takes the notes in order,
/// one for each request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadNote {
    /// hyper serves it.
    Cold,
    /// Its body is kept back for the data plane.
    Hot(Framing),
    /// A proxy could read it differently; the reason.
    Ambiguous(&'static str),
}

/// What gate and service share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Notes>,
}

#[derive(Debug)]
struct Notes {
    heads: VecDeque<HeadNote>,
    /// Since when the gate waits for a head to begin or end; `None` inside a request.
    waiting_since: Option<Instant>,
    /// A request is being answered; waiting for the next one has not begun.
    is_serving: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The note of the request that the service is called for.
    pub(super) fn begin_request(&self) -> HeadNote {
        let mut notes = self.lock();
        notes.is_serving = true;
        notes.heads.pop_front().unwrap_or(HeadNote::Cold)
    }

    /// The answer is made: the client may rest again.
    pub(super) fn end_request(&self) {
        let mut notes = self.lock();
        notes.is_serving = false;
        if notes.waiting_since.is_some() {
            notes.waiting_since = Some(Instant::now());
        }
    }

    /// Since when nothing but (the rest of) a head is awaited.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        let notes = self.lock();
        notes.waiting_since.filter(|_| !notes.is_serving)
    }
}

/// A connection as hyper sees it.
#[derive(Debug)]
pub(super) struct HeadGate {
    stream: TcpStream,
    /// Received and not yet given to hyper.
    input: BytesMut,
    /// Answers that the socket did not take yet.
    output: BytesMut,
    state: State,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum State {
    /// Looking for the end of a head.
    Head,
    /// Giving so many bytes of head and body, then looking again.
    Give(u64),
    /// Giving a head, then a chunked body.
    GiveThenChunked(usize, Box<ChunkedDecoder>),
    /// Giving a head, then holding.
    GiveThenHold(usize),
    /// Giving nothing any more.
    Hold,
    /// Giving everything: hyper refuses what comes, or has begun to close.
    Through,
}

impl HeadGate {
    /// A gate on a stream of which `input` has been read.
    pub(super) fn new(stream: TcpStream, input: BytesMut) -> Self {
        let notes = Notes {
            heads: VecDeque::new(),
            waiting_since: Some(Instant::now()),
            is_serving: false,
        };
        let shared = Arc::new(Shared { inner: Mutex::new(notes) });
        Self { stream, input, output: BytesMut::new(), state: State::Head, shared }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Whether every byte received belongs to a request that hyper was given whole.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head) && self.input.is_empty()
    }

    /// Gives the connection up: the stream, flushed, and what was received behind the last head.
    pub(super) async fn into_parts(mut self) -> io::Result<(TcpStream, Bytes)> {
        self.stream.write_all_buf(&mut self.output).await?;
        Ok((self.stream, self.input.freeze()))
    }

    /// Looks at what was received; answers whether a head is complete or more is needed.
    fn look_for_head(&mut self) -> bool {
        if self.input.is_empty() {
            return false;
        }
        match examine(&self.input) {
            Examined::Partial if self.input.len() < HEAD_BYTES_MAX => return false,
            Examined::Head { .. } if escape_target(&mut self.input) => return self.look_for_head(),
            // hyper answers what is too long or malformed, and closes.
            Examined::Partial | Examined::Malformed => self.state = State::Through,
            Examined::Head { len, note, framing } => self.enter(len, note, framing),
        }
        self.shared.lock().waiting_since = None;
        true
    }

    fn enter(&mut self, len: usize, note: HeadNote, framing: Option<Framing>) {
        self.state = match (&note, framing) {
            (HeadNote::Cold, Some(Framing::Chunked)) => State::GiveThenChunked(len, Box::default()),
            (HeadNote::Cold, Some(Framing::Length(body))) => State::Give(len as u64 + body),
            (HeadNote::Cold, None) => State::Give(len as u64),
            (HeadNote::Hot(_) | HeadNote::Ambiguous(_), _) => State::GiveThenHold(len),
        };
        self.shared.lock().heads.push_back(note);
    }

    /// Moves received bytes to hyper as the state allows; answers whether any moved.
    fn give(&mut self, cursor: &mut ReadBufCursor<'_>) -> bool {
        let room = cursor.remaining().min(self.input.len());
        let given = match &mut self.state {
            State::Head | State::Hold => 0,
            State::Through => room,
            State::Give(left) => {
                let given = room.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= given as u64;
                given
            }
            State::GiveThenHold(left) => {
                let given = room.min(*left);
                *left -= given;
                given
            }
            State::GiveThenChunked(left @ 1.., _) => {
                let given = room.min(*left);
                *left -= given;
                given
            }
            State::GiveThenChunked(0, decoder) => match decoder.scan(&self.input[..room]) {
                Ok(given) => given,
                // hyper sees the same bytes and refuses them.
                Err(_) => {
                    self.state = State::Through;
                    room
                }
            },
        };
        cursor.put_slice(&self.input[..given]);
        self.input.advance(given);
        self.leave_finished();
        given > 0
    }

    /// Steps on where a state has given all it had.
    fn leave_finished(&mut self) {
        match &self.state {
            State::Give(0) => self.await_head(),
            State::GiveThenHold(0) => self.state = State::Hold,
            State::GiveThenChunked(0, decoder) if decoder.is_done() => self.await_head(),
            _ => {}
        }
    }

    fn await_head(&mut self) {
        self.state = State::Head;
        self.shared.lock().waiting_since = Some(Instant::now());
    }

    /// Receives more; `Ready(0)` at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            self.input.reserve(HEAD_READ_BYTES);
            match self.stream.try_read_buf(&mut self.input) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// Sends what is buffered.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(&self.output) {
                Ok(sent) => self.output.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        // An idle connection keeps no memory.
        self.output = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl Read for HeadGate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            if gate.give(&mut cursor) {
                return Poll::Ready(Ok(()));
            }
            if matches!(gate.state, State::Hold) {
                return Poll::Pending;
            }
            if matches!(gate.state, State::Head) && gate.look_for_head() {
                continue;
            }
            if gate.input.is_empty() {
                gate.input = BytesMut::new(); // an idle connection keeps no memory
            }
            if ready!(gate.poll_receive(cx))? == 0 {
                // The end. What there is of a head goes to hyper, which knows what to say.
                gate.state = State::Through;
                gate.give(&mut cursor);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Write for HeadGate {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        if gate.output.len() > ANSWERS_BUFFERED_BYTES_MAX {
            ready!(gate.poll_drain(cx))?;
        }
        gate.output.extend_from_slice(bytes);
        let _ = gate.poll_drain(cx)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        ready!(gate.poll_drain(cx))?;
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut gate.stream), cx)
    }
}

/// What the front of the input is.
#[derive(Debug, PartialEq, Eq)]
enum Examined {
    Partial,
    Malformed,
    Head { len: usize, note: HeadNote, framing: Option<Framing> },
}

/// Reads a head as hyper will (httparse is hyper's own parser).
fn examine(input: &[u8]) -> Examined {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Examined::Partial,
        Err(_) => return Examined::Malformed,
    };
    let is_hot = request
        .method
        .and_then(|method| method.parse::<Method>().ok())
        .zip(request.path)
        .is_some_and(|(method, path)| router::is_hot(&method, path));
    match host(request.headers).and_then(|()| framing(request.headers, request.version)) {
        Err(reason) => Examined::Head { len, note: HeadNote::Ambiguous(reason), framing: None },
        Ok(framing) if is_hot => {
            let note = HeadNote::Hot(framing.unwrap_or(Framing::Length(0)));
            Examined::Head { len, note, framing }
        }
        Ok(framing) => Examined::Head { len, note: HeadNote::Cold, framing },
    }
}

/// Writes escapes into the target of a head that is whole; answers whether any had to be.
fn escape_target(input: &mut BytesMut) -> bool {
    let Some(target) = target(input) else { return false };
    if !input[target.clone()].iter().any(|byte| NO_TARGET.contains(byte)) {
        return false;
    }
    let mut escaped = BytesMut::with_capacity(input.len() + HEAD_READ_BYTES);
    escaped.extend_from_slice(&input[..target.start]);
    for byte in &input[target.clone()] {
        match NO_TARGET.contains(byte) {
            true => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            false => escaped.extend_from_slice(&[*byte]),
        }
    }
    escaped.extend_from_slice(&input[target.end..]);
    *input = escaped;
    true
}

/// Bytes that httparse lets into a target, and the type that hyper makes of it does not.
const NO_TARGET: &[u8] = b"\"<>`";

/// Where the target stands: between the first two blanks, since a method has none.
fn target(head: &[u8]) -> Option<Range<usize>> {
    let blank = |from: usize| head[from..].iter().position(|byte| *byte == b' ');
    let start = blank(0)? + 1;
    Some(start..start + blank(start)?)
}

/// Of several hosts each program could take another one (RFC 9112, section 3.2).
fn host(headers: &[httparse::Header<'_>]) -> Result<(), &'static str> {
    let hosts = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    match hosts.count() {
        0 | 1 => Ok(()),
        _ => Err("Host is given more than once"),
    }
}

/// The one framing that a head can mean, or why it could mean several (RFC 9112, section 6.3).
fn framing(
    headers: &[httparse::Header<'_>],
    version: Option<u8>,
) -> Result<Option<Framing>, &'static str> {
    let mut length = None;
    let mut is_chunked = false;
    for header in headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err("Content-Length is given more than once");
            }
            length = Some(parse_length(header.value)?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if is_chunked || !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not exactly chunked");
            }
            is_chunked = true;
        }
    }
    match (length, is_chunked) {
        (Some(_), true) => Err("Content-Length and Transfer-Encoding are both given"),
        (None, true) if version == Some(0) => Err("HTTP/1.0 has no Transfer-Encoding"),
        (None, true) => Ok(Some(Framing::Chunked)),
        (length, false) => Ok(length.map(Framing::Length)),
    }
}

fn parse_length(value: &[u8]) -> Result<u64, &'static str> {
    let digits = value.trim_ascii();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
        .ok_or("Content-Length is not a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "/v2/images/64911dd1-6788-47d2-8fca-143049da6f6b/file";

    fn head(lines: &[&str]) -> Vec<u8> {
        format!("PUT {FILE} HTTP/1.1\r\nHost: x\r\n{}\r\n", lines.concat()).into_bytes()
    }

    fn note(lines: &[&str]) -> Option<HeadNote> {
        match examine(&head(lines)) {
            Examined::Head { note, .. } => Some(note),
            _ => None,
        }
    }

    #[test]
    fn hot_heads_are_told_from_cold_ones() {
        assert_eq!(note(&["Content-Length: 5\r\n"]), Some(HeadNote::Hot(Framing::Length(5))));
        let chunked = note(&["transfer-encoding: Chunked\r\n"]);
        assert_eq!(chunked, Some(HeadNote::Hot(Framing::Chunked)));
        assert_eq!(note(&[]), Some(HeadNote::Hot(Framing::Length(0))));
        let cold = examine(b"GET /v2/images HTTP/1.1\r\nHost: x\r\n\r\nrest");
        let Examined::Head { len, note, framing } = cold else { panic!("{cold:?}") };
        assert_eq!((len, note, framing), (36, HeadNote::Cold, None));
    }

    #[test]
    fn ls_02_bytes_that_no_target_may_have_are_escaped() {
        let escaped = |text: &str| {
            let mut input = BytesMut::from(text.as_bytes());
            let has_changed = escape_target(&mut input);
            assert_eq!(has_changed, input != text.as_bytes());
            String::from_utf8_lossy(&input).into_owned()
        };
        let rest = " HTTP/1.1\r\nX: \"<>`\r\n\r\n\"body\"";
        let quoted = format!("\r\nGET /v2/images?name=\"<a>`\"&x=%22{rest}");
        let wanted = format!("\r\nGET /v2/images?name=%22%3Ca%3E%60%22&x=%22{rest}");
        assert_eq!(escaped(&quoted), wanted);
        let plain = format!("GET /v2/images?name=in:'a',{{b}}{rest}");
        assert_eq!(escaped(&plain), plain);
        // Whatever httparse takes for a target is one afterwards.
        for byte in 0x21..0x7f_u8 {
            for target in [format!("/a{}b", char::from(byte)), format!("/?{}", char::from(byte))] {
                let head = escaped(&format!("GET {target} HTTP/1.1\r\n\r\n"));
                let target = head.split(' ').nth(1).unwrap_or_default();
                assert!(target.parse::<http::Uri>().is_ok(), "{target}");
            }
        }
    }

    #[test]
    fn every_prefix_of_a_head_is_partial() {
        let head = head(&["Content-Length: 5\r\n"]);
        for len in 1..head.len() {
            assert_eq!(examine(&head[..len]), Examined::Partial, "{len}");
        }
    }

    #[test]
    fn promise_4_heads_with_two_readings_are_ambiguous() {
        for lines in [
            &["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"][..],
            &["Transfer-Encoding: chunked\r\n", "Content-Length: 5\r\n"],
            &["Content-Length: 5\r\n", "Content-Length: 6\r\n"],
            &["Content-Length: 5\r\n", "Content-Length: 5\r\n"],
            &["Content-Length: 5, 5\r\n"],
            &["Content-Length: +5\r\n"],
            &["Content-Length: 0x5\r\n"],
            &["Content-Length: 99999999999999999999999\r\n"],
            &["Transfer-Encoding: gzip, chunked\r\n"],
            &["Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\n"],
            &["Transfer-Encoding: xchunked\r\n"],
            &["host: x\r\n"],
        ] {
            assert!(matches!(note(lines), Some(HeadNote::Ambiguous(_))), "{lines:?}");
        }
    }
}
