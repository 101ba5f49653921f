//! What is generated from the WIT package in the folder `wit`, in four parts, so that a plugin exports what it has.
#![allow(unsafe_code, missing_docs, unreachable_pub, reason = "generated: the border of the sandbox")]
#![allow(clippy::all, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "generated")]
#![allow(clippy::allow_attributes_without_reason, reason = "generated")]

/// What a plugin may call.
pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package bewit:sdk;
            world imports {
                import bewit:plugin/types@0.1.0;
                import bewit:plugin/context@0.1.0;
                import bewit:plugin/settings@0.1.0;
                import bewit:plugin/logging@0.1.0;
                import bewit:plugin/results@0.1.0;
            }
        ",
        world: "bewit:sdk/imports",
        generate_all,
        additional_derives: [PartialEq],
    });
}

/// Who it is.
pub mod about {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package bewit:sdk;
            world about { export bewit:plugin/about@0.1.0; }
        ",
        world: "bewit:sdk/about",
        pub_export_macro: true,
        export_macro_name: "export_about",
        default_bindings_module: "$crate::bindings::about",
    });
}

/// A filter.
pub mod filter {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package bewit:sdk;
            world filter { export bewit:plugin/filter@0.1.0; }
        ",
        world: "bewit:sdk/filter",
        pub_export_macro: true,
        export_macro_name: "export_filter_interface",
        default_bindings_module: "$crate::bindings::filter",
        additional_derives: [PartialEq],
        with: { "bewit:plugin/types@0.1.0": crate::bindings::imports::bewit::plugin::types },
    });
}

/// A renderer.
pub mod renderer {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package bewit:sdk;
            world renderer { export bewit:plugin/renderer@0.1.0; }
        ",
        world: "bewit:sdk/renderer",
        pub_export_macro: true,
        export_macro_name: "export_renderer_interface",
        default_bindings_module: "$crate::bindings::renderer",
        additional_derives: [PartialEq],
        with: { "bewit:plugin/types@0.1.0": crate::bindings::imports::bewit::plugin::types },
    });
}
