//! Goal: what Glance takes and refuses, this takes and refuses, with the same words and sizes.
//!
//! Method: Glance's own code is the oracle. It and the gate are asked about images of every kind
//! that qemu-img makes, about images made to deceive, and about seeded mutations of all of them,
//! under every name that a record may give them. The gate is fed in pieces of any size. Where the
//! two may differ stands in [`Excuse`], with the reason; dangers have to be Glance's even there.

#![allow(clippy::unwrap_used)]

mod beyond;
mod corpus;
mod oracle;

use std::collections::BTreeMap;

use self::corpus::{Corpus, Image};
use self::oracle::{Answer, Oracle, Question};
use super::*;
use crate::limits::MIB;

/// Mutations of each image. `GLISSADE_MUTATIONS` sets another number, `GLISSADE_SEED` another
/// seed, and `GLISSADE_IMAGES` leaves only images with that in their names.
const MUTATIONS: u64 = 60;

/// Pseudo-random numbers, the same ones for a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % end.max(1)
    }

    pub(super) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// What the gate says of an image: a reason, or the virtual size.
fn ours(question: &Question, data: &[u8], random: &mut Random) -> Result<Option<u64>, Unfit> {
    ours_by(&question.rules(), question, data, random)
}

fn ours_by(
    rules: &FormatRules,
    question: &Question,
    data: &[u8],
    random: &mut Random,
) -> Result<Option<u64>, Unfit> {
    let mut gate = Gate::new(Some(&question.container), Some(&question.disk), rules);
    let mut rest = data;
    let piece_max = random.of(&[700, 70_000, MIB, 4 * MIB]);
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(random.below(piece_max).min(rest.len()));
        gate.see(piece)?;
        assert!(gate.held_bytes() <= MIB, "{} bytes are held", gate.held_bytes());
        rest = later;
    }
    gate.end().map(|passed| passed.virtual_size)
}

/// Where the two may differ, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Excuse {
    /// Glance fails on text that goes on as something else, and takes it whatever else it is. Here
    /// it is judged; and if it names a kind of VMDK it is a VMDK, and no safe one.
    Crashed,
    /// Glance forgives a name that does not fit before it looks for dangers; here they are found.
    Unlooked,
    /// A size that its database does not take, or less than none: Glance fails on it later.
    NoSize,
    /// The size of a raw image is counted by the inspector of what it seems to be; one that gave up
    /// on it stopped counting. Here it is the image's.
    HalfCounted,
}

impl Excuse {
    fn of(question: &Question, ours: &Result<Option<u64>, Unfit>, answer: &Answer) -> Option<Self> {
        let is_taken = answer.refused.is_none();
        let has_no_size = answer.virtual_size.is_some_and(|size| !(0..1 << 63).contains(&size));
        match ours {
            Err(unfit) if answer.crash.is_some() && is_vmdk(unfit) => Some(Self::Crashed),
            Err(Unfit::Dangerous(dangers))
                if is_taken && !question.require && answer.safety != "passed" =>
            {
                are_there(dangers, answer).then_some(Self::Unlooked)
            }
            Err(Unfit::Unreadable) | Ok(None) if is_taken && has_no_size => Some(Self::NoSize),
            Ok(Some(bytes)) if is_taken && question.disk == "raw" => {
                let gave_up = answer.formats.iter().all(|name| answer.gave_up.contains(name));
                let is_half = answer.virtual_size.is_none_or(|half| half < i128::from(*bytes));
                let is_whole = *bytes == question.length as u64;
                (gave_up && is_half && is_whole).then_some(Self::HalfCounted)
            }
            _ => None,
        }
    }
}

fn is_vmdk(unfit: &Unfit) -> bool {
    match unfit {
        Unfit::Mismatch { found, .. } => *found == Format::Vmdk,
        Unfit::Several(formats) => formats.contains(&Format::Vmdk),
        Unfit::Dangerous(dangers) => dangers.contains(&Danger::Descriptor),
        Unfit::Incomplete | Unfit::Unreadable => false,
    }
}

