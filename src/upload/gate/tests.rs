//! Goal: what Glance takes and refuses, this takes and refuses, with the same words and sizes.
//!
//! Method: Glance's own code is the oracle. It and the gate are asked about images of every kind
//! that qemu-img makes, about images made to deceive, and about seeded mutations of all of them,
//! under every name that a record may give them. The gate is fed in pieces of any size. Where the
//! two may differ stands in [`may_differ`], with the reason.

#![allow(clippy::unwrap_used)]

mod corpus;
mod oracle;

use self::corpus::{Corpus, Image};
use self::oracle::{Answer, Oracle, Question};
use super::*;
use crate::limits::MIB;

/// Mutations of each image. `GLISSADE_MUTATIONS` sets another number, `GLISSADE_SEED` another
/// seed, and `GLISSADE_IMAGES` leaves only images with that in their names.
const MUTATIONS: usize = 60;

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
    let rules = FormatRules {
        requires_match: question.require,
        gpt_checks_nonfatal: question.nonfatal.clone(),
        ..FormatRules::default()
    };
    let mut gate = Gate::new(Some(&question.container), Some(&question.disk), &rules);
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

/// Whether the two may differ, and so must not be compared.
fn may_differ(question: &Question, ours: &Result<Option<u64>, Unfit>, answer: &Answer) -> bool {
    // The inspector failed, so that there is no verdict to compare with.
    let is_crash = answer.crash.as_deref() == Some("AttributeError");
    // Glance forgives a name that does not fit before it looks for dangers.
    let is_unlooked = !question.require && answer.safety != "passed" && answer.refused.is_none();
    let is_dangerous = matches!(ours, Err(Unfit::Dangerous(_)));
    // A size that its database does not take, or less than none: Glance fails on it later.
    let is_no_size = answer.virtual_size.is_some_and(|size| !(0..1 << 63).contains(&size));
    // The size of a raw image is counted by the inspector of what it seems to be; one that gave up
    // on it stopped counting. Here it is the image's.
    let is_half_counted = question.disk == "raw"
        && *ours == Ok(Some(question.length as u64))
        && ["vhdx", "vmdk"].iter().any(|name| answer.gave_up.iter().any(|gone| gone == name));
    is_crash || (is_unlooked && is_dangerous) || is_no_size || is_half_counted
}

fn same(ours: &Result<Option<u64>, Unfit>, answer: &Answer) -> bool {
    match (ours, &answer.refused) {
        (Ok(size), None) => size.map(i128::from) == answer.virtual_size,
        (Err(Unfit::Several(formats)), Some(reason)) => {
            let mut theirs: Vec<&str> =
                reason.trim_start_matches("Multiple formats detected: ").split(',').collect();
            theirs.sort_unstable();
            let mut ours: Vec<&str> = formats.iter().map(|format| format.name()).collect();
            ours.sort_unstable();
            ours == theirs
        }
        // Which of two faults is told first.
        (Err(Unfit::Dangerous(_)), Some(reason)) => {
            let told = [Unfit::Dangerous(vec![]), Unfit::Incomplete, Unfit::Unreadable];
            told.iter().any(|unfit| unfit.to_string() == *reason)
        }
        (Err(unfit), Some(reason)) => unfit.to_string() == *reason,
        _ => false,
    }
}

