//! Lines in the host's log, as with the crate of that name: `log::info!("{} rows", rows)`.

use std::fmt;

pub use crate::{__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};

/// As in every log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a mistake.
    Debug,
    /// What an operator likes to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What an operator must look at.
    Error,
}

/// Writes one line. The macros are shorter.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    crate::host::log(level, &message.to_string());
}

/// Every step.
#[doc(hidden)]
#[macro_export]
macro_rules! __trace {
    ($($part:tt)*) => {
        $crate::log::write($crate::log::Level::Trace, ::std::format_args!($($part)*))
    };
}

/// What helps to find a mistake.
#[doc(hidden)]
#[macro_export]
macro_rules! __debug {
    ($($part:tt)*) => {
        $crate::log::write($crate::log::Level::Debug, ::std::format_args!($($part)*))
    };
}

/// What an operator likes to know.
#[doc(hidden)]
#[macro_export]
macro_rules! __info {
    ($($part:tt)*) => {
        $crate::log::write($crate::log::Level::Info, ::std::format_args!($($part)*))
    };
}

/// What an operator should look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __warn {
    ($($part:tt)*) => {
        $crate::log::write($crate::log::Level::Warn, ::std::format_args!($($part)*))
    };
}

/// What an operator must look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __error {
    ($($part:tt)*) => {
        $crate::log::write($crate::log::Level::Error, ::std::format_args!($($part)*))
    };
}
