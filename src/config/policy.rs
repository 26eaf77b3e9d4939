//! Files of rules, and where they are looked for; and the quota in bytes.

use std::path::{Path, PathBuf};

use super::account;
use super::error::ConfigError;
use super::known;
use super::options::Options;
use super::value::{self, Parsed};
use super::{Policy, PropertyRuleFormat, RemoteChecks, RemoteTrust};

/// `[oslo_policy]`. What is relative lies beside a configuration file, in the first directory that
/// has it; what none has may come to lie in the first one later.
pub(super) fn policy(options: &Options, dirs: &[PathBuf]) -> Result<Policy, ConfigError> {
    let file = options.need(&known::POLICY_FILE, value::some_text)?;
    let mut named = Vec::new();
    for section in [known::POLICY_DIRS.section, "DEFAULT"] {
        for found in options.all_in(section, known::POLICY_DIRS.key)? {
            named.push(found.text);
        }
    }
    if named.is_empty() {
        named.extend(known::POLICY_DIRS.default.map(str::to_owned));
    }
    let named = named.iter().map(|text| text.trim()).filter(|text| !text.is_empty());
    Ok(Policy {
        file: file.and_then(|file| found(&file, dirs)),
        dirs: named.filter_map(|dir| found(dir, dirs)).collect(),
        default_rule: options.need(&known::POLICY_DEFAULT_RULE, value::some_text)?,
        enforces_new_defaults: options.need(&known::ENFORCE_NEW_DEFAULTS, value::boolean)?,
        enforces_scope: options.need(&known::ENFORCE_SCOPE, value::boolean)?,
        remote: remote(options)?,
    })
}

/// How other servers are asked. Whether the files can be used shows when a rule needs them.
fn remote(options: &Options) -> Result<RemoteChecks, ConfigError> {
    let types = [("application/x-www-form-urlencoded", false), ("application/json", true)];
    let path = |opt| options.need(opt, value::some_path);
    let certificate = path(&known::REMOTE_CERTIFICATE)?;
    let key = path(&known::REMOTE_KEY)?;
    let trust = match options.need(&known::REMOTE_VERIFY, value::boolean)? {
        false => RemoteTrust::Anyone,
        true => path(&known::REMOTE_CA)?.map_or(RemoteTrust::System, RemoteTrust::File),
    };
    Ok(RemoteChecks {
        sends_json: options.need(&known::REMOTE_CONTENT_TYPE, value::one_of(&types))?,
        trust,
        client: certificate.map(|own| (own.clone(), key.unwrap_or(own))),
        timeout: options.need_number(&known::REMOTE_TIMEOUT, account::seconds)?,
    })
}

/// `property_protection_file` and its format (`PP-01`).
pub(super) fn property_protection(
    options: &Options,
    dirs: &[PathBuf],
) -> Result<(Option<PathBuf>, PropertyRuleFormat), ConfigError> {
    let file = options.need(&known::PROPERTY_PROTECTION_FILE, value::some_text)?;
    let format = value::one_of(&[
        ("roles", PropertyRuleFormat::Roles),
        ("policies", PropertyRuleFormat::Policies),
    ]);
    let format = options.need(&known::PROPERTY_PROTECTION_FORMAT, format)?;
    let path = file.map(|file| found(&file, dirs).unwrap_or_else(|| PathBuf::from(file)));
    Ok((path, format))
}

/// Where a file is, or would be; `None` when there is no directory for it.
fn found(file: &str, dirs: &[PathBuf]) -> Option<PathBuf> {
    if Path::new(file).is_absolute() {
        return Some(PathBuf::from(file));
    }
    let places = || dirs.iter().map(|dir| dir.join(file));
    places().find(|path| path.exists()).or_else(|| places().next())
}

/// `user_storage_quota`: a number and a unit, of which each is 1024 times the last (`QU-03`).
pub(super) fn storage_quota(text: &str) -> Parsed<Option<u64>> {
    const UNITS: [(&str, u32); 5] = [("KB", 10), ("MB", 20), ("GB", 30), ("TB", 40), ("B", 0)];
    let remedy = || "give a number with B, KB, MB, GB or TB such as 500GB, or 0 for no limit";
    let text = text.trim();
    let (digits, shift) = UNITS
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
        .unwrap_or((text, 0));
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number).ok_or_else(remedy)?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(remedy)?;
    Ok(Some(bytes).filter(|bytes| *bytes > 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn qu_03_quotas_have_units_of_1024() {
        for (text, bytes) in [
            ("0", None),
            ("0GB", None),
            ("1000", Some(1000)),
            ("7B", Some(7)),
            ("2KB", Some(2048)),
            (" 1TB ", Some(1 << 40)),
        ] {
            assert_eq!(storage_quota(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "GB", "1 GB", "1gb", "-1", "+1", "1.5GB", "99999999999TB"] {
            assert!(storage_quota(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cf_12_other_servers_are_asked_as_oslo_policy_asks_them() {
        let read = |text: &str| remote(&Options::of(&[&format!("[oslo_policy]\n{text}")]).unwrap());
        assert_eq!(read("").unwrap(), RemoteChecks::default());
        let asked = read(
            "remote_content_type = application/json\nremote_ssl_verify_server_crt = true\n\
             remote_ssl_ca_crt_file = /ca\nremote_ssl_client_crt_file = /c\nremote_timeout = 2.5",
        );
        let wanted = RemoteChecks {
            sends_json: true,
            trust: RemoteTrust::File("/ca".into()),
            client: Some(("/c".into(), "/c".into())),
            timeout: std::time::Duration::from_millis(2500),
        };
        assert_eq!(asked.unwrap(), wanted);
        let key = read("remote_ssl_client_crt_file = /c\nremote_ssl_client_key_file = /k").unwrap();
        assert_eq!(key.client, Some(("/c".into(), "/k".into())));
        let system = read("remote_ssl_verify_server_crt = true").unwrap();
        assert_eq!(system.trust, RemoteTrust::System);
        for wrong in ["remote_content_type = text/xml", "remote_timeout = soon"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cf_12_relative_files_lie_beside_the_configuration() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dirs = [a.path().to_owned(), b.path().to_owned()];
        assert_eq!(found("p.yaml", &dirs), Some(a.path().join("p.yaml")));
        std::fs::write(b.path().join("p.yaml"), "").unwrap();
        assert_eq!(found("p.yaml", &dirs), Some(b.path().join("p.yaml")));
        assert_eq!(found("/etc/p.yaml", &dirs), Some(PathBuf::from("/etc/p.yaml")));
        assert_eq!(found("p.yaml", &[]), None);
    }
}
