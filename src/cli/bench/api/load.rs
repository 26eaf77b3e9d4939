//! Requests, one after the other on each of some connections, as fast as they are answered.
//!
//! Answers are counted and thrown away: a client that parses a megabyte of JSON would be what is
//! measured. Servers that close after each answer, as Glance on uWSGI does, are connected to anew,
//! which is part of what they cost.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::BenchError;
use super::super::client::{connect, content_length};
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX};

/// What is asked for, and how hard.
#[derive(Debug)]
pub(super) struct Load {
    targets: Vec<String>,
    clients: u32,
    lasts: Duration,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) requests: u64,
    /// From the first request to the last answer.
    pub(super) took: Duration,
}

impl Load {
    pub(super) fn new(targets: Vec<String>, clients: u32, lasts: Duration) -> Self {
        Self { targets, clients, lasts }
    }

    /// Asks for as long as it is to last; what has been asked by then is waited for.
    pub(super) fn send(&self, server: SocketAddr) -> Result<Sent, BenchError> {
        let begun = Instant::now();
        let counts: Result<Vec<u64>, BenchError> = thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients as usize)
                .map(|client| scope.spawn(move || self.client(server, client, begun)))
                .collect();
            let done = clients.into_iter().map(|client| match client.join() {
                Ok(count) => count,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            done.collect()
        });
        let took = begun.elapsed();
        Ok(Sent { requests: counts?.into_iter().sum(), took })
    }

    /// Each client begins elsewhere, so that they don't ask for the same image at the same time.
    fn client(&self, server: SocketAddr, client: usize, begun: Instant) -> Result<u64, BenchError> {
        let first = self.targets.len() * client / self.clients.max(1) as usize;
        let mut line = Line::new(server);
        let mut count = 0;
        for target in self.targets.iter().cycle().skip(first) {
            if begun.elapsed() >= self.lasts {
                break;
            }
            line.get(target)?;
            count += 1;
        }
        Ok(count)
    }
}

/// The ids of the images on a page.
pub(super) fn ids(server: SocketAddr, page: &str) -> Result<Vec<String>, BenchError> {
    let mut line = Line::new(server);
    line.get(page)?;
    let body: Value = serde_json::from_slice(&line.body).unwrap_or_default();
    let images = body["images"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(images.iter().filter_map(|image| image["id"].as_str().map(str::to_owned)).collect())
}

/// A connection, for as long as the server keeps it.
struct Line {
    server: SocketAddr,
    socket: Option<TcpStream>,
    /// The last answer's.
    body: Vec<u8>,
}

impl Line {
    fn new(server: SocketAddr) -> Self {
        Self { server, socket: None, body: Vec::new() }
    }

    /// Asks, and takes the whole answer, which has to be 200.
    fn get(&mut self, target: &str) -> Result<(), BenchError> {
        let request = || format!("GET {target}");
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => connect(self.server)?,
        };
        let head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.server);
        let sent = socket.write_all(head.as_bytes());
        let answer = sent.and_then(|()| read(&mut socket, &mut self.body));
        let answer = answer.map_err(|error| BenchError::io(request())(error))?;
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&self.body).trim().to_owned();
            return Err(BenchError::Refused { request: request(), status: answer.status, said });
        }
        self.socket = answer.is_kept.then_some(socket);
        Ok(())
    }
}

/// What a head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// The body's; without it the body ends with the connection.
    length: Option<usize>,
    is_kept: bool,
}

impl Head {
    /// The head and where it ends; `None` when more must be read.
    fn parse(received: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(end) = head.parse(received).map_err(invalid)? else {
            return Ok(None);
        };
        let length = content_length(head.headers);
        let closes = head.headers.iter().any(|field| {
            field.name.eq_ignore_ascii_case("connection")
                && field.value.eq_ignore_ascii_case(b"close")
        });
        let is_kept = length.is_some() && !closes;
        Ok(Some((Self { status: head.code.unwrap_or_default(), length, is_kept }, end)))
    }
}

/// Reads an answer, its body into `body`.
fn read(socket: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Head> {
    let mut buffer = [0; 16 * 1024];
    body.clear();
    let head = loop {
        if let Some((head, end)) = Head::parse(body)? {
            body.drain(..end);
            break head;
        }
        let length = socket.read(&mut buffer)?;
        if length == 0 || body.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        body.extend_from_slice(&buffer[..length]);
    };
    match head.length {
        Some(length) => {
            let missing = length.saturating_sub(body.len()) as u64;
            if socket.take(missing).read_to_end(body)? as u64 != missing {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        None => {
            socket.read_to_end(body)?;
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A server that answers each request on `socket` with the next of `answers`.
    fn serve(answers: &'static [&'static str]) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut socket = None;
            for answer in answers {
                let mut open = socket.take().unwrap_or_else(|| listener.accept().unwrap().0);
                let mut request = [0; 1024];
                assert!(open.read(&mut request).unwrap() > 0);
                open.write_all(answer.as_bytes()).unwrap();
                socket = (!answer.contains("close")).then_some(open);
            }
        });
        address
    }

    #[test]
    fn connections_are_kept_as_long_as_the_server_keeps_them() {
        let mut line = Line::new(serve(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\ntwo",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
            "HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy",
        ]));
        for (body, is_kept) in [("one", true), ("two", false), ("to the end", false)] {
            line.get("/v2/images").unwrap();
            assert_eq!((&*line.body, line.socket.is_some()), (body.as_bytes(), is_kept));
        }
        let refusal = line.get("/v2/images").unwrap_err().to_string();
        assert!(refusal.starts_with("GET /v2/images was answered with 503: busy"), "{refusal}");
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error() {
        let mut line = Line::new(serve(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nshort",
        ]));
        assert!(line.get("/").is_err());
    }
}
