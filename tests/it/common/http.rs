//! A client of HTTP/1.1 on a plain socket, so that a test decides about every byte, write and
//! close.

use super::PATIENCE;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde_json::Value;

/// Status line and header fields of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first field with that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let field = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        field.map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    /// Fails the test unless status and a part of the body are as expected.
    #[track_caller]
    pub(crate) fn assert(&self, status: u16, part: &str) -> &Self {
        assert_eq!(self.status(), status, "{}", self.text());
        assert!(self.text().contains(part), "no {part:?} in {}", self.text());
        self
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN, after everything was delivered.
    Closed,
    /// RST.
    Reset,
    /// Not within the time given.
    Open,
    /// The peer sent more.
    Data,
}

/// A client connection with what was read beyond the last answer.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Conn {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|e| panic!("connect {address}: {e}"))
    }

    pub(crate) fn try_open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// A connection that is there already, of whatever kind.
    pub(crate) fn over(socket: OwnedFd) -> Self {
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a request with a small body and reads the answer.
    #[track_caller]
    pub(crate) fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let wire = [request.as_bytes(), body].concat();
        self.send(&wire).unwrap();
        self.response().unwrap_or_else(|e| panic!("{method} {target}: {e}"))
    }

    /// Reads an answer. Interim answers (1xx) are answers of their own.
    pub(crate) fn response(&mut self) -> io::Result<Response> {
        let head = self.head()?;
        let mut body = Vec::new();
        self.body(&head, |part| body.extend_from_slice(part))?;
        Ok(Response { head, body })
    }

    /// Reads an answer's head only.
    pub(crate) fn head(&mut self) -> io::Result<Head> {
        loop {
            if let Some((head, length)) = parse_head(&self.unread)? {
                self.unread.drain(..length);
                return Ok(head);
            }
            self.read_more()?;
        }
    }

    /// Passes an answer's body to `sink` as it comes.
    pub(crate) fn body(&mut self, head: &Head, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        if head.status < 200 || head.status == 204 || head.status == 304 {
            return Ok(());
        }
        let framed = head.header("transfer-encoding").is_none();
        assert!(framed, "answers of this server have a Content-Length");
        let length = head.header("content-length").expect("a length").parse::<u64>().unwrap();
        let mut left = length;
        while left > 0 {
            if self.unread.is_empty() {
                self.read_more()?;
            }
            let take = self.unread.len().min(left as usize);
            sink(&self.unread[..take]);
            self.unread.drain(..take);
            left -= take as u64;
        }
        Ok(())
    }

    /// Waits until the peer ends the connection.
    pub(crate) fn end(&mut self, limit: Duration) -> End {
        if !self.unread.is_empty() {
            return End::Data;
        }
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let end = match self.read_more() {
            Ok(()) => End::Data,
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => End::Closed,
            Err(e) if e.kind() == ErrorKind::ConnectionReset => End::Reset,
            Err(e) if e.kind() == ErrorKind::WouldBlock => End::Open,
            Err(e) => panic!("{e}"),
        };
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        end
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Ends the connection with RST instead of FIN.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Another handle on the same socket, to send while this one reads.
    pub(crate) fn sender(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    fn read_more(&mut self) -> io::Result<()> {
        let held = self.unread.len();
        self.unread.resize(held + 256 * 1024, 0);
        let read = loop {
            match self.stream.read(&mut self.unread[held..]) {
                // A receive with a time-out is not taken up again after a signal.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.unread.truncate(held + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Head, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    let parsed = answer.parse(bytes).map_err(io::Error::other)?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers = answer.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect();
    Ok(Some((Head { status: answer.code.unwrap(), headers }, length)))
}
