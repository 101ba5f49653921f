//! `bewit completions` and `bewit man`: both made from the definitions that the command line itself is parsed by.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit, output};

/// Print completions for a shell
///
/// For bash: bewit completions bash > /etc/bash_completion.d/bewit
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// Runs it.
///
/// # Errors
/// When standard output is gone.
pub fn run(args: CompletionsArgs) -> anyhow::Result<Exit> {
    // Into memory first: the generator panics when its output goes away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bewit", &mut script);
    let mut out = output::stdout();
    out.write_all(&script)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// Print the manual page
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for each subcommand (bewit.1, bewit-run.1, …) into this folder instead
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the manual page.
///
/// # Errors
/// When standard output or the folder is gone.
pub fn man(args: ManArgs) -> anyhow::Result<Exit> {
    if let Some(dir) = args.dir {
        std::fs::create_dir_all(&dir)?;
        clap_mangen::generate_to(Cli::command(), &dir)?;
        return Ok(Exit::Done);
    }
    let mut out = output::stdout();
    out.write_all(&page(Cli::command())?)?;
    out.flush()?;
    Ok(Exit::Done)
}

/// One page: the program, then a section for each subcommand.
fn page(mut command: Command) -> std::io::Result<Vec<u8>> {
    command.build();
    let mut page = Vec::new();
    let man = Man::new(command.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for subcommand in command.get_subcommands() {
        section(subcommand, "bewit", &mut page)?;
    }
    page.extend_from_slice(
        b".SH \"EXIT STATUS\"\n.TP\n0\ndone\n.TP\n1\nsomething was not delivered or not decided\n\
          .TP\n2\nwrong usage, or a configuration with errors\n",
    );
    man.render_version_section(&mut page)?;
    Ok(page)
}

fn section(command: &Command, parent: &str, page: &mut Vec<u8>) -> std::io::Result<()> {
    if command.is_hide_set() || command.get_name() == "help" {
        return Ok(());
    }
    let name = format!("{parent} {}", command.get_name());
    let mut own = Vec::new();
    // Global options stand on top, once.
    let local = command.clone().mut_args(|arg| {
        let global = arg.is_global_set() || arg.get_id() == "help";
        arg.hide(global)
    });
    let man = Man::new(local);
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    if command.get_arguments().any(|arg| !arg.is_global_set() && arg.get_id() != "help" && !arg.is_hide_set()) {
        man.render_options_section(&mut own)?;
    }
    page.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
    for line in String::from_utf8_lossy(&own).lines() {
        // A part of a part.
        let line = line.strip_prefix(".SH ").map_or_else(|| line.to_owned(), |title| format!(".SS {title}"));
        page.extend_from_slice(line.as_bytes());
        page.push(b'\n');
    }
    for subcommand in command.get_subcommands() {
        section(subcommand, &name, page)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_know_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bewit", &mut script);
            let script = String::from_utf8(script).unwrap();
            for subcommand in Cli::command().get_subcommands() {
                assert!(script.contains(subcommand.get_name()), "{shell}: {}", subcommand.get_name());
            }
        }
    }

    #[test]
    fn one_page_has_every_subcommand_and_the_exit_status() {
        let page = String::from_utf8(page(Cli::command()).unwrap()).unwrap();
        assert!(page.contains(".TH "), "{page}");
        for subcommand in Cli::command().get_subcommands() {
            let title = format!(".SH \"BEWIT {}\"\n", subcommand.get_name().to_uppercase());
            assert!(page.contains(&title), "{title} in\n{page}");
        }
        assert!(page.contains(".SH \"EXIT STATUS\""), "{page}");
        assert_eq!(page.matches("log\\-json").count(), 2, "global options stand on top alone\n{page}");
    }

    #[test]
    fn a_folder_gets_a_page_for_each() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("man1");
        man(ManArgs { dir: Some(dir.clone()) }).unwrap();
        assert!(dir.join("bewit.1").is_file() && dir.join("bewit-check.1").is_file());
    }
}
