//! Images of every kind: what qemu-img makes, and what somebody could make who wants to deceive.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::oracle::Question;
use crate::limits::KIB;

pub(super) struct Corpus {
    pub images: Vec<Image>,
    dir: TempDir,
}

pub(super) struct Image {
    pub name: String,
    /// What it is called where it is taken.
    pub disk: &'static str,
    pub data: Vec<u8>,
    /// Places that matter, as start and length.
    pub hot: Vec<(usize, usize)>,
    path: PathBuf,
}

impl Image {
    pub(super) fn question(&self, disk: &str) -> Question {
        Question {
            base: self.path.clone(),
            edits: vec![],
            length: self.data.len(),
            container: "bare".into(),
            disk: disk.into(),
            require: true,
            nonfatal: vec![],
        }
    }

    /// The size of its disk, as QEMU sees it.
    pub(super) fn bytes_by_qemu(&self, format: &str) -> u64 {
        let path = self.path.to_string_lossy();
        let arguments = ["info", "--output=json", "-f", format, &path];
        let output = Command::new("qemu-img").args(arguments).output().unwrap();
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        info["virtual-size"].as_u64().unwrap()
    }
}

const SECRET: [&str; 2] = ["--object", "secret,id=key,data=open-sesame"];

/// Name, record's format, QEMU's format, options.
const CREATED: &[(&str, &str, &str, &str)] = &[
    ("raw", "raw", "raw", ""),
    ("qcow2", "qcow2", "qcow2", ""),
    ("qcow2-old", "qcow2", "qcow2", "compat=0.10"),
    ("qcow2-lazy", "qcow2", "qcow2", "lazy_refcounts=on"),
    ("qcow2-zstd", "qcow2", "qcow2", "compression_type=zstd"),
    ("qcow2-extended-l2", "qcow2", "qcow2", "extended_l2=on"),
    ("qcow2-extended-l2-zstd", "qcow2", "qcow2", "extended_l2=on,compression_type=zstd"),
    (
        "qcow2-extended-l2-backing",
        "qcow2",
        "qcow2",
        "extended_l2=on,backing_file=raw.img,backing_fmt=raw",
    ),
    ("qcow2-extended-l2-data-file", "qcow2", "qcow2", "extended_l2=on,data_file=data.img"),
    ("qcow2-backing", "qcow2", "qcow2", "backing_file=raw.img,backing_fmt=raw"),
    ("qcow2-old-backing", "qcow2", "qcow2", "compat=0.10,backing_file=raw.img,backing_fmt=raw"),
    ("qcow2-data-file", "qcow2", "qcow2", "data_file=data.img"),
    (
        "qcow2-luks",
        "qcow2",
        "qcow2",
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
    ),
    ("qcow1", "qcow2", "qcow", ""),
    ("qed", "qed", "qed", ""),
    ("vmdk-sparse", "vmdk", "vmdk", "subformat=monolithicSparse"),
    ("vmdk-flat", "vmdk", "vmdk", "subformat=monolithicFlat"),
    ("vmdk-split-sparse", "vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"),
    ("vmdk-split-flat", "vmdk", "vmdk", "subformat=twoGbMaxExtentFlat"),
    ("vdi", "vdi", "vdi", ""),
    ("vdi-static", "vdi", "vdi", "static=on"),
    ("vhdx", "vhdx", "vhdx", ""),
    ("vhdx-fixed", "vhdx", "vhdx", "subformat=fixed"),
    ("vhd", "vhd", "vpc", "subformat=dynamic"),
    ("vhd-exact", "vhd", "vpc", "subformat=dynamic,force_size=on"),
    ("vhd-fixed", "vhd", "vpc", "subformat=fixed"),
    ("vhd-fixed-exact", "vhd", "vpc", "subformat=fixed,force_size=on"),
    ("luks", "luks", "luks", "key-secret=key,iter-time=10"),
    ("parallels", "ploop", "parallels", ""),
];

