//! Options that are given and empty, by what oslo.config makes of each type.

use super::*;
use crate::config::known::HONOURED;

/// The value for an option in place of its default.
fn with(opt: &Opt, value: &str) -> String {
    let needed = match opt.section {
        "keystone_authtoken" | "oslo_limit" => {
            "[paste_deploy]\nflavor = keystone\n[DEFAULT]\nuse_keystone_limits = true\n"
        }
        _ => "",
    };
    let account = |section: &str| {
        format!(
            "[{section}]\nauth_type = password\nauth_url = http://k\nuser_id = 1\n\
                 password = s3cret\nsystem_scope = all\n"
        )
    };
    let accounts = [account("keystone_authtoken"), account("oslo_limit")].concat();
    let endpoint = "[oslo_limit]\nendpoint_id = 1\n";
    format!("{needed}{accounts}{endpoint}[{}]\n{} = {value}\n", opt.section, opt.key)
}

fn defaults_that(are: impl Fn(&str) -> bool) -> Vec<&'static Opt> {
    // Glance reads a quota with its unit as a text; a mode is no number of ours.
    let is_text = |opt: &&Opt| ["user_storage_quota", "listen_mode"].contains(&opt.key);
    let is_one = |opt: &&Opt| opt.default.is_some_and(&are) && !is_text(opt);
    HONOURED.iter().filter(is_one).collect()
}

#[test]
fn cf_01_an_empty_number_is_not_given() {
    let numbers = defaults_that(|default| default.parse::<f64>().is_ok());
    assert!(numbers.len() > 20, "{}", numbers.len());
    let without_place = |settings: Settings| format!("{settings:?}");
    for opt in numbers {
        let default = opt.default.unwrap();
        for empty in ["", "\"\"", "''"] {
            let read = read(&with(opt, empty));
            let read = read.unwrap_or_else(|error| panic!("{error}"));
            let told = accepted(&with(opt, default));
            assert_eq!(without_place(read), without_place(told), "{}", opt.key);
        }
    }
    for optional in ["backlog", "[glissade]\nhash_workers", "[glissade]\nslot_arena_bytes"] {
        accepted(&format!("[DEFAULT]\n{optional} =\n"));
    }
    let store = "[DEFAULT]\nenabled_backends = fast:file,ceph:rbd\n[glance_store]\n\
                 default_backend = fast\n[fast]\nweight =\nfilesystem_store_file_perm =\n\
                 filesystem_store_chunk_size =\nfilesystem_store_timeout =\n[ceph]\n\
                 rbd_store_chunk_size =\nrados_connect_timeout =\n[os_glance_staging_store]\n\
                 filesystem_store_chunk_size =\n";
    let of_defaults: String = store
        .lines()
        .filter(|line| !line.ends_with('='))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(
        format!("{:?}", accepted(store).stores),
        format!("{:?}", accepted(&of_defaults).stores)
    );
}

/// An empty value in a later file takes an earlier one back, and the default counts.
#[test]
fn cf_01_an_empty_number_takes_an_earlier_one_back() {
    let files = [DB, "[DEFAULT]\nimage_size_cap = 5\n", "[DEFAULT]\nimage_size_cap =\n"];
    let read = configured(&Sources::default(), &Options::of(&files).unwrap()).unwrap();
    assert_eq!(read.api.image_size_cap_bytes, 1 << 40);
}

#[test]
fn cf_01_an_empty_flag_is_refused() {
    let flags = defaults_that(|default| value::boolean(default).is_ok_and(|_| default.len() > 1));
    assert!(flags.len() > 10, "{}", flags.len());
    for opt in flags {
        let error = refused(&with(opt, ""));
        assert!(error.contains(opt.key) && error.contains("give true or false"), "{error}");
    }
}
