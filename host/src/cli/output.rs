//! Standard output for data, standard error for everything else.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::LogArgs;
use super::progress::{Above, above};

/// Buffered standard output.
#[must_use]
pub fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Writes one error with its causes to standard error.
pub fn error(error: &anyhow::Error) {
    let mut text = format!("{error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    let intro = if text.starts_with("error") { "" } else { "error: " };
    note(format_args!("{intro}{text}"));
}

/// Writes one line to standard error.
pub fn note(text: impl std::fmt::Display) {
    above(|| {
        let _ = writeln!(io::stderr().lock(), "{text}");
    });
}

/// Whether an error is a reader of our output that went away.
#[must_use]
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

/// Sends `tracing` to standard error: for people, or as JSON. `level` is what holds if the arguments say nothing.
pub fn init_logs(args: &LogArgs, level: &str) {
    let wanted = args.log.as_deref().unwrap_or(level);
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|error| {
        note(format_args!("warning: --log {wanted}: {error}; using {level}"));
        EnvFilter::new(level)
    });
    let err = io::stderr();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(err.is_terminal()).with_writer(|| Above);
    if args.log_json {
        builder.json().finish().with(filter_fn(harmless)).init();
    } else {
        builder.finish().with(filter_fn(harmless)).init();
    }
}

/// Whether something may be logged if a filter wants it. rustls repeats whole certificates at its lowest levels, which
/// have no business in a log, whoever asks for them.
fn harmless(about: &Metadata<'_>) -> bool {
    let tls = about.target().split("::").next() == Some("rustls");
    !tls || *about.level() <= Level::INFO
}
