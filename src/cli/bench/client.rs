//! The client: threads and blocking sockets, cheap enough that the server is what is measured.
//!
//! Every upload sends the same 4 MiB of noise over and over: incompressible, hot in the client's
//! cache, and with a checksum that is computed once. `bench import` sends zeros as well.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use serde_json::Value;

use super::{BenchError, ByteSize};
use crate::limits::{BENCH_SOCKET_TIMEOUT, HEAD_BYTES_MAX, HEADERS_MAX, MIB};

const BLOCK_BYTES: usize = 4 * MIB;
/// The chunks that python-glanceclient sends.
const CHUNK_BYTES: usize = 64 * 1024;

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The image data that every upload sends.
#[derive(Debug)]
pub(super) struct Payload {
    size: u64,
    /// MD5 of the whole, in hexadecimal, once somebody has asked for it.
    checksum: OnceLock<String>,
    block: Vec<u8>,
    /// `block` in chunks.
    framed_block: Vec<u8>,
}

impl Payload {
    /// Noise, with its checksum.
    pub(super) fn new(size: ByteSize) -> Self {
        let payload = Self::of(noise(BLOCK_BYTES), size);
        payload.checksum();
        payload
    }

    /// Zeros, of which a thin store keeps nothing. There may be so many that their checksum is
    /// better computed while they are sent.
    pub(super) fn zeros(size: ByteSize) -> Self {
        Self::of(vec![0; BLOCK_BYTES], size)
    }

    fn of(block: Vec<u8>, ByteSize(size): ByteSize) -> Self {
        let framed_block = chunks(&block);
        Self { size, checksum: OnceLock::new(), block, framed_block }
    }

    /// MD5 of the whole, in hexadecimal.
    pub(super) fn checksum(&self) -> &str {
        self.checksum.get_or_init(|| {
            let mut md5 = Md5::new();
            for part in parts(&self.block, self.size) {
                md5.update(part);
            }
            hex(&md5.finalize())
        })
    }

    /// What is sent over and over.
    pub(super) fn block(&self) -> &[u8] {
        &self.block
    }

    /// Sends it, and counts it as it goes.
    fn send(
        &self,
        socket: &mut impl Write,
        framing: Framing,
        sent_bytes: &AtomicU64,
    ) -> io::Result<()> {
        for part in parts(&self.block, self.size) {
            match framing {
                Framing::Length => socket.write_all(part)?,
                Framing::Chunked if part.len() == BLOCK_BYTES => {
                    socket.write_all(&self.framed_block)?;
                }
                Framing::Chunked => socket.write_all(&chunks(part))?,
            }
            sent_bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
        }
        if framing == Framing::Chunked { socket.write_all(b"0\r\n\r\n") } else { Ok(()) }
    }
}

/// `block` again and again, the last time cut, until it is `size` long.
fn parts(block: &[u8], size: u64) -> impl Iterator<Item = &[u8]> {
    let mut left = size;
    std::iter::from_fn(move || {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        left -= length as u64;
        (length > 0).then(|| &block[..length])
    })
}

/// `data` in chunked framing, without the last chunk.
fn chunks(data: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(data.len() + data.len() / CHUNK_BYTES * 16 + 16);
    for chunk in data.chunks(CHUNK_BYTES) {
        framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed
}

/// Bytes that don't compress, the same on every run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// From the first byte of a request to the last of its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) begun: Instant,
    pub(super) ended: Instant,
}

/// One image for each stream, ready to be uploaded.
#[derive(Debug)]
pub(super) struct Uploads<'p> {
    server: SocketAddr,
    payload: &'p Payload,
    framing: Framing,
    images: Vec<String>,
    /// Of all streams, so far.
    sent_bytes: AtomicU64,
}

impl<'p> Uploads<'p> {
    /// Creates the records.
    pub(super) fn create(
        server: SocketAddr,
        payload: &'p Payload,
        framing: Framing,
        streams: u32,
    ) -> Result<Self, BenchError> {
        let images = (0..streams).map(|_| create(server)).collect::<Result<_, _>>()?;
        Ok(Self { server, payload, framing, images, sent_bytes: AtomicU64::new(0) })
    }

    /// The images, in the order of their streams.
    pub(super) fn images(&self) -> &[String] {
        &self.images
    }

    /// How much of all of them has been sent.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Sends all of them at the same time, over connections made before the clock starts.
    pub(super) fn send(&self) -> Result<Vec<Span>, BenchError> {
        self.send_as("file")
    }

    /// The same to the staging area.
    pub(super) fn stage(&self) -> Result<Vec<Span>, BenchError> {
        self.send_as("stage")
    }

