//! Text to typed value, by oslo.config's rules.
//!
//! A parser gives the value, or the remedy: the end of a sentence that tells the operator what to
//! write instead. Where the value stood and what it was is added by whoever asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};

use super::file::unquoted;

/// What a parser gives: the value or a remedy.
pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" => Ok(true),
        "false" | "0" | "off" | "no" => Ok(false),
        _ => Err("give true or false".to_owned()),
    }
}

/// A whole number in a range; `what` says what to give, with an example when that helps.
pub(super) fn number<T: TryFrom<i128>>(
    range: RangeInclusive<i128>,
    what: &str,
) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let parsed = text.trim().parse::<i128>().ok().filter(|n| range.contains(n));
        parsed
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| format!("give {what}, from {} to {}", range.start(), range.end()))
    }
}

/// Any whole number of 64 bits.
pub(super) fn integer(text: &str) -> Parsed<i64> {
    text.trim().parse().map_err(|_| "give a whole number such as 0".to_owned())
}

/// A quota: negative means unlimited.
pub(super) fn quota(text: &str) -> Parsed<Option<u64>> {
    let number =
        integer(text).map_err(|_| "give a number such as 128, or -1 for no limit".to_owned())?;
    Ok(u64::try_from(number).ok())
}

/// A text, where the empty one counts as not given.
pub(super) fn some_text(text: &str) -> Parsed<Option<String>> {
    Ok(Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned))
}

/// `a,b` or `[a,b]`; items may be quoted. Empty items are left out.
pub(super) fn list(text: &str) -> Parsed<Vec<String>> {
    let items = without_bounds(text, '[', ']')?;
    Ok(items
        .split(',')
        .map(|item| unquoted(item.trim()).to_owned())
        .filter(|item| !item.is_empty())
        .collect())
}

/// `k:v,k2:v2` or `{k:v,...}`, in order.
pub(super) fn dict(text: &str) -> Parsed<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let items = without_bounds(text, '{', '}')?;
    for item in items.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (key, value) = item
            .split_once(':')
            .map(|(key, value)| (without_quotes(key), without_quotes(value)))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| format!("{item:?} is no pair; write name:value,name:value"))?;
        if pairs.iter().any(|(known, _)| known == key) {
            return Err(format!("{key} stands there twice; name it once"));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

/// Without quotation marks, of which one may be gone: around a whole value oslo.config takes them
/// off, and Glance's guide writes `inject = "name":"value","name":"value"`.
fn without_quotes(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

fn without_bounds(text: &str, open: char, close: char) -> Parsed<&str> {
    let text = text.trim();
    let Some(rest) = text.strip_prefix(open) else { return Ok(text) };
    rest.strip_suffix(close).ok_or_else(|| format!("close the list with {close}"))
}

/// One of several words.
pub(super) fn one_of<T: Copy>(choices: &[(&str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        let found = choices.iter().find(|(word, _)| *word == text.trim());
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            format!("give one of {}", words.join(", "))
        })
    }
}

/// An address to bind: numeric, in brackets or not, or `localhost`. Names are not looked up, since
/// what they mean tomorrow is not ours to say.
pub(super) fn host(text: &str) -> Parsed<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    bare.parse().map_err(|_| "give a numeric address such as 127.0.0.1".to_owned())
}

/// An address with a port; the empty text turns the listener off.
pub(super) fn listener(text: &str) -> Parsed<Option<SocketAddr>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.replace("localhost:", "127.0.0.1:")
        .parse()
        .map(Some)
        .map_err(|_| "give an address with a port such as 127.0.0.1:9293, or nothing".to_owned())
}

/// An http(s) URL, without trailing slashes; the empty text counts as not given.
pub(super) fn base_url(text: &str) -> Parsed<Option<String>> {
    let url = text.trim().trim_end_matches('/');
    if url.is_empty() {
        return Ok(None);
    }
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => {
            Ok(Some(url.to_owned()))
        }
        _ => Err("give a URL such as http://glance.example.org:9292".to_owned()),
    }
}

/// A path, made absolute from the working directory, `.` and trailing slashes taken out.
pub(super) fn path(text: &str) -> Parsed<PathBuf> {
    absolute(Path::new(text.trim()))
}

/// A path, where the empty text counts as not given.
pub(super) fn some_path(text: &str) -> Parsed<Option<PathBuf>> {
    if text.trim().is_empty() { Ok(None) } else { path(text).map(Some) }
}

