//! `--config-file` and `--config-dir`, in the order in which the command line has them.
//!
//! Later ones win whichever they are, as for oslo.config, so the two can't be lists of their own.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, value_parser};

use crate::config::FileOrDir;

const FILE: &str = "config-file";
const DIR: &str = "config-dir";

/// What is named, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct InOrder(pub(super) Vec<FileOrDir>);

impl FromArgMatches for InOrder {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |id, of: fn(PathBuf) -> FileOrDir| {
            let places = matches.indices_of(id).into_iter().flatten();
            let paths = matches.get_many::<PathBuf>(id).into_iter().flatten();
            places.zip(paths.cloned().map(of))
        };
        let mut named: Vec<_> =
            given(FILE, FileOrDir::File).chain(given(DIR, FileOrDir::Dir)).collect();
        named.sort_by_key(|(place, _)| *place);
        Ok(Self(named.into_iter().map(|(_, named)| named).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for InOrder {
    fn augment_args(command: Command) -> Command {
        let repeatable = |id: &'static str, what: &'static str| {
            let arg = Arg::new(id).long(id).value_name(what).global(true);
            arg.action(ArgAction::Append).value_parser(value_parser!(PathBuf))
        };
        let file = repeatable(FILE, "FILE").help(
            "An oslo.config file such as /etc/glance/glance-api.conf; may be given again, later \
             ones win",
        );
        let dir = repeatable(DIR, "DIR").help(
            "A directory of *.conf files, read in order of their names; may be given again, also \
             between files",
        );
        command.args([file, dir])
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn named(words: &[&str]) -> Vec<FileOrDir> {
        let command = InOrder::augment_args(Command::new("x")).subcommand(Command::new("sync"));
        let matches = command.try_get_matches_from([&["x"], words].concat()).unwrap();
        InOrder::from_arg_matches(&matches).unwrap().0
    }

    #[test]
    fn cf_01_files_and_directories_keep_their_order() {
        let (a, b) = (FileOrDir::File("a".into()), FileOrDir::File("b".into()));
        let dir = FileOrDir::Dir("d".into());
        let mixed = ["--config-file", "a", "--config-dir=d", "--config-file", "b"];
        assert_eq!(named(&mixed), [a.clone(), dir.clone(), b.clone()]);
        assert_eq!(named(&["--config-dir", "d", "--config-file=b"]), [dir.clone(), b.clone()]);
        let after = ["sync", "--config-file", "b", "--config-dir", "d", "--config-file", "a"];
        assert_eq!(named(&after), [b, dir, a]);
        assert!(named(&[]).is_empty());
    }
}
