//! Servers on loopback from which data is fetched.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Body;

/// A server that answers every connection's request in its own way, and ends with the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Web {
    address: SocketAddr,
}

impl Web {
    /// One that has this body everywhere.
    pub(crate) fn serving(body: Body) -> Self {
        Self::answering(move |head, stream| {
            begin(stream, body.bytes)?;
            match head.starts_with("GET ") {
                true => body.try_for_each(1 << 20, |block| stream.write_all(block)),
                false => Ok(()),
            }
        })
    }

    /// So slowly that it can be cut, and in pieces that fill no page.
    pub(crate) fn slowly(body: Body) -> Self {
        Self::answering(move |head, stream| {
            begin(stream, body.bytes)?;
            if !head.starts_with("GET ") {
                return Ok(());
            }
            body.try_for_each(256 * 1024 - 7, |piece| {
                thread::sleep(Duration::from_millis(2));
                stream.write_all(piece)
            })
        })
    }

    /// One that has these bytes everywhere.
    pub(crate) fn of_bytes(bytes: Vec<u8>) -> Self {
        Self::answering(move |_, stream| {
            begin(stream, bytes.len() as u64)?;
            stream.write_all(&bytes)
        })
    }

    /// A Glance with an image of this body, whatever image it is asked for.
    pub(crate) fn glance(body: Body) -> Self {
        let record = format!(
            r#"{{"status": "active", "size": {}, "disk_format": "raw", "container_format": "bare"}}"#,
            body.bytes
        );
        Self::answering(move |head, stream| {
            if head.lines().next().is_some_and(|line| line.contains("/file ")) {
                begin(stream, body.bytes)?;
                return body.try_for_each(1 << 20, |block| stream.write_all(block));
            }
            begin(stream, record.len() as u64)?;
            stream.write_all(record.as_bytes())
        })
    }

    /// One that is given the head of a request, and the connection.
    pub(crate) fn answering(
        answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let answer = Arc::clone(&answer);
                thread::spawn(move || {
                    let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                    // Whoever asked may be gone.
                    let _ = answer(&lines.join("\n"), &mut stream);
                });
            }
        });
        Self { address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/image", self.address)
    }

    /// For `allowed_ports`.
    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }
}

/// The head of an answer of so many bytes.
pub(crate) fn begin(stream: &mut TcpStream, bytes: u64) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}
