//! What an image is, told from its bytes as they pass by.
//!
//! Glance asks oslo.utils' format inspector what comes in; this one gives the same answers, because
//! a verdict that differs is an image that one of the two refuses. It is fed with pieces of any
//! size, keeps less than a MiB whatever the bytes say, allocates nothing by a number that it has
//! read, and knows the format after the first [`INSPECT_WINDOW_BYTES`]. What it goes on looking for
//! is what it has to: the descriptor of a VMDK and its footer, the tables of a VHDX. After that it
//! only counts.
//!
//! oslo.utils judges a piece at a time, and some of its answers depend on where pieces end: a VMDK
//! that is text is judged by the first piece, the tables of a VHDX are followed one step a piece.
//! Glance's pieces are of 64 KiB as a rule. So the borders are at every 64 KiB here, however the
//! bytes come, and the answers to an image are always the same.

#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod header;
mod read;
mod tail;
mod vhdx;
mod vmdk;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::INSPECT_WINDOW_BYTES;

use self::tail::Tail;
use self::vhdx::Vhdx;
use self::vmdk::Vmdk;

/// A format that is recognised, and raw, which is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Bytes that are nothing else.
    Raw,
    /// QEMU's, of the first version too.
    Qcow2,
    /// Of Virtual PC, with a footer at the beginning too.
    Vhd,
    /// Of Hyper-V.
    Vhdx,
    /// Of VMware: a file with a header, or a text that names others.
    Vmdk,
    /// Of VirtualBox.
    Vdi,
    /// QEMU's, given up.
    Qed,
    /// ISO 9660 and UDF.
    Iso,
    /// A disk with partitions, of GPT or of a master boot record alone.
    Gpt,
    /// An encrypted disk.
    Luks,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 10] = [
        Self::Raw,
        Self::Qcow2,
        Self::Vhd,
        Self::Vhdx,
        Self::Vmdk,
        Self::Vdi,
        Self::Qed,
        Self::Iso,
        Self::Gpt,
        Self::Luks,
    ];

    /// As records call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
            Self::Vdi => "vdi",
            Self::Qed => "qed",
            Self::Iso => "iso",
            Self::Gpt => "gpt",
            Self::Luks => "luks",
        }
    }

    /// The format of that name, if it is one that is recognised.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something in an image that could harm who opens it, by the name that Glance's options use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Danger {
    /// It names another file to read from.
    BackingFile,
    /// It names another file with its data.
    DataFile,
    /// It has features, or is of a version, that nobody here knows.
    UnknownFeatures,
    /// Of features that Glance does not know it has the one that is harmless: `extended_l2`.
    ExtendedL2,
    /// Its descriptor is missing, strange, or names other files.
    Descriptor,
    /// Its footer contradicts its header.
    Footer,
    /// Its format is never allowed.
    Banned,
    /// Its partition table is not what such tables are.
    Mbr,
    /// It is of a version that nobody here knows.
    Version,
}

impl Danger {
    /// As Glance calls the check that finds it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BackingFile => "backing_file",
            Self::DataFile => "data_file",
            Self::UnknownFeatures | Self::ExtendedL2 => "unknown_features",
            Self::Descriptor => "descriptor",
            Self::Footer => "footer",
            Self::Banned => "banned",
            Self::Mbr => "mbr",
            Self::Version => "version",
        }
    }
}

/// How much a guest will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VirtualSize {
    /// So many bytes.
    Bytes(u64),
    /// The image does not say.
    Unset,
    /// What the image says is no size.
    Unreadable,
}

impl VirtualSize {
    /// What a header says. Zero says nothing, and what no database takes is none.
    fn said(bytes: u64) -> Self {
        match bytes {
            0 => Self::Unset,
            bytes if i64::try_from(bytes).is_ok() => Self::Bytes(bytes),
            _ => Self::Unreadable,
        }
    }
}

