//! Other people's tools: run quietly, heard only when they fail.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, anyhow};

use crate::cli::UsageError;
use crate::cli::output::note;

/// How tools are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tools<'a> {
    /// The project, where they are run.
    pub(super) folder: &'a Path,
    /// Whether their output is shown as it comes.
    pub(super) verbose: bool,
}

impl Tools<'_> {
    /// A tool in the project's folder.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder).stdin(Stdio::null());
        command
    }

    /// Runs it to its end; answers its standard output. `missing` says what to do if there is no such program.
    pub(super) fn run(&self, command: &mut Command, missing: &str) -> Result<Vec<u8>> {
        let shown = shown(command);
        if self.verbose {
            note(format_args!("$ {shown}"));
            command.stderr(Stdio::inherit());
        }
        let output = command.output().map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                anyhow!(UsageError(format!("{shown}: there is no such program; {missing}")))
            } else {
                anyhow!("{shown}: {error}")
            }
        })?;
        if self.verbose && !output.stdout.is_empty() {
            note(String::from_utf8_lossy(&output.stdout).trim_end());
        }
        if output.status.success() { Ok(output.stdout) } else { Err(failed(&shown, &output, self.verbose)) }
    }
}

/// The end of what a tool said goes into the error: it is what its author must read.
fn failed(shown: &str, output: &Output, heard: bool) -> anyhow::Error {
    if heard {
        return anyhow!("{shown}: {}", output.status);
    }
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let said = said.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
    anyhow!("{shown}: {}\n{said}", output.status)
}

/// A command as one would type it, its program without its folder.
fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(name).chain(args).collect::<Vec<_>>().join(" ")
}

/// A program on the `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_last_words_are_in_the_error() {
        let tools = Tools { folder: Path::new("/"), verbose: false };
        let script = "echo out; echo line 3: no >&2; exit 7";
        let error = tools.run(tools.command("sh").args(["-c", script]), "").unwrap_err().to_string();
        assert!(error.contains("exit status: 7\nout\nline 3: no"), "{error}");
        assert_eq!(tools.run(tools.command("echo").arg("x"), "").unwrap(), b"x\n");
    }

    #[test]
    fn a_missing_tool_names_the_fix() {
        let tools = Tools { folder: Path::new("/"), verbose: false };
        let error = tools.run(&mut tools.command("no-such-tool-here"), "install it: do this").unwrap_err();
        assert!(error.is::<UsageError>());
        assert!(error.to_string().contains("install it: do this"), "{error}");
    }
}
