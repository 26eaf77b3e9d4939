//! The controls: as little server as can be, so that their figures are those of their loops.
//!
//! They speak just enough of the Image API for the bench's own client (one request a connection,
//! `Content-Length` bodies, trusted peer on loopback), and never sync. They end when their
//! standard input does, so none outlives a bench that was killed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use md5::{Digest, Md5};
use ring::digest::{Context, SHA512};
use serde_json::{Value, json};

use super::BenchError;
use super::client::{content_length, hex};
use super::process::SERVING;
use crate::image::ImageId;
use crate::limits::{HEAD_BYTES_MAX, HEADERS_MAX, KIB};

/// What Glance reads at once.
const SERIAL_READ_BYTES: usize = 64 * KIB;
const PLAIN_READ_BYTES: usize = 256 * KIB;

/// Arguments of the hidden `bench control`.
#[derive(Clone, Debug, clap::Args)]
pub struct Control {
    /// What is done with the bytes
    #[arg(value_enum)]
    kind: Kind,
    /// Where the files go
    #[arg(long)]
    dir: PathBuf,
}

/// What a control does with the bytes it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// As Glance: read 64 KiB, MD5, SHA-512, write, again
    Serial,
    /// Read 256 KiB, write, again
    Plain,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::Plain => "plain",
        }
    }

    /// Whether a checksum is shown.
    pub(super) fn hashes(self) -> bool {
        self == Self::Serial
    }

    /// Writes `body` to `file` and returns what the record shows of it.
    fn store(self, body: impl Read, file: &File) -> io::Result<Value> {
        match self {
            Self::Serial => store_serially(body, file),
            Self::Plain => store_plainly(body, file),
        }
    }
}

fn store_serially(mut body: impl Read, mut file: &File) -> io::Result<Value> {
    let mut buffer = vec![0; SERIAL_READ_BYTES];
    let (mut md5, mut sha512, mut size) = (Md5::new(), Context::new(&SHA512), 0);
    loop {
        let length = body.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        md5.update(&buffer[..length]);
        sha512.update(&buffer[..length]);
        file.write_all(&buffer[..length])?;
        size += length as u64;
    }
    let (checksum, multihash) = (hex(&md5.finalize()), hex(sha512.finish().as_ref()));
    Ok(json!({ "size": size, "checksum": checksum, "os_hash_value": multihash }))
}

fn store_plainly(mut body: impl Read, file: &File) -> io::Result<Value> {
    let mut buffer = vec![0; PLAIN_READ_BYTES];
    let mut size = 0;
    loop {
        let length = body.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        file.write_all_at(&buffer[..length], size)?;
        size += length as u64;
    }
    Ok(json!({ "size": size, "checksum": null }))
}

impl Control {
    /// Serves until standard input ends.
    ///
    /// # Errors
    /// When it can't listen or say so.
    pub(super) fn run(&self) -> Result<(), BenchError> {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(BenchError::io("listening on 127.0.0.1"))?;
        let address = listener.local_addr().map_err(BenchError::io("reading our address"))?;
        let records = Arc::new(Records::new(self.kind, &self.dir));
        thread::spawn(move || accept(&listener, &records));
        println!("{SERVING}{address}");
        let ended = io::copy(&mut io::stdin(), &mut io::sink());
        ended.map(drop).map_err(BenchError::io("waiting for standard input to end"))
    }
}

/// One thread for each connection, as many as the bench has streams.
fn accept(listener: &TcpListener, records: &Arc<Records>) {
    for socket in listener.incoming().flatten() {
        let records = Arc::clone(records);
        thread::spawn(move || {
            if let Err(error) = records.exchange(socket) {
                eprintln!("control: {error}");
            }
        });
    }
}

/// The images of a control.
#[derive(Debug)]
struct Records {
    kind: Kind,
    dir: PathBuf,
    shown: Mutex<HashMap<ImageId, Value>>,
}

impl Records {
    fn new(kind: Kind, dir: &Path) -> Self {
        Self { kind, dir: dir.to_owned(), shown: Mutex::default() }
    }

