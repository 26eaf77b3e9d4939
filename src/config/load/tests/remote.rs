//! Stores that are reached over HTTP.

use super::*;
use crate::config::S3Addressing;

fn slow_store(kind: &str, options: &str) -> StoreKind {
    let text = MULTI.replace("slow:file", &format!("slow:{kind}"));
    let settings = accepted(&format!("{text}[slow]\n{options}"));
    settings.stores.stores.iter().find(|store| store.id == "slow").unwrap().kind.clone()
}

#[test]
fn cf_25_http_options_are_read_and_have_glances_defaults() {
    let StoreKind::Http(plain) = slow_store("http", "") else { panic!() };
    assert_eq!((plain.ca_file, plain.is_insecure, plain.proxies.len()), (None, true, 0));
    let given = "https_ca_certificates_file = /ca.pem\nhttps_insecure = false\n\
                 http_proxy_information = http:10.0.0.1:3128,https:10.0.0.1:1080";
    let StoreKind::Http(given) = slow_store("http", given) else { panic!() };
    assert_eq!(given.ca_file.as_deref(), Some(Path::new("/ca.pem")));
    assert!(!given.is_insecure);
    let pair = |scheme: &str, proxy: &str| (scheme.to_owned(), proxy.to_owned());
    let proxies = [pair("http", "10.0.0.1:3128"), pair("https", "10.0.0.1:1080")];
    assert_eq!(given.proxies, proxies);
}

const S3: &str = "s3_store_host = http://10.0.0.1:8080/\ns3_store_access_key = A\n\
                  s3_store_secret_key = s3cret\ns3_store_bucket = images\n";

#[test]
fn cf_26_s3_options_are_read_and_have_glances_defaults() {
    let StoreKind::S3(plain) = slow_store("s3", S3) else { panic!() };
    assert_eq!((plain.host.as_str(), plain.bucket.as_str()), ("http://10.0.0.1:8080", "images"));
    assert_eq!((plain.region.as_deref(), plain.addressing), (None, S3Addressing::Auto));
    assert_eq!((plain.large_object_size_bytes, plain.part_size_bytes), (100 << 20, 10 << 20));
    assert_eq!((plain.parts_in_flight, plain.checks_requests), (10, false));
    assert!(!plain.create_bucket_on_put && plain.ca_file.is_none());
    assert!(plain.secret_key.reveal() == "s3cret" && !format!("{plain:?}").contains("s3cret"));
    let more = "s3_store_region_name = r\ns3_store_create_bucket_on_put = true\n\
                s3_store_bucket_url_format = virtual\ns3_store_large_object_size = 0\n\
                s3_store_large_object_chunk_size = 5\ns3_store_thread_pools = 3\n\
                s3_store_cacert = /ca\ns3_store_enable_data_integrity_protection = true\n\
                s3_store_request_checksum_calculation = when_supported";
    let StoreKind::S3(full) = slow_store("s3", &format!("{S3}{more}")) else { panic!() };
    assert_eq!((full.region.as_deref(), full.addressing), (Some("r"), S3Addressing::Virtual));
    assert_eq!((full.large_object_size_bytes, full.part_size_bytes), (0, 5 << 20));
    assert_eq!((full.parts_in_flight, full.checks_requests), (3, true));
    assert!(full.create_bucket_on_put && full.ca_file.as_deref() == Some(Path::new("/ca")));
}

#[test]
fn cf_26_what_an_s3_store_lacks_or_has_wrong_is_refused() {
    let text =
        |options: &str| format!("{}[slow]\n{options}", MULTI.replace("slow:file", "slow:s3"));
    for key in ["host", "access_key", "secret_key", "bucket"] {
        let kept: Vec<_> = S3.lines().filter(|line| !line.contains(key)).collect();
        refused_with(&text(&kept.join("\n")), &["[slow]", &format!("s3_store_{key} is not set")]);
    }
    for (option, word) in [
        ("s3_store_host = http://h/path", "without a path"),
        ("s3_store_large_object_chunk_size = 4", "MiB"),
        ("s3_store_bucket_url_format = odd", "virtual"),
        ("s3_store_thread_pools = 0", "parts"),
    ] {
        refused_with(&text(&format!("{S3}{option}")), &["[slow]", word]);
    }
}
