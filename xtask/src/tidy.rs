//! Rules of this repository that a program can check: the invariants of the architecture, version floors, and what
//! must not be in a tracked file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::steps::{program, root};

/// A file longer than this is split by topic, or stands in [`LONG_FILES`] with its reason.
const MOST_LINES: usize = 500;

/// Tests are read case by case: they may be longer.
const MOST_TEST_LINES: usize = 700;

/// Files that are longer for a reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// What must not be named in some folder. Each rule: folders (`!` before one takes it out), words, and why.
const FORBIDDEN: &[(&[&str], &[&str], &str)] = &[
    (
        &["host/src/event/", "host/src/rule/", "host/src/lint/"],
        &[
            "std::fs",
            "TcpStream",
            "UdpSocket",
            "ToSocketAddrs",
            "std::env",
            "std::process",
            "std::io::std",
            "tokio",
            "SystemTime",
            "Instant::now",
            "Timestamp::now",
            "Zoned::now",
            "sqlx",
            "rand::",
        ],
        "`event`, `rule` and `lint` do no I/O and take the time as an argument",
    ),
    (
        &["host/src/", "!host/src/delivery/"],
        &["lettre::transport", "SmtpTransport", "SmtpConnection"],
        "only `delivery` names an SMTP transport",
    ),
    (
        &["host/src/", "!host/src/delivery/", "!host/src/velociraptor/connect.rs"],
        &["tokio_rustls"],
        "TLS is spoken where connections are made",
    ),
    (
        &["host/src/", "!host/src/velociraptor/"],
        &["tonic::", "tonic_prost::", "prost::"],
        "only `velociraptor` names the types of gRPC",
    ),
    (
        &["host/src/velociraptor/"],
        &[
            "crate::compose",
            "crate::config",
            "crate::outbox",
            "crate::delivery",
            "crate::intake",
            "crate::cli",
            "crate::rule",
            "crate::facts",
        ],
        "who asks a server knows what rows mean; who speaks to it does not",
    ),
    (
        &["host/src/delivery/", "host/src/outbox/"],
        &["minijinja", "crate::compose"],
        "a mail is finished before it is stored; outbox and delivery never render",
    ),
    (
        &[
            "host/src/event/",
            "host/src/rule/",
            "host/src/text.rs",
            "host/src/blob.rs",
            "host/src/mail.rs",
            "host/src/locale.rs",
        ],
        &["crate::compose", "crate::config", "crate::outbox", "crate::delivery", "crate::intake", "crate::cli"],
        "the lowest layers know nothing of those above them",
    ),
    (
        &["host/src/config/", "host/src/compose/"],
        &["crate::outbox", "crate::delivery", "crate::intake", "crate::cli"],
        "what is configured and how a mail is written does not depend on how it is kept or sent",
    ),
    (&["host/src/config/"], &["crate::compose"], "the configuration does not compose"),
    (&["host/src/compose/"], &["crate::config"], "composing takes what it needs as arguments"),
    (&["host/src/outbox/"], &["lettre::"], "the outbox stores finished bytes"),
    (&["host/src/", "!host/src/plugin/"], &["wasmtime::"], "only `plugin` names the engine"),
    (
        &["host/src/", "!host/src/plugin/v0_1/"],
        &["bindgen!", "generated::"],
        "only `plugin/v0_1` names generated types",
    ),
    (
        &["host/src/plugin/"],
        &[
            "crate::compose",
            "crate::config",
            "crate::outbox",
            "crate::delivery",
            "crate::intake",
            "crate::cli",
            "crate::rule",
        ],
        "plugins know events and rows, and nothing above them",
    ),
    (
        &["host/src/", "!host/src/plugin/host.rs"],
        &["unsafe "],
        "machine code that we have compiled is run in one place",
    ),
    (&["host/", "tests/", "xtask/"], &["#[ignore]"], "no test is ignored without a reason"),
    (
        &["host/src/"],
        &["todo!(", "unimplemented!(", "dbg!(", "#[allow(unsafe_code", "danger_accept_invalid"],
        "nothing unfinished and nothing unsafe is left behind",
    ),
];

