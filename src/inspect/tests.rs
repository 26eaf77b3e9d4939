//! Images as they pass by: known at the first 64 KiB, followed as far as they have to be, judged in
//! the same way however they are cut. What Glance says of the same images: `upload::gate`'s tests.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::fuzzing::pass_by;
use super::*;
use crate::limits::{INSPECT_DESCRIPTOR_BYTES_MAX, KIB, MIB};

fn inspector() -> Inspector {
    Inspector::new(&["streamOptimized".to_owned(), "monolithicSparse".to_owned()])
}

fn put(image: &mut Vec<u8>, at: usize, new: &[u8]) {
    image.resize(image.len().max(at + new.len()), 0);
    image[at..at + new.len()].copy_from_slice(new);
}

/// A header with these facts: descriptor's sectors, place of the directory.
fn vmdk(descriptor_sectors: u64, directory_at: u64, text: &str) -> Vec<u8> {
    let mut image = vec![0; 512];
    put(&mut image, 0, b"KDMV\x01\0\0\0");
    put(&mut image, 12, &2048_u64.to_le_bytes());
    put(&mut image, 28, &1_u64.to_le_bytes());
    put(&mut image, 36, &descriptor_sectors.to_le_bytes());
    put(&mut image, 56, &directory_at.to_le_bytes());
    put(&mut image, 512, text.as_bytes());
    image
}

const TEXT: &str = "createType=\"monolithicSparse\"\nRW 2048 SPARSE \"disk.vmdk\"\n";

/// A VHDX whose table of facts stands at `metadata_at` and leads to the size at `size_at` beyond.
fn vhdx(metadata_at: u64, size_at: u32) -> Vec<u8> {
    let mut image = b"vhdxfile".to_vec();
    put(&mut image, 192 * KIB, b"regi\0\0\0\0\x01\0\0\0");
    put(&mut image, 192 * KIB + 16, &vhdx::METADATA);
    put(&mut image, 192 * KIB + 32, &metadata_at.to_le_bytes());
    put(&mut image, 256 * KIB - 1, &[0]);
    if metadata_at < 8 * MIB as u64 {
        let at = usize::try_from(metadata_at).unwrap();
        put(&mut image, at, b"metadata\0\0\x01\0");
        put(&mut image, at + 32, &vhdx::DISK_SIZE);
        put(&mut image, at + 48, &size_at.to_le_bytes());
        put(&mut image, at + 52, &8_u32.to_le_bytes());
        put(&mut image, at + 64 * KIB - 1, &[0]);
        let at = at + usize::try_from(size_at).unwrap();
        put(&mut image, at, &(5 * MIB as u64).to_le_bytes());
    }
    image
}

#[test]
fn fi_07_a_format_is_known_after_64_kib() {
    let mut inspector = inspector();
    inspector.feed(b"QFI\xfb\0\0\0\x03");
    inspector.feed(&vec![0; 64 * KIB - 9]);
    assert_eq!((inspector.formats(), inspector.is_settled()), (None, false));
    inspector.feed(&[0]);
    assert_eq!(inspector.formats(), Some(&[Format::Qcow2][..]));
    assert!(inspector.is_settled() && inspector.dangers().is_empty());
    assert_eq!(inspector.held_bytes(), 0);
}

#[test]
fn fi_07_a_descriptor_is_judged_at_its_last_byte() {
    let image = vmdk(200, 0, "createType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/passwd\" 0\n");
    let mut inspector = inspector();
    inspector.feed(&image);
    inspector.feed(&vec![0; 201 * 512 - 1 - image.len()]);
    assert_eq!(inspector.formats(), Some(&[Format::Vmdk][..]));
    assert_eq!((inspector.dangers(), inspector.is_settled()), (&[][..], false));
    inspector.feed(&[0]);
    assert_eq!((inspector.dangers(), inspector.is_settled()), (&[Danger::Descriptor][..], true));
    assert_eq!(inspector.finish().virtual_size, VirtualSize::Unset);
    assert_eq!(inspector.dangers(), [Danger::Descriptor], "it is told once");
}

