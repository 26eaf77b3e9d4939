//! qemu-img, kept small ([`super::child`]).
//!
//! Nothing is given to it before our own inspector has found no danger in it. Even so an image is
//! somebody's work, and a parser in C has bugs. What it complains about is logged; users get a
//! sentence without paths.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::child::{self, Bounds, ChildError, Ran};
use super::run::Watch;
use crate::limits::{
    CONVERT_GRACE, CONVERT_RATE_BYTES_PER_SEC_MIN, MIB, QEMU_INFO_CPU_SECS, QEMU_INFO_WAIT,
    QEMU_MEMORY_BYTES,
};

/// What qemu-img says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Info {
    /// Guest-visible bytes.
    pub virtual_size: u64,
    /// Of a VMDK.
    pub create_type: Option<String>,
}

/// Bounds of a run that only looks.
const LOOKING: Bounds = Bounds {
    cpu_secs: QEMU_INFO_CPU_SECS,
    memory_bytes: QEMU_MEMORY_BYTES,
    written_bytes: 0,
    wait: QEMU_INFO_WAIT,
};

/// Glance's names of formats are qemu-img's, but for these (`D-25`).
pub(super) fn format_name(disk_format: &str) -> &str {
    match disk_format {
        "vhd" => "vpc",
        "ploop" => "parallels",
        same => same,
    }
}

/// Asks for the facts of an image of that format (`PI-03`).
pub(super) async fn info(path: &Path, disk_format: &str, watch: &Watch) -> Result<Info, String> {
    let format = format_name(disk_format);
    let arguments = ["info", "-f", format, "--output=json"].map(OsStr::new);
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    let answer = run(&arguments, LOOKING, watch).await?;
    let facts: Value = serde_json::from_slice(&answer)
        .map_err(|_| "The image can't be read as what it is called".to_owned())?;
    read_info(&facts, format)
}

/// How much room a converted image may take: what is allocated in the source, with the tables that
/// QEMU's own format has for it. Zeros take none in a raw image either.
pub(super) async fn needed_bytes(
    path: &Path,
    disk_format: &str,
    watch: &Watch,
) -> Result<u64, String> {
    let format = format_name(disk_format);
    let arguments = ["measure", "-f", format, "-O", "qcow2", "--output=json"].map(OsStr::new);
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    // It reads every table of a large image.
    let bounds = Bounds { cpu_secs: QEMU_INFO_WAIT.as_secs(), ..LOOKING };
    let answer = run(&arguments, bounds, watch).await?;
    let facts: Value = serde_json::from_slice(&answer).unwrap_or_default();
    facts["required"].as_u64().ok_or_else(|| "The image has no size".to_owned())
}

/// The facts, where none of them is dangerous.
fn read_info(facts: &Value, format: &str) -> Result<Info, String> {
    let data = &facts["format-specific"]["data"];
    if facts["format"].as_str() != Some(format) {
        return Err("Image metadata disagrees about format".to_owned());
    }
    if facts.get("backing-filename").is_some() {
        return Err("QCOW images with backing files are not allowed".to_owned());
    }
    if data.get("data-file").is_some() {
        return Err("QCOW images with data-file set are not allowed".to_owned());
    }
    let virtual_size = facts["virtual-size"].as_u64();
    Ok(Info {
        virtual_size: virtual_size.ok_or_else(|| "The image has no size".to_owned())?,
        create_type: data["create-type"].as_str().map(str::to_owned),
    })
}

/// Makes an image of another format. Whatever is at `target` is replaced; when it fails, something
/// unfinished may be there.
pub(super) async fn convert(
    source: (&Path, &str),
    target: (&Path, &str),
    virtual_size: u64,
    watch: &Watch,
) -> Result<(), String> {
    let worth = Duration::from_secs(virtual_size / CONVERT_RATE_BYTES_PER_SEC_MIN);
    let wait = CONVERT_GRACE + worth;
    let written_bytes = virtual_size.saturating_add(virtual_size / 16 + 64 * MIB as u64);
    let cpu_secs = 2 * wait.as_secs();
    let bounds = Bounds { cpu_secs, memory_bytes: QEMU_MEMORY_BYTES, written_bytes, wait };
    let arguments = [
        OsStr::new("convert"),
        OsStr::new("-f"),
        OsStr::new(format_name(source.1)),
        OsStr::new("-O"),
        OsStr::new(format_name(target.1)),
        source.0.as_os_str(),
        target.0.as_os_str(),
    ];
    run(&arguments, bounds, watch).await.map(|_| ())
}