/// What is known after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// How much a guest will see, by the format that was found.
    pub virtual_size: VirtualSize,
    /// Whether everything was there that has to be for a judgement.
    pub is_whole: bool,
}

/// All that there is to say of an image that has passed, in a form that can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// See [`Inspector::formats`].
    pub formats: Vec<Format>,
    /// Every danger.
    pub dangers: Vec<Danger>,
    /// What was known after the last byte.
    pub ending: Ending,
    /// Bytes that have passed.
    pub seen_bytes: u64,
    /// The size of the disk where the end is that of a VHD whose beginning is the disk's. Glance
    /// does not look there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_vhd_bytes: Option<u64>,
}

/// An image that passes by.
#[derive(Debug)]
pub struct Inspector {
    seen_bytes: u64,
    /// The beginning, until it is judged.
    window: Vec<u8>,
    found: Option<Found>,
    dangers: Vec<Danger>,
    tail: Tail,
    allowed_vmdk_types: Vec<String>,
}

/// What the beginning has shown.
#[derive(Debug)]
struct Found {
    /// Never empty, and raw only alone.
    formats: Vec<Format>,
    size: SizeRule,
    is_whole: bool,
    rest: Rest,
}

/// Where the virtual size is found.
#[derive(Clone, Copy, Debug)]
enum SizeRule {
    /// It is the image's.
    Seen,
    /// The image's, less what comes before the payload.
    SeenBeyond(u64),
    /// The beginning has it.
    Said(VirtualSize),
    /// It stands in what is followed.
    Followed,
}

/// What has to be followed beyond the beginning.
#[derive(Debug)]
enum Rest {
    Nothing,
    Vmdk(Box<Vmdk>),
    Vhdx(Box<Vhdx>),
}

impl Inspector {
    /// `allowed_vmdk_types` are kinds of VMDK, in any case of letters; of those only kinds without
    /// files beside them are ever taken.
    #[must_use]
    pub fn new(allowed_vmdk_types: &[String]) -> Self {
        Self {
            seen_bytes: 0,
            window: Vec::new(),
            found: None,
            dangers: Vec::new(),
            tail: Tail::default(),
            allowed_vmdk_types: allowed_vmdk_types.to_vec(),
        }
    }

    /// Looks at what comes next.
    pub fn feed(&mut self, chunk: &[u8]) {
        self.seen_bytes = self.seen_bytes.saturating_add(chunk.len() as u64);
        self.tail.feed(chunk);
        match self.found {
            Some(_) => self.follow(chunk),
            None => {
                let missing = INSPECT_WINDOW_BYTES - self.window.len();
                let (head, rest) = chunk.split_at(missing.min(chunk.len()));
                self.window.extend_from_slice(head);
                if self.window.len() == INSPECT_WINDOW_BYTES {
                    self.judge();
                    self.follow(rest);
                }
            }
        }
    }

    /// What the image is, once that is known: one format, `iso` and `gpt` for a disk that boots
    /// from both, or several, which nothing honest is.
    #[must_use]
    pub fn formats(&self) -> Option<&[Format]> {
        self.found.as_ref().map(|found| found.formats.as_slice())
    }

    /// Dangers that have been found so far.
    #[must_use]
    pub fn dangers(&self) -> &[Danger] {
        &self.dangers
    }

