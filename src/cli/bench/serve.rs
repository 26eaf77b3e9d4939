//! A server of this build on one store, with everything else in a directory of its own.

use std::fs;
use std::path::Path;

use super::BenchError;
use super::process::{ADMIN, Launch, SERVING, Server};
use super::target::{Target, escaped};

/// How a server is started.
#[derive(Debug)]
pub(super) struct Serve<'a> {
    /// For the report, and for the log's name.
    pub(super) name: &'static str,
    /// The option of that name.
    pub(super) io_uring: &'a str,
    /// The option of that name.
    pub(super) durability: &'a str,
    /// Where images go.
    pub(super) target: &'a Target,
}

impl Serve<'_> {
    /// Makes `dir`, writes a configuration there and starts the server on it.
    pub(super) fn start(&self, dir: &Path) -> Result<Server, BenchError> {
        fs::create_dir(dir).map_err(BenchError::io("making a server's directory"))?;
        let conf = dir.join("glissade.conf");
        fs::write(&conf, self.configuration(dir))
            .map_err(BenchError::io("writing glissade.conf"))?;
        Server::start(&Launch {
            name: self.name,
            arguments: &["serve", "--config-file", &conf.to_string_lossy()],
            announces: &[SERVING, ADMIN],
            dir,
        })
    }

    /// What an operator would write for one store. Staged zeros take no room.
    fn configuration(&self, dir: &Path) -> String {
        let Self { io_uring, durability, target, .. } = self;
        let (dir, store) = (escaped(dir), target.configuration());
        format!(
            "{store}\
             [DEFAULT]\n\
             bind_host = 127.0.0.1\n\
             bind_port = 0\n\
             [os_glance_staging_store]\n\
             filesystem_store_datadir = {dir}/staging\n\
             filesystem_thin_provisioning = true\n\
             [os_glance_tasks_store]\n\
             filesystem_store_datadir = {dir}/tasks\n\
             [database]\n\
             connection = sqlite:///{dir}/glissade.sqlite\n\
             [glissade]\n\
             admin_listen = 127.0.0.1:0\n\
             io_uring = {io_uring}\n\
             durability = {durability}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_the_options_and_escapes_the_directory() {
        let dir = Path::new("/mnt/a$b");
        let target = Target::in_dir(dir);
        let serve = Serve { name: "x", io_uring: "off", durability: "none", target: &target };
        let conf = serve.configuration(dir);
        assert!(conf.contains("\nfilesystem_store_datadir = /mnt/a$$b/images\n"), "{conf}");
        assert!(conf.contains("\nio_uring = off\ndurability = none\n"), "{conf}");
        assert!(conf.contains("\nconnection = sqlite:////mnt/a$$b/glissade.sqlite\n"), "{conf}");
    }
}
