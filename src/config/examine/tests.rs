//! Whole configurations, as Glance ships them and as people have published them.

#![allow(clippy::unwrap_used)]

use std::fs;

use super::*;
use crate::config::FileOrDir;

/// Every option of Glance 33 with its default (`tests/fixtures/config/generate.py`).
const GLANCE: &str = include_str!("../../../tests/fixtures/config/glance-33.conf");

/// What [`GLANCE`] lacks: options without a default that every cloud sets.
const CLOUD: &str = "[database]\nconnection = sqlite:////srv/glance.sqlite\n\
    [paste_deploy]\nflavor = keystone\n[task]\nwork_dir = /srv/work\n\
    [keystone_authtoken]\nauth_url = http://k:5000\nauth_type = password\nusername = glance\n\
    password = s3cret\nproject_name = service\nuser_domain_name = Default\n\
    project_domain_name = Default\n";

/// What becomes of options that are spread over files.
fn examined(texts: &[&str]) -> Examination {
    let dir = tempfile::tempdir().unwrap();
    let write = |(n, text): (usize, &&str)| {
        let path = dir.path().join(format!("{n}.conf"));
        fs::write(&path, text).unwrap();
        FileOrDir::File(path)
    };
    let named = texts.iter().enumerate().map(write).collect();
    examine(&Sources { named, ..Sources::default() })
}

fn of<'a>(examination: &'a Examination, section: &str, key: &str) -> &'a Finding {
    let found = examination.options.iter().rfind(|o| o.section == section && o.key == key);
    &found.unwrap().finding
}

fn names(examination: &Examination, is_one: impl Fn(&Finding) -> bool) -> Vec<String> {
    let found = examination.options.iter().filter(|option| is_one(&option.finding));
    found.map(|option| format!("[{}] {}", option.section, option.key)).collect()
}

/// The options of the sections that the sample has for stores are those of stores by these names.
fn with_stores(text: &str) -> String {
    let stores = "file:file,http:http,rbd:rbd,s3:s3,swift:swift,cinder:cinder,vmware:vmware";
    text.replace("enabled_backends = <None>", &format!("enabled_backends = {stores}"))
}

#[test]
fn cf_33_every_option_of_glance_is_known() {
    for text in [GLANCE.replace("<None>", ""), with_stores(GLANCE)] {
        let examination = examined(&[&text]);
        assert!(examination.options.len() > 500);
        let unknown = names(&examination, |finding| matches!(finding, Finding::Unknown(_)));
        assert!(unknown.is_empty(), "{unknown:#?}");
    }
}

