//! Shows a list of processes as a tree.

mod notable;
mod process;
mod tree;

use bewit_plugin::prelude::*;
use regex::Regex;

use notable::Eye;
use process::{Columns, Named, Process};
use tree::Forest;

/// Processes that are looked at. No endpoint has more; a list that says so is made up.
const MOST_PROCESSES: usize = 50_000;

/// Remarks above the tree.
const MOST_NOTES: usize = 10;

/// Characters of a command line that are kept: enough for every hint.
const LONGEST_KEPT: usize = 4_096;

/// Characters of a name.
const LONGEST_NAME: usize = 80;

/// What `[plugins.NAME] settings` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    pid: Option<String>,
    ppid: Option<String>,
    name: Option<String>,
    command_line: Option<String>,
    user: Option<String>,
    created: Option<String>,
    highlight: Option<String>,
    #[serde(default = "yes")]
    hints: bool,
    #[serde(default = "rows")]
    max_rows: usize,
    #[serde(default = "characters")]
    max_command_line: usize,
}

fn yes() -> bool {
    true
}

fn rows() -> usize {
    200
}

fn characters() -> usize {
    160
}

struct ProcessTree {
    columns: Columns,
    eye: Eye,
    max_rows: usize,
    max_command_line: usize,
}

impl Plugin for ProcessTree {
    type Settings = Settings;

    const SETTINGS: &'static [Setting] = &[
        Setting::optional("pid", "The column of process ids; `Pid` and its like are known."),
        Setting::optional("ppid", "The column of the parents' ids; `Ppid` and its like are known."),
        Setting::optional("name", "The column of names; `Name` and its like are known."),
        Setting::optional(
            "command_line",
            "The column of command lines; `CommandLine` and its like are known, else `Exe`.",
        ),
        Setting::optional("user", "The column of users; `Username` and its like are known."),
        Setting::optional("created", "The column of start times; `CreateTime` and its like are known."),
        Setting::optional(
            "highlight",
            "A regular expression over name and command line: what matches is worth a look.",
        ),
        Setting::optional("hints", "Whether to point out what is worth a look by itself; `true` by default."),
        Setting::optional("max_rows", "Processes shown, from 1 to 2000; 200 by default."),
        Setting::optional("max_command_line", "Characters of a command line, from 10 to 2000; 160 by default."),
    ];

    const WARM: bool = true;

    fn new(settings: Settings) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        if !(1..=2_000).contains(&settings.max_rows) {
            problems.add("max_rows", "goes from 1 to 2000");
        }
        if !(10..=2_000).contains(&settings.max_command_line) {
            problems.add("max_command_line", "goes from 10 to 2000");
        }
        let highlight = settings.highlight.as_deref().map(Regex::new).transpose();
        let highlight = highlight.unwrap_or_else(|error| {
            problems.add("highlight", error.to_string());
            None
        });
        let columns = Columns::new(Named {
            pid: settings.pid,
            parent: settings.ppid,
            name: settings.name,
            command: settings.command_line,
            user: settings.user,
            created: settings.created,
        });
        let eye = Eye::new(highlight, settings.hints)?;
        problems.none_or(Self {
            columns,
            eye,
            max_rows: settings.max_rows,
            max_command_line: settings.max_command_line,
        })
    }
}

impl Renderer for ProcessTree {
    fn render(&self, source: &Source, event: &Event) -> Rendered {
        let mut rows = event.rows(&source.name)?;
        let mut processes = Vec::new();
        let mut without_id = 0_usize;
        for row in rows.by_ref().take(MOST_PROCESSES) {
            match self.columns.process(&row?) {
                Some(mut process) => {
                    cut(&mut process.command, LONGEST_KEPT);
                    cut(&mut process.path, LONGEST_KEPT);
                    cut(&mut process.name, LONGEST_NAME);
                    processes.push(process);
                }
                None => without_id += 1,
            }
        }
        if processes.is_empty() && without_id == 0 {
            return Ok(Fragment::new("").paragraph("No processes."));
        }
        if processes.is_empty() {
            return reject(format!(
                "no row has a process id; the columns are {}: name the right one in the setting `pid`",
                rows.columns().join(", ")
            ));
        }
        let mut fragment = self.draw(&processes);
        if without_id > 0 {
            fragment = fragment.note(Note::neutral(format!("Rows without a process id, left out: {without_id}.")));
        }
        let total = rows.total()?;
        if total > MOST_PROCESSES as u64 {
            fragment =
                fragment.note(Note::neutral(format!("Only the first {MOST_PROCESSES} of {total} rows were read.")));
        }
        Ok(fragment)
    }
}

export_renderer!(ProcessTree: Plugin);

impl ProcessTree {
    fn draw(&self, processes: &[Process]) -> Fragment {
        let forest = Forest::new(processes);
        let parent = |place: usize| forest.parent(place).and_then(|parent| processes.get(parent));
        let reasons: Vec<String> = processes
            .iter()
            .enumerate()
            .map(|(place, process)| self.eye.reasons(process, parent(place)).join("; "))
            .collect();
        let notable: Vec<usize> =
            reasons.iter().enumerate().filter(|(_, reasons)| !reasons.is_empty()).map(|(place, _)| place).collect();

        let mut fragment = Fragment::new("").paragraph(match notable.len() {
            0 => format!("{}.", count(processes.len())),
            some => format!("{}, {some} of them worth a look. That is a hint, not a verdict.", count(processes.len())),
        });
        for place in notable.iter().take(MOST_NOTES) {
            if let (Some(process), Some(reasons)) = (processes.get(*place), reasons.get(*place)) {
                let by =
                    parent(*place).map(|by| format!(", started by {} (PID {})", by.name, by.pid)).unwrap_or_default();
                let text = format!("Worth a look: {} (PID {}){by}: {reasons}.", process.name, process.pid);
                fragment = fragment.note(Note::warning(text));
            }
        }
        if notable.len() > MOST_NOTES {
            fragment = fragment.note(Note::warning(format!(
                "{} more are worth a look: see the last column.",
                notable.len() - MOST_NOTES
            )));
        }
        let chosen = forest.choose(&notable, self.max_rows);
        fragment.table(self.table(processes, &forest, &chosen, &reasons))
    }