/// `file:///dir` to `/dir`.
pub(super) fn file_uri(text: &str) -> Parsed<PathBuf> {
    let remedy = || "give a directory as a file URI such as file:///var/lib/glance/staging/";
    let path = text.trim().strip_prefix("file://").filter(|path| path.starts_with('/'));
    absolute(Path::new(path.ok_or_else(remedy)?))
}

pub(super) fn absolute(path: &Path) -> Parsed<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|_| "give an absolute path".to_owned())?;
    Ok(absolute.components().filter(|part| *part != Component::CurDir).collect())
}

/// A file mode in octal digits; 0 leaves the umask.
pub(super) fn file_perm(text: &str) -> Parsed<Option<u32>> {
    let text = text.trim();
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or("give a mode in octal digits such as 640, or 0 to leave the umask")?;
    match mode {
        0 => Ok(None),
        mode if mode & 0o400 == 0 => {
            Err("the owner could not read the image again; give a mode such as 640".to_owned())
        }
        mode => Ok(Some(mode)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn booleans_are_oslos_eight_words_in_any_case() {
        for word in ["true", "1", "on", "yes", "True", "YES"] {
            assert_eq!(boolean(word), Ok(true));
        }
        for word in ["false", "0", "off", "no", "False"] {
            assert_eq!(boolean(word), Ok(false));
        }
        assert!(boolean("maybe").is_err() && boolean("").is_err());
    }

    #[test]
    fn numbers_keep_their_range() {
        let port = number::<u16>(0..=65535, "a port");
        assert_eq!(port(" 9292 "), Ok(9292));
        let remedy = port("65536").unwrap_err();
        assert_eq!(remedy, "give a port, from 0 to 65535");
        assert!(port("-1").is_err() && port("").is_err() && port("9k").is_err());
    }

    #[test]
    fn lists_have_two_forms() {
        for text in ["a,b", "[a, b]", " a ,\nb", "['a',\"b\"]", "a,b,", "a,,b"] {
            assert_eq!(list(text).unwrap(), ["a", "b"], "{text}");
        }
        assert!(list("").unwrap().is_empty() && list("[]").unwrap().is_empty());
        assert!(list("[a,b").is_err());
    }

    #[test]
    fn dicts_keep_their_order_and_refuse_what_is_no_pair() {
        let pairs = vec![("b".to_owned(), "file".to_owned()), ("a".to_owned(), "http".to_owned())];
        for text in [
            "b:file,a:http",
            "{b: file, a: http}",
            "b:file,\na:http",
            "'b':'file',a:http",
            r#"b":"file","a":"http"#,
        ] {
            assert_eq!(dict(text).unwrap(), pairs, "{text}");
        }
        assert!(dict("").unwrap().is_empty());
        for text in ["fast", ":file", "a:x,a:y", "{a:x"] {
            assert!(dict(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_are_numeric_or_localhost() {
        assert_eq!(host("localhost").unwrap().to_string(), "127.0.0.1");
        assert_eq!(host("[::1]").unwrap().to_string(), "::1");
        assert!(host("controller").is_err());
    }

    #[test]
    fn an_empty_listener_is_off() {
        assert_eq!(listener(""), Ok(None));
        assert_eq!(listener("localhost:1").unwrap(), Some(([127, 0, 0, 1], 1).into()));
        assert!(listener("127.0.0.1").is_err());
    }

    #[test]
    fn base_urls_lose_their_trailing_slashes() {
        assert_eq!(base_url("https://x:1/image//").unwrap().as_deref(), Some("https://x:1/image"));
        assert_eq!(base_url(""), Ok(None));
        assert!(base_url("x:1").is_err() && base_url("http://").is_err());
    }

    #[test]
    fn fs_05_modes_are_octal_and_let_the_owner_read() {
        assert_eq!(file_perm("0"), Ok(None));
        assert_eq!(file_perm("640"), Ok(Some(0o640)));
        assert_eq!(file_perm("0o640"), Ok(Some(0o640)));
        assert!(file_perm("240").unwrap_err().contains("owner"));
        assert!(
            file_perm("680").is_err() && file_perm("-1").is_err() && file_perm("17777").is_err()
        );
    }

    #[test]
    fn paths_become_absolute_and_plain() {
        assert_eq!(path("/a/./b//").unwrap(), Path::new("/a/b"));
        assert!(path("a").unwrap().is_absolute());
        assert_eq!(file_uri("file:///tmp/staging/").unwrap(), Path::new("/tmp/staging"));
        assert!(file_uri("/tmp/staging").is_err() && file_uri("file://tmp").is_err());
    }
}
