//! An upload as a client would send it: framing, sizes of writes, extra header fields.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Body, Conn, Response};

/// Body bytes made at once when nothing smaller is asked for.
const BLOCK: usize = 256 * 1024;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`.
    Length,
    /// Chunks of so many bytes.
    Chunked(usize),
    /// Chunks with extensions, and trailer fields after the last.
    Decorated(usize),
}

/// A `PUT .../file` or `.../stage`, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    image: String,
    route: &'static str,
    body: Body,
    framing: Framing,
    write_bytes: usize,
    headers: String,
}

impl Upload {
    pub(crate) fn new(image: &str, body: Body) -> Self {
        Self {
            image: image.to_owned(),
            route: "file",
            body,
            framing: Framing::Length,
            write_bytes: 64 * 1024,
            headers: "Content-Type: application/octet-stream\r\n".to_owned(),
        }
    }

    /// The same for data that waits for its import.
    pub(crate) fn stage(image: &str, body: Body) -> Self {
        Self { route: "stage", ..Self::new(image, body) }
    }

    pub(crate) fn framing(mut self, framing: Framing) -> Self {
        self.framing = framing;
        self
    }

    /// Bytes per `write`, head included.
    pub(crate) fn writes(mut self, write_bytes: usize) -> Self {
        self.write_bytes = write_bytes;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        write!(self.headers, "{name}: {value}\r\n").unwrap();
        self
    }

    /// Replaces the only header field that every upload has.
    pub(crate) fn content_type(mut self, value: Option<&str>) -> Self {
        self.headers = value.map_or(String::new(), |value| format!("Content-Type: {value}\r\n"));
        self
    }

    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// Request line and header fields, with the empty line.
    pub(crate) fn head(&self) -> String {
        let framing = match self.framing {
            Framing::Length => format!("Content-Length: {}", self.body.bytes),
            _ => "Transfer-Encoding: chunked".to_owned(),
        };
        let (image, route, headers) = (&self.image, self.route, &self.headers);
        format!(
            "PUT /v2/images/{image}/{route} HTTP/1.1\r\nHost: test\r\n{headers}{framing}\r\n\r\n"
        )
    }

    /// Sends the whole request.
    pub(crate) fn send(&self, mut socket: TcpStream) -> io::Result<()> {
        self.send_through(|piece| socket.write_all(piece))
    }

    /// Passes the whole request to `sink`, one call for each write.
    pub(crate) fn send_through(&self, sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let held = Vec::with_capacity(self.write_bytes);
        let mut out = Pieces { sink, write_bytes: self.write_bytes, held };
        out.write_all(self.head().as_bytes())?;
        self.write_body(&mut out)?;
        out.flush()
    }

    /// Sends the request on an open connection and reads the final answer. The answer counts even
    /// when the server stopped reading.
    pub(crate) fn run_on(&self, conn: &mut Conn) -> io::Result<Response> {
        let sent = self.send(conn.sender());
        let answer = conn.response();
        if answer.is_err() { sent.and(answer) } else { answer }
    }

    /// Sends the request on a connection of its own.
    #[track_caller]
    pub(crate) fn run(&self, address: SocketAddr) -> Response {
        self.run_on(&mut Conn::open(address)).unwrap_or_else(|e| panic!("{self:?}: {e}"))
    }

    fn write_body(&self, out: &mut impl Write) -> io::Result<()> {
        match self.framing {
            Framing::Length => self.body.try_for_each(BLOCK, |block| out.write_all(block)),
            Framing::Chunked(size) => self.write_chunks(out, size, ["", ""]),
            Framing::Decorated(size) => {
                self.write_chunks(out, size, [";name=\"a;b\\\"c\"; flag", "X-Sum: 1\r\nX-B: 2\r\n"])
            }
        }
    }

    fn write_chunks(&self, out: &mut impl Write, size: usize, extra: [&str; 2]) -> io::Result<()> {
        let [extension, trailers] = extra;
        self.body.try_for_each(size, |chunk| {
            write!(out, "{:x}{extension}\r\n", chunk.len())?;
            out.write_all(chunk)?;
            out.write_all(b"\r\n")
        })?;
        write!(out, "0{extension}\r\n{trailers}\r\n")
    }
}

/// Cuts a stream of bytes into writes of one size.
struct Pieces<S> {
    sink: S,
    write_bytes: usize,
    held: Vec<u8>,
}

impl<S: FnMut(&[u8]) -> io::Result<()>> Write for Pieces<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(self.write_bytes - self.held.len());
        self.held.extend_from_slice(&bytes[..take]);
        if self.held.len() == self.write_bytes {
            self.flush()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        (self.sink)(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

#[test]
fn an_upload_is_cut_into_writes_and_chunks() {
    let body = Body::new(1, 5);
    let bytes = body.to_vec();
    let mut writes: Vec<Vec<u8>> = Vec::new();
    let upload = Upload::new("x", body).framing(Framing::Decorated(4)).writes(10);
    let sent = upload.send_through(|piece| {
        writes.push(piece.to_vec());
        Ok(())
    });
    sent.unwrap();
    assert!(writes[..writes.len() - 1].iter().all(|piece| piece.len() == 10));
    let wire = writes.concat();
    let sent_body = wire.strip_prefix(upload.head().as_bytes()).unwrap();
    let [extension, trailers] = [";name=\"a;b\\\"c\"; flag", "X-Sum: 1\r\nX-B: 2\r\n"];
    let first = [format!("4{extension}\r\n").as_bytes(), &bytes[..4], b"\r\n"].concat();
    let second = [format!("1{extension}\r\n").as_bytes(), &bytes[4..], b"\r\n"].concat();
    let last = format!("0{extension}\r\n{trailers}\r\n").into_bytes();
    assert_eq!(sent_body, [first, second, last].concat());
}
