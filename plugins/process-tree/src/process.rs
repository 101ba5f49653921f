//! From a row to a process: columns under their common names, ids and times in their common forms.

use bewit_plugin::Row;
use serde_json::Value;

/// One process.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: String,
    /// The command line; else the path.
    pub(crate) command: String,
    /// The program's file, if a column or the command line says it.
    pub(crate) path: String,
    pub(crate) user: String,
    /// As the row has it.
    pub(crate) created: String,
    /// The same in milliseconds since 1970.
    pub(crate) since: Option<i64>,
}

/// Which columns hold what. Names that the operator gives count alone; else common ones do, in this order.
#[derive(Debug)]
pub(crate) struct Columns {
    pid: Vec<String>,
    parent: Vec<String>,
    name: Vec<String>,
    command: Vec<String>,
    path: Vec<String>,
    user: Vec<String>,
    created: Vec<String>,
}

/// Columns that the operator names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) pid: Option<String>,
    pub(crate) parent: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) command: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) created: Option<String>,
}

impl Columns {
    pub(crate) fn new(named: Named) -> Self {
        let or = |named: Option<String>, common: &[&str]| match named {
            Some(name) => vec![plain(&name)],
            None => common.iter().map(|name| (*name).to_owned()).collect(),
        };
        Self {
            pid: or(named.pid, &["pid", "processid"]),
            parent: or(named.parent, &["ppid", "parentpid", "parentprocessid", "parentid"]),
            name: or(named.name, &["name", "processname", "imagename", "image", "comm"]),
            command: or(named.command, &["commandline", "cmdline", "processcommandline", "cmd", "command"]),
            path: or(None, &["exe", "executable", "executablepath", "imagepath", "path"]),
            user: or(named.user, &["username", "user", "owner"]),
            created: or(
                named.created,
                &["createtime", "createdtime", "creationtime", "creationdate", "starttime", "started"],
            ),
        }
    }

    /// The process of a row; `None` if it has no process id.
    pub(crate) fn process(&self, row: &Row) -> Option<Process> {
        let cells: Vec<(String, &Value)> = row.iter().map(|(key, value)| (plain(key), value)).collect();
        let find = |names: &[String]| {
            names.iter().find_map(|name| {
                cells.iter().find(|(key, value)| key == name && !is_empty(value)).map(|(_, value)| *value)
            })
        };
        let say = |names: &[String]| find(names).map(text).unwrap_or_default();
        let pid = find(&self.pid).and_then(id)?;
        let (mut command, mut path, created) = (say(&self.command), say(&self.path), say(&self.created));
        if path.is_empty() {
            path = program(&command).to_owned();
        }
        if command.is_empty() {
            command.clone_from(&path);
        }
        let mut name = say(&self.name);
        if name.is_empty() {
            path.rsplit(['\\', '/']).next().unwrap_or_default().clone_into(&mut name);
        }
        let since = find(&self.created).and_then(moment);
        Some(Process {
            pid,
            parent: find(&self.parent).and_then(id),
            name,
            command,
            path,
            user: say(&self.user),
            created,
            since,
        })
    }
}

/// A column's name without case, spaces and underscores.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

/// A cell as a text; words of a list with a space between.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words.iter().map(text).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

fn id(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => {
            let text = text.trim();
            match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        }
        _ => None,
    }
}

/// The program at the beginning of a command line.
fn program(command: &str) -> &str {
    let command = command.trim_start();
    if let Some(rest) = command.strip_prefix('"') {
        return rest.split('"').next().unwrap_or(rest);
    }
    // A Windows path may have spaces without quotes: it ends with its extension.
    let end = command.to_ascii_lowercase().find(".exe").map(|at| at + 4);
    match end.and_then(|end| command.split_at_checked(end)) {
        Some((path, rest)) if rest.is_empty() || rest.starts_with(char::is_whitespace) => path,
        _ => command.split_whitespace().next().unwrap_or_default(),
    }
}

/// Milliseconds since 1970 of what a column of times holds: a number of seconds, milliseconds, microseconds or
/// nanoseconds, or a text such as `2026-05-01T10:00:00.5+02:00`. A text without an offset is taken as UTC.
fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| *number > 0.0)?;
            let scale = [(1e11, 1e3), (1e14, 1.0), (1e17, 1e-3)].into_iter().find(|(below, _)| number < *below);
            let milliseconds = number * scale.map_or(1e-6, |(_, factor)| factor);
            #[expect(clippy::cast_possible_truncation, reason = "a conversion of floats saturates")]
            Some(milliseconds as i64)
        }
        Value::String(text) => written(text.trim()),
        _ => None,
    }
}

