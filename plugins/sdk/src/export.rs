//! From a plugin to the exports of a component.

use std::cell::OnceCell;

use serde_json::Value;

use crate::bindings::about::exports::bewit::plugin::about as wit;
use crate::bindings::imports::bewit::plugin::types;
use crate::{
    Answer, Event, Failure, Filter, Fragment, Plugin, Problem, Problems, Renderer, Setting, Source, Verdict, host,
};

/// A plugin inside its instance: made at the first call that needs it.
#[derive(Debug)]
pub struct Instance<P> {
    plugin: OnceCell<Result<P, Problems>>,
}

impl<P> Default for Instance<P> {
    fn default() -> Self {
        Self { plugin: OnceCell::new() }
    }
}

impl<P: Plugin> Instance<P> {
    /// Makes a plugin from the host's settings.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn make() -> Result<P, Problems> {
        let settings: Value = serde_json::from_str(&host::settings())?;
        let settings = serde_path_to_error::deserialize(settings).map_err(|error| wrong_settings(&error))?;
        P::new(settings)
    }

    /// Who the plugin is.
    #[must_use]
    pub fn describe(name: &str, version: &str, summary: &str) -> wit::Description {
        let list = |settings: &[Setting]| {
            settings
                .iter()
                .map(|setting| wit::Setting {
                    key: setting.key.to_owned(),
                    summary: setting.summary.to_owned(),
                    required: setting.required,
                })
                .collect()
        };
        wit::Description {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            settings: list(P::SETTINGS),
            files: list(P::FILES),
            warm: P::WARM,
        }
    }

    fn plugin(&self) -> Result<&P, &Problems> {
        self.plugin
            .get_or_init(|| {
                panics_are_logged();
                Self::make()
            })
            .as_ref()
    }

    fn ready(&self) -> Result<&P, Failure> {
        self.plugin().map_err(|problems| Failure::Reject(format!("its settings are wrong: {problems}")))
    }

    /// What is wrong with the settings.
    ///
    /// # Errors
    /// When something is.
    pub fn check_settings(&self) -> Result<(), Vec<wit::Problem>> {
        match self.plugin() {
            Ok(_) => Ok(()),
            Err(problems) => Err(problems
                .0
                .iter()
                .map(|Problem { key, message }| wit::Problem { key: key.clone(), message: message.clone() })
                .collect()),
        }
    }
}

impl<P: Plugin + Filter> Instance<P> {
    /// The answer as the WIT has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn decide(&self, event: &Event) -> Result<Verdict, types::Failure> {
        let answer: Answer = self.ready().and_then(|plugin| plugin.decide(event));
        answer.map_err(Failure::into_wit)
    }
}

impl<P: Plugin + Renderer> Instance<P> {
    /// The answer as the WIT has it.
    ///
    /// # Errors
    /// When there is none.
    pub fn render(&self, source: &Source, event: &Event) -> Result<Fragment, types::Failure> {
        self.ready().and_then(|plugin| plugin.render(source, event)).map_err(Failure::into_wit)
    }
}

/// A panic ends the instance without a word but this one.
fn panics_are_logged() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| crate::log::error!("{panic}")));
}

/// Which key an error of serde's is about.
fn wrong_settings(error: &serde_path_to_error::Error<serde_json::Error>) -> Problems {
    let message = error.inner().to_string();
    let path = error.path().to_string();
    let first = match error.path().iter().next() {
        Some(serde_path_to_error::Segment::Map { key }) => Some(key.clone()),
        // A field that is missing or unknown has no path: its name is in the message.
        _ => ["missing field `", "unknown field `"]
            .iter()
            .find_map(|start| message.strip_prefix(start)?.split('`').next().map(str::to_owned)),
    };
    let key = first.unwrap_or_default();
    let message = if path == "." || path == key { message } else { format!("{path}: {message}") };
    Problem { key, message }.into()
}

/// Exports a filter: `export_filter!(Vip)` for a unit struct without settings, `export_filter!(Vip: Plugin)` for what
/// implements [`Plugin`]. The package's name, version and description are the plugin's.
#[macro_export]
macro_rules! export_filter {
    ($plugin:ident) => {
        $crate::__plain!($plugin);
        $crate::export_filter!($plugin: Plugin);
    };
    ($plugin:ident : Plugin) => {
        $crate::__export!($plugin; filter);
    };
}