impl Corpus {
    /// `None` where there is no qemu-img.
    pub(super) fn make() -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "qemu-img is not installed");
            eprintln!("skipped: qemu-img is not installed (qemu-utils)");
            return None;
        }
        let mut corpus = Self { images: vec![], dir: TempDir::new().unwrap() };
        for (name, disk, format, options) in CREATED {
            let file = format!("{name}.img");
            let mut arguments = vec!["create", "-q", "-f", format];
            if options.contains("secret") {
                arguments.extend(SECRET);
            }
            if !options.is_empty() {
                arguments.extend(["-o", options]);
            }
            arguments.extend([&file, "1M"]);
            qemu_img(corpus.dir.path(), &arguments);
            let data = std::fs::read(corpus.dir.path().join(&file)).unwrap();
            corpus.add(name, disk, data);
        }
        let data = noise(200 * KIB);
        corpus.convert(&data, "vmdk-stream", "vmdk", "vmdk", "subformat=streamOptimized");
        corpus.convert(&data, "qcow2-data", "qcow2", "qcow2", "");
        corpus.convert(&data, "qcow2-extended-l2-data", "qcow2", "qcow2", "extended_l2=on");
        let fixed = "subformat=fixed,force_size=on";
        corpus.convert(&disk(&[(0, 0x80, 7)]), "vhd-fixed-mbr", "vhd", "vpc", fixed);
        corpus.convert(&disk(&[]), "vhd-fixed-mbr-empty", "vhd", "vpc", fixed);
        corpus.convert(&gpt(&[]), "vhd-fixed-gpt", "vhd", "vpc", fixed);
        corpus.convert(&gpt(&[(1, 0, 7)]), "vhd-fixed-gpt-hybrid", "vhd", "vpc", fixed);
        corpus.convert(&iso(), "vhd-fixed-iso", "vhd", "vpc", fixed);
        corpus.deceive();
        Some(corpus)
    }

    /// All images, or those that `GLISSADE_IMAGES` is part of the name of.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Image> {
        let only = std::env::var("GLISSADE_IMAGES").unwrap_or_default();
        self.images.iter().filter(move |image| image.name.contains(&only))
    }

    /// An image with something in it.
    fn convert(
        &mut self,
        source: &[u8],
        name: &str,
        disk: &'static str,
        format: &str,
        options: &str,
    ) {
        std::fs::write(self.dir.path().join("source"), source).unwrap();
        let mut arguments = vec!["convert", "-q", "-f", "raw", "-O", format];
        if !options.is_empty() {
            arguments.extend(["-o", options]);
        }
        arguments.extend(["source", name]);
        qemu_img(self.dir.path(), &arguments);
        let data = std::fs::read(self.dir.path().join(name)).unwrap();
        self.add(name, disk, data);
    }

    fn add(&mut self, name: &str, disk: &'static str, data: Vec<u8>) {
        let path = self.dir.path().join(format!("{name}.base"));
        std::fs::write(&path, &data).unwrap();
        let hot = hot(&data);
        self.images.push(Image { name: name.to_owned(), disk, data, hot, path });
    }

    fn of(&self, name: &str) -> Vec<u8> {
        self.images.iter().find(|image| image.name == name).unwrap().data.clone()
    }

    /// Images that are not what they seem.
    fn deceive(&mut self) {
        self.add("empty", "raw", vec![]);
        self.add("noise", "raw", noise(100_000));
        self.add("text", "raw", b"nothing of interest\n".repeat(5000));
        let disk = disk(&[(0, 0x80, 0x83)]);
        self.add("mbr", "raw", disk.clone());
        self.add("mbr-empty", "raw", self::disk(&[]));
        self.add("mbr-bad-flag", "raw", self::disk(&[(0, 0x17, 0x83)]));
        self.add("gpt", "raw", gpt(&[]));
        self.add("gpt-hybrid", "raw", gpt(&[(1, 0, 0x83)]));
        self.add("gpt-elsewhere", "raw", with(gpt(&[]), 446 + 8, &[2]));
        self.add("fat", "raw", with(with(disk, 0x10, &[2]), 0x15, &[0xf8]));
        self.add("iso", "iso", iso());
        self.add("iso-gpt", "iso", with(gpt(&[]), 32 * KIB, &iso()[32 * KIB..]));
        self.add("udf", "iso", with(iso(), 32 * KIB + 1, b"NSR03"));
        for name in ["qcow2", "vhd", "vhdx", "vdi", "vmdk-sparse", "luks", "qed"] {
            let data = self.of(name);
            let disk = self.images.iter().find(|image| image.name == name).unwrap().disk;
            self.add(&format!("{name}-and-mbr"), disk, with(data.clone(), 510, b"\x55\xaa"));
            let iso = &iso()[32 * KIB..34 * KIB];
            self.add(&format!("{name}-and-iso"), disk, with(padded(data, 64 * KIB), 32 * KIB, iso));
        }
        self.add("luks2", "luks", with(self.of("luks"), 6, &[0, 2]));
        self.add("qcow2-in-raw", "raw", [vec![0; 512], self.of("qcow2")].concat());
        self.deceive_with_text();
    }

    fn deceive_with_text(&mut self) {
        let sparse = self.of("vmdk-sparse");
        let text = |text: &str| with(sparse.clone(), 512, &padded(text.into(), 20 * 512));
        let kind = "createType=\"monolithicSparse\"\n";
        self.add("vmdk-no-extent", "vmdk", text(kind));
        self.add("vmdk-path", "vmdk", text(&format!("{kind}RW 1 FLAT \"/etc/passwd\" 0\n")));
        self.add("vmdk-line", "vmdk", text(&format!("{kind}RW 1 SPARSE \"x\"\nwhat is this\n")));
        self.add("vmdk-blanks", "vmdk", text(&format!(" {kind}\t RW 1 SPARSE \"x\" \r\n\x1c\n")));
        self.add("vmdk-endless-type", "vmdk", text("RW 1\ncreateType=\"monolithicSparse"));
        self.add(
            "vmdk-long-type",
            "vmdk",
            text(&format!("createType=\"{}\"\nRW 1", "x".repeat(90))),
        );
        self.add("vmdk-footer", "vmdk", with_footer(sparse.clone()));
        let broken: [(&str, usize, &[u8]); 6] = [
            ("version", 1020, &[2]),
            ("place", 996, &[2]),
            ("length", 988, &[2]),
            ("endless", 968, &[0xff; 8]),
            ("marker", 1524, &[4]),
            ("end", 500, &[1]),
        ];
        for (name, from_end, new) in broken {
            let data = with_footer(sparse.clone());
            let at = data.len() - from_end;
            self.add(&format!("vmdk-footer-{name}"), "vmdk", with(data, at, new));
        }
        let long = format!("{kind}RW 1 SPARSE \"x\"\n{}", "# a comment\n".repeat(40_000));
        let mut long = with(padded(sparse.clone(), 600 * KIB), 512, long.as_bytes());
        long[36..44].copy_from_slice(&1100_u64.to_le_bytes());
        self.add("vmdk-long-text", "vmdk", long);
        let alone = |text: &str| format!("# Disk DescriptorFile\nversion=1\n{text}").repeat(2);
        for (name, text) in [
            ("text-sparse", format!("{kind}RW 1 SPARSE \"x\"\n")),
            ("text-flat", "createType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/passwd\" 0\n".into()),
            ("text-unknown", "createType=\"formatnotfound\"\nRW 1\n".into()),
        ] {
            self.add(&format!("vmdk-{name}"), "vmdk", alone(&text).into_bytes());
        }
    }
}

