//! What a component answered, what was expected, and where the two differ.

use serde::Deserialize;

use crate::fragment::{Block, Fragment, Verdict};
use crate::plugin::error::{ErrorKind, PluginError};

/// `expect` of a test.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    verdict: Option<Word>,
    #[serde(default)]
    notes: Vec<String>,
    reason: Option<String>,
    title: Option<String>,
    blocks: Option<Vec<String>>,
    #[serde(default)]
    text: Vec<String>,
    #[serde(default)]
    problems: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Abstain,
    Keep,
    Drop,
    Force,
    Retry,
    Reject,
}

/// An answer in the words of a test.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// In one line, for who has expected another.
    shown: String,
    verdict: Option<Word>,
    notes: Vec<String>,
    reason: String,
    fragment: Option<Seen>,
    problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Seen {
    title: String,
    blocks: Vec<&'static str>,
    texts: Vec<String>,
}

impl Answer {
    pub(super) fn not_loaded(error: PluginError) -> Self {
        let shown = format!("not loaded: {}: {}", error.phase.name(), error.kind);
        let problems = if let ErrorKind::Settings(problems) = error.kind { problems } else { Vec::new() };
        Self { shown, problems, ..Self::default() }
    }

    pub(super) fn of_filter(answer: Result<Verdict, PluginError>) -> Self {
        let (verdict, notes, reason) = match answer {
            Ok(Verdict::Abstain) => (Word::Abstain, Vec::new(), String::new()),
            Ok(Verdict::Keep(notes)) => (Word::Keep, notes.into_iter().map(|note| note.text).collect(), String::new()),
            Ok(Verdict::Drop(reason)) => (Word::Drop, Vec::new(), reason),
            Ok(Verdict::Force(reason)) => (Word::Force, Vec::new(), reason),
            Err(error) => return Self::of_error(error),
        };
        let shown = format!("{verdict:?} {notes:?} {reason}").to_lowercase();
        Self { shown, verdict: Some(verdict), notes, reason, ..Self::default() }
    }

    pub(super) fn of_renderer(answer: Result<Fragment, PluginError>) -> Self {
        let fragment = match answer {
            Ok(fragment) => fragment,
            Err(error) => return Self::of_error(error),
        };
        let mut seen = Seen { title: fragment.title.clone(), ..Seen::default() };
        for block in fragment.blocks {
            look(block, &mut seen);
        }
        seen.texts.extend(fragment.attachments.iter().map(|file| file.name.clone()));
        let shown = format!("the fragment {:?} of {}", seen.title, seen.blocks.join(", "));
        Self { shown, fragment: Some(seen), ..Self::default() }
    }

    fn of_error(error: PluginError) -> Self {
        let shown = format!("no answer: {}", error.kind);
        match error.kind {
            ErrorKind::Refused { reason, again } => {
                let verdict = Some(if again { Word::Retry } else { Word::Reject });
                Self { shown, verdict, reason, ..Self::default() }
            }
            _ => Self { shown, ..Self::default() },
        }
    }
}

fn look(block: Block, seen: &mut Seen) {
    let (kind, texts) = match block {
        Block::Heading(text) => ("heading", vec![text]),
        Block::Paragraph(text) => ("paragraph", vec![text]),
        Block::Facts(facts) => ("facts", facts.into_iter().flat_map(|(label, value)| [label, value]).collect()),
        Block::Table(table) => {
            let names = table.columns.into_iter().map(|column| column.name);
            ("table", names.chain(table.rows.into_iter().flatten()).collect())
        }
        Block::Code { caption, text } => ("code", vec![caption, text]),
        Block::Bars(bars) => {
            let items = bars.items.into_iter().flat_map(|bar| [bar.label, bar.text]);
            ("bars", [bars.caption].into_iter().chain(items).collect())
        }
        Block::Badge(note) => ("badge", vec![note.text]),
        Block::Image(image) => ("image", vec![image.alternative]),
        Block::Note(note) => ("note", vec![note.text]),
    };
    seen.blocks.push(kind);
    seen.texts.extend(texts);
}

