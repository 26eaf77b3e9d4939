//! Goal: `[glissade] formats_beyond_glance` takes the two kinds of images that it names, and changes
//! nothing else (`FI-09`).
//!
//! Method: Glance is the oracle here, too. A QCOW2 with `extended_l2` has to be judged as Glance
//! judges the same image without that bit, a fixed VHD as Glance judges the disk in it when it is
//! called raw, with the size that its footer says; everything else as Glance judges it. Without the
//! option nothing at all differs. QEMU is asked for the sizes.

use super::*;

/// Images that the option is about.
fn are_about_it(image: &&Image) -> bool {
    image.name.contains("extended-l2") || image.name.contains("vhd-fixed")
}

fn generous(rules: FormatRules) -> FormatRules {
    FormatRules { takes_extended_l2: true, takes_fixed_vhd: true, ..rules }
}

/// What Glance would say if it knew both kinds.
fn answer_beyond(oracle: &mut Oracle, question: &Question, data: &[u8]) -> Answer {
    const EXTENDED_L2: (usize, u8) = (79, 1 << 4);
    let (at, bit) = EXTENDED_L2;
    let mut question = question.clone();
    if data.starts_with(b"QFI\xfb") && data.len() > at {
        question.edits.push((at, vec![data[at] & !bit]));
    }
    let answer = oracle.ask(&question);
    let is_disk = answer.formats == ["raw"] || answer.formats == ["gpt"];
    let is_dangerous = question.require && !answer.dangers.is_empty();
    match answer.fixed_vhd {
        Some(bytes) if question.disk == "vhd" && is_disk => {
            let disk = oracle.ask(&Question { disk: "raw".into(), ..question });
            let virtual_size = disk.refused.is_none().then_some(i128::from(bytes));
            Answer { virtual_size, ..disk }
        }
        // Refused it is in any case, and here as soon as that is certain.
        None if question.disk == "vhd" && answer.formats == ["gpt"] && is_dangerous => {
            let disk = oracle.ask(&Question { disk: "raw".into(), ..question });
            Answer { refused: disk.refused.or(answer.refused), ..answer }
        }
        _ => answer,
    }
}

/// What the gate says with the option. The forgiven danger may be named beside others.
fn ours_beyond(
    question: &Question,
    data: &[u8],
    random: &mut Random,
) -> Result<Option<u64>, Unfit> {
    ours_by(&generous(question.rules()), question, data, random).map_err(|unfit| match unfit {
        Unfit::Dangerous(mut dangers) => {
            dangers.retain(|danger| *danger != Danger::ExtendedL2);
            Unfit::Dangerous(dangers)
        }
        unfit => unfit,
    })
}

#[test]
fn fi_09_the_option_changes_what_it_names_and_nothing_else() {
    let Some((mut oracle, corpus)) = glance_and_images() else { return };
    let (mut tally, mut random) = (Tally::default(), Random(1));
    for image in &corpus.images {
        for question in every_question(image) {
            let answer = answer_beyond(&mut oracle, &question, &image.data);
            let ours = ours_beyond(&question, &image.data, &mut random);
            tally.judge(&question, &ours, &answer);
        }
    }
    tally.tell("images, with formats_beyond_glance");
    tally.assert_none_wrong();
}

#[test]
fn fi_09_broken_images_of_both_kinds_are_judged_as_glance_would() {
    let Some((mut oracle, corpus)) = glance_and_images() else { return };
    let mut wrong = Tally::default();
    for image in corpus.wanted().filter(are_about_it) {
        let (mut without, mut with, mut random) = (Tally::default(), Tally::default(), seeded());
        // Other mutations than those that all images go through.
        random.below(2);
        for _ in 0..mutations() {
            let (question, data) = mutated(image, &mut random);
            without.compare(&mut oracle, &question, &data, &mut random);
            let answer = answer_beyond(&mut oracle, &question, &data);
            with.judge(&question, &ours_beyond(&question, &data, &mut random), &answer);
        }
        without.tell(&format!("{} without the option", image.name));
        with.tell(&format!("{} with it", image.name));
        wrong.wrong.append(&mut without.wrong);
        wrong.wrong.append(&mut with.wrong);
    }
    wrong.assert_none_wrong();
}

/// Two kinds of images that Glance refuses are taken where an operator says so, and a disk that
/// only calls itself VHD is still none.
#[test]
fn fi_09_images_beyond_glance_are_taken_where_they_may_be() {
    let Some(corpus) = Corpus::make() else { return };
    let strict = FormatRules::default();
    let generous = generous(FormatRules::default());
    let lax = FormatRules { requires_match: false, ..generous.clone() };
    let image = |name: &str| corpus.images.iter().find(|image| image.name == name).unwrap();
    let judged = |name: &str, disk: &str, rules: &FormatRules| {
        let mut gate = Gate::new(Some("bare"), Some(disk), rules);
        image(name).data.chunks(70_000).try_for_each(|piece| gate.see(piece))?;
        gate.end().map(|passed| passed.virtual_size)
    };
    let noted = |name: &str, disk: &str, rules: &FormatRules| {
        let mut gate = Gate::noting(rules);
        image(name).data.chunks(70_000).try_for_each(|piece| gate.see(piece))?;
        let finding = gate.end()?.finding.unwrap();
        Gate::new(Some("bare"), Some(disk), rules).judge(&finding)
    };
    let (l2, vhd) = (["", "-zstd", "-data"], ["", "-exact", "-mbr", "-gpt"]);
    let l2 = l2.map(|more| (format!("qcow2-extended-l2{more}"), "qcow2", "qcow2"));
    let vhd = vhd.map(|more| (format!("vhd-fixed{more}"), "vhd", "vpc"));
    for (name, disk, format) in l2.iter().chain(&vhd) {
        let bytes = Some(image(name).bytes_by_qemu(format));
        assert!(judged(name, disk, &strict).is_err(), "{name}");
        assert_eq!(judged(name, disk, &generous).unwrap(), bytes, "{name}");
        assert_eq!(noted(name, disk, &generous).unwrap(), bytes, "{name}");
    }
    for name in ["vhd-fixed-mbr-empty", "vhd-fixed-gpt-hybrid"] {
        for rules in [&generous, &lax] {
            let refused = judged(name, "vhd", rules).unwrap_err();
            assert!(matches!(refused, Unfit::Dangerous(_)), "{name}: {refused}");
            assert_eq!(noted(name, "vhd", rules), Err(refused), "{name}");
        }
    }
    let refused = judged("raw", "vhd", &generous).unwrap_err();
    assert!(matches!(refused, Unfit::Mismatch { .. }), "{refused}");
    assert!(judged("vhd-fixed", "qcow2", &generous).is_err());
    // What is none, and is forgiven that, is forgiven as much as without the option.
    for name in ["raw", "mbr-empty", "gpt-hybrid"] {
        assert_eq!(judged(name, "vhd", &lax), Ok(None), "{name}");
        assert_eq!(noted(name, "vhd", &lax), Ok(None), "{name}");
    }
}