/// RustSec floors: at least one of the versions, by compatibility line. An empty list: not at all.
const FLOORS: &[(&str, &[&str])] = &[
    ("ammonia", &["4.1.4"]),
    ("bytes", &["1.11.1"]),
    ("h2", &["0.4.16"]),
    ("idna", &["1.0.0"]),
    ("lettre", &["0.11.22"]),
    // 0.37.0 is the first that carries SQLite 3.51.3, without the WAL-reset fault.
    ("libsqlite3-sys", &["0.37.0"]),
    ("native-tls", &[]),
    ("openssl-sys", &[]),
    ("postgres-protocol", &["0.6.12"]),
    ("protobuf", &["3.7.2"]),
    ("ring", &["0.17.12"]),
    ("rustls", &["0.23.5"]),
    ("rustls-webpki", &["0.103.13"]),
    ("serde_yml", &[]),
    ("sqlx", &["0.8.1"]),
    ("time", &["0.3.47"]),
    ("tokio", &["1.44.2"]),
    ("tokio-postgres", &["0.7.18"]),
    ("tokio-tar", &[]),
    ("tonic", &["0.12.3"]),
    ("tracing-subscriber", &["0.3.20"]),
    ("wasmtime", &["24.0.12", "36.0.13", "46.0.2", "47.0.3"]),
    ("wasmtime-wasi", &["46.0.1"]),
    ("zip", &["2.3.0"]),
];

/// Words that tell where or how a file was made instead of what it is. In pieces, or this file would name them.
const PLACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/fa", "rm/"),
    concat!("/ho", "me/"),
    concat!(".lib", "rary"),
    concat!("BRIEF", ".md"),
    concat!("cla", "ude"),
    concat!("anth", "ropic"),
    concat!("chat", "gpt"),
    concat!("co-authored", "-by"),
];

/// First labels of registry hosts; a clone asks whatever registry its user has set.
const REGISTRIES: &[&str] = &["registry.", "index.", "static.", "files.", "proxy.", "deb.", "mirror."];

/// Runs all checks on the tracked files.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let files = tracked()?;
    let texts: Vec<(&String, String)> =
        files.iter().filter_map(|name| Some((name, fs::read_to_string(root().join(name)).ok()?))).collect();
    let tests: BTreeSet<String> = texts.iter().flat_map(|(name, text)| test_modules(name, text)).collect();
    for (name, text) in &texts {
        // What lies in the folder of a test module belongs to it.
        let is_test = tests.contains(*name) || name.contains("/tests/");
        findings.extend(check_file(name, text, is_test));
    }
    for (name, reason) in LONG_FILES {
        if !texts.iter().any(|(file, text)| file == name && text.lines().count() > MOST_LINES) {
            findings.push(format!("{name}: listed as long ({reason}), but it is not"));
        }
    }
    for manifest in files.iter().filter(|name| name.ends_with("Cargo.toml") && *name != "Cargo.toml") {
        let text = fs::read_to_string(root().join(manifest))?;
        if !text.contains("[lints]\nworkspace = true")
            && !["plugins/", "fuzz/", "host/benches/peers/"].iter().any(|own| manifest.starts_with(own))
        {
            findings.push(format!("{manifest}: does not take the workspace's lints"));
        }
    }
    findings.extend(check_lock(&fs::read_to_string(root().join("Cargo.lock"))?));
    report(&findings, &format!("{} files", files.len()))
}

/// The release binary must have no fault points.
pub(crate) fn release_binary(path: &Path) -> Result<()> {
    // As text, whose search is quick even in a development build; names are ASCII and survive the conversion.
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let binary = String::from_utf8_lossy(&bytes);
    let names = fault_points()?;
    let findings: Vec<String> = names
        .iter()
        .map(String::as_str)
        .chain(["BEWIT_FAULT"])
        // Short everyday words may be there for other reasons; the names of points are two words or more.
        .filter(|name| name.contains('_') && binary.contains(*name))
        .map(|name| format!("{}: the fault point {name} is in it", path.display()))
        .collect();
    report(&findings, &format!("{} fault points", names.len()))
}

fn report(findings: &[String], checked: &str) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {checked}, nothing to mend");
        Ok(())
    } else {
        bail!("{} things to mend", findings.len())
    }
}

fn tracked() -> Result<Vec<String>> {
    let output = program("git").args(["ls-files", "-z"]).output().context("git")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout)?;
    Ok(names.split_terminator('\0').map(str::to_owned).filter(|name| root().join(name).is_file()).collect())
}

