//! Goal: what is done to images on their way in is done in order, within its bounds, and leaves
//! nothing of itself when it fails or the server is killed.
//!
//! Method: a real server, real archives, real qemu-img, and commands that are scripts. After every
//! failure the staging area holds what was staged and nothing else. Where a conversion has to be
//! caught in the middle, a script stands for qemu-img.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{
    MIB, Mount, PATIENCE, Server, Setup, alone, direct, eventually, has_ended, poll, program,
};

const BINARY: (&str, &str) = ("Content-Type", "application/octet-stream");

fn with_plugins(plugins: &str) -> Setup {
    Setup::new().set("image_import_opts", "image_import_plugins", plugins)
}

/// A server whose images pass by a script.
fn with_command(plugins: &str, script: &str) -> Setup {
    let setup = with_plugins(plugins);
    let path = program(&setup.root().join("command"), script);
    setup.set("glissade", "external_command", &format!("{path} argument"))
}

/// Runs a line of shell in a directory and answers the file `made`; none where a tool is missing.
fn made(dir: &Path, line: &str) -> Option<Vec<u8>> {
    let run = Command::new("sh").args(["-ec", line]).current_dir(dir).output().unwrap();
    if run.status.code() == Some(127) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{line}: {run:?}");
        eprintln!("skipped: {}", String::from_utf8_lossy(&run.stderr));
        return None;
    }
    assert!(run.status.success(), "{line}: {run:?}");
    Some(fs::read(dir.join("made")).unwrap())
}

/// A directory with a raw `disk` and the same as `qcow2`.
fn bench() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let mut disk: Vec<u8> = (0..3 * MIB as usize).map(|at| (at / 7 % 251) as u8).collect();
    disk[510] = 0;
    fs::write(dir.path().join("disk"), disk).unwrap();
    made(dir.path(), "qemu-img convert -f raw -O qcow2 disk qcow2; cp qcow2 made").map(|_| dir)
}

impl Server {
    /// A new image of that format with this data staged.
    fn stage_as(&self, format: &str, data: &[u8]) -> String {
        let image =
            self.create_from(&json!({"disk_format": format, "container_format": "bare"})).json();
        let image = image["id"].as_str().unwrap().to_owned();
        let target = format!("/v2/images/{image}/stage");
        self.conn().call("PUT", &target, &[BINARY], data).assert(204, "");
        image
    }

    #[track_caller]
    fn assert_fails(&self, image: &str, told: &str) {
        self.import(image, &direct()).assert(202, "");
        let task = self.ended_task(image);
        assert_eq!(task["status"], "failure", "{task:#}");
        assert!(task["message"].as_str().unwrap().contains(told), "{task:#}");
        assert_eq!(self.status_of(image), "uploading");
    }

    /// Imports, and answers the record.
    #[track_caller]
    fn assert_succeeds(&self, image: &str) -> Value {
        self.import(image, &direct()).assert(202, "");
        let task = self.ended_task(image);
        assert_eq!(task["status"], "success", "{task:#}\n{}", self.log());
        eventually("nothing is staged", || self.staged().is_empty());
        self.show(image)
    }
}

#[test]
fn pi_01_pi_04_packed_images_are_unpacked_and_then_converted() {
    let Some(dir) = bench() else { return };
    let disk = fs::read(dir.path().join("disk")).unwrap();
    let server = with_plugins("image_decompression,image_conversion").start();
    for line in [
        "gzip -c qcow2 > made",
        "xz -c qcow2 > made",
        "zstd -q -c qcow2 > made",
        "bzip2 -c qcow2 > made",
        "rm -f made.zip; zip -q made.zip qcow2; mv made.zip made",
        "cp qcow2 made",
    ] {
        let Some(data) = made(dir.path(), line) else { continue };
        let image = server.stage_as("qcow2", &data);
        let record = server.assert_succeeds(&image);
        assert_eq!((&record["status"], &record["disk_format"]), (&json!("active"), &json!("raw")));
        assert_eq!(
            (&record["size"], &record["virtual_size"]),
            (&json!(disk.len()), &json!(disk.len()))
        );
        assert!(fs::read(server.store("fast").join(&image)).unwrap() == disk, "{line}");
    }
}

