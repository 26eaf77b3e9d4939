//! The option that somebody meant who wrote another.

use super::known::{HONOURED, OF_A_STORE};
use super::{account, ignored};

/// Edits between two names that still look like one and its typing error.
const EDITS_MAX: usize = 2;

/// A hint for an option that nobody knows: its section, if it has strayed, or its spelling.
pub(super) fn to(section: &str, key: &str) -> Option<String> {
    let everywhere = || {
        let honoured = HONOURED.iter().map(|opt| (opt.section, opt.key));
        honoured.chain(ignored::names()).filter(|(_, name)| *name != "*")
    };
    if let Some((home, _)) = everywhere().find(|(home, name)| *name == key && *home != section) {
        return Some(format!("it belongs in [{home}]"));
    }
    let here = everywhere().filter(|(home, _)| *home == section).map(|(_, name)| name);
    let of_stores = OF_A_STORE.iter().chain(account::KEYS).copied();
    let all = here.chain(of_stores);
    let (edits, name) = all.map(|name| (edits(key, name), name)).min()?;
    (edits <= EDITS_MAX && edits * 3 < key.len()).then(|| format!("{name} is near to it"))
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn edits(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > EDITS_MAX {
        return usize::MAX / 4;
    }
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let cost = usize::from(a[i - 1] != b[j - 1]);
                    let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    let swap =
                        if swapped { table[(i - 2) * width + j - 2] + 1 } else { usize::MAX };
                    let changed = table[(i - 1) * width + j - 1] + cost;
                    let removed = table[(i - 1) * width + j] + 1;
                    let added = table[i * width + j - 1] + 1;
                    changed.min(removed).min(added).min(swap)
                }
            };
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, n) in
            [("bind_host", "bind_hots", 1), ("debug", "debug", 0), ("ab", "b", 1), ("", "ab", 2)]
        {
            assert_eq!(edits(a, b), n, "{a} {b}");
        }
        assert!(edits("a", "abcd") > EDITS_MAX);
    }

    #[test]
    fn a_stray_option_is_sent_home_and_a_typing_error_is_named() {
        assert_eq!(to("DEFAULT", "flavor").unwrap(), "it belongs in [paste_deploy]");
        assert_eq!(to("DEFAULT", "bind_hots").unwrap(), "bind_host is near to it");
        assert_eq!(to("fast", "rbd_store_pol").unwrap(), "rbd_store_pool is near to it");
        assert_eq!(
            to("oslo_middleware", "enable_proxy_header_parsing").as_deref(),
            Some("enable_proxy_headers_parsing is near to it")
        );
        assert!(to("DEFAULT", "frobnicate").is_none());
    }
}
