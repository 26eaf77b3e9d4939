//! Location URLs as the database keeps them: plain, or encrypted under `metadata_encryption_key`
//! (`DW-10`), by the scheme of `glance.common.crypt`.
//!
//! It is AES in CBC mode, an initial vector of 16 random bytes before the text, a zero byte and
//! random bytes without zeros after it up to the next block, all in URL-safe base64. Nothing tells
//! that a text was changed; the scheme keeps credentials in URLs from whoever sees the database.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::Secret;

/// Bytes of a block, and of the initial vector.
const BLOCK: usize = 16;

/// How URLs are read and written.
#[derive(Clone, Debug)]
pub(super) struct Urls(Option<Secret>);

impl Urls {
    pub(super) fn new(key: Option<&Secret>) -> Self {
        Self(key.cloned())
    }

    /// The URL that a text stands for. With a key, what does not decrypt to a URL may be one from
    /// before there was a key; `None` if it is none either. A wrong key makes a short text of one in
    /// a hundred, which is no URL.
    pub(super) fn read(&self, stored: &str) -> Option<String> {
        let Some(key) = &self.0 else { return Some(stored.to_owned()) };
        let decrypted = decrypted(key.reveal().as_bytes(), stored);
        decrypted.filter(|url| is_url(url)).or_else(|| is_url(stored).then(|| stored.to_owned()))
    }

    /// What is stored of a URL. `None` when the system has no random bytes, or the key is none.
    pub(super) fn written(&self, url: &str) -> Option<String> {
        match &self.0 {
            None => Some(url.to_owned()),
            Some(key) => {
                let mut random = [0; 2 * BLOCK];
                SystemRandom::new().fill(&mut random).ok()?;
                encrypted(key.reveal().as_bytes(), url, &random)
            }
        }
    }
}

fn is_url(text: &str) -> bool {
    text.contains("://")
}

/// Runs AES in CBC mode with the key's size, one way or the other.
macro_rules! with_key {
    ($mode:ident, $key:expr, $vector:expr, $cipher:ident => $run:expr) => {
        match $key.len() {
            16 => {
                cbc::$mode::<Aes128>::new_from_slices($key, $vector).ok().and_then(|$cipher| $run)
            }
            24 => {
                cbc::$mode::<Aes192>::new_from_slices($key, $vector).ok().and_then(|$cipher| $run)
            }
            _ => cbc::$mode::<Aes256>::new_from_slices($key, $vector).ok().and_then(|$cipher| $run),
        }
    };
}

fn decrypted(key: &[u8], stored: &str) -> Option<String> {
    let mut bytes = URL_SAFE.decode(stored).ok()?;
    let (vector, text) = bytes.split_at_mut_checked(BLOCK)?;
    let text = with_key!(Decryptor, key, vector, cipher => {
        cipher.decrypt_padded::<NoPadding>(text).ok()
    })?;
    // The padding has no zero, so the last one ends the text.
    let end = text.iter().rposition(|&byte| byte == 0)?;
    String::from_utf8(text[..end].to_vec()).ok()
}

/// `random` is the vector, and bytes for the padding, of which zeros become ones.
fn encrypted(key: &[u8], url: &str, random: &[u8; 2 * BLOCK]) -> Option<String> {
    let (vector, padding) = random.split_at(BLOCK);
    let mut text = url.as_bytes().to_vec();
    text.push(0);
    let missing = text.len().next_multiple_of(BLOCK) - text.len();
    text.extend(padding[..missing].iter().map(|&byte| byte.max(1)));
    let length = text.len();
    let text = with_key!(Encryptor, key, vector, cipher => {
        cipher.encrypt_padded::<NoPadding>(&mut text, length).ok().map(<[u8]>::to_vec)
    })?;
    Some(URL_SAFE.encode([vector, &text].concat()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const KEYS: [&str; 3] =
        ["0123456789abcdef", "0123456789abcdef01234567", "0123456789abcdef0123456789abcdef"];

    fn urls(key: &str) -> Urls {
        Urls::new(Some(&Secret::new(key)))
    }

    #[test]
    fn dw_10_what_is_written_is_read() {
        for key in KEYS {
            for length in 0..40 {
                let url = format!("swift+https://u:p@h/{}\u{fc}", "x".repeat(length));
                let stored = urls(key).written(&url).unwrap();
                assert!(!stored.contains("swift") && stored.is_ascii(), "{stored}");
                assert_eq!(urls(key).read(&stored), Some(url.clone()));
                assert_ne!(urls(key).written(&url).unwrap(), stored, "never the same twice");
                assert_eq!(urls("another key of16").read(&stored), None);
            }
        }
        let plain = Urls::new(None);
        assert_eq!(plain.written("file:///a").as_deref(), Some("file:///a"));
        assert_eq!(plain.read("file:///a").as_deref(), Some("file:///a"));
    }

    /// Made by `glance.common.crypt.urlsafe_encrypt` of Glance 33.
    #[test]
    fn dw_10_what_glance_has_written_is_read() {
        let long = "swift+https://user:p%40ss@auth.example/v3/glance/0f1e2d3c\u{fc}";
        for (key, url, stored) in [
            (KEYS[0], "file:///a", "NT6FbfWtEDmHB8YEocMzU0QmqVaZgMqyfMU9npt2ch0="),
            (
                KEYS[0],
                long,
                "wHTggkyO630jITg0B4km6HhZIntY7QKoKjaE0vWpjOgYSIl_llExEdq0XgqT3enCsH6iqs8O_5Z2IVwqtQ\
                 E_FqsrR1tgu4tznJG1EZ1h5YY=",
            ),
            (KEYS[1], "file:///a", "dcqOmNTQ9-s5xDYPQgnA7faZIs9XUp5HzmMbRGcnIpE="),
            (
                KEYS[1],
                long,
                "-SRlk2fK1DrZlpEFz0VK3aAehjRRlCSQZinic74uMe0Phk63ZFXpXvhnhjApXZ5Wg5uWvKqv_Mti-4XrNd\
                 NQFd8vu71VKUHPSpwT_fzrpA8=",
            ),
            (KEYS[2], "file:///a", "7Yb3kws2Gw_PopIewoStFnxwd4mVdjwblxYxzIF-C-s="),
            (
                KEYS[2],
                long,
                "Gznd1WZxbZvO5Oua238hZ3zmVaVx2GcIDRPIfJ5dOF61llPOaX7bri3O_uOsI5MuQf0XQPdcc1WDmtUCD4\
                 w9r6lEbxz25luMSQlEcg2TH7A=",
            ),
        ] {
            assert_eq!(urls(key).read(stored).as_deref(), Some(url), "{} bytes", key.len());
        }
    }

    #[test]
    fn dw_10_urls_from_before_there_was_a_key_are_read() {
        assert_eq!(urls(KEYS[0]).read("rbd://a/b/c/snap").as_deref(), Some("rbd://a/b/c/snap"));
        for nothing in ["", "no url", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            assert_eq!(urls(KEYS[0]).read(nothing), None, "{nothing}");
        }
    }
}