/// The other way round the packed image is not what it is called.
#[test]
fn pi_01_the_order_is_the_operators() {
    let Some(dir) = bench() else { return };
    let packed = made(dir.path(), "gzip -c qcow2 > made").unwrap();
    let server = with_plugins("image_conversion,image_decompression").start();
    let image = server.stage_as("qcow2", &packed);
    server.assert_fails(&image, "image_conversion: Image format mismatch");
    assert_eq!(server.staged(), [image.as_str()]);
    let whole = fs::metadata(dir.path().join("qcow2")).unwrap().len();
    for (plugins, size) in [
        ("external_command,image_decompression", packed.len() as u64),
        ("image_decompression,external_command", whole),
    ] {
        let script = "cat > \"$(dirname \"$0\")/seen\"; echo '{\"verdict\": \"accept\", \
                      \"properties\": {\"looked_at\": \"'$1'\"}}'";
        let server = with_command(plugins, script).start();
        let image = server.stage_as("qcow2", &packed);
        assert_eq!(server.assert_succeeds(&image)["looked_at"], "argument");
        let seen = fs::read_to_string(server.root().join("seen")).unwrap();
        let seen: Value = serde_json::from_str(&seen).unwrap();
        assert_eq!((&seen["data"]["size"], &seen["image"]["id"]), (&json!(size), &json!(image)));
        assert!(seen["data"]["os_hash_value"].is_string(), "{seen:#}");
    }
}

#[test]
fn no_failure_leaves_a_file_in_staging() {
    let Some(dir) = bench() else { return };
    let dir = dir.path();
    let both = "image_decompression,image_conversion";
    let three = "image_decompression,external_command,image_conversion";
    let gz = made(dir, "gzip -c qcow2 > made").unwrap();
    let two = "rm -f made.zip; zip -q made.zip qcow2 disk; mv made.zip made";
    let Some(two) = made(dir, two) else { return };
    let backed = "qemu-img create -q -f qcow2 -b disk -F raw made; gzip -c made > x; mv x made";
    let backed = made(dir, backed).unwrap();
    let broken = "qemu-img create -q -f qcow2 made 64M; printf xxxx | dd of=made bs=1 seek=20 \
                  conv=notrunc 2> /dev/null; gzip -c made > x; mv x made";
    let broken = made(dir, broken).unwrap();
    let refuses = "echo '{\"verdict\": \"refuse\", \"reason\": \"it has a virus\"}'";
    let alters = "path=$(sed 's/.*\"path\":\"\\([^\"]*\\)\".*/\\1/'); echo >> \"$path\"";
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], &'a str);
    let cases: [Case<'_>; 10] = [
        (both, "", "qcow2", &gz[..gz.len() - 9], "The gzip archive is damaged or incomplete"),
        (both, "", "qcow2", &two, "exactly one file"),
        (both, "", "vdi", &gz, "image_conversion: Image format mismatch"),
        (both, "", "qcow2", &backed, "Image has disallowed configuration"),
        (both, "", "qcow2", &broken, "image_conversion: qemu-img can't process the image"),
        ("image_decompression", "", "vmdk", &gz, "does not match stream data qcow2"),
        (three, refuses, "qcow2", &gz, "external_command: it has a virus"),
        (three, "exit 1", "qcow2", &gz, "external_command: The check of the image failed"),
        (three, "sleep 300", "qcow2", &gz, "external_command: The check of the image failed"),
        (
            "external_command,image_conversion",
            alters,
            "qcow2",
            &gz,
            "external_command: The check of the image failed",
        ),
    ];
    for (plugins, script, format, data, told) in cases {
        let setup = match script {
            "" => with_plugins(plugins),
            script => with_command(plugins, script).log_may_complain(),
        };
        // Only what never ends is given so little.
        let setup = match script {
            "sleep 300" => setup.set("glissade", "external_command_timeout_secs", "2"),
            _ => setup,
        };
        let server = setup.start();
        let image = server.stage_as(format, data);
        server.assert_fails(&image, told);
        // What was staged is left for the next try, unless nobody knows what it is any more.
        let left: &[&str] = if script == alters { &[] } else { &[image.as_str()] };
        assert_eq!(server.staged(), left, "{told}");
        assert_eq!(server.delete(&image), 204);
        assert!(server.staged().is_empty());
    }
}

/// A GiB of zeros is refused after 16 MiB of them.
#[test]
fn pi_04_d_22_a_bomb_takes_little_disk() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let server = with_plugins("image_decompression")
        .set("DEFAULT", "image_size_cap", &(16 * MIB).to_string())
        .start();
    for line in [
        "head -c 1073741824 /dev/zero | gzip -1 > made",
        "head -c 1073741824 /dev/zero | zstd -q > made",
        "head -c 1073741824 /dev/zero | xz -0 > made",
    ] {
        let Some(bomb) = made(dir.path(), line) else { continue };
        let image = server.stage_as("raw", &bomb);
        server.import(&image, &direct()).assert(202, "");
        let mut most = 0;
        let is_over = || {
            most = most.max(server.open_bytes_below(&server.store("staging")));
            let tasks = server.call("GET", &format!("/v2/images/{image}/tasks")).json();
            (tasks["tasks"][0]["status"] == "failure").then_some(())
        };
        poll(PATIENCE, is_over).unwrap();
        println!("{most} bytes at most: {line}");
        assert!(most <= 64 * MIB, "{most} bytes of disk");
        let message = server.ended_task(&image)["message"].as_str().unwrap().to_owned();
        assert!(message.contains("larger than image_size_cap"), "{message}");
        assert_eq!(server.staged(), [image.as_str()]);
        assert_eq!(server.delete(&image), 204);
    }
}