impl Expected {
    /// Whether it says something that the answer can be compared with.
    pub(super) fn check(&self, renderer: bool) -> Result<(), String> {
        let of_filter = self.verdict.is_some() || !self.notes.is_empty() || self.reason.is_some();
        let of_renderer = self.title.is_some() || self.blocks.is_some() || !self.text.is_empty();
        let refused = matches!(self.verdict, Some(Word::Retry | Word::Reject));
        if !of_filter && !of_renderer && self.problems.is_empty() {
            return Err("`expect` says nothing".to_owned());
        }
        if renderer && of_filter && !refused {
            return Err("`verdict`, `notes` and `reason` are a filter's, but `source` asks a renderer".to_owned());
        }
        if !renderer && of_renderer {
            return Err(
                "`title`, `blocks` and `text` are a renderer's; `source` says which source it is asked".to_owned()
            );
        }
        Ok(())
    }

    /// Where an answer differs, in sentences.
    pub(super) fn compare(&self, answer: &Answer) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(verdict) = self.verdict
            && answer.verdict != Some(verdict)
        {
            wrong.push(format!("expected the verdict {verdict:?}").to_lowercase());
        }
        let lacks = |texts: &[String], wanted: &str| !texts.iter().any(|text| text.contains(wanted));
        for wanted in self.notes.iter().filter(|wanted| lacks(&answer.notes, wanted)) {
            wrong.push(format!("no note has {wanted:?}"));
        }
        if let Some(wanted) = self.reason.as_deref().filter(|wanted| !answer.reason.contains(wanted)) {
            wrong.push(format!("the reason has no {wanted:?}"));
        }
        for wanted in self.problems.iter().filter(|wanted| lacks(&answer.problems, wanted)) {
            wrong.push(format!("no problem has {wanted:?}"));
        }
        if self.problems.is_empty() && !answer.problems.is_empty() {
            wrong.push("its settings are refused".to_owned());
        }
        let nothing = Seen::default();
        let seen = answer.fragment.as_ref().unwrap_or(&nothing);
        if let Some(wanted) = self.title.as_ref().filter(|wanted| seen.title != **wanted) {
            wrong.push(format!("the title is {:?}, not {wanted:?}", seen.title));
        }
        if let Some(wanted) = self.blocks.as_ref().filter(|wanted| seen.blocks != **wanted) {
            wrong.push(format!("the blocks are {}, not {}", seen.blocks.join(", "), wanted.join(", ")));
        }
        for wanted in self.text.iter().filter(|wanted| lacks(&seen.texts, wanted)) {
            wrong.push(format!("no text has {wanted:?}"));
        }
        if !wrong.is_empty() {
            wrong.push(format!("it answered: {}", answer.shown));
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::{Note, Tone};

    fn expected(text: &str) -> Expected {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_filters_answer_is_compared() {
        let note = Note { tone: Tone::Warning, text: "a VIP's machine".into() };
        let kept = Answer::of_filter(Ok(Verdict::Keep(vec![note])));
        assert_eq!(expected("verdict = 'keep'\nnotes = ['VIP']").compare(&kept), Vec::<String>::new());
        assert_eq!(
            expected("verdict = 'drop'\nnotes = ['CEO']\nreason = 'x'").compare(&kept),
            [
                "expected the verdict drop",
                "no note has \"CEO\"",
                "the reason has no \"x\"",
                "it answered: keep [\"a vip's machine\"] ",
            ]
        );
        let dropped = Answer::of_filter(Ok(Verdict::Drop("known good".into())));
        assert!(expected("verdict = 'drop'\nreason = 'good'").compare(&dropped).is_empty());
    }

    #[test]
    fn a_renderers_answer_is_compared() {
        let blocks = vec![Block::Heading("Top".into()), Block::Code { caption: "Stdout".into(), text: "hello".into() }];
        let answer = Answer::of_renderer(Ok(Fragment { title: "T".into(), blocks, attachments: Vec::new() }));
        assert!(
            expected("title = 'T'\nblocks = ['heading', 'code']\ntext = ['hell', 'Top']").compare(&answer).is_empty()
        );
        let wrong = expected("title = 'U'\nblocks = ['code']\ntext = ['bye']").compare(&answer);
        assert_eq!(wrong.len(), 4, "{wrong:?}");
    }

    #[test]
    fn an_expectation_must_say_something_that_fits() {
        assert!(expected("").check(false).is_err());
        assert!(expected("verdict = 'keep'").check(false).is_ok());
        assert!(expected("verdict = 'keep'").check(true).is_err());
        assert!(expected("verdict = 'reject'").check(true).is_ok());
        assert!(expected("blocks = []").check(true).is_ok());
        assert!(expected("blocks = []").check(false).is_err());
        assert!(expected("problems = ['x']").check(true).is_ok());
    }
}