/// Whether Glance's checks find these dangers as well. A VMDK that is something else too is one.
fn are_there(dangers: &[Danger], answer: &Answer) -> bool {
    let is_mixed = answer.formats.len() > 1 && answer.formats.iter().any(|name| name == "vmdk");
    let is_there = |danger: &Danger| {
        answer.dangers.iter().any(|name| name == danger.name())
            || *danger == Danger::Descriptor && is_mixed
    };
    !dangers.is_empty() && dangers.iter().all(is_there)
}

fn same(ours: &Result<Option<u64>, Unfit>, answer: &Answer) -> bool {
    match (ours, &answer.refused) {
        (Ok(size), None) => size.map(i128::from) == answer.virtual_size,
        (Err(Unfit::Several(formats)), Some(reason)) => {
            let mut ours: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            ours.sort_unstable();
            reason.starts_with("Multiple formats detected: ") && ours == answer.formats
        }
        // Which of two faults is told first.
        (Err(Unfit::Dangerous(dangers)), Some(reason)) => {
            let told = [Unfit::Dangerous(vec![]), Unfit::Incomplete, Unfit::Unreadable];
            told.iter().any(|unfit| unfit.to_string() == *reason) && are_there(dangers, answer)
        }
        (Err(unfit), Some(reason)) => unfit.to_string() == *reason,
        _ => false,
    }
}

#[derive(Default)]
struct Tally {
    taken: usize,
    refused: usize,
    excused: BTreeMap<Excuse, usize>,
    wrong: Vec<String>,
}

impl Tally {
    fn compare(
        &mut self,
        oracle: &mut Oracle,
        question: &Question,
        data: &[u8],
        random: &mut Random,
    ) {
        let answer = oracle.ask(question);
        self.judge(question, &ours(question, data, random), &answer);
    }

    fn judge(&mut self, question: &Question, ours: &Result<Option<u64>, Unfit>, answer: &Answer) {
        let is_same = same(ours, answer);
        let excuse = match is_same {
            true => answer.crash.is_some().then_some(Excuse::Crashed),
            false => Excuse::of(question, ours, answer),
        };
        match (excuse, is_same, ours) {
            (Some(excuse), _, _) => *self.excused.entry(excuse).or_default() += 1,
            (None, true, Ok(_)) => self.taken += 1,
            (None, true, Err(_)) => self.refused += 1,
            (None, false, _) => self.wrong.push(format!("{question:?}\n {ours:?}\n {answer:?}")),
        }
    }

    fn tell(&self, what: &str) {
        let Self { taken, refused, excused, wrong } = self;
        let wrong = wrong.len();
        eprintln!("{what}: {taken} taken, {refused} refused, {excused:?}, {wrong} wrong");
    }

    fn assert_none_wrong(&self) {
        let few = self.wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.wrong.is_empty(), "{} are judged in another way\n{few}", self.wrong.len());
    }
}

/// What a record may call an image.
const NAMES: [&str; 13] = [
    "raw", "qcow2", "vhd", "vhdx", "vmdk", "vdi", "iso", "ami", "aki", "ploop", "gpt", "luks",
    "qed",
];

/// Glance and the images; none where there is no Glance, or nothing to make images with.
fn glance_and_images() -> Option<(Oracle, Corpus)> {
    Some((Oracle::start()?, Corpus::make()?))
}

/// An image under every name and everything that an operator does.
fn every_question(image: &Image) -> impl Iterator<Item = Question> {
    let each = [(true, vec![]), (false, vec![]), (true, vec!["mbr".into()])];
    NAMES.into_iter().flat_map(move |disk| {
        each.clone().map(|(require, nonfatal)| Question {
            require,
            nonfatal,
            ..image.question(disk)
        })
    })
}