#[test]
fn cf_33_glances_defaults_load_and_what_they_miss_is_listed() {
    // An empty directory is one too many, for Glance too.
    let is_set = |line: &&str| !line.ends_with("<None>") && *line != "filesystem_store_datadirs =";
    let text = GLANCE.lines().filter(is_set).collect::<Vec<_>>().join("\n");
    let examination = examined(&[&text, CLOUD]);
    let settings = examination.loaded.as_ref().unwrap();
    assert_eq!(settings.api.api_limit_max, 1000);
    let is_missed = |finding: &Finding| {
        matches!(finding, Finding::Ignored(Why::Later | Why::Elsewhere | Why::Retired, _))
    };
    let of_stores = ["[glance_store]", "[file]", "[http]", "[rbd]", "[s3]", "[swift]", "[vmware]"];
    let mut missed = names(&examination, is_missed);
    missed.retain(|name| !of_stores.iter().any(|section| name.starts_with(section)));
    let whole = ["[key_manager]", "[vault]", "[barbican", "[oslo_limit]", "[oslo_policy]"];
    missed.retain(|name| !whole.iter().any(|section| name.starts_with(section)));
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Published by an operator who put Glance on Cinder, with options of both ways to have stores.
const MULTISTORE_HOW_TO: &str = "[DEFAULT]\nenabled_backends=ontap-iscsi-916:cinder\n\
    show_multiple_locations = true\nshow_image_direct_url = true\nbind_host = 127.0.0.1\n\
    [glance_store]\nfilesystem_store_datadir = /opt/stack/data/glance/images/\n\
    stores = file,cinder\ndefault_store = cinder\ndefault_backend = ontap-iscsi-916\n\
    [os_glance_tasks_store]\n\
    filesystem_store_datadir = /opt/stack/data/glance/tasks_work_dir\n\
    [os_glance_staging_store]\nfilesystem_store_datadir = /opt/stack/data/glance/staging\n\
    [ontap-iscsi-916]\nstore_description = \"NetApp iSCSI\"\n\
    cinder_store_auth_address = http:///identity\ncinder_store_user_name = glance\n\
    cinder_store_password = x\ncinder_store_project_name = service\n\
    cinder_volume_type = ontap-iscsi-916\n";

#[test]
fn cf_28_a_published_configuration_on_cinder_is_understood_and_refused() {
    let examination = examined(&[MULTISTORE_HOW_TO, CLOUD]);
    let refused = |finding: &Finding| matches!(finding, Finding::Refused(_));
    assert_eq!(names(&examination, refused), ["[DEFAULT] enabled_backends"]);
    let message = examination.loaded.as_ref().unwrap_err().to_string();
    assert!(message.contains("take ontap-iscsi-916 out of enabled_backends"), "{message}");
    assert!(names(&examination, |finding| matches!(finding, Finding::Unknown(_))).is_empty());
    for (section, key) in [("glance_store", "stores"), ("glance_store", "default_store")] {
        let finding = of(&examination, section, key);
        assert!(matches!(finding, Finding::Ignored(Why::Superseded, _)), "{key}: {finding:?}");
    }
    let on_file = MULTISTORE_HOW_TO.replace("916:cinder", "916:file");
    let examination = examined(&[&on_file, CLOUD]);
    assert!(examination.loaded.is_ok(), "{:?}", examination.loaded);
    let finding = of(&examination, "ontap-iscsi-916", "cinder_volume_type");
    assert_eq!(
        *finding,
        Finding::Ignored(Why::Needless, "stores of this section are of another kind")
    );
}

#[test]
fn cf_33_every_refusal_is_found() {
    let examination = examined(&[
        CLOUD,
        "[DEFAULT]\nimage_size_cap = big\ndebug = maybe\napi_limit_max = 0\nbind_host = 127.0.0.1",
        "[DEFAULT]\napi_limit_max = 5",
    ]);
    let refused = |finding: &Finding| matches!(finding, Finding::Refused(_));
    assert_eq!(names(&examination, refused), ["[DEFAULT] image_size_cap", "[DEFAULT] debug"]);
    let first = &examination.options.iter().find(|o| o.key == "api_limit_max").unwrap().finding;
    assert!(matches!(first, Finding::Overridden(place) if place.line == 2), "{first:?}");
    assert_eq!(*of(&examination, "DEFAULT", "api_limit_max"), Finding::Honoured);
}

#[test]
fn cf_33_a_value_that_asks_for_what_happens_anyway_is_met() {
    let text = "[DEFAULT]\nuse_syslog = True\nuse_stderr = no\nsql_connection = sqlite:////x\n\
                [oslo_messaging_rabbit]\nssl = false\n[nosuch]\nweight = 1\n";
    let examination = examined(&[text, &CLOUD.replace("connection", "max_pool_size = 5\n#")]);
    assert!(matches!(of(&examination, "DEFAULT", "use_syslog"), Finding::Ignored(..)));
    assert_eq!(*of(&examination, "DEFAULT", "use_stderr"), Finding::Met);
    let renamed = Finding::Renamed("database", "connection");
    assert_eq!(*of(&examination, "DEFAULT", "sql_connection"), renamed);
    let stray = Finding::Ignored(Why::Needless, known::NO_STORE);
    assert_eq!(*of(&examination, "nosuch", "weight"), stray);
}

#[test]
fn cf_33_a_name_that_others_put_in_is_not_unknown() {
    let text = "[DEFAULT]\nroot = /srv\nleaf = logs\nlog_dir = $root/${leaf}\nroom = 1\n\
                [glance_store]\nroot = /other\n";
    let examination = examined(&[text, CLOUD]);
    let said = "no option, and put in for $root in [DEFAULT] log_dir; glance-api would";
    let Finding::PutIn(reason) = of(&examination, "DEFAULT", "root") else { panic!() };
    assert!(reason.starts_with(said), "{reason}");
    assert!(matches!(of(&examination, "DEFAULT", "leaf"), Finding::PutIn(_)));
    assert!(matches!(of(&examination, "DEFAULT", "room"), Finding::Unknown(_)));
    assert!(matches!(of(&examination, "glance_store", "root"), Finding::Unknown(_)));
    let warnings = examination.loaded.unwrap().warnings;
    let of_root = warnings.iter().find(|warning| warning.contains("[DEFAULT] root"));
    assert!(of_root.unwrap().contains("[DEFAULT] root: no option, and put in"), "{warnings:?}");
}

#[test]
fn cf_33_what_cant_be_read_is_an_error_without_options() {
    let examination = examined(&["[DEFAULT]\nno sign\n"]);
    assert!(examination.options.is_empty() && examination.loaded.is_err());
}
