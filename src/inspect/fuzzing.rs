//! Images that a script describes, for the fuzz target `inspect` and for unit tests.
//!
//! Any bytes are a script: the image's length, the length of the pieces it comes in, and what
//! stands where in it, everything else being zero. So structures far inside are reached by scripts
//! of a few bytes. However an image is cut, the answers to it are the same, and never is more than
//! a MiB held.

use super::{Danger, Ending, Format, Inspector};
use crate::limits::{KIB, MIB};

/// The longest image.
const IMAGE_BYTES_MAX: usize = 600 * KIB;

/// What is known of an image in the end.
type Answers = (Vec<Format>, Vec<Danger>, Ending);

/// Looks at the image that the script describes, in one piece and in many.
///
/// # Panics
/// When the answers differ, or more is held than may be.
pub fn pass_by(script: &[u8]) {
    let (image, piece_bytes) = image(script);
    assert_eq!(answers(&image, image.len()), answers(&image, piece_bytes));
}

/// The image that a script describes, and how long its pieces are.
fn image(script: &[u8]) -> (Vec<u8>, usize) {
    let Some((head, mut rest)) = script.split_at_checked(5) else { return (script.to_vec(), 1) };
    let number = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
    let mut image = vec![0; number(&head[..3]) % IMAGE_BYTES_MAX];
    while let Some((place, after)) = rest.split_at_checked(4) {
        let (what, after) = after.split_at(usize::from(place[3]).min(after.len()));
        let at = number(&place[..3]) % IMAGE_BYTES_MAX;
        if let Some(there) = image.get_mut(at..at + what.len()) {
            there.copy_from_slice(what);
        }
        rest = after;
    }
    (image, 1 + number(&head[3..]))
}

fn answers(image: &[u8], piece_bytes: usize) -> Answers {
    let kinds = ["streamOptimized", "monolithicSparse"].map(str::to_owned);
    let mut inspector = Inspector::new(&kinds);
    for piece in image.chunks(piece_bytes.max(1)) {
        let was_settled = inspector.is_settled();
        let known = inspector.dangers().len();
        inspector.feed(piece);
        assert!(inspector.held_bytes() <= MIB);
        assert!(!was_settled || inspector.dangers().len() == known);
    }
    let ending = inspector.finish();
    assert_eq!(inspector.seen_bytes(), image.len() as u64);
    let formats = inspector.formats().unwrap_or_default();
    assert!(!formats.is_empty());
    (formats.to_vec(), inspector.dangers().to_vec(), ending)
}
