//! A site's templates, read into memory at once: nothing on disk is looked at afterwards.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::TemplateError;

/// Octets of one file.
const SIZE: u64 = 1024 * 1024;
/// Files of a folder.
const FILES: usize = 500;

/// Reads every `*.j2` file of the folder (not of folders in it). Links are followed inside the folder, as Kubernetes
/// makes them (`x.j2` to `..data/x.j2`), and refused when they lead out of it.
pub(super) fn read(folder: &Path, errors: &mut Vec<TemplateError>) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
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
            return files;
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                // Editors' backup and lock files are no templates.
                if name.ends_with(".j2") && !name.starts_with('.') && !name.starts_with('#') {
                    names.push((name, entry.path()));
                }
            }
            Err(error) => errors.push(refuse(&shown, format!("the template folder cannot be read: {error}"))),
        }
    }
    names.sort_unstable();
    if names.len() > FILES {
        errors.push(refuse(&shown, format!("{} templates; at most {FILES} are read", names.len())));
        return files;
    }
    for (name, path) in names {
        match read_file(&root, path) {
            Ok(text) => {
                files.insert(name, text);
            }
            Err(message) => errors.push(refuse(&name, message)),
        }
    }
    files
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