/// Runs qemu-img and answers what it prints. It must not complain.
async fn run(arguments: &[&OsStr], bounds: Bounds, watch: &Watch) -> Result<Vec<u8>, String> {
    match child::run(Path::new("qemu-img"), arguments, &[], bounds, watch).await {
        Ok(Ran { status, printed, complaints }) if status.success() && complaints.is_empty() => {
            Ok(printed)
        }
        Ok(Ran { status, complaints, .. }) => {
            let complaints = String::from_utf8_lossy(&complaints);
            // As shells say that there is no such program, or none that may be run.
            if matches!(status.code(), Some(126 | 127)) {
                tracing::error!(%complaints, "qemu-img can't be run; is qemu-utils installed?");
                return Err("The server can't process images; ask its operator".to_owned());
            }
            tracing::info!(%status, %complaints, "qemu-img refuses an image");
            Err("qemu-img can't process the image".to_owned())
        }
        Err(error @ ChildError::Io(_)) => {
            tracing::error!(%error, "qemu-img can't be run; is util-linux installed?");
            Err("The server can't process images; ask its operator".to_owned())
        }
        Err(error) => Err(format!("qemu-img: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;

    fn watch() -> Watch {
        Watch::default()
    }

    fn make(dir: &Path, arguments: &[&str]) -> bool {
        let made = Command::new("qemu-img").current_dir(dir).args(arguments).output();
        made.is_ok_and(|made| made.status.success())
    }

    #[tokio::test]
    async fn pi_03_an_image_is_converted_under_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        for (disk, format) in [
            ("qcow2", "qcow2"),
            ("vhd", "vpc"),
            ("vhdx", "vhdx"),
            ("vdi", "vdi"),
            ("vmdk", "vmdk"),
            ("ploop", "parallels"),
        ] {
            let source = dir.path().join(disk);
            if !make(dir.path(), &["create", "-q", "-f", format, disk, "8M"]) {
                eprintln!("skipped: qemu-img is not installed (qemu-utils)");
                return;
            }
            let info = info(&source, disk, &watch()).await.unwrap();
            assert!(info.virtual_size >= 8 * MIB as u64, "{info:?}");
            // Of an empty disk next to nothing is allocated, where the format lets QEMU tell.
            let needed = needed_bytes(&source, disk, &watch()).await.unwrap();
            let most = if disk == "qcow2" { 1 } else { 9 } * MIB as u64;
            assert!(needed < most, "{disk}: {needed}");
            let target = dir.path().join("raw");
            convert((&source, disk), (&target, "raw"), info.virtual_size, &watch()).await.unwrap();
            assert_eq!(std::fs::metadata(&target).unwrap().len(), info.virtual_size);
        }
    }

    #[tokio::test]
    async fn pi_03_a_file_beside_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("base"), [7; 4096]).unwrap();
        let backed = ["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "backed"];
        let apart = ["create", "-q", "-f", "qcow2", "-o", "data_file=data", "apart", "1M"];
        if !make(dir.path(), &backed) || !make(dir.path(), &apart) {
            return;
        }
        let refused = info(&dir.path().join("backed"), "qcow2", &watch()).await.unwrap_err();
        assert_eq!(refused, "QCOW images with backing files are not allowed");
        let refused = info(&dir.path().join("apart"), "qcow2", &watch()).await.unwrap_err();
        assert_eq!(refused, "QCOW images with data-file set are not allowed");
        let refused = info(&dir.path().join("base"), "qcow2", &watch()).await.unwrap_err();
        assert_eq!(refused, "qemu-img can't process the image");
    }

    /// An image that says it is small and is not ends with what it may write.
    #[tokio::test]
    async fn pi_03_a_conversion_writes_no_more_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("target"));
        std::fs::write(&source, vec![7; 96 * MIB]).unwrap();
        if !make(dir.path(), &["--version"]) {
            return;
        }
        assert!(convert((&source, "raw"), (&target, "qcow2"), 0, &watch()).await.is_err());
        let written = std::fs::metadata(&target).map_or(0, |target| target.len());
        assert!(written <= 64 * MIB as u64, "{written}");
    }
}