#[derive(Default)]
struct Tally {
    taken: usize,
    refused: usize,
    excused: usize,
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
        let ours = ours(question, data, random);
        match (same(&ours, &answer), may_differ(question, &ours, &answer), &ours) {
            (true, _, Ok(_)) => self.taken += 1,
            (true, _, Err(_)) => self.refused += 1,
            (false, true, _) => self.excused += 1,
            (false, false, _) => self.wrong.push(format!("{question:?}\n {ours:?}\n {answer:?}")),
        }
    }

    fn tell(&self, what: &str) {
        let Self { taken, refused, excused, wrong } = self;
        let wrong = wrong.len();
        eprintln!("{what}: {taken} taken, {refused} refused, {excused} excused, {wrong} wrong");
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

#[test]
fn fi_08_glance_judges_every_image_in_the_same_way() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let Some(corpus) = Corpus::make() else { return };
    let (mut tally, mut random) = (Tally::default(), Random(1));
    for image in &corpus.images {
        for disk in NAMES {
            for (require, nonfatal) in [(true, vec![]), (false, vec![]), (true, vec!["mbr".into()])]
            {
                let question = Question { require, nonfatal, ..image.question(disk) };
                tally.compare(&mut oracle, &question, &image.data, &mut random);
            }
        }
        let boxed = Question { container: "ovf".into(), ..image.question("qcow2") };
        tally.compare(&mut oracle, &boxed, &image.data, &mut random);
    }
    tally.tell("images");
    tally.assert_none_wrong();
    assert!(tally.taken > 300 && tally.refused > 1000, "{} {}", tally.taken, tally.refused);
}

/// Two kinds of images that Glance refuses are taken where an operator says so, and a disk that
/// only calls itself VHD is still none.
#[test]
fn fi_09_images_beyond_glance_are_taken_where_they_may_be() {
    let Some(corpus) = Corpus::make() else { return };
    let image = |name: &str| corpus.images.iter().find(|image| image.name == name).unwrap();
    let generous =
        FormatRules { takes_extended_l2: true, takes_fixed_vhd: true, ..FormatRules::default() };
    let judged = |name: &str, disk: &str, rules: &FormatRules| {
        let mut gate = Gate::new(Some("bare"), Some(disk), rules);
        image(name).data.chunks(70_000).try_for_each(|piece| gate.see(piece))?;
        gate.end().map(|passed| passed.virtual_size)
    };
    let noted = |name: &str, disk: &str| {
        let mut gate = Gate::noting(&generous);
        image(name).data.chunks(70_000).try_for_each(|piece| gate.see(piece))?;
        let finding = gate.end()?.finding.unwrap();
        Gate::new(Some("bare"), Some(disk), &generous).judge(&finding)
    };
    for name in ["qcow2-extended-l2", "vhd-fixed"] {
        let (disk, whole) = (image(name).disk, image(name).data.len() as u64);
        assert!(judged(name, disk, &FormatRules::default()).is_err(), "{name}");
        let taken = judged(name, disk, &generous).unwrap();
        assert_eq!(taken, noted(name, disk).unwrap(), "{name}");
        assert!(taken.is_some_and(|bytes| disk == "qcow2" || bytes + 512 == whole), "{taken:?}");
    }
    let refused = judged("raw", "vhd", &generous).unwrap_err();
    assert!(matches!(refused, Unfit::Mismatch { .. }), "{refused}");
    assert!(judged("vhd-fixed", "qcow2", &generous).is_err());
    let lax = FormatRules { requires_match: false, ..generous.clone() };
    assert_eq!(judged("raw", "vhd", &lax), Ok(None));
}

#[test]
fn fi_08_glance_judges_broken_images_in_the_same_way() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let Some(corpus) = Corpus::make() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (count, seed) = (number("GLISSADE_MUTATIONS"), number("GLISSADE_SEED").unwrap_or(7));
    eprintln!("seed {seed}");
    let mut wrong = Tally::default();
    let only = std::env::var("GLISSADE_IMAGES").unwrap_or_default();
    for image in corpus.images.iter().filter(|image| image.name.contains(&only)) {
        let (mut tally, mut random) = (Tally::default(), Random(seed as u64 + 1));
        for _ in 0..count.unwrap_or(MUTATIONS) {
            let (question, data) = mutated(image, &mut random);
            tally.compare(&mut oracle, &question, &data, &mut random);
        }
        tally.tell(&image.name);
        wrong.wrong.append(&mut tally.wrong);
    }
    wrong.assert_none_wrong();
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
