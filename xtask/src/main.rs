//! What developers run. `cargo xtask test` is everything; the rest are its parts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a terminal is what this program talks to")]

mod bench;
mod peers;
mod plugins;
mod proto;
mod steps;
mod support;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  test [--full] [--keep-going] [FILTER…]
          everything: formatting, lints, tidy, documentation, unit tests, acceptance tests, parity; installs the peers
          it needs. --full runs the long forms of the tests; FILTER picks acceptance tests and leaves out all else
  tidy    the rules of ARCHITECTURE.md and this repository that a program can check
  peers   install what the acceptance tests talk to: other people's mail servers, strace, a JSON Schema validator
  plugins build the stock plugins into target/plugins; installs the compilation target they need
  proto [--check]
          make the Rust sources of host/proto/velociraptor.proto; --check: only say whether they are up to date
  support FILE
          make the lint's data of what mail programs support, of the caniemail.json in the npm package caniemail
  bench [--quick] [--record] [PART…]
          measure, beside what others reach in the same minute, and print the goals and what was reached; all goals if
          no PART is named: plugins, compose, smtp, store, mail, idle. By their names only: scale (a million queued mails),
          growth (memory and time of 1 to 1000 times the events, as a picture), velociraptor, studio, parts (each part
          alone), counts (instructions of the hot paths; needs valgrind). --quick: a tenth of it, to see that it works;
          --record: into docs/benchmarks.md. All figures go to target/bench.json
  fault   build the binary with fault points, into target/fault
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("test") => test::run_all(rest),
        Some("tidy") if rest.is_empty() => tidy::run(),
        Some("peers") if rest.is_empty() => peers::install(),
        Some("plugins") if rest.is_empty() => plugins::build(),
        Some("proto") if rest.is_empty() => proto::write(),
        Some("proto") if *rest == ["--check"] => proto::check(),
        Some("support") if rest.len() == 1 => {
            support::write(rest.first().map(std::path::Path::new).unwrap_or(".".as_ref()))
        }
        Some("bench") => bench::run_all(rest),
        Some("fault") if rest.is_empty() => test::build_with_faults(),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
