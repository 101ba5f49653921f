//! What can go wrong with a plugin: when, what, and what to do.

use std::time::Duration;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading its files.
    Read,
    /// Compiling it.
    Compile,
    /// Looking at what it imports and exports.
    Link,
    /// Starting an instance.
    Instantiate,
    /// `about.describe`
    Describe,
    /// `about.check-settings`
    CheckSettings,
    /// `filter.decide`
    Decide,
    /// `renderer.render`
    Render,
}

impl Phase {
    /// As it stands in messages and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Compile => "compile",
            Self::Link => "link",
            Self::Instantiate => "instantiate",
            Self::Describe => "describe",
            Self::CheckSettings => "check-settings",
            Self::Decide => "decide",
            Self::Render => "render",
        }
    }
}

/// Why a plugin could not be loaded, or gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin `{plugin}`: {}: {kind}", phase.name())]
pub struct PluginError {
    /// The operator's name for it.
    pub plugin: String,
    /// What was being done.
    pub phase: Phase,
    /// What happened.
    pub kind: ErrorKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// A file could not be read.
    #[error("{0}")]
    Unreadable(String),
    /// Not what `sha256` pins.
    #[error("its SHA-256 is {found}, and `sha256` says {wanted}")]
    OtherBytes {
        /// Of the file.
        found: String,
        /// Of the configuration.
        wanted: String,
    },
    /// Not a component.
    #[error("{0}")]
    NotAComponent(String),
    /// It wants more than there is.
    #[error("it imports {}, which plugins are not given", .0.join(", "))]
    NotGranted(Vec<String>),
    /// It exports nothing that Bewit knows, or not what its use asks for.
    #[error("{0}")]
    WrongWorld(String),
    /// An interface of the right name, but of another shape.
    #[error("{0}")]
    Incompatible(String),
    /// The compiler's word.
    #[error("{0}")]
    NotCompiled(String),
    /// Too much time.
    #[error("timed out after {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// Too much memory.
    #[error("wanted more than {} of memory", size(*.0))]
    OutOfMemory(u64),
    /// Too long an answer.
    #[error("its answer is longer than {}", size(*.0))]
    TooLong(u64),
    /// A trap: the guest broke down.
    #[error("it broke down: {0}")]
    Trapped(String),
    /// An answer that means nothing.
    #[error("its answer makes no sense: {0}")]
    Nonsense(String),
    /// It said no.
    #[error("{reason}")]
    Refused {
        /// Its words.
        reason: String,
        /// Whether it may work later.
        again: bool,
    },
    /// Wrong settings.
    #[error("{}", .0.join("; "))]
    Settings(Vec<String>),
    /// It has failed too often of late, and is not asked.
    #[error("it is not asked for {} s more, because it failed {failures} times in a row; the last time: {last}", left.as_secs())]
    Benched {
        /// For how long.
        left: Duration,
        /// How often.
        failures: u32,
        /// Why, the last time.
        last: String,
    },
}

impl ErrorKind {
    /// What to do about it, if there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotGranted(imports) if imports.iter().any(|import| import.starts_with("wasi:")) => {
                "build it without WASI: Rust for wasm32-unknown-unknown, JavaScript with all features of componentize-js \
                 disabled, Python with --stub-wasi (`bewit plugin build` does)"
            }
            Self::NotGranted(_) => {
                "`bewit plugin inspect` shows what it imports; plugins are given bewit:plugin@0.1 only"
            }
            Self::NotAComponent(_) => "`bewit plugin build` makes a component",
            Self::WrongWorld(_) | Self::Incompatible(_) => {
                "build it anew with the WIT package of this version (`bewit plugin new` writes it out)"
            }
            Self::TimedOut(_) => "`limits = { time = \"…\" }` allows more",
            Self::OutOfMemory(_) => "`limits = { memory = \"…\" }` allows more",
            Self::TooLong(_) => "`limits = { output = \"…\" }` allows more",
            Self::OtherBytes { .. } => "look at what changed it; `bewit plugin inspect` prints the hash to pin",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether the plugin is to blame: a few of these in a row bench it.
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::Benched { .. })
    }

    /// Whether asking again later is of any use. What broke down today may be mended by a new file.
    pub(super) fn again(&self) -> bool {
        !matches!(self, Self::Refused { again: false, .. })
    }

    /// In one word, for metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::OtherBytes { .. } => "other_bytes",
            Self::NotAComponent(_) => "not_a_component",
            Self::NotGranted(_) => "not_granted",
            Self::WrongWorld(_) => "wrong_world",
            Self::Incompatible(_) => "incompatible",
            Self::NotCompiled(_) => "not_compiled",
            Self::TimedOut(_) => "timed_out",
            Self::OutOfMemory(_) => "out_of_memory",
            Self::TooLong(_) => "too_long",
            Self::Trapped(_) => "trapped",
            Self::Nonsense(_) => "nonsense",
            Self::Refused { .. } => "refused",
            Self::Settings(_) => "settings",
            Self::Benched { .. } => "benched",
        }
    }
}

/// A limit as it is written in the configuration.
fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}
