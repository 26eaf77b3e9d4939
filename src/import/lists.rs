//! The two lists of stores in an image's record that clients follow an import by: those that are
//! still to come, and those that failed. They are true in every outcome (`D-23`), because they are
//! written in the transaction that makes it.

use crate::image::Image;
use crate::meta::ImageChange;

const IMPORTING: &str = "os_glance_importing_to_stores";
const FAILED: &str = "os_glance_failed_import";

/// An import into these stores begins.
pub(super) fn begun(image: &Image, stores: &[String], change: &mut ImageChange) {
    let failed = failed_before(image).filter(|store| !stores.contains(store)).collect();
    set(change, stores.to_vec(), failed);
}

/// It ends, and these of them have failed.
pub(super) fn ended(image: &Image, failed: &[String], change: &mut ImageChange) {
    let failed = failed_before(image).chain(failed.iter().cloned()).collect();
    set(change, Vec::new(), failed);
}

/// The task that had them is over.
pub fn lists_cleared(image: &Image, change: &mut ImageChange) {
    ended(image, &[], change);
}

fn failed_before(image: &Image) -> impl Iterator<Item = String> + '_ {
    let list = image.properties.get(FAILED).map(String::as_str).unwrap_or_default();
    list.split(',').filter(|store| !store.is_empty()).map(str::to_owned)
}

fn set(change: &mut ImageChange, importing: Vec<String>, failed: Vec<String>) {
    for (name, mut stores) in [(IMPORTING, importing), (FAILED, failed)] {
        stores.sort();
        stores.dedup();
        change.set.insert(name.to_owned(), stores.join(","));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::ImageId;

    #[test]
    fn d_23_lists_are_sorted_and_keep_what_failed_elsewhere() {
        let mut image = Image::queued(ImageId::random());
        image.properties.insert(FAILED.into(), "slow,web".into());
        let of = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let mut change = ImageChange::default();
        begun(&image, &of(&["slow", "fast"]), &mut change);
        assert_eq!((&*change.set[IMPORTING], &*change.set[FAILED]), ("fast,slow", "web"));
        image.properties.extend(change.set.clone());
        ended(&image, &of(&["fast", "web"]), &mut change);
        assert_eq!((&*change.set[IMPORTING], &*change.set[FAILED]), ("", "fast,web"));
    }
}