    fn send_as(&self, what: &str) -> Result<Vec<Span>, BenchError> {
        let sockets: Vec<TcpStream> =
            self.images.iter().map(|_| connect(self.server)).collect::<Result<_, _>>()?;
        let start = Barrier::new(sockets.len());
        thread::scope(|scope| {
            let streams: Vec<_> = self
                .images
                .iter()
                .zip(sockets)
                .map(|(image, socket)| scope.spawn(|| self.put(image, what, socket, &start)))
                .collect();
            let ended = streams.into_iter().map(|stream| match stream.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect()
        })
    }

    fn put(
        &self,
        image: &str,
        what: &str,
        mut socket: TcpStream,
        start: &Barrier,
    ) -> Result<Span, BenchError> {
        let request = format!("PUT /v2/images/{image}/{what}");
        let framing = match self.framing {
            Framing::Length => format!("Content-Length: {}", self.payload.size),
            Framing::Chunked => "Transfer-Encoding: chunked".to_owned(),
        };
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\n\
             {framing}\r\n\r\n",
            self.server
        );
        start.wait();
        let begun = Instant::now();
        let sent = socket
            .write_all(head.as_bytes())
            .and_then(|()| self.payload.send(&mut socket, self.framing, &self.sent_bytes));
        // A server that refuses may close while we send: its answer says more than our EPIPE.
        let answer = Answer::read(&mut socket).map_err(|error| sent.err().unwrap_or(error));
        let ended = Instant::now();
        answer.map_err(BenchError::io(&request))?.expect(204, &request)?;
        Ok(Span { begun, ended })
    }

    /// Compares what the server shows for each image with what was sent. A server that doesn't
    /// hash shows no checksum and `hashes` is false.
    pub(super) fn verify(&self, hashes: bool) -> Result<(), BenchError> {
        let checksum = if hashes { Value::from(self.payload.checksum()) } else { Value::Null };
        let expected = format!("active, {} bytes, MD5 {checksum}", self.payload.size);
        for image in &self.images {
            let request = format!("GET /v2/images/{image}");
            let shown = exchange(self.server, &request, "")?.expect(200, &request)?.json();
            let field = |name: &str| shown[name].as_str().unwrap_or("nothing").to_owned();
            let found =
                format!("{}, {} bytes, MD5 {}", field("status"), shown["size"], shown["checksum"]);
            if found != expected {
                return Err(BenchError::Corrupt { request, expected, found });
            }
        }
        Ok(())
    }

    /// Deletes the images with their data.
    pub(super) fn delete(self) -> Result<(), BenchError> {
        for image in &self.images {
            let request = format!("DELETE /v2/images/{image}");
            exchange(self.server, &request, "")?.expect(204, &request)?;
        }
        Ok(())
    }
}

/// Creates a record and returns its id.
fn create(server: SocketAddr) -> Result<String, BenchError> {
    let request = "POST /v2/images";
    let record = r#"{"disk_format":"raw","container_format":"bare"}"#;
    let answer = exchange(server, request, record)?.expect(201, request)?;
    let id = answer.json()["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| answer.refused(request))
}

/// Has a staged image imported, and asks for its record until that says `active`, over one
/// connection and without a pause. Answers how long it took from the request on, and how often the
/// record was asked for.
pub(super) fn import(server: SocketAddr, image: &str) -> Result<(Duration, u32), BenchError> {
    const DIRECT: &str = r#"{"method":{"name":"glance-direct"}}"#;
    let mut socket = connect(server)?;
    let request = format!("POST /v2/images/{image}/import");
    let begun = Instant::now();
    ask(&mut socket, server, &request, "keep-alive", DIRECT)?.expect(202, &request)?;
    let request = format!("GET /v2/images/{image}");
    for asked in 1_u32.. {
        let answer = ask(&mut socket, server, &request, "keep-alive", "")?;
        let took = begun.elapsed();
        let answer = answer.expect(200, &request)?;
        let record = answer.json();
        if record["status"] == "active" {
            return Ok((took, asked));
        }
        let has_failed = record["os_glance_failed_import"].as_str().is_some_and(|s| !s.is_empty());
        if has_failed || took > BENCH_SOCKET_TIMEOUT {
            return Err(answer.refused(&request));
        }
    }
    Err(BenchError::io(request)(io::ErrorKind::TimedOut.into()))
}

/// One small request over a connection of its own.
pub(super) fn exchange(
    server: SocketAddr,
    request: &str,
    json: &str,
) -> Result<Answer, BenchError> {
    ask(&mut connect(server)?, server, request, "close", json)
}

fn ask(
    socket: &mut TcpStream,
    server: SocketAddr,
    request: &str,
    connection: &str,
    json: &str,
) -> Result<Answer, BenchError> {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {server}\r\nConnection: {connection}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    );
    let answer = socket.write_all(head.as_bytes()).and_then(|()| Answer::read(socket));
    answer.map_err(BenchError::io(request))
}