/// Files that are built for tests only: those of modules declared under `#[cfg(test)]`.
fn test_modules(name: &str, text: &str) -> Vec<String> {
    let Some(stem) = name.strip_suffix(".rs") else { return Vec::new() };
    let folder =
        match stem.strip_suffix("/mod").or_else(|| stem.strip_suffix("/lib")).or_else(|| stem.strip_suffix("/main")) {
            Some(folder) => folder.to_owned(),
            None => stem.to_owned(),
        };
    text.split("#[cfg(test)]\n")
        .skip(1)
        .filter_map(|rest| {
            let line = rest.lines().next()?;
            let module = line.split_once("mod ")?.1.strip_suffix(';')?;
            Some([format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")])
        })
        .flatten()
        .collect()
}

fn check_file(name: &str, text: &str, is_test: bool) -> Vec<String> {
    let mut findings = Vec::new();
    if name.ends_with(".rs") {
        let lines = text.lines().count();
        let most = if is_test { MOST_TEST_LINES } else { MOST_LINES };
        if lines > most && !LONG_FILES.iter().any(|(long, _)| *long == name) {
            findings.push(format!("{name}: {lines} lines, more than {most}: split it by topic"));
        }
        findings.extend(check_words(name, product_code(text), is_test));
    }
    if !name.ends_with(".lock") {
        findings.extend(check_places(name, text));
    }
    findings
}

/// The part of a file that is built into the product: up to its unit tests.
fn product_code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn check_words(name: &str, code: &str, is_test: bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (folders, words, why) in FORBIDDEN {
        let inside = folders.iter().any(|folder| name.starts_with(folder));
        let taken_out =
            folders.iter().filter_map(|folder| folder.strip_prefix('!')).any(|folder| name.starts_with(folder));
        let everywhere = words.contains(&"#[ignore]");
        if !inside || taken_out || (is_test && !everywhere) || name == "xtask/src/tidy.rs" {
            continue;
        }
        for (number, line) in code.lines().enumerate() {
            // What a comment says is no dependency.
            if line.trim_start().starts_with("//") {
                continue;
            }
            findings.extend(
                words
                    .iter()
                    .filter(|word| line.contains(**word))
                    .map(|word| format!("{name}:{}: {word}: {why}", number + 1)),
            );
        }
    }
    findings
}

fn check_places(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let lower = line.to_ascii_lowercase();
        for place in PLACES {
            if lower.contains(&place.to_ascii_lowercase()) {
                findings.push(format!("{name}:{}: {place}: says where or how it was made", number + 1));
            }
        }
        if names_a_registry(&lower) {
            findings.push(format!("{name}:{}: names the host of a package registry", number + 1));
        }
    }
    findings
}

/// Whether a line names a host such as `index` `.` `example` `.` `org`.
fn names_a_registry(line: &str) -> bool {
    REGISTRIES.iter().any(|first| {
        line.match_indices(first).any(|(at, _)| {
            let before = line.get(..at).and_then(|text| text.chars().next_back());
            let rest = line.get(at + first.len()..).unwrap_or_default();
            let host: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
            let mut labels = host.trim_end_matches('.').split('.');
            let second = labels.next().is_some_and(|label| !label.is_empty());
            let top = labels.next().is_some_and(|label| ["io", "org", "com", "net"].contains(&label));
            !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')) && second && top
        })
    })
}

fn check_lock(lock: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, version) in packages(lock) {
        let Some((_, floors)) = FLOORS.iter().find(|(own, _)| *own == name) else { continue };
        if !allowed(version, floors) {
            let floors = if floors.is_empty() { "not at all".to_owned() } else { floors.join(" or ") };
            findings.push(format!("Cargo.lock: {name} {version}: known to be bad; allowed: {floors}"));
        }
    }
    findings
}

fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    lock.split("[[package]]").filter_map(|entry| {
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some((value("name")?, value("version")?))
    })
}

/// A version is allowed if it reaches the floor of its own line, or stands above the highest floor.
fn allowed(version: &str, floors: &[&str]) -> bool {
    let own = numbers(version);
    let Some(highest) = floors.iter().map(|floor| numbers(floor)).max() else { return false };
    own >= highest
        || floors
            .iter()
            .map(|floor| numbers(floor))
            .any(|floor| floor.first() == own.first() && floors.len() > 1 && own >= floor)
}