#[test]
fn fi_08_glance_judges_every_image_in_the_same_way() {
    let Some((mut oracle, corpus)) = glance_and_images() else { return };
    let (mut tally, mut random) = (Tally::default(), Random(1));
    for image in &corpus.images {
        for question in every_question(image) {
            tally.compare(&mut oracle, &question, &image.data, &mut random);
        }
        let boxed = Question { container: "ovf".into(), ..image.question("qcow2") };
        tally.compare(&mut oracle, &boxed, &image.data, &mut random);
    }
    tally.tell("images");
    tally.assert_none_wrong();
    assert!(tally.taken > 300 && tally.refused > 1000, "{} {}", tally.taken, tally.refused);
}

#[test]
fn fi_08_glance_judges_broken_images_in_the_same_way() {
    let Some((mut oracle, corpus)) = glance_and_images() else { return };
    let mut wrong = Tally::default();
    for image in corpus.wanted() {
        let (mut tally, mut random) = (Tally::default(), seeded());
        for _ in 0..mutations() {
            let (question, data) = mutated(image, &mut random);
            tally.compare(&mut oracle, &question, &data, &mut random);
        }
        tally.tell(&image.name);
        wrong.wrong.append(&mut tally.wrong);
    }
    wrong.assert_none_wrong();
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn mutations() -> u64 {
    number("GLISSADE_MUTATIONS").unwrap_or(MUTATIONS)
}

fn seeded() -> Random {
    Random(number("GLISSADE_SEED").unwrap_or(7) + 1)
}

/// A question about a broken image, mostly under its own name.
fn mutated(image: &Image, random: &mut Random) -> (Question, Vec<u8>) {
    let mut data = image.data.clone();
    let mut question = image.question(match random.below(5) {
        0 => random.of(&NAMES),
        1 => "raw",
        _ => image.disk,
    });
    question.require = random.below(5) > 0;
    for _ in 0..random.below(4) {
        if let Some((at, new)) = edit(image, random) {
            data[at..at + new.len()].copy_from_slice(&new);
            question.edits.push((at, new));
        }
    }
    if random.below(4) == 0 {
        let near = [0, 63, 64, 511, 512, 591, 592, 1535, 34_815, 34_816, 65_536, 262_144];
        let length = match random.below(3) {
            0 => random.below(data.len() + 1),
            1 => random.of(&near) + random.below(2),
            _ => data.len().saturating_sub(random.below(2048)),
        };
        data.truncate(length);
        question.length = data.len();
    }
    (question, data)
}

/// Words that mean something to one format or another.
const WORDS: &[&[u8]] = &[
    b"QFI\xfb",
    b"QED\0",
    b"conectix",
    b"vhdxfile",
    b"KDMV",
    b"LUKS\xba\xbe",
    b"\x55\xaa",
    b"\x7f\x10\xda\xbe",
    b"CD001",
    b"NSR02",
    b"regi",
    b"metadata",
    b"createType=\"",
    b"\"",
    b"/",
    b"\n",
    b"RW ",
    b"NOACCESS 1",
    b"ddb",
    b"#",
    b"=",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\0\0\0\0\0\0\0",
    b"\0\0\0\0",
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\xee",
    b"\x80",
    b"monolithicSparse",
    b"streamOptimized",
    b"vmfs",
    b"\xe9",
    b" ",
    b"\0",
];

fn edit(image: &Image, random: &mut Random) -> Option<(usize, Vec<u8>)> {
    let new = match random.below(3) {
        0 => vec![u8::try_from(random.below(256)).unwrap()],
        1 => (0..1 + random.below(8)).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
        _ => random.of(WORDS).to_vec(),
    };
    let (start, length) = match random.below(8) {
        0 => (0, image.data.len()),
        1 => (random.of(&[0, 0x40, 446, 510, 32_769]), 1),
        2 => (0, 700),
        _ => random.of(&image.hot),
    };
    let at = start + random.below(length);
    (at + new.len() <= image.data.len()).then_some((at, new))
}