/// A connection of a bench's client.
pub(super) fn connect(server: SocketAddr) -> Result<TcpStream, BenchError> {
    let connect = || {
        let socket = TcpStream::connect_timeout(&server, BENCH_SOCKET_TIMEOUT)?;
        socket.set_read_timeout(Some(BENCH_SOCKET_TIMEOUT))?;
        socket.set_write_timeout(Some(BENCH_SOCKET_TIMEOUT))?;
        socket.set_nodelay(true)?;
        Ok(socket)
    };
    connect().map_err(BenchError::io(format!("connecting to {server}")))
}

/// An answer with a body of known length, or none.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    pub(super) body: String,
}

impl Answer {
    fn read(socket: &mut impl Read) -> io::Result<Self> {
        let mut received = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(answer) = Self::parse(&received)? {
                return Ok(answer);
            }
            let length = socket.read(&mut buffer)?;
            if length == 0 || received.len() > HEAD_BYTES_MAX + MIB {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&buffer[..length]);
        }
    }

    /// `None` when more must be read. Interim answers are skipped.
    fn parse(received: &[u8]) -> io::Result<Option<Self>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(end) = head.parse(received).map_err(invalid)? else {
            return Ok(None);
        };
        let status = head.code.unwrap_or_default();
        if status < 200 {
            return Self::parse(&received[end..]);
        }
        let length = content_length(head.headers).unwrap_or(0);
        let body = received.get(end..end.saturating_add(length));
        Ok(body.map(|body| Self { status, body: String::from_utf8_lossy(body).into_owned() }))
    }

    fn expect(self, status: u16, request: &str) -> Result<Self, BenchError> {
        if self.status == status { Ok(self) } else { Err(self.refused(request)) }
    }

    fn refused(&self, request: &str) -> BenchError {
        let said = self.body.trim().to_owned();
        BenchError::Refused { request: request.to_owned(), status: self.status, said }
    }

    /// The body; `null` when it is not JSON, which then lacks every field.
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The one field of a head that both ends of the bench read.
pub(super) fn content_length(fields: &[httparse::Header<'_>]) -> Option<usize> {
    let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"))?;
    std::str::from_utf8(field.value).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sent(payload: &Payload, framing: Framing) -> Vec<u8> {
        let mut wire = Vec::new();
        payload.send(&mut wire, framing, &AtomicU64::new(0)).unwrap();
        wire
    }

    /// De-chunks by hand: the oracle for [`chunks`].
    fn dechunked(mut wire: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        loop {
            let end = wire.windows(2).position(|pair| pair == b"\r\n").unwrap();
            let size = std::str::from_utf8(&wire[..end]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            let rest = &wire[end + 2..];
            data.extend_from_slice(&rest[..size]);
            assert_eq!(&rest[size..size + 2], b"\r\n");
            wire = &rest[size + 2..];
            if size == 0 {
                assert!(wire.is_empty());
                return data;
            }
        }
    }

    #[test]
    fn both_framings_carry_the_same_bytes_and_the_checksum_is_theirs() {
        for size in [0, 1, CHUNK_BYTES as u64 + 1, BLOCK_BYTES as u64, BLOCK_BYTES as u64 * 2 + 9] {
            let payload = Payload::new(ByteSize(size));
            let plain = sent(&payload, Framing::Length);
            assert_eq!(plain.len() as u64, size);
            assert_eq!(dechunked(&sent(&payload, Framing::Chunked)), plain);
            assert_eq!(payload.checksum(), hex(&Md5::digest(&plain)));
        }
    }

    #[test]
    fn an_answer_is_complete_with_its_body_and_not_before() {
        let wire = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
        for cut in 0..wire.len() {
            assert!(Answer::parse(&wire[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let answer = Answer::parse(wire).unwrap().unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcd"));
        assert!(Answer::parse(b"SMTP ready\r\n\r\n").is_err());
    }

    #[test]
    fn an_unexpected_status_quotes_the_answer() {
        let answer = Answer { status: 413, body: "Image storage media is full\n".into() };
        let refusal = answer.expect(204, "PUT /v2/images/1/file").unwrap_err().to_string();
        assert!(refusal.starts_with("PUT /v2/images/1/file was answered with 413: Image storage"));
    }
}