    /// Whether nothing that comes can change the answers, but for the number of bytes.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.found.as_ref().is_some_and(|found| match &found.rest {
            Rest::Nothing => true,
            Rest::Vmdk(vmdk) => vmdk.is_settled(),
            Rest::Vhdx(vhdx) => vhdx.is_settled(),
        })
    }

    /// Bytes that have passed.
    #[must_use]
    pub fn seen_bytes(&self) -> u64 {
        self.seen_bytes
    }

    /// Memory that is held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let rest = match self.found.as_ref().map(|found| &found.rest) {
            None | Some(Rest::Nothing) => 0,
            Some(Rest::Vmdk(vmdk)) => vmdk.held_bytes(),
            Some(Rest::Vhdx(vhdx)) => vhdx.held_bytes(),
        };
        self.window.capacity() + rest
    }

    /// The image has ended. Nothing may be fed any more.
    pub fn finish(&mut self) -> Ending {
        if self.found.is_none() {
            self.judge();
        }
        let Some(Found { size, is_whole, rest, .. }) = &mut self.found else {
            return Ending { virtual_size: VirtualSize::Unset, is_whole: false };
        };
        let (followed_size, followed_whole) = match rest {
            Rest::Nothing => (VirtualSize::Unset, true),
            Rest::Vmdk(vmdk) => {
                self.dangers.extend(vmdk.finish());
                (vmdk.virtual_size(), vmdk.is_whole())
            }
            Rest::Vhdx(vhdx) => {
                vhdx.finish();
                (vhdx.virtual_size(), vhdx.is_whole())
            }
        };
        let virtual_size = match *size {
            SizeRule::Seen => VirtualSize::said(self.seen_bytes),
            SizeRule::SeenBeyond(before) => {
                VirtualSize::said(self.seen_bytes.saturating_sub(before))
            }
            SizeRule::Said(size) => size,
            SizeRule::Followed => followed_size,
        };
        Ending { virtual_size, is_whole: *is_whole && followed_whole }
    }

    /// The image has ended, and this is what is known of it. Nothing may be fed any more.
    pub fn finding(&mut self) -> Finding {
        let ending = self.finish();
        Finding {
            formats: self.formats().unwrap_or_default().to_vec(),
            dangers: self.dangers.clone(),
            ending,
            seen_bytes: self.seen_bytes,
            fixed_vhd_bytes: self.tail.fixed_vhd_bytes(self.seen_bytes),
        }
    }

    fn follow(&mut self, chunk: &[u8]) {
        match self.found.as_mut().map(|found| &mut found.rest) {
            None | Some(Rest::Nothing) => {}
            Some(Rest::Vmdk(vmdk)) => self.dangers.extend(vmdk.feed(chunk)),
            Some(Rest::Vhdx(vhdx)) => vhdx.feed(chunk),
        }
    }

    /// Judges the beginning, or all there is. What has to be followed is given it first.
    fn judge(&mut self) {
        let window = std::mem::take(&mut self.window);
        let vmdk = Vmdk::begin(&window, &self.allowed_vmdk_types);
        let formats = formats(&window, vmdk.is_some());
        let mut found =
            Found { formats, size: SizeRule::Seen, is_whole: true, rest: Rest::Nothing };
        let one = match found.formats.as_slice() {
            [one] => Some(*one),
            [Format::Iso, Format::Gpt] => Some(Format::Iso),
            _ => None,
        };
        match one {
            Some(Format::Vmdk) => {
                found.size = SizeRule::Followed;
                found.rest = vmdk.map_or(Rest::Nothing, |vmdk| Rest::Vmdk(Box::new(vmdk)));
            }
            Some(Format::Vhdx) => {
                found.size = SizeRule::Followed;
                found.rest = Rest::Vhdx(Box::default());
            }
            Some(one) => {
                (found.size, found.is_whole) = header::facts(one, &window);
                self.dangers = header::dangers(one, &window);
            }
            None => {
                let each = found.formats.iter();
                self.dangers = each.flat_map(|&one| header::dangers(one, &window)).collect();
            }
        }
        self.found = Some(found);
        self.follow(&window);
    }
}

/// Every format that the beginning is of.
fn formats(window: &[u8], is_vmdk: bool) -> Vec<Format> {
    let is = |format: &Format| match format {
        Format::Vmdk => is_vmdk,
        format => header::is(*format, window),
    };
    let found: Vec<Format> = Format::ALL.into_iter().filter(is).collect();
    if found.is_empty() { vec![Format::Raw] } else { found }
}

#[cfg(test)]
mod tests;
