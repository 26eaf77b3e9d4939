//! Names of drafts, which say whose they are.
//!
//! A failed upload is answered before its draft is gone, where the cluster does not let it go. If
//! the process ends before the cluster is well, no record tells of the draft any more, and only its
//! name can: the next process of the node removes what an earlier one has named. Drafts of other
//! nodes may be alive.

use std::sync::OnceLock;

use ring::digest::{SHA256, digest};

use crate::image::ImageId;

const DRAFT: &str = "glissade-draft.";

/// What tells this process's drafts from those of earlier ones.
static RUN: OnceLock<String> = OnceLock::new();

/// Who names drafts: a node, in this run of it.
#[derive(Debug)]
pub(super) struct Author {
    /// A digest of the node's id, which may hold what a name may not.
    node: String,
    run: &'static str,
}

impl Author {
    /// This process, as a node of this id.
    pub(super) fn new(node_id: &str) -> Self {
        let mut first = [0_u8; 8];
        first.copy_from_slice(&digest(&SHA256, node_id.as_bytes()).as_ref()[..8]);
        let node = format!("{:016x}", u64::from_be_bytes(first));
        Self { node, run: RUN.get_or_init(|| random().0) }
    }

    /// A name that no other draft has. Names of images may have 96 bytes; it has 90.
    pub(super) fn draft(&self, id: &ImageId) -> String {
        format!("{}{}.{}.{}", draft_prefix(id), self.node, self.run, random().1)
    }

    /// Whether an earlier run of this node has named it.
    pub(super) fn had_named(&self, name: &str) -> bool {
        let parts: Option<Vec<&str>> =
            name.strip_prefix(DRAFT).map(|rest| rest.split('.').collect());
        matches!(parts.as_deref(), Some([_, node, run, _]) if *node == self.node && *run != self.run)
    }
}

/// What the names of an image's drafts begin with, whoever named them.
pub(super) fn draft_prefix(id: &ImageId) -> String {
    format!("{DRAFT}{id}.")
}

/// Random hexadecimal digits: 8 and 12.
fn random() -> (String, String) {
    let id = ImageId::random();
    let (digits, len) = (id.as_str(), id.as_str().len());
    (digits[..8].to_owned(), digits[len - 12..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_earlier_runs_of_the_node_have_left_drafts() {
        let (now, id) = (Author::new("http://w1:9292"), ImageId::random());
        let earlier = Author { node: now.node.clone(), run: "earlier" };
        let other = Author { node: Author::new("http://w2:9292").node, run: "earlier" };
        let name = now.draft(&id);
        assert_eq!(name.len(), 90);
        assert!(name.starts_with(&draft_prefix(&id)) && name != now.draft(&id));
        assert!(now.had_named(&earlier.draft(&id)));
        for living in [name, Author::new("http://w1:9292").draft(&id), other.draft(&id)] {
            assert!(!now.had_named(&living), "{living}");
        }
        assert!(!now.had_named(id.as_str()));
    }
}
