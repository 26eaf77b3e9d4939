//! Starts without any configuration, and configurations that a server does not start with, so that
//! nobody is surprised later (`CF-32`).

use super::*;

#[test]
fn without_configuration_everything_is_below_one_directory() {
    let data_dir = Some("/srv/$x?y".into());
    let settings =
        embedded(&Sources { data_dir, ..Sources::default() }, &Options::default()).unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:9292");
    assert_eq!(settings.glissade.admin_listen, Some("127.0.0.1:9293".parse().unwrap()));
    let file = Connection::Sqlite("/srv/$x?y/glissade.sqlite".into());
    assert_eq!(settings.database.connection, file);
    assert!(!settings.stores.is_multi && settings.stores.tasks.is_none());
    assert_eq!(settings.stores.default, "file");
    assert_eq!(only_dir(file_store(&settings, "file")), Path::new("/srv/$x?y/images"));
    assert_eq!(only_dir(&settings.stores.staging), Path::new("/srv/$x?y/staging"));
    assert_eq!(settings.identity, Identity::None);
    assert!(settings.warnings.is_empty());
}

#[test]
fn the_embedded_directory_is_absolute() {
    let settings = embedded(&Sources::default(), &Options::default()).unwrap();
    let expected = std::env::current_dir().unwrap().join("glissade-data/glissade.sqlite");
    assert_eq!(settings.database.connection, Connection::Sqlite(expected));
}

#[test]
fn without_identities_only_loopback_is_served() {
    for host in ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"] {
        let text = format!("[DEFAULT]\nbind_host = {host}");
        refused_with(&text, &["1.conf:2", host, "administrator", "set it to 127.0.0.1"]);
    }
    for host in ["127.0.0.9", "localhost", "::ffff:127.0.0.1"] {
        accepted(&format!("[DEFAULT]\nbind_host = {host}"));
    }
    let options = Options::of(&[DB, "[DEFAULT]\nbind_host = 0.0.0.0"]).unwrap();
    let with = |listen: &str| {
        let listen = Some(listen.parse().unwrap());
        configured(&Sources { listen, ..Sources::default() }, &options)
    };
    assert_eq!(with("127.0.0.1:0").unwrap().listen.to_string(), "127.0.0.1:0");
    assert_eq!(with("unix:/run/g.sock").unwrap().listen, Listen::Unix("/run/g.sock".into()));
    let error = with("0.0.0.0:9292").unwrap_err().to_string();
    assert!(error.starts_with("--listen 0.0.0.0:9292: "), "{error}");
    assert!(error.contains("administrator"), "{error}");
}

#[test]
fn cf_17_a_plugin_that_is_not_there_is_refused() {
    accepted("[image_import_opts]\nimage_import_plugins = [no_op, 'image_conversion']");
    refused_with(
        "[image_import_opts]\nimage_import_plugins = image_conversion,acme_scanner",
        &["1.conf:2", "acme_scanner is no plugin", "image_decompression"],
    );
}

#[test]
fn cf_32_a_cache_in_the_database_needs_a_name() {
    let text = "[paste_deploy]\nflavor = cachemanagement";
    refused_with(text, &["worker_self_reference_url", "is not set", "centralized_db"]);
    accepted(&format!("{text}\n[DEFAULT]\nworker_self_reference_url = http://w1:9292"));
    accepted(&format!("{text}\n[DEFAULT]\nimage_cache_driver = sqlite"));
}
