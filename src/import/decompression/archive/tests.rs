//! Archives of the real tools, whole, cut, damaged and malicious.

#![allow(clippy::unwrap_used)]
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::store::conformance::bytes;

/// More than a window, and not a multiple of anything.
const LEN: usize = 3 * MIB + 77;

/// A directory with a file `disk`, and what tools make of it.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("disk"), Self::disk()).unwrap();
        Self(dir)
    }

    /// Half of it can be packed.
    fn disk() -> Vec<u8> {
        let mut disk = bytes(LEN);
        disk[..LEN / 2].fill(7);
        disk
    }

    /// Runs a line of shell here and answers the file `made`. None where a tool is missing.
    fn made(&self, line: &str) -> Option<PathBuf> {
        let tool = line.split_whitespace().next().unwrap();
        let mut asking = Command::new(tool);
        asking.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if asking.status().is_err() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{tool} is missing");
            eprintln!("skipped: {tool} is not installed");
            return None;
        }
        let made = self.0.path().join("made");
        let _ = std::fs::remove_file(&made);
        let run = Command::new("sh").args(["-c", line]).current_dir(&self.0).output().unwrap();
        assert!(run.status.success(), "{line}: {run:?}");
        Some(made)
    }

    fn write(&self, data: &[u8]) -> PathBuf {
        let path = self.0.path().join("made");
        std::fs::write(&path, data).unwrap();
        path
    }
}

/// Unpacks as far as anybody would, in pieces of odd sizes.
fn unpack(path: &Path) -> Result<Vec<u8>, Unpackable> {
    let archive = Archive::open(path).unwrap().expect("an archive");
    let mut unpacked = archive.unpacked(|file| file)?;
    let (mut all, mut piece) = (Vec::new(), vec![0; 70_001]);
    while all.len() < 4 * LEN {
        match unpacked.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => all.extend_from_slice(&piece[..read]),
            Err(error) => return Err(unpacked.fault(&error)),
        }
    }
    Ok(all)
}

const LINES: [(&str, Kind); 12] = [
    ("gzip -c disk > made", Kind::Gzip),
    ("xz -1 -c disk > made", Kind::Xz),
    ("xz -9 --check=sha256 -T2 --block-size=1MiB -c disk > made", Kind::Xz),
    ("zstd -q -c disk > made", Kind::Zstd),
    ("zstd -q --long=27 -c < disk > made", Kind::Zstd),
    ("bzip2 -c disk > made", Kind::Bzip2),
    ("zip -q made.zip disk && mv made.zip made", Kind::Zip),
    ("zip -q -0 made.zip disk && mv made.zip made", Kind::Zip),
    // The sizes stand behind the data, the large record is there, a comment is at the end.
    ("zip -q - - < disk > made", Kind::Zip),
    ("zip -q -fz made.zip disk && mv made.zip made", Kind::Zip),
    ("zip -q made.zip disk && echo why | zip -qz made.zip && mv made.zip made", Kind::Zip),
    // An archive may have a name that leads elsewhere. Nobody asks.
    ("zip -q made.zip ../$(basename $PWD)/disk && mv made.zip made", Kind::Zip),
];

#[test]
fn pi_04_what_was_packed_comes_out() {
    let bench = Bench::new();
    for (line, kind) in LINES {
        let Some(made) = bench.made(line) else { continue };
        assert_eq!(Archive::open(&made).unwrap().unwrap().kind, kind, "{line}");
        assert!(unpack(&made).unwrap() == Bench::disk(), "{line}");
    }
}

#[test]
fn pi_04_archives_in_sequence_are_one() {
    let bench = Bench::new();
    for tool in ["gzip", "xz", "zstd -q", "bzip2"] {
        let Some(made) = bench.made(&format!("{tool} -c disk > made")) else { continue };
        let mut twice = std::fs::read(made).unwrap();
        twice.extend_from_within(..);
        if tool == "zstd -q" {
            twice.extend_from_slice(b"\x50\x2a\x4d\x18\x03\0\0\0abc");
        }
        assert!(unpack(&bench.write(&twice)).unwrap() == Bench::disk().repeat(2), "{tool}");
    }
}

/// Python and GNU's program pass over zeros after a member of gzip, and over nothing else.
#[test]
fn pi_04_gzip_may_be_padded_with_zeros() {
    let bench = Bench::new();
    let Some(made) = bench.made("gzip -c disk > made") else { return };
    let whole = std::fs::read(made).unwrap();
    for zeros in [1, 511, 200_000] {
        let padded = [&whole[..], &vec![0; zeros], &whole, &vec![0; zeros]].concat();
        assert!(unpack(&bench.write(&padded)).unwrap() == Bench::disk().repeat(2), "{zeros}");
        let followed = [&padded[..], b"x"].concat();
        let refused = unpack(&bench.write(&followed)).map(|all| all.len()).unwrap_err();
        assert!(matches!(refused, Unpackable::Damaged(Kind::Gzip)), "{refused}");
    }
}