#[test]
fn fi_10_a_vmdk_says_its_size() {
    let mut image = vmdk(20, 0, TEXT);
    image.resize(100 * KIB, 0);
    let mut inspector = inspector();
    image.chunks(1).for_each(|byte| inspector.feed(byte));
    let ending = inspector.finish();
    assert_eq!(ending, Ending { virtual_size: VirtualSize::Bytes(MIB as u64), is_whole: true });
    assert!(inspector.dangers().is_empty());
}

/// A descriptor that is text alone is known by its kind, in whatever letters the rest is.
#[test]
fn fi_06_a_descriptor_in_other_letters_is_refused() {
    let flat = "# Disk DescriptorFile\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"/etc/x\" 0\n";
    for comment in ["# plain", "# \u{e9}", "\0"] {
        let mut image = flat.repeat(20).into_bytes();
        image.extend_from_slice(comment.as_bytes());
        let mut inspector = inspector();
        inspector.feed(&image);
        inspector.finish();
        assert_eq!(inspector.formats(), Some(&[Format::Vmdk][..]));
        assert_eq!(inspector.dangers(), [Danger::Descriptor], "{comment}");
    }
}

/// What a file says of itself must not decide how much is held.
#[test]
fn no_number_in_a_file_takes_memory() {
    let endless = vmdk(u64::MAX, u64::MAX, &"# line\n".repeat(100));
    let comment = "#".repeat(64 * KIB);
    let mut inspector = inspector();
    inspector.feed(&endless);
    for _ in 0..40 {
        inspector.feed(comment.as_bytes());
        assert!(inspector.held_bytes() <= INSPECT_DESCRIPTOR_BYTES_MAX + 4 * KIB);
    }
    assert_eq!(inspector.dangers(), [Danger::Descriptor], "longer than any that is taken");
    for (metadata_at, size_at) in [(u64::MAX, u32::MAX), (1 << 40, 0), (MIB as u64, u32::MAX >> 8)]
    {
        let mut inspector = self::inspector();
        let image = vhdx(metadata_at, size_at);
        for piece in image.chunks(MIB) {
            inspector.feed(piece);
            assert!(inspector.held_bytes() <= 5 * 64 * KIB, "{}", inspector.held_bytes());
        }
    }
}

#[test]
fn fi_10_a_vhdx_says_its_size_wherever_it_stands() {
    for (metadata_at, size_at) in
        [(MIB as u64, 65_536), (256 * KIB as u64, 70_000), (2 * MIB as u64 + 77, 1 << 20)]
    {
        for piece_bytes in [KIB, 64 * KIB, 3 * MIB] {
            let mut inspector = inspector();
            let mut image = vhdx(metadata_at, size_at);
            image.resize(image.len() + MIB, 0);
            image.chunks(piece_bytes).for_each(|piece| inspector.feed(piece));
            assert!(inspector.is_settled(), "nothing is looked for any more");
            let ending = inspector.finish();
            let size = VirtualSize::Bytes(5 * MIB as u64);
            assert_eq!(ending, Ending { virtual_size: size, is_whole: true });
        }
    }
}

/// A part that never comes leaves an image that can't be judged.
#[test]
fn what_is_cut_off_is_not_whole() {
    for cut in [10, 100 * KIB, 200 * KIB, MIB + 10, MIB + 64 * KIB + 3] {
        let image = vhdx(MIB as u64, 65_536);
        let mut inspector = inspector();
        inspector.feed(&image[..cut]);
        let ending = inspector.finish();
        assert_eq!(inspector.formats(), Some(&[Format::Vhdx][..]));
        assert!(!ending.is_whole, "{cut} bytes");
    }
}

#[test]
fn names_lead_back_to_formats() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.name()), Some(format));
    }
    assert_eq!(Format::parse("ploop"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn however_an_image_is_cut_it_is_the_same(
        magic in prop::sample::select(vec![
            &b"KDMV\x01\0\0\0"[..], b"vhdxfile", b"QFI\xfb\0\0\0\x03", b"LUKS\xba\xbe\0\x01", b"",
        ]),
        script in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut whole = script.get(..5).unwrap_or_default().to_vec();
        whole.extend([0, 0, 0, u8::try_from(magic.len()).unwrap()]);
        whole.extend(magic);
        whole.extend(script.get(5..).unwrap_or_default());
        pass_by(&whole);
        pass_by(&script);
    }
}