/// Exports a renderer: `export_renderer!(Tree)` for a unit struct without settings, `export_renderer!(Tree: Plugin)` for
/// what implements [`Plugin`].
///
/// ```
/// use bewit_plugin::prelude::*;
///
/// struct Count;
///
/// impl Renderer for Count {
///     fn render(&self, source: &Source, event: &Event) -> Rendered {
///         let rows = event.rows(&source.name)?.total()?;
///         Ok(Fragment::new("").paragraph(format!("{rows} rows.")))
///     }
/// }
///
/// export_renderer!(Count);
/// ```
#[macro_export]
macro_rules! export_renderer {
    ($plugin:ident) => {
        $crate::__plain!($plugin);
        $crate::export_renderer!($plugin: Plugin);
    };
    ($plugin:ident : Plugin) => {
        $crate::__export!($plugin; renderer);
    };
}

/// Exports what is both a filter and a renderer, with the same two forms.
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ident) => {
        $crate::__plain!($plugin);
        $crate::export_plugin!($plugin: Plugin);
    };
    ($plugin:ident : Plugin) => {
        $crate::__export!($plugin; filter renderer);
    };
}

/// A plugin without settings.
#[doc(hidden)]
#[macro_export]
macro_rules! __plain {
    ($plugin:ident) => {
        impl $crate::Plugin for $plugin {
            type Settings = $crate::NoSettings;

            fn new(_: $crate::NoSettings) -> ::std::result::Result<Self, $crate::Problems> {
                ::std::result::Result::Ok($plugin)
            }
        }
    };
}

/// The exports; where there is no WebAssembly, only the proof that there could be.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ident; $($kind:ident)+) => {
        $($crate::__prove!($plugin $kind);)+

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exports;

            ::std::thread_local!(static INSTANCE: $crate::Instance<$plugin> = ::std::default::Default::default());

            impl $crate::bindings::about::exports::bewit::plugin::about::Guest for Exports {
                fn describe() -> $crate::bindings::about::exports::bewit::plugin::about::Description {
                    $crate::Instance::<$plugin>::describe(
                        ::std::env!("CARGO_PKG_NAME"),
                        ::std::env!("CARGO_PKG_VERSION"),
                        ::std::env!("CARGO_PKG_DESCRIPTION"),
                    )
                }

                fn check_settings() -> ::std::result::Result<
                    (),
                    ::std::vec::Vec<$crate::bindings::about::exports::bewit::plugin::about::Problem>,
                > {
                    INSTANCE.with(|instance| instance.check_settings())
                }
            }

            $crate::bindings::about::export_about!(Exports);
            $($crate::__export_kind!($kind);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __prove {
    ($plugin:ident filter) => {
        const _: () = {
            const fn is_a_filter<T: $crate::Plugin + $crate::Filter>() {}
            is_a_filter::<$plugin>();
        };
    };
    ($plugin:ident renderer) => {
        const _: () = {
            const fn is_a_renderer<T: $crate::Plugin + $crate::Renderer>() {}
            is_a_renderer::<$plugin>();
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_kind {
    (filter) => {
        impl $crate::bindings::filter::exports::bewit::plugin::filter::Guest for Exports {
            fn decide(
                event: $crate::Event,
            ) -> ::std::result::Result<$crate::Verdict, $crate::bindings::imports::bewit::plugin::types::Failure> {
                INSTANCE.with(|instance| instance.decide(&event))
            }
        }
        $crate::bindings::filter::export_filter_interface!(Exports);
    };
    (renderer) => {
        impl $crate::bindings::renderer::exports::bewit::plugin::renderer::Guest for Exports {
            fn render(
                source: $crate::Source,
                event: $crate::Event,
            ) -> ::std::result::Result<$crate::Fragment, $crate::bindings::imports::bewit::plugin::types::Failure> {
                INSTANCE.with(|instance| instance.render(&source, &event))
            }
        }
        $crate::bindings::renderer::export_renderer_interface!(Exports);
    };
}