/// `pzstd` begins with a skippable frame, of which every kind counts; what follows tells it from LZ4.
#[test]
fn pi_04_zstandard_may_begin_with_frames_to_skip() {
    let bench = Bench::new();
    let frame = |kind: u8, length: u32| {
        let head = [&[0x50 | kind][..], b"\x2a\x4d\x18", &length.to_le_bytes()].concat();
        [head, vec![9; length as usize]].concat()
    };
    let lz4 = b"\x04\x22\x4d\x18\x64\x40\xa7\0\0\0\0";
    let many = frame(0, 0).repeat(ZSTD_FRAMES_SKIPPED_MAX + 1);
    let cut = &frame(0, 99)[..50];
    for head in [&frame(0, 4)[..], &[frame(3, 8), lz4.to_vec()].concat(), &many, cut] {
        assert!(Archive::open(&bench.write(head)).unwrap().is_none());
    }
    let Some(made) = bench.made("zstd -q -c disk > made") else { return };
    let packed = std::fs::read(made).unwrap();
    for head in [frame(0, 4), frame(15, 70_000), frame(7, 0).repeat(ZSTD_FRAMES_SKIPPED_MAX)] {
        let made = bench.write(&[head, packed.clone()].concat());
        assert_eq!(Archive::open(&made).unwrap().unwrap().kind, Kind::Zstd);
        assert!(unpack(&made).unwrap() == Bench::disk());
    }
    let made = bench.write(&[many, packed].concat());
    assert!(Archive::open(&made).unwrap().is_none(), "that many say nothing");
}

#[test]
fn pi_04_what_is_no_archive_is_left() {
    let bench = Bench::new();
    let others: [&[u8]; 7] =
        [b"", b"\x1f\x8b", b"\x1f\x8b\x00", b"BZh91AY&S", b"PK\x05\x06", b"QFI\xfb", b"\x1e-lh5-"];
    for head in others {
        assert!(Archive::open(&bench.write(head)).unwrap().is_none(), "{head:?}");
    }
}

/// Cut anywhere, or with one bit turned where it counts, an archive is refused with its name.
#[test]
fn pi_04_a_damaged_archive_is_refused() {
    let bench = Bench::new();
    for (line, kind) in LINES {
        let Some(made) = bench.made(line) else { continue };
        let whole = std::fs::read(made).unwrap();
        let mut turned = whole.clone();
        turned[whole.len() / 2] ^= 0x10;
        let cuts = [whole.len() - 1, whole.len() / 2, 40];
        let cut = cuts.map(|len| whole[..len].to_vec());
        for (index, data) in cut.into_iter().chain([turned]).enumerate() {
            let refused = unpack(&bench.write(&data)).map(|all| all.len());
            let message = refused.expect_err(line).to_string();
            let sentence = format!(
                "The {kind} archive is damaged or incomplete; delete the image and stage it anew"
            );
            assert_eq!(message, sentence, "{line} {index}");
        }
    }
}

#[test]
fn pi_04_a_zip_has_one_member_that_anybody_can_read() {
    let bench = Bench::new();
    for (line, sentence) in [
        (
            "zip -q made.zip disk ../$(basename $PWD)/disk && cp disk two && zip -q made.zip two && \
          mv made.zip made",
            "The zip archive has to have exactly one file in it",
        ),
        (
            "mkdir -p only && zip -q made.zip only && mv made.zip made",
            "The zip archive has to have exactly one file in it",
        ),
        (
            "zip -q -P x made.zip disk && mv made.zip made",
            "The zip archive is encrypted; pack it without a password",
        ),
        (
            "zip -q -Z bzip2 made.zip disk && mv made.zip made",
            "The zip archive is packed by a method that is not served; use deflate",
        ),
    ] {
        let Some(made) = bench.made(line) else { return };
        assert_eq!(unpack(&made).unwrap_err().to_string(), sentence);
    }
}

/// A header asks for gigabytes, and gets none.
#[test]
fn pi_04_a_greedy_archive_is_refused() {
    let bench = Bench::new();
    for (line, kind) in [
        ("xz --lzma2=preset=0,dict=1GiB -c disk > made", Kind::Xz),
        ("zstd -q --long=31 -c < disk > made", Kind::Zstd),
    ] {
        let Some(made) = bench.made(line) else { continue };
        let refused = unpack(&made).map(|all| all.len()).unwrap_err();
        assert!(matches!(refused, Unpackable::Greedy(found) if found == kind), "{refused}");
    }
}

/// Whatever an archive says, nothing panics and nothing comes without end.
#[test]
fn pi_04_no_archive_brings_us_down() {
    let mut state = 0x9e37_79b9_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let bench = Bench::new();
    std::fs::write(bench.0.path().join("disk"), &Bench::disk()[LEN / 2 - 3000..LEN / 2 + 3000])
        .unwrap();
    let mut refused = 0;
    for (line, _) in LINES {
        let Some(made) = bench.made(line) else { continue };
        let whole = std::fs::read(made).unwrap();
        for _ in 0..150 {
            let mut data = whole.clone();
            for _ in 0..1 + random(4) {
                let near = if random(2) == 0 { data.len() } else { 64.min(data.len()) };
                data[random(near)] = [0, 0xff, 0x80, 1][random(4)];
            }
            let path = bench.write(&data);
            if Archive::open(&path).unwrap().is_some() {
                refused += usize::from(unpack(&path).is_err());
            }
        }
    }
    println!("{refused} refused");
}