    fn table(&self, processes: &[Process], forest: &Forest, chosen: &[bool], reasons: &[String]) -> Table {
        let any = |has: fn(&Process) -> bool| processes.iter().any(has);
        let (users, times) = (any(|process| !process.user.is_empty()), any(|process| !process.created.is_empty()));
        let (commands, hints) =
            (any(|process| !process.command.is_empty()), reasons.iter().any(|text| !text.is_empty()));
        let shown = [
            (true, "Process"),
            (true, "PID"),
            (users, "User"),
            (times, "Started"),
            (commands, "Command line"),
            (hints, "Worth a look"),
        ];
        let names = shown.iter().filter(|(is_shown, _)| *is_shown).map(|(_, name)| *name);
        let mut table = Table::new(names).right("PID");
        for line in forest.draw(chosen) {
            let (Some(process), Some(reasons)) = (processes.get(line.place), reasons.get(line.place)) else { continue };
            let orphan = match process.parent {
                Some(parent) if parent != 0 && line.indent.is_empty() && parent != process.pid => {
                    format!(" (parent {parent} is not here)")
                }
                _ => String::new(),
            };
            let mut command = process.command.clone();
            cut(&mut command, self.max_command_line);
            let cells = [
                format!("{}{}{orphan}", line.indent, process.name),
                process.pid.to_string(),
                process.user.clone(),
                process.created.clone(),
                command,
                reasons.clone(),
            ];
            let cells = cells.into_iter().zip(shown).filter(|(_, (is_shown, _))| *is_shown).map(|(cell, _)| cell);
            table.push(cells);
        }
        table.of(processes.len() as u64)
    }
}

/// Cuts a text at a number of characters.
fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
        text.push('…');
    }
}

fn count(number: usize) -> String {
    if number == 1 { "1 process".to_owned() } else { format!("{number} processes") }
}

#[cfg(test)]
mod tests {
    use bewit_plugin::testing::Host;
    use bewit_plugin::{Block, Failure};
    use serde_json::json;

    use super::*;

    fn render(settings: serde_json::Value, rows: serde_json::Value) -> Rendered {
        let plugin: ProcessTree = Host::new().settings(settings).rows("Pslist", rows).plugin().unwrap();
        plugin.render(&Source { name: "Pslist".to_owned() }, &Event::default())
    }

    #[test]
    fn a_tree_with_its_remarks() {
        let fragment = render(
            json!({}),
            json!([
                {"Pid": 4, "Ppid": 0, "Name": "System"},
                {"Pid": 900, "Ppid": 20, "Name": "WINWORD.EXE", "CommandLine": "winword a.docm", "Username": "ana"},
                {"Pid": 901, "Ppid": 900, "Name": "cmd.exe", "CommandLine": "cmd /c x", "Username": "ana"},
                {"Name": "nobody"},
            ]),
        )
        .unwrap();
        let [Block::Paragraph(summary), Block::Note(note), Block::Table(table), Block::Note(left_out)] =
            fragment.blocks.as_slice()
        else {
            panic!("{fragment:?}")
        };
        assert_eq!(summary, "3 processes, 1 of them worth a look. That is a hint, not a verdict.");
        assert_eq!(
            note.text,
            "Worth a look: cmd.exe (PID 901), started by WINWORD.EXE (PID 900): a program for documents or mail \
             started a shell or script host."
        );
        assert_eq!(left_out.text, "Rows without a process id, left out: 1.");
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Process", "PID", "User", "Command line", "Worth a look"]);
        let first: Vec<&str> = table.rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(first, ["System", "WINWORD.EXE (parent 20 is not here)", "└─ cmd.exe"]);
        assert_eq!(table.total, None);
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let rows: Vec<_> =
            (1..=3_000).map(|pid| json!({"Pid": pid, "Ppid": pid / 2, "Name": "x".repeat(500)})).collect();
        let fragment = render(json!({"max_rows": 50}), json!(rows)).unwrap();
        let Block::Table(table) = &fragment.blocks[1] else { panic!("{fragment:?}") };
        assert_eq!((table.rows.len(), table.total), (50, Some(3_000)));
        assert!(table.rows.iter().all(|row| row[0].chars().count() < 200));
    }

    #[test]
    fn what_is_no_list_of_processes_is_left_to_the_ordinary_table() {
        let Err(Failure::Reject(reason)) = render(json!({}), json!([{"Filesystem": "/"}])) else { panic!() };
        assert!(reason.contains("Filesystem") && reason.contains("`pid`"), "{reason}");
        assert_eq!(render(json!({}), json!([])).unwrap().blocks.len(), 1);
    }

    #[test]
    fn wrong_settings_are_named() {
        let problems = Host::new()
            .settings(json!({"highlight": "(", "max_rows": 0, "max_command_line": 9999}))
            .plugin::<ProcessTree>()
            .err()
            .unwrap();
        let mut keys: Vec<String> = problems.0.into_iter().map(|problem| problem.key).collect();
        keys.sort();
        assert_eq!(keys, ["highlight", "max_command_line", "max_rows"]);
    }
}
