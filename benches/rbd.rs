//! `glissade bench store` on the cluster that `GLISSADE_CEPH` names: drafts of the rbd store beside
//! Ceph's own `rbd bench`, same bytes, size of object and of write, same number in flight.
//!
//! `GLISSADE_BENCH_SIZE` is the size of an image (512MiB), `GLISSADE_BENCH_ROUNDS` how often both
//! are run (5).
#![allow(clippy::unwrap_used)]

use std::path::Path;

use clap::Parser;
use glissade::cli::bench::StoreBench;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: StoreBench,
}

fn main() {
    let Some(cluster) = std::env::var_os("GLISSADE_CEPH") else {
        println!("skipped: GLISSADE_CEPH names no cluster; see tests/env/ceph/start.sh");
        return;
    };
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let config = scratch.path().join("glance-api.conf");
    std::fs::write(&config, configuration(cluster.as_ref(), scratch.path())).unwrap();
    let [size, rounds] = [("SIZE", "512MiB"), ("ROUNDS", "5")]
        .map(|(name, default)| setting(&format!("GLISSADE_BENCH_{name}"), default));
    let config = config.to_str().unwrap();
    let line = ["rbd", "--store", "deep", "--size", &size, "--rounds", &rounds, "--config-file"];
    let bench = Line::parse_from([&line[..], &[config]].concat()).bench;
    print!("{}", bench.run().unwrap());
}

fn configuration(cluster: &Path, scratch: &Path) -> String {
    let (conf, scratch) = (cluster.join("ceph.conf"), scratch.display());
    format!(
        "[DEFAULT]\nenabled_backends = deep:rbd\n[glance_store]\ndefault_backend = deep\n\
         [deep]\nrbd_store_ceph_conf = {}\nrbd_store_user = glance\n\
         [os_glance_staging_store]\nfilesystem_store_datadir = {scratch}/staging\n\
         [os_glance_tasks_store]\nfilesystem_store_datadir = {scratch}/tasks\n\
         [database]\nconnection = sqlite:///{scratch}/glance.sqlite\n",
        conf.display()
    )
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