    fn exchange(&self, mut socket: TcpStream) -> io::Result<()> {
        let (head, rest) = Head::read(&mut socket)?;
        let body = rest.chain(&socket).take(head.length);
        let (status, shown) = self.answer(&head, body)?;
        let shown = shown.map_or_else(String::new, |shown| shown.to_string());
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{shown}",
            shown.len()
        );
        socket.write_all(answer.as_bytes())
    }

    fn answer(&self, head: &Head, body: impl Read) -> io::Result<(&'static str, Option<Value>)> {
        let image = head.path.split('/').nth(3).and_then(ImageId::parse);
        match (head.method.as_str(), image) {
            ("POST", None) => {
                let image = ImageId::random();
                let record = json!({ "id": image.as_str(), "status": "queued" });
                self.show(image, record.clone());
                Ok(("201 Created", Some(record)))
            }
            ("PUT", Some(image)) => {
                let file = File::create(self.path(&image))?;
                let mut record = self.kind.store(body, &file)?;
                if record["size"] != head.length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                record["status"] = "active".into();
                self.show(image, record);
                Ok(("204 No Content", None))
            }
            ("GET", Some(image)) => match self.shown().get(&image) {
                Some(record) => Ok(("200 OK", Some(record.clone()))),
                None => Ok(("404 Not Found", None)),
            },
            ("DELETE", Some(image)) => {
                self.shown().remove(&image);
                std::fs::remove_file(self.path(&image))?;
                Ok(("204 No Content", None))
            }
            _ => Ok(("404 Not Found", None)),
        }
    }

    fn path(&self, image: &ImageId) -> PathBuf {
        self.dir.join(image.as_str())
    }

    fn show(&self, image: ImageId, record: Value) {
        self.shown().insert(image, record);
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, HashMap<ImageId, Value>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's head.
#[derive(Debug)]
struct Head {
    method: String,
    path: String,
    length: u64,
}

impl Head {
    /// Reads up to the end of a head, and returns what came after it as well.
    fn read(socket: &mut impl Read) -> io::Result<(Self, io::Cursor<Vec<u8>>)> {
        let mut received = Vec::new();
        let mut buffer = [0; KIB];
        loop {
            let length = socket.read(&mut buffer)?;
            if length == 0 || received.len() > HEAD_BYTES_MAX {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend_from_slice(&buffer[..length]);
            if let Some((head, end)) = Self::parse(&received)? {
                return Ok((head, io::Cursor::new(received.split_off(end))));
            }
        }
    }

    fn parse(received: &[u8]) -> io::Result<Option<(Self, usize)>> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        let httparse::Status::Complete(end) = head.parse(received).map_err(invalid)? else {
            return Ok(None);
        };
        let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
        let length = content_length(head.headers).unwrap_or(0) as u64;
        Ok(Some((Self { method: text(head.method), path: text(head.path), length }, end)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;

    use super::super::ByteSize;
    use super::super::client::{Framing, Payload, Uploads};
    use super::*;

    fn start(kind: Kind, dir: &Path) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let records = Arc::new(Records::new(kind, dir));
        thread::spawn(move || accept(&listener, &records));
        address
    }

    /// The bench's own client against each control: what is stored is what was sent.
    #[test]
    fn uploads_go_round_trip() {
        let payload = Payload::new(ByteSize((5 << 20) + 17));
        for kind in [Kind::Serial, Kind::Plain] {
            let dir = tempfile::tempdir().unwrap();
            let server = start(kind, dir.path());
            let uploads = Uploads::create(server, &payload, Framing::Length, 3).unwrap();
            assert_eq!(uploads.send().unwrap().len(), 3);
            let sizes = std::fs::read_dir(dir.path()).unwrap();
            assert!(
                sizes.map(|file| file.unwrap().metadata().unwrap().len()).eq([(5 << 20) + 17; 3])
            );
            uploads.verify(kind.hashes()).unwrap();
            assert!(matches!(uploads.verify(!kind.hashes()), Err(BenchError::Corrupt { .. })));
            uploads.delete().unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_serial_control_knows_the_hashes_of_abc() {
        let file = tempfile::tempfile().unwrap();
        let shown = Kind::Serial.store(&b"abc"[..], &file).unwrap();
        assert_eq!(shown["checksum"], "900150983cd24fb0d6963f7d28e17f72");
        assert!(shown["os_hash_value"].as_str().unwrap().starts_with("ddaf35a193617aba"));
    }

    #[test]
    fn a_body_that_ends_early_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(Kind::Plain, dir.path());
        let image = ImageId::random();
        let head =
            Head { method: "PUT".into(), path: format!("/v2/images/{image}/file"), length: 4 };
        assert!(records.answer(&head, &b"abc"[..]).is_err());
        assert!(records.shown().is_empty());
    }
}
