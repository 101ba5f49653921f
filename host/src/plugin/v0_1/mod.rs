//! The line 0.1 of the WIT package: the one place that names generated types. Links a component to its imports, finds
//! its exports, and turns what goes in and out into Bewit's own types.

mod convert;
mod imports;

use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, InstancePre, Linker};

use super::guest::Guest;
use crate::event::FlowCompletion;
use crate::fragment::{Fragment, Verdict};

/// Generated, one world for each exported interface, so that a component may have any of them.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated")]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "generated")]
mod generated {
    pub(super) mod imported {
        wasmtime::component::bindgen!({
            path: "../wit/v0.1",
            inline: "
                package bewit:host;
                world imported {
                    import bewit:plugin/types@0.1.0;
                    import bewit:plugin/context@0.1.0;
                    import bewit:plugin/settings@0.1.0;
                    import bewit:plugin/logging@0.1.0;
                    import bewit:plugin/results@0.1.0;
                }
            ",
            world: "bewit:host/imported",
            imports: { default: trappable },
            with: { "bewit:plugin/results.cursor": super::super::imports::Cursor },
        });
    }
    pub(super) mod about {
        wasmtime::component::bindgen!({
            path: "../wit/v0.1",
            inline: "
                package bewit:host;
                world about-part { export bewit:plugin/about@0.1.0; }
            ",
            world: "bewit:host/about-part",
        });
    }
    pub(super) mod filter {
        wasmtime::component::bindgen!({
            path: "../wit/v0.1",
            inline: "
                package bewit:host;
                world filter-part { export bewit:plugin/filter@0.1.0; }
            ",
            world: "bewit:host/filter-part",
            with: { "bewit:plugin/types": super::imported::bewit::plugin::types },
        });
    }
    pub(super) mod renderer {
        wasmtime::component::bindgen!({
            path: "../wit/v0.1",
            inline: "
                package bewit:host;
                world renderer-part { export bewit:plugin/renderer@0.1.0; }
            ",
            world: "bewit:host/renderer-part",
            with: { "bewit:plugin/types": super::imported::bewit::plugin::types },
        });
    }
}

/// Interfaces that plugins of this line may import.
pub(super) const IMPORTS: [&str; 5] = ["types", "context", "settings", "logging", "results"];

/// A linked component: its exports are found, nothing of it has run.
#[derive(Clone)]
pub(super) struct Linked {
    pre: InstancePre<Guest>,
    about: generated::about::AboutPartIndices,
    filter: Option<generated::filter::FilterPartIndices>,
    renderer: Option<generated::renderer::RendererPartIndices>,
}

/// An instance and its surroundings.
pub(super) struct Instance {
    pub(super) store: Store<Guest>,
    about: generated::about::AboutPart,
    filter: Option<generated::filter::FilterPart>,
    renderer: Option<generated::renderer::RendererPart>,
}

/// What a plugin says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Name.
    pub name: String,
    /// Of the plugin.
    pub version: String,
    /// In a sentence.
    pub summary: String,
    /// Settings it knows.
    pub settings: Vec<Setting>,
    /// Files it reads.
    pub files: Vec<Setting>,
    /// Whether it asks for kept instances.
    pub warm: bool,
}

/// A setting or a file that a plugin knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// What it is for.
    pub summary: String,
    /// Whether it must be there.
    pub required: bool,
}

/// What a guest answers instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) again: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// The guest broke down or was stopped.
    Trap(wasmtime::Error),
    /// It answered that it will not.
    Refused(Refusal),
    /// It answered something that means nothing.
    Nonsense(String),
}

impl From<wasmtime::Error> for CallError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Trap(error)
    }
}

/// What the engine links a component to.
///
/// # Errors
/// Never, as the same names are not defined twice; the engine's type says otherwise.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    generated::imported::Imported::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest| guest)?;
    Ok(linker)
}

impl Linked {
    /// Links a component whose imports and exports have the right names.
    ///
    /// # Errors
    /// When one of them has another shape.
    pub(super) fn new(
        linker: &Linker<Guest>,
        component: &Component,
        filter: bool,
        renderer: bool,
    ) -> wasmtime::Result<Self> {
        let pre = linker.instantiate_pre(component)?;
        let about = generated::about::AboutPartIndices::new(&pre)?;
        let filter = filter.then(|| generated::filter::FilterPartIndices::new(&pre)).transpose()?;
        let renderer = renderer.then(|| generated::renderer::RendererPartIndices::new(&pre)).transpose()?;
        Ok(Self { pre, about, filter, renderer })
    }

    /// Starts an instance; this may run the guest's code.
    ///
    /// # Errors
    /// When it traps, or there is no room.
    pub(super) fn instantiate(&self, mut store: Store<Guest>) -> Result<Instance, (Store<Guest>, wasmtime::Error)> {
        let made = self.pre.instantiate(&mut store).and_then(|instance| {
            let about = self.about.load(&mut store, &instance)?;
            let filter = self.filter.as_ref().map(|filter| filter.load(&mut store, &instance)).transpose()?;
            let renderer = self.renderer.as_ref().map(|renderer| renderer.load(&mut store, &instance)).transpose()?;
            Ok((about, filter, renderer))
        });
        match made {
            Ok((about, filter, renderer)) => Ok(Instance { store, about, filter, renderer }),
            Err(error) => Err((store, error)),
        }
    }
}

impl Instance {
    /// `about.describe`
    pub(super) fn describe(&mut self) -> Result<Description, CallError> {
        let described = self.about.bewit_plugin_about().call_describe(&mut self.store)?;
        Ok(convert::description(described))
    }

    /// `about.check-settings`: what is wrong, key and message.
    pub(super) fn check_settings(&mut self) -> Result<Vec<(String, String)>, CallError> {
        let checked = self.about.bewit_plugin_about().call_check_settings(&mut self.store)?;
        let problems = checked.err().unwrap_or_default();
        Ok(problems.into_iter().map(|problem| (problem.key, problem.message)).collect())
    }

    /// `filter.decide`
    pub(super) fn decide(&mut self, event: &FlowCompletion) -> Result<Verdict, CallError> {
        let Some(filter) = &self.filter else { return Err(CallError::Nonsense("it is no filter".to_owned())) };
        let answer = filter.bewit_plugin_filter().call_decide(&mut self.store, &convert::event(event))?;
        answer.map(convert::verdict).map_err(convert::refusal)
    }

    /// `renderer.render`
    pub(super) fn render(&mut self, event: &FlowCompletion, source: &str) -> Result<Fragment, CallError> {
        let Some(renderer) = &self.renderer else { return Err(CallError::Nonsense("it is no renderer".to_owned())) };
        let source = convert::source(source);
        let answer = renderer.bewit_plugin_renderer().call_render(&mut self.store, &source, &convert::event(event))?;
        answer.map_err(convert::refusal).and_then(convert::fragment)
    }
}
