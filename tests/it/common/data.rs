//! Bodies that can be made anywhere and at any offset, so that nobody keeps gigabytes; and the
//! oracle for digests, which is the system's own `md5sum` and `sha512sum`.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Bytes compared or made at once.
const BLOCK: usize = 256 * 1024;

/// A pseudo-random body: the same seed and offset always give the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) seed: u64,
    pub(crate) bytes: u64,
}

impl Body {
    pub(crate) fn new(seed: u64, bytes: u64) -> Self {
        Self { seed, bytes }
    }

    /// Writes the body's bytes from `offset` on into `out`.
    pub(crate) fn fill(self, offset: u64, out: &mut [u8]) {
        let lead = (offset.wrapping_neg() % 8).min(out.len() as u64) as usize;
        let (head, rest) = out.split_at_mut(lead);
        let first = self.word(offset / 8).to_le_bytes();
        head.copy_from_slice(&first[(offset % 8) as usize..][..lead]);
        for (index, piece) in (offset.div_ceil(8)..).zip(rest.chunks_mut(8)) {
            piece.copy_from_slice(&self.word(index).to_le_bytes()[..piece.len()]);
        }
    }

    /// The whole body, for small ones.
    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut all = vec![0; self.bytes as usize];
        self.fill(0, &mut all);
        all
    }

    /// Visits the body in blocks.
    pub(crate) fn try_for_each<E>(
        self,
        block: usize,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; block];
        let mut at = 0;
        while at < self.bytes {
            let take = (self.bytes - at).min(block as u64) as usize;
            self.fill(at, &mut buffer[..take]);
            visit(&buffer[..take])?;
            at += take as u64;
        }
        Ok(())
    }

    /// Fails the test unless the file holds exactly this body.
    #[track_caller]
    pub(crate) fn assert_stored_at(self, path: &Path) {
        let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(file.metadata().unwrap().len(), self.bytes, "size of {}", path.display());
        let mut check = Compare::new(self);
        let mut buffer = vec![0; BLOCK];
        while check.at < self.bytes {
            let read = file.read_at(&mut buffer, check.at).unwrap();
            assert!(read > 0, "{} ends early", path.display());
            check.take(&buffer[..read]);
        }
    }

    fn word(self, index: u64) -> u64 {
        let word = mix(self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        // One body in 65536 would have the signature of a boot record there, and be refused.
        if index == 63 { word >> 1 } else { word }
    }
}

/// Compares bytes that arrive in order with a body.
pub(crate) struct Compare {
    body: Body,
    at: u64,
    expected: Vec<u8>,
}

impl Compare {
    pub(crate) fn new(body: Body) -> Self {
        Self { body, at: 0, expected: Vec::new() }
    }

    #[track_caller]
    pub(crate) fn take(&mut self, got: &[u8]) {
        self.expected.resize(got.len(), 0);
        self.body.fill(self.at, &mut self.expected);
        if self.expected != got {
            let wrong = self.expected.iter().zip(got).position(|(a, b)| a != b).unwrap();
            panic!("byte {} differs", self.at + wrong as u64);
        }
        self.at += got.len() as u64;
    }

    #[track_caller]
    pub(crate) fn finish(self) {
        assert_eq!(self.at, self.body.bytes, "bytes received");
    }
}

/// A small generator for choices in tests; its seed is printed so that a failure can be repeated.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        println!("random seed {seed:#x}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The finalizer of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// MD5 and SHA-512 of a file, in hex, as coreutils see them.
pub(crate) fn sums(path: &Path) -> (String, String) {
    let (md5, sha512) = (summing("md5sum", path), summing("sha512sum", path));
    (first_word(md5), first_word(sha512))
}

fn summing(program: &str, path: &Path) -> Child {
    let input = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut command = Command::new(program);
    command.stdin(input).stdout(Stdio::piped());
    command.spawn().unwrap_or_else(|e| panic!("{program} (coreutils): {e}"))
}

fn first_word(mut child: Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    text.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_body_is_the_same_from_any_offset() {
    let body = Body::new(7, 1000);
    let whole = body.to_vec();
    for offset in 0..40_usize {
        for length in 0..40_usize {
            let mut part = vec![0; length];
            body.fill(offset as u64, &mut part);
            assert_eq!(part, whole[offset..offset + length], "offset {offset} length {length}");
        }
    }
}
