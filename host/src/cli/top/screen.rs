//! The live view: a screen of its own, which is left as it was found.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::figures::seconds;
use super::table::{Line, Tone, lines};
use super::{AskError, Watch};

/// The other screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Both back.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// The terminal while it is ours. It gets back what it had when this is dropped.
struct Screen {
    /// How keys were read before; `None`: standard input is no terminal.
    keys: Option<Termios>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        let keys = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        // From here on it is given back, whatever fails.
        let screen = Self { keys };
        if let Some(before) = &screen.keys {
            // Keys one by one and unseen; Ctrl-C stays a signal.
            let mut modes = before.clone();
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(&stdin, OptionalActions::Now, &modes)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        drop(out);
        Ok(screen)
    }

    /// Shows lines from the top left; what has no room is left out.
    fn show(&self, lines: &[Line]) -> io::Result<()> {
        let (width, height) = size();
        let mut frame = String::from("\x1b[H");
        for line in lines.iter().take(height) {
            let (before, after) = match line.tone {
                Tone::Head => ("\x1b[1m", "\x1b[0m"),
                Tone::Bad => ("\x1b[1;31m", "\x1b[0m"),
                Tone::Plain => ("", ""),
            };
            frame.push_str(before);
            frame.push_str(cut(&line.text, width));
            frame.push_str(after);
            frame.push_str("\x1b[K");
            frame.push_str("\r\n");
        }
        // No line feed after the last line of a full screen, which would move it all up.
        if lines.len() >= height {
            frame.truncate(frame.len() - 2);
        }
        frame.push_str("\x1b[J");
        let mut out = io::stdout().lock();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes());
        let _ = out.flush();
        if let Some(keys) = &self.keys {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, keys);
        }
    }
}

/// Columns and lines.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (80, 24),
    }
}

/// The beginning of a text that has room in so many columns.
fn cut(text: &str, width: usize) -> &str {
    if text.width() <= width {
        return text;
    }
    let mut used = 0;
    let end = text.char_indices().find_map(|(at, character)| {
        used += character.width().unwrap_or(0);
        (used > width).then_some(at)
    });
    end.and_then(|end| text.get(..end)).unwrap_or(text)
}

/// Looks again and again until q, Ctrl-C or SIGTERM.
pub(super) async fn run(mut watch: Watch, interval: Duration) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (mut hangup, mut resize) = (signal(SignalKind::hangup())?, signal(SignalKind::window_change())?);
    let mut keys = keys();
    let screen = Screen::enter()?;
    // When it was heard last, and since when it is silent.
    let mut silent: Option<(Instant, AskError)> = None;
    let mut next = Instant::now();
    loop {
        let end = tokio::select! {
            looked = watch.look() => {
                silent = looked.err().map(|error| (silent.map_or_else(Instant::now, |(since, _)| since), error));
                false
            }
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            _ = hangup.recv() => true,
            Some(()) = keys.recv() => true,
        };
        if end {
            return Ok(());
        }
        next = (next + interval).max(Instant::now());
        loop {
            screen.show(&page(&watch, silent.as_ref()))?;
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => break,
                // The size was another: once more.
                _ = resize.recv() => {}
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => return Ok(()),
                Some(()) = keys.recv() => return Ok(()),
            }
        }
    }
}

/// What is shown: the last that is known, under the reason if it is no longer so.
fn page(watch: &Watch, silent: Option<&(Instant, AskError)>) -> Vec<Line> {
    let mut page = Vec::new();
    if let Some((since, error)) = silent {
        page.push(Line::new(Tone::Bad, format!("! {error}")));
        let since = seconds(since.elapsed().as_secs_f64().round());
        let what = if watch.looks.is_empty() { "" } else { "; below is what it said last" };
        page.push(Line::new(Tone::Bad, format!("! for {since}; trying again{what}")));
    }
    if !watch.looks.is_empty() {
        page.extend(lines(&watch.report()));
    }
    page
}

/// Tells of each q.
fn keys() -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    if io::stdin().is_terminal() {
        // It waits in a read until the process ends.
        std::thread::spawn(move || {
            let mut key = [0];
            while let Ok(1) = io::stdin().lock().read(&mut key) {
                if matches!(key, [b'q' | b'Q']) && tell.blocking_send(()).is_err() {
                    return;
                }
            }
        });
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_its_columns_end() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "abc");
        // Two columns each.
        assert_eq!(cut("日本語", 5), "日本");
        assert_eq!(cut("", 0), "");
    }
}
