//! The Rust sources of `host/proto/velociraptor.proto`. They are kept in the repository, so that building Bewit needs no
//! compiler of protocol buffers; the tests' fake server has the other half of the service.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::steps::root;

const PROTO: &str = "host/proto/velociraptor.proto";
/// Where each half goes: the file, whether it calls, whether it answers.
const HALVES: &[(&str, bool, bool)] =
    &[("host/src/velociraptor/proto.rs", true, false), ("tests/src/velociraptor/proto.rs", false, true)];

/// Writes both files.
pub(crate) fn write() -> Result<()> {
    for (path, text) in generated()? {
        fs::write(root().join(path), text).with_context(|| path.to_owned())?;
    }
    Ok(())
}

/// Fails if a file is not what the proto says.
pub(crate) fn check() -> Result<()> {
    for (path, text) in generated()? {
        if fs::read_to_string(root().join(path)).with_context(|| path.to_owned())? != text {
            bail!("{path} is not what {PROTO} says: run `cargo xtask proto`");
        }
    }
    Ok(())
}

fn generated() -> Result<Vec<(&'static str, String)>> {
    let proto = root().join(PROTO);
    let files = protox::compile([&proto], [proto.parent().unwrap_or(Path::new("."))])?;
    HALVES
        .iter()
        .map(|&(path, client, server)| {
            let out = std::env::temp_dir().join(format!("bewit-proto-{}", std::process::id()));
            fs::create_dir_all(&out)?;
            tonic_prost_build::configure()
                .build_client(client)
                .build_server(server)
                .build_transport(false)
                .disable_comments(["."])
                .out_dir(&out)
                .compile_fds(files.clone())?;
            let text = fs::read_to_string(out.join("proto.rs"))?;
            fs::remove_dir_all(&out)?;
            Ok((path, format!("//! Made by `cargo xtask proto` of {PROTO}; not to be edited.\n{text}")))
        })
        .collect()
}