/// Where formats have what matters: the beginning, the ISO's descriptor, a VHDX' tables, the end.
fn hot(data: &[u8]) -> Vec<(usize, usize)> {
    let mut hot = vec![(0, 128), (446, 66), (512, 600)];
    if data.starts_with(b"vhdxfile") {
        hot.extend([(192 * KIB, 100), (192 * KIB, 100)]);
        let tables = data.windows(8).enumerate().filter(|(_, word)| *word == b"metadata");
        hot.extend(tables.flat_map(|(at, _)| [(at, 256), (at + 64 * KIB, 64)]));
    }
    if data.len() > 34 * KIB {
        hot.push((32 * KIB, 140));
    }
    if data.len() > 1536 {
        hot.push((data.len() - 1536, 1536));
    }
    hot.retain(|(start, _)| *start < data.len());
    if hot.is_empty() { vec![(0, 1)] } else { hot }
}

fn qemu_img(dir: &Path, arguments: &[&str]) {
    let output = Command::new("qemu-img").current_dir(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Bytes that are nothing.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * at / 128).to_le_bytes()[0]).collect()
}

fn with(mut data: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    if data.len() < at + new.len() {
        data.resize(at + new.len(), 0);
    }
    data[at..at + new.len()].copy_from_slice(new);
    data
}

fn padded(mut data: Vec<u8>, length: usize) -> Vec<u8> {
    data.resize(data.len().max(length), 0);
    data
}

/// A VMDK whose header says that the end has it.
fn with_footer(mut data: Vec<u8>) -> Vec<u8> {
    let header = data[..512].to_vec();
    data = with(data, 56, &[0xff; 8]);
    let marker = with(vec![0; 512], 12, &[3]);
    [data, marker, header, vec![0; 512]].concat()
}

/// A disk with a master boot record: entry, flag, kind.
fn disk(partitions: &[(usize, u8, u8)]) -> Vec<u8> {
    let mut data = with(vec![0; 64 * KIB], 510, b"\x55\xaa");
    for (entry, flag, kind) in partitions {
        let fields = [*flag, 0, 2, 0, *kind, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0x7f, 0, 0, 0];
        data = with(data, 446 + 16 * entry, &fields);
    }
    data
}

/// A disk with a GPT, and further entries in the record that protects it.
fn gpt(more: &[(usize, u8, u8)]) -> Vec<u8> {
    let entries: Vec<_> = [(0, 0, 0xee)].iter().chain(more).copied().collect();
    with(disk(&entries), 512, b"EFI PART")
}

fn iso() -> Vec<u8> {
    let mut data = with(vec![0; 100 * KIB], 32 * KIB, b"\x01CD001\x01");
    data = with(data, 32 * KIB + 80, &50_u32.to_le_bytes());
    with(data, 32 * KIB + 128, &2048_u16.to_le_bytes())
}
