//! `bewit plugin new`: a project that builds at once.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::manifest::{Kind, Language, check_name};
use super::scaffold;
use crate::cli::output::stdout;
use crate::cli::{Exit, UsageError};

/// Begin a plugin: a project with a short working source, its tests, and whatever it needs to be built
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name: lower-case letters, digits and hyphens
    #[arg(value_parser = |name: &str| check_name(name).map(|()| name.to_owned()))]
    name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// What it does
    #[arg(long, default_value = "filter")]
    kind: Kind,
    /// Folder for the project; without it NAME
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When the folder holds anything already, or cannot be written to.
pub fn run(args: NewArgs) -> Result<Exit> {
    let folder = args.dir.unwrap_or_else(|| PathBuf::from(&args.name));
    write(&folder, &scaffold::files(&args.name, args.lang, args.kind)?)?;
    let mut out = stdout();
    writeln!(out, "{}: a {} in {}", folder.display(), args.kind.name(), language(args.lang))?;
    writeln!(out, "Next:")?;
    writeln!(out, "  cd {}", folder.display())?;
    writeln!(out, "  bewit plugin build")?;
    writeln!(out, "  bewit plugin test")?;
    out.flush()?;
    Ok(Exit::Done)
}

fn language(language: Language) -> &'static str {
    match language {
        Language::Rust => "Rust",
        Language::Js => "JavaScript",
        Language::Python => "Python",
    }
}

/// Writes the files into a folder that is empty or not there yet.
fn write(folder: &Path, files: &[(String, String)]) -> Result<()> {
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let message = format!(
                    "{}: is not empty; nothing has been written. Give another folder with --dir",
                    folder.display()
                );
                return Err(UsageError(message).into());
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(UsageError(format!("{}: {error}", folder.display())).into()),
    }
    for (path, text) in files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        // Somebody may have been faster: never over what is there.
        let mut file = fs::File::create_new(&path).with_context(|| path.display().to_string())?;
        file.write_all(text.as_bytes()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_written_once() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("deep/down");
        let args = || NewArgs { name: "vip".into(), lang: Language::Js, kind: Kind::Filter, dir: Some(folder.clone()) };
        assert_eq!(run(args()).unwrap(), Exit::Done);
        assert!(folder.join("wit/types.wit").is_file() && folder.join("src/plugin.js").is_file());
        fs::write(folder.join("src/plugin.js"), "mine").unwrap();
        assert!(run(args()).unwrap_err().is::<UsageError>());
        assert_eq!(fs::read_to_string(folder.join("src/plugin.js")).unwrap(), "mine");
    }

    #[test]
    fn a_file_in_the_way_is_no_folder() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("x");
        fs::write(&path, "mine").unwrap();
        assert!(write(&path, &[("a".into(), "b".into())]).unwrap_err().is::<UsageError>());
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }
}
