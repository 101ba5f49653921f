//! A site's templates, read into memory at once: nothing on disk is looked at afterwards.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::TemplateError;
use crate::compose::language;
use crate::locale::LANGUAGES;

/// Octets of one file.
const SIZE: u64 = 1024 * 1024;
/// Files of a folder.
const FILES: usize = 500;

/// A site's files, by name.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) templates: BTreeMap<String, String>,
    /// Catalogues, by language.
    pub(super) languages: BTreeMap<String, String>,
}

/// Reads every `*.j2` file of the folder, and every `*.toml` file of the folder `lang` in it; no others. Links are followed inside the folder, as Kubernetes
/// makes them (`x.j2` to `..data/x.j2`), and refused when they lead out of it.
pub(super) fn read(folder: &Path, errors: &mut Vec<TemplateError>) -> Own {
    let mut own = Own::default();
    let refuse = |name: &str, message: String| TemplateError {
        name: name.to_owned(),
        line: None,
        span: None,
        text: None,
        message,
    };
    let shown = folder.display().to_string();
    let entries = folder.canonicalize().and_then(|root| Ok((fs::read_dir(&root)?, root)));
    let (entries, root) = match entries {
        Ok(entries) => entries,
        Err(error) => {
            errors.push(refuse(&shown, format!("the template folder cannot be read: {error}")));
            return own;
        }
    };
    for name in names_of(entries, ".j2", &shown, errors) {
        match read_file(&root, root.join(&name)) {
            Ok(text) => {
                own.templates.insert(name, text);
            }
            Err(message) => errors.push(refuse(&name, message)),
        }
    }
    let folder = root.join(LANGUAGES);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return own,
        Err(error) => {
            errors.push(refuse(LANGUAGES, format!("the folder of languages cannot be read: {error}")));
            return own;
        }
    };
    for file in names_of(entries, ".toml", LANGUAGES, errors) {
        let shown = format!("{LANGUAGES}/{file}");
        let name = file.strip_suffix(".toml").unwrap_or_default();
        if !language::is_name(name) {
            let message = "it is not named after a language, such as fr.toml or pt-BR.toml".to_owned();
            errors.push(refuse(&shown, message));
            continue;
        }
        match read_file(&root, folder.join(&file)) {
            Ok(text) => {
                own.languages.insert(name.to_owned(), text);
            }
            Err(message) => errors.push(refuse(&shown, message)),
        }
    }
    own
}

/// Names of the files of a folder that end like this, in order; an error, and none, if there are too many.
fn names_of(entries: fs::ReadDir, ending: &str, shown: &str, errors: &mut Vec<TemplateError>) -> Vec<String> {
    let mut names = Vec::new();
    let mut refuse = |message: String| {
        errors.push(TemplateError { name: shown.to_owned(), line: None, span: None, text: None, message });
    };
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                // Editors' backup and lock files are no templates.
                if name.ends_with(ending) && !name.starts_with('.') && !name.starts_with('#') {
                    names.push(name);
                }
            }
            Err(error) => refuse(format!("the template folder cannot be read: {error}")),
        }
    }
    names.sort_unstable();
    if names.len() > FILES {
        refuse(format!("{} templates; at most {FILES} are read", names.len()));
        names.clear();
    }
    names
}

fn read_file(root: &Path, path: PathBuf) -> Result<String, String> {
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    if !real.starts_with(root) {
        return Err("it is a link that leads out of the template folder".to_owned());
    }
    // Not blocking: the name may be a pipe by now.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(&real).map_err(|error| error.to_string())?;
    let about = file.metadata().map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(SIZE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > SIZE {
        return Err(format!("it is larger than {} MiB", SIZE / 1024 / 1024));
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8 at byte {}", error.utf8_error().valid_up_to()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