/// Where little is free it stays for others, and the archive for the next try.
#[test]
fn pi_04_nothing_is_unpacked_into_the_last_room() {
    let Some(mount) = Mount::new("tmpfs", 64 * MIB) else { return };
    let dir = tempfile::tempdir().unwrap();
    let packed = made(dir.path(), "head -c 2097152 /dev/zero | gzip -c > made").unwrap();
    let setup = with_plugins("image_decompression").log_may_complain();
    fs::create_dir(mount.path().join("staging")).unwrap();
    symlink(mount.path().join("staging"), setup.root().join("staging")).unwrap();
    let server = setup.start();
    let image = server.stage_as("raw", &packed);
    // Of the sixteenth that stays free, a part is taken.
    let others = mount.path().join("others");
    fs::write(&others, vec![1; (mount.free_bytes() - 3 * MIB) as usize]).unwrap();
    let told = "image_decompression: The server has no room for what is in the archive; try again \
                later";
    server.assert_fails(&image, told);
    assert_eq!(server.staged(), [image.as_str()]);
    assert!(fs::read(server.store("staging").join(&image)).unwrap() == packed);
    server.assert_only(&[]);
    fs::remove_file(others).unwrap();
    assert_eq!(server.assert_succeeds(&image)["size"], 2 * MIB);
}

/// A conversion that is caught by a kill of the server ends with it, and the import goes on.
#[test]
fn pi_03_a_kill_of_the_server_takes_the_conversion_along() {
    let Some(dir) = bench() else { return };
    let setup = with_plugins("image_conversion").log_may_complain();
    let (pid, fake) = (setup.root().join("pid"), setup.root().join("bin/qemu-img"));
    let qemu_img = Command::new("sh").args(["-c", "command -v qemu-img"]).output().unwrap();
    let qemu_img = String::from_utf8(qemu_img.stdout).unwrap();
    let script = format!(
        "case $1 in convert) for target; do :; done; echo half > \"$target\"; echo $$ > '{}.new'; \
         mv '{0}.new' '{0}'; exec sleep 300;; *) exec {} \"$@\";; esac",
        pid.display(),
        qemu_img.trim()
    );
    program(&fake, &script);
    let mut server = setup.start();
    let image = server.stage_as("qcow2", &fs::read(dir.path().join("qcow2")).unwrap());
    server.import(&image, &direct()).assert(202, "");
    let pid = poll(PATIENCE, || fs::read_to_string(&pid).ok()).expect("a conversion");
    assert_eq!(server.staged().len(), 2, "{:?}", server.staged());
    server.kill9();
    eventually("the conversion has ended", || has_ended(&pid));
    fs::remove_file(fake).unwrap();
    server.start_again();
    assert_eq!(server.ended_task(&image)["status"], "success");
    assert_eq!(server.show(&image)["disk_format"], "raw");
    eventually("nothing is staged", || server.staged().is_empty());
    // So does one whose image is deleted.
    let _ = fs::remove_file(server.root().join("pid"));
    let again = server.root().join("bin/qemu-img");
    program(&again, &script);
    let image = server.stage_as("qcow2", &fs::read(dir.path().join("qcow2")).unwrap());
    server.import(&image, &direct()).assert(202, "");
    let number = poll(PATIENCE, || fs::read_to_string(server.root().join("pid")).ok()).unwrap();
    assert_eq!(server.delete(&image), 204);
    eventually("the conversion has ended", || has_ended(&number));
    eventually("nothing is staged", || server.staged().is_empty());
}

/// So does a check, with all that it has started.
#[test]
fn pi_01_a_kill_of_the_server_takes_the_check_along() {
    let script = "sleep 300 & echo $$ $! > \"$0.new\"; mv \"$0.new\" \"$0.numbers\"; wait";
    let mut server = with_command("external_command", script).log_may_complain().start();
    let image = server.stage_as("raw", &[0; 4096]);
    server.import(&image, &direct()).assert(202, "");
    let command = server.root().join("command");
    let numbers = command.with_extension("numbers");
    let numbers = poll(PATIENCE, || fs::read_to_string(&numbers).ok()).expect("a check");
    server.kill9();
    for number in numbers.split_whitespace() {
        eventually("the check has ended", || has_ended(number));
    }
    program(&command, "echo '{\"verdict\": \"accept\"}'");
    server.start_again();
    assert_eq!(server.ended_task(&image)["status"], "success");
    eventually("nothing is staged", || server.staged().is_empty());
}
