//! A server of one body on loopback, for locations on the web.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::Body;

/// The server; it ends with the process.
#[derive(Debug)]
pub(crate) struct Web {
    address: SocketAddr,
}

impl Web {
    pub(crate) fn serving(body: Body) -> Self {
        Self::with_pauses(body, Duration::ZERO)
    }

    /// So slowly that it can be cut.
    pub(crate) fn slowly(body: Body) -> Self {
        Self::with_pauses(body, Duration::from_millis(2))
    }

    fn with_pauses(body: Body, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || serve(&stream, body, pause));
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

/// One request, and then the connection ends.
fn serve(mut stream: &TcpStream, body: Body, pause: Duration) -> Option<()> {
    let head = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = head.take_while(|line| !line.is_empty()).collect();
    let bytes = body.bytes;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    match head.first()?.starts_with("GET ") {
        true => {
            let send = |block: &[u8]| {
                thread::sleep(pause);
                stream.write_all(block)
            };
            body.try_for_each(256 * 1024, send).ok()
        }
        false => Some(()),
    }
}
