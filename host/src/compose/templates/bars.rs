//! Bars of the text part.

use unicode_width::UnicodeWidthStr;

use super::plain;
use crate::compose::view::Bar;
use crate::text;

/// Before each bar.
const INDENT: &str = "  ";
/// Columns of a bar of full length.
const LENGTH: usize = 20;
/// Columns of a label that stands beside its bar; a longer one stands above it.
const LABEL: usize = 30;

/// One line for each bar: label, bar, value.
pub(super) fn text(bars: &[Bar], width: usize) -> String {
    let labels: Vec<String> = bars.iter().map(|bar| text::one_line(&bar.label)).collect();
    let beside = |label: &&String| label.width() <= LABEL;
    let column = labels.iter().filter(beside).map(|label| label.width()).max().unwrap_or_default();
    let mut out = String::new();
    for (bar, label) in bars.iter().zip(&labels) {
        let mut line = String::from(INDENT);
        if label.width() > LABEL {
            let wrapped = plain::wrap(label, width.saturating_sub(INDENT.len()), INDENT);
            out.push_str(&format!("{INDENT}{wrapped}\n{INDENT}{}", " ".repeat(column)));
            line.clear();
        } else {
            line.push_str(label);
            line.push_str(&" ".repeat(column.saturating_sub(label.width())));
        }
        let percent = usize::try_from(bar.percent.min(100)).unwrap_or_default();
        // Nothing is an empty bar, something never is.
        let full = (percent * LENGTH).div_ceil(100);
        line.push_str(&format!("  {}{} {}", "█".repeat(full), "░".repeat(LENGTH - full), text::one_line(&bar.text)));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, percent: u32, text: &str) -> Bar {
        Bar { label: label.to_owned(), percent, text: text.to_owned(), ..Bar::default() }
    }

    #[test]
    fn bars_are_aligned_and_something_is_never_nothing() {
        let long = "/a/path/that/is/longer/than/thirty/columns";
        let text = text(&[bar("/", 1, "1 GB"), bar("日本", 50, "50 GB"), bar(long, 100, ""), bar("x\ny", 0, "0")], 78);
        let (full, half, one) = ("█".repeat(20), "█".repeat(10) + &"░".repeat(10), "█".to_owned() + &"░".repeat(19));
        assert_eq!(
            text,
            format!(
                "  /     {one} 1 GB\n  日本  {half} 50 GB\n  {long}\n        {full}\n  x⏎y   {} 0\n",
                "░".repeat(20)
            )
        );
    }
}