fn numbers(version: &str) -> Vec<u64> {
    let release = version.split(['-', '+']).next().unwrap_or(version);
    release.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// The names of all fault points in the host's sources.
fn fault_points() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for file in tracked()?.iter().filter(|name| name.starts_with("host/src/") && name.ends_with(".rs")) {
        let text = fs::read_to_string(root().join(file))?;
        // `fault::point("…")`, not `checkpoint("…")`.
        for (at, call) in text.match_indices("point(\"") {
            if !text.get(..at).is_some_and(|before| before.ends_with(char::is_alphanumeric)) {
                let name = text.get(at + call.len()..).and_then(|rest| rest.split('"').next());
                names.extend(name.map(str::to_owned));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(name: &str, version: &str) -> String {
        format!("version = 4\n\n[[package]]\nname = \"{name}\"\nversion = \"{version}\"\nsource = \"x\"\n")
    }

    #[test]
    fn every_floor_bites() {
        for (name, floors) in FLOORS {
            let bad = match floors.first() {
                None => "99.0.0".to_owned(),
                Some(floor) => {
                    let mut parts = numbers(floor);
                    let last = parts.iter().rposition(|part| *part > 0).unwrap();
                    parts[last] -= 1;
                    parts.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
                }
            };
            assert_eq!(check_lock(&lock(name, &bad)).len(), 1, "{name} {bad}");
            for floor in *floors {
                assert_eq!(check_lock(&lock(name, floor)), Vec::<String>::new(), "{name} {floor}");
            }
        }
        assert_eq!(check_lock(&lock("wasmtime", "36.0.12")).len(), 1);
        assert_eq!(check_lock(&lock("wasmtime", "46.0.3")).len(), 0);
        assert_eq!(check_lock(&lock("wasmtime", "47.0.2")).len(), 1);
        assert_eq!(check_lock(&lock("wasmtime", "48.0.8")).len(), 0);
    }

    #[test]
    fn the_architecture_is_watched() {
        let bad = [
            ("host/src/event/mod.rs", "use std::fs;"),
            ("host/src/rule/decide.rs", "let now = Timestamp::now();"),
            ("host/src/cli/send_test.rs", "use lettre::transport::smtp;"),
            ("host/src/delivery/mod.rs", "use minijinja::Environment;"),
            ("host/src/outbox/store.rs", "use lettre::Address;"),
            ("tests/tests/acceptance/cli.rs", "#[ignore]"),
            ("host/src/app.rs", "    todo!()"),
        ];
        for (name, line) in bad {
            assert_eq!(check_file(name, line, false).len(), 1, "{name}: {line}");
        }
        let good = [
            ("host/src/delivery/session.rs", "use lettre::transport::smtp::commands::Mail;"),
            ("host/src/event/mod.rs", "//! no std::fs here"),
            ("host/src/event/mod.rs", "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"),
            ("tests/tests/acceptance/cli.rs", "#[ignore = \"run by another\"]"),
        ];
        for (name, line) in good {
            assert_eq!(check_file(name, line, false), Vec::<String>::new(), "{name}: {line}");
        }
        assert_eq!(check_file("host/src/rule/parity.rs", "use std::fs;", true), Vec::<String>::new());
        let parent = "mod a;\n#[cfg(test)]\nmod parity;\n";
        assert!(test_modules("host/src/rule/mod.rs", parent).contains(&"host/src/rule/parity.rs".to_owned()));
        assert!(test_modules("host/src/rule/decide.rs", parent).contains(&"host/src/rule/decide/parity.rs".to_owned()));
        assert_eq!(test_modules("host/src/rule/mod.rs", "mod a;\n"), Vec::<String>::new());
    }

    #[test]
    fn places_and_registries_are_found() {
        assert_eq!(check_places("README.md", concat!("cp /wo", "rk/x .")).len(), 1);
        assert_eq!(check_places("README.md", concat!("https://index.", "crates.io/")).len(), 1);
        assert_eq!(
            check_places("README.md", "index.html of example.org, files.iter(), root/C.1/F.1"),
            Vec::<String>::new()
        );
        assert_eq!(check_file("host/src/long.rs", &"x\n".repeat(501), false).len(), 1);
    }
}
