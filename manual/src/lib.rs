//! What a program says of its own command line: completions for shells, and manual pages.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of a subcommand that prints what a shell needs to complete the program's command lines.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    /// Prints it for the program with the command line `C`.
    ///
    /// # Errors
    /// What the system says if nothing can be printed.
    pub fn print<C: CommandFactory>(&self) -> io::Result<()> {
        let mut command = C::command();
        let name = command.get_name().to_owned();
        // Written at once: who reads may have read enough, and that must not end in a panic.
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut text);
        io::stdout().write_all(&text)
    }
}

/// Arguments of a subcommand that writes manual pages: one for the program, and one for each of its subcommands.
#[derive(Debug, Args)]
pub struct Man {
    /// The folder, which must be there.
    folder: PathBuf,
}

impl Man {
    /// Writes them for the program with the command line `C`.
    ///
    /// # Errors
    /// What the system says if they cannot be written.
    pub fn write<C: CommandFactory>(&self) -> io::Result<()> {
        clap_mangen::generate_to(C::command(), &self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Parser, Subcommand};

    #[derive(Debug, Parser)]
    #[command(name = "program")]
    struct Arguments {
        #[command(subcommand)]
        what: What,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        /// Do something.
        Act,
        /// Print completions.
        Completions(Completions),
        #[command(hide = true)]
        Man(Man),
    }

    #[test]
    fn each_subcommand_that_is_shown_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        Man { folder: folder.path().into() }.write::<Arguments>().unwrap();
        let pages = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut pages: Vec<_> = pages.map(|name| name.into_string().unwrap()).collect();
        pages.sort();
        assert_eq!(pages, ["program-act.1", "program-completions.1", "program.1"]);
    }

    #[test]
    fn completions_are_for_shells_that_there_are() {
        let of = |shell: &str| Arguments::try_parse_from(["program", "completions", shell]).is_ok();
        assert!(of("bash") && of("zsh") && of("fish") && !of("cmd"));
        assert!(Arguments::try_parse_from(["program", "act"]).is_ok());
    }
}