fn written(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut milliseconds = 0;
    if let Some(digits) = rest.strip_prefix('.') {
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let padded: String = digits.get(..end)?.chars().chain("000".chars()).take(3).collect();
        milliseconds = padded.parse().ok()?;
        rest = digits.get(end..)?;
    }
    let rest = rest.trim();
    let offset = match rest.chars().next() {
        None | Some('Z' | 'z') => 0,
        Some(sign @ ('+' | '-')) => {
            let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
            let minutes = digits.get(..2)?.parse::<i64>().ok()? * 60 + digits.get(2..4)?.parse::<i64>().ok()?;
            if sign == '-' { -minutes } else { minutes }
        }
        // `UTC` and the like.
        Some(_) => 0,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + (minute - offset) * 60 + second;
    Some(seconds * 1_000 + milliseconds)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let before_month = (153 * ((month + 9) % 12) + 2) / 5;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(row: Value, named: Named) -> Option<Process> {
        Columns::new(named).process(row.as_object().unwrap())
    }

    #[test]
    fn columns_are_known_under_many_names() {
        let wanted = Process {
            pid: 7,
            parent: Some(3),
            name: "a.exe".to_owned(),
            command: r"C:\A b\a.exe -x".to_owned(),
            path: r"C:\A b\a.exe".to_owned(),
            user: "ana".to_owned(),
            created: "2026-05-01T10:00:00Z".to_owned(),
            since: Some(1_777_629_600_000),
        };
        for row in [
            json!({"Pid": 7, "Ppid": 3, "Name": "a.exe", "CommandLine": r"C:\A b\a.exe -x", "Username": "ana", "CreateTime": "2026-05-01T10:00:00Z"}),
            json!({"ProcessId": "7", "ParentProcessId": "0x3", "process_name": "a.exe", "Exe": r"C:\A b\a.exe", "cmdline": r"C:\A b\a.exe -x", "USER": "ana", "Start Time": "2026-05-01T10:00:00Z"}),
            json!({"PID": 7, "PPID": 3, "CommandLine": r"C:\A b\a.exe -x", "Owner": "ana", "CreatedTime": "2026-05-01T10:00:00Z"}),
        ] {
            assert_eq!(process(row, Named::default()), Some(wanted.clone()));
        }
        assert_eq!(process(json!({"Name": "a"}), Named::default()), None);
        let named = Named { pid: Some("Nr".to_owned()), ..Named::default() };
        assert_eq!(process(json!({"Nr": 1, "Pid": 2}), named).unwrap().pid, 1);
    }

    #[test]
    fn the_program_is_cut_from_its_command_line() {
        for (command, path) in [
            (r#""C:\Program Files\x.exe" -a"#, r"C:\Program Files\x.exe"),
            (r"C:\Program Files\x.EXE /a", r"C:\Program Files\x.EXE"),
            ("/usr/bin/x -a", "/usr/bin/x"),
            ("cmd /c a.exe.txt", "cmd"),
            ("", ""),
        ] {
            assert_eq!(program(command), path);
        }
    }

    #[test]
    fn moments_are_read_in_many_forms() {
        for value in [
            json!("2026-05-01T10:00:00Z"),
            json!("2026-05-01 12:00:00.000999 +0200"),
            json!("2026-05-01T08:00:00-02:00"),
            json!("2026-05-01T10:00:00"),
            json!(1_777_629_600),
            json!(1_777_629_600_000_u64),
            json!(1_777_629_600_000_000_u64),
            json!(1_777_629_600_000_000_000_u64),
        ] {
            assert_eq!(moment(&value), Some(1_777_629_600_000), "{value}");
        }
        assert_eq!(moment(&json!("2000-02-29T00:00:00.5Z")), Some(951_782_400_500));
        for value in [json!("yesterday"), json!("2026-13-01T00:00:00Z"), json!(null), json!(0), json!("2026-05-01Téé")]
        {
            assert_eq!(moment(&value), None, "{value}");
        }
    }
}
