//! What is worth a look. Hints, not verdicts: each has honest reasons to be there too.

use regex::Regex;

use crate::process::Process;

/// What opens documents.
const OFFICE: &[&str] = &[
    "winword",
    "excel",
    "powerpnt",
    "outlook",
    "onenote",
    "msaccess",
    "mspub",
    "visio",
    "eqnedt32",
    "acrord32",
    "acrobat",
    "foxitpdfreader",
    "soffice.bin",
    "thunderbird",
];

/// What answers strangers.
const WEB_SERVERS: &[&str] = &["w3wp", "httpd", "nginx", "apache2", "php-cgi", "php-fpm", "tomcat9", "umworkerprocess"];

/// What runs commands and scripts.
const SHELLS: &[&str] = &[
    "cmd",
    "powershell",
    "pwsh",
    "wscript",
    "cscript",
    "mshta",
    "rundll32",
    "regsvr32",
    "certutil",
    "bitsadmin",
    "wmic",
    "sh",
    "bash",
    "dash",
    "zsh",
];

/// Looks at processes.
#[derive(Debug)]
pub(crate) struct Eye {
    highlight: Option<Regex>,
    /// None: the operator wants none of the built-in hints.
    hints: Option<Hints>,
}

#[derive(Debug)]
struct Hints {
    encoded: Regex,
    writable: Regex,
}

impl Eye {
    /// Looks for what the operator wants highlighted, and for the built-in hints if wanted.
    pub(crate) fn new(highlight: Option<Regex>, hints: bool) -> Result<Self, regex::Error> {
        let hints = match hints {
            false => None,
            true => Some(Hints {
                // PowerShell takes any beginning of `-EncodedCommand`, with a dash of any kind or a slash.
                encoded: Regex::new(
                    r#"(?i)(?:^|[\\/"\s])(?:powershell|pwsh)\b.*?\s[-/–—](?:e|ec|en[a-z]*)\s+["']?[a-z0-9+/]{16,}"#,
                )?,
                writable: Regex::new(
                    r"(?ix)
                      \\(?: temp | tmp | downloads | users\\public | perflogs | \$recycle\.bin )\\
                    | \\programdata\\[^\\]+$
                    | ^/(?: tmp | var/tmp | dev/shm )/
                    ",
                )?,
            }),
        };
        Ok(Self { highlight, hints })
    }

    /// Why a process is worth a look; empty if it is not.
    pub(crate) fn reasons(&self, process: &Process, parent: Option<&Process>) -> Vec<String> {
        let mut reasons = Vec::new();
        if self
            .highlight
            .as_ref()
            .is_some_and(|regex| regex.is_match(&process.name) || regex.is_match(&process.command))
        {
            reasons.push("matches `highlight`".to_owned());
        }
        let Some(hints) = &self.hints else { return reasons };
        if let Some(parent) = parent
            && is_one_of(&process.name, SHELLS)
        {
            if is_one_of(&parent.name, OFFICE) {
                reasons.push("a program for documents or mail started a shell or script host".to_owned());
            } else if is_one_of(&parent.name, WEB_SERVERS) {
                reasons.push("a web server started a shell or script host".to_owned());
            }
        }
        if hints.encoded.is_match(&process.command) {
            reasons.push("PowerShell with an encoded command".to_owned());
        }
        if hints.writable.is_match(&process.path) {
            reasons.push("runs from a folder that anybody may write to".to_owned());
        }
        reasons
    }
}

fn is_one_of(name: &str, list: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    list.contains(&name.strip_suffix(".exe").unwrap_or(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, path: &str, command: &str) -> Process {
        Process { name: name.to_owned(), path: path.to_owned(), command: command.to_owned(), ..Process::default() }
    }

    #[test]
    fn hints_are_given() {
        let eye = Eye::new(Some(Regex::new("(?i)mimikatz").unwrap()), true).unwrap();
        let word = process("WINWORD.EXE", "", "");
        let server = process("nginx", "", "");
        let encoded = "powershell.exe -nop -w hidden -EnC SQBFAFgAIAAoAE4AZQB3AA==";
        for (process, parent, reason) in [
            (process("cmd.exe", "", ""), Some(&word), "documents"),
            (process("sh", "/bin/sh", ""), Some(&server), "web server"),
            (process("powershell.exe", "", encoded), None, "encoded"),
            (process("x", "", r#""C:\Windows\powershell" –e "SQBFAFgAIAAoAE4AZQB3AA==""#), None, "encoded"),
            (process("a.exe", r"C:\Users\ana\AppData\Local\Temp\a.exe", ""), None, "write"),
            (process("a.exe", r"C:\ProgramData\a.exe", ""), None, "write"),
            (process("a", "/dev/shm/a", ""), None, "write"),
            (process("a.exe", "", "a.exe MimiKatz"), None, "highlight"),
        ] {
            let reasons = eye.reasons(&process, parent);
            assert!(reasons.len() == 1 && reasons[0].contains(reason), "{process:?}: {reasons:?}");
        }
    }

    #[test]
    fn the_everyday_is_left_alone() {
        let eye = Eye::new(None, true).unwrap();
        let shell = process("explorer.exe", "", "");
        for (process, parent) in [
            (process("cmd.exe", r"C:\Windows\System32\cmd.exe", "cmd"), Some(&shell)),
            (
                process(
                    "powershell.exe",
                    "",
                    "powershell.exe -ExecutionPolicy Bypass -File c:/scripts/longer_name_here",
                ),
                None,
            ),
            (process("a.exe", r"C:\ProgramData\Vendor\a.exe", ""), None),
            (process("a.exe", r"C:\Program Files\Temperature\a.exe", ""), None),
            (process("a", "/usr/bin/a", "/usr/bin/a /tmp/x"), None),
        ] {
            assert_eq!(eye.reasons(&process, parent), Vec::<String>::new(), "{process:?}");
        }
        let blind = Eye::new(None, false).unwrap();
        assert!(blind.reasons(&process("a", "/tmp/a", ""), None).is_empty());
    }
}
