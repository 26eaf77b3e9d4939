//! Options of file stores.

use super::*;
use crate::config::MetadataCalls;

#[test]
fn fs_09_calls_are_bounded_where_the_operator_says_so() {
    let lines = |lines: &str| with_datadirs(&format!("filesystem_store_datadir = /x\n{lines}"));
    let calls = |text: &str| file_store(&accepted(&lines(text)), "fast").metadata_calls;
    assert_eq!(calls(""), MetadataCalls::default());
    assert_eq!(calls("filesystem_store_timeout = 0"), MetadataCalls::default());
    let all = "filesystem_store_timeout = 5\nfilesystem_store_thread_pool_size = 4\n\
               filesystem_store_threadpool_threshold = 50";
    let timeout = Some(Duration::from_secs(5));
    let wanted = MetadataCalls { timeout, threads_max: 4, threshold_percent: 50 };
    assert_eq!(calls(all), wanted);
    assert!(!has_warning(&accepted(&lines(all)), "filesystem_store_t"), "they are honoured");
    refused_with(&lines("filesystem_store_timeout = -1"), &["filesystem_store_timeout = -1"]);
    refused_with(&lines("filesystem_store_thread_pool_size = 0"), &["threads such as 10"]);
    refused_with(&lines("filesystem_store_threadpool_threshold = 101"), &["from 0 to 100"]);
}
