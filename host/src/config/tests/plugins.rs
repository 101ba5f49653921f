//! `[plugins.NAME]`, and the rules that name plugins.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::plugin::spec::{Instances, Limits, OnFailure};

/// A folder with a component and two lists.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, mode) in [("a.wasm", 0o644), ("b.wasm", 0o755), ("list.txt", 0o664), ("more.txt", 0o600)] {
        let path = folder.path().join(name);
        fs::write(&path, name).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    folder
}

fn look(text: &str, folder: &Path) -> Examined {
    load::examine_text(text, "bewit.toml", folder, Proof::Text)
}

/// The configuration with these plugins and a rule with these keys, which must be right.
fn taken(plugins: &str, rule: &str) -> Config {
    let folder = folder();
    let examined = look(&format!("{HEAD}{plugins}\n{RULE}{rule}"), folder.path());
    assert!(examined.diagnostics.findings.is_empty(), "{}", examined.diagnostics);
    examined.config.unwrap()
}

/// What is said of these plugins and a rule with these keys; lines are counted from the plugins' first.
fn said(plugins: &str, rule: &str) -> String {
    let folder = folder();
    let text = format!("{HEAD}{plugins}\n{RULE}{rule}");
    let examined = look(&text, folder.path());
    assert_eq!(examined.config.is_some(), examined.diagnostics.errors() == 0, "{}", examined.diagnostics);
    list(&examined.diagnostics, &text, HEAD.lines().count()).replace(&folder.path().display().to_string(), "FOLDER")
}

#[test]
fn everything_that_can_be_said() {
    let folder = folder();
    let text = format!(
        "{HEAD}{RULE}{}",
        r#"
filters = ["ioc", { plugin = "vip", when = "always" }, { plugin = "zero-1_x" }]
renderers = [{ source = "Pslist", plugin = "vip" }, { source = "Netstat", plugin = "ioc" }, { source = "x", plugin = "vip" }]

[plugins.vip]
path = "a.wasm"
sha256 = "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
settings = { list = ["203.0.113.7"] }
files = { list = "list.txt", "more of it" = "more.txt" }
limits = { memory = "1 GiB", time = "10 ms", output = "1 KiB" }
on_failure = "hold"
instances = "warm"

[plugins.ioc]
path = "b.wasm"
limits.time = "60 s"
instances = "fresh"

[plugins.zero-1_x]
path = "b.wasm"
"#
    );
    let examined = look(&text, folder.path());
    assert!(examined.diagnostics.findings.is_empty(), "{}", examined.diagnostics);
    let config = examined.config.unwrap();
    let [vip, ioc, zero] = config.plugins.as_slice() else { panic!("{:?}", config.plugins) };
    assert_eq!((vip.name.as_str(), ioc.name.as_str(), zero.name.as_str()), ("vip", "ioc", "zero-1_x"));
    assert_eq!(vip.path, folder.path().join("a.wasm"));
    assert_eq!(vip.sha256.as_deref(), Some("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
    assert_eq!(serde_json::Value::Object(vip.settings.clone()), json!({ "list": ["203.0.113.7"] }));
    let files: Vec<_> = vip.files.iter().map(|(name, path)| (name.as_str(), path.clone())).collect();
    assert_eq!(files, [("list", folder.path().join("list.txt")), ("more of it", folder.path().join("more.txt"))]);
    let limits = Limits { memory: 1 << 30, time: Duration::from_millis(10), output: 1024 };
    assert_eq!((vip.limits, vip.on_failure, vip.instances), (limits, OnFailure::Hold, Instances::Warm));

    let stock = Limits { memory: 64 << 20, time: Duration::from_millis(250), output: 1 << 20 };
    assert_eq!(ioc.limits, Limits { time: Duration::from_secs(60), ..stock });
    assert_eq!((ioc.on_failure, ioc.instances), (OnFailure::Keep, Instances::Fresh));
    assert_eq!((zero.limits, zero.on_failure, zero.instances), (stock, OnFailure::Keep, Instances::Auto));
    assert!(zero.sha256.is_none() && zero.settings.is_empty() && zero.files.is_empty());

    let rule = &config.rules[0];
    let filters: Vec<_> = rule.filters.iter().map(|filter| (filter.plugin.as_str(), filter.always)).collect();
    assert_eq!(filters, [("ioc", false), ("vip", true), ("zero-1_x", false)]);
    let renderers: Vec<_> = rule.renderers.iter().map(|one| (one.source.source(), one.plugin.as_str())).collect();
    assert_eq!(renderers, [("Pslist", "vip"), ("Netstat", "ioc"), ("x", "vip")]);

    // Whoever loads the plugins finds their places.
    let [vip, ioc, zero] = examined.plugins.as_slice() else { panic!("{:?}", examined.plugins) };
    assert_eq!(config.plugins[0], vip.spec);
    let part = |span: std::ops::Range<usize>| text.get(span).unwrap();
    assert_eq!((part(vip.name.clone()), part(vip.path.clone())), ("vip", "\"a.wasm\""));
    assert!(part(vip.sha256.clone().unwrap()).starts_with("\"0123"));
    let place = |key: &str| part(vip.place(key));
    assert_eq!((place("list"), place("more of it"), place("none")), ("list", "\"more of it\"", "vip"));
    assert_eq!(vip.place("list").start, text.find("list = [").unwrap());
    assert_eq!((part(vip.filter.clone().unwrap()), part(vip.renderer.clone().unwrap())), ("\"vip\"", "\"vip\""));
    assert_eq!(vip.renderer.clone().unwrap().start, text.find("\"vip\" }, { source = \"Netstat\"").unwrap());
    assert!(ioc.filter.is_some() && ioc.renderer.is_some() && zero.filter.is_some() && zero.renderer.is_none());
}

#[test]
fn without_plugins_there_are_none() {
    let config = taken("", "filters = []\nrenderers = []\n");
    assert!(config.plugins.is_empty() && config.rules[0].filters.is_empty() && config.rules[0].renderers.is_empty());
    assert!(taken("[plugins]\n", "").plugins.is_empty());
}

#[test]
fn settings_are_any_table() {
    let config = taken(
        "[plugins.a]\npath = 'a.wasm'\n[plugins.a.settings]\n\
         z = 1\na = \"é\\u0000\\n\"\nhex = 0xff\nplus = +1_000\nleast = -9223372036854775808\nfraction = 1.50\n\
         large = 6.022e23\nyes = true\nwhen = 1979-05-27 07:32:00.5-08:00\nlocal = 1979-05-27T07:32\nday = 1979-05-27\n\
         hour = 07:32\nlist = [1, [\"x\", []], { b = 2, a = 1 }]\nempty = {}\ndotted.key.x = 1\n\"a key\" = 0\n\
         [plugins.a.settings.last]\nb = 1\na = 2\n",
        "filters = ['a']\n",
    );
    let settings = serde_json::to_string(&config.plugins[0].settings).unwrap();
    assert_eq!(
        settings,
        "{\"z\":1,\"a\":\"é\\u0000\\n\",\"hex\":255,\"plus\":1000,\"least\":-9223372036854775808,\"fraction\":1.5,\
         \"large\":6.022e+23,\"yes\":true,\"when\":\"1979-05-27T07:32:00.5-08:00\",\"local\":\"1979-05-27T07:32:00\",\
         \"day\":\"1979-05-27\",\"hour\":\"07:32:00\",\"list\":[1,[\"x\",[]],{\"b\":2,\"a\":1}],\"empty\":{},\
         \"dotted\":{\"key\":{\"x\":1}},\"a key\":0,\"last\":{\"b\":1,\"a\":2}}"
    );
    // Every level that is let through can be read by who bounds nesting as JSON readers do.
    let nested = |levels: usize| format!("[plugins.a]\npath = 'a.wasm'\nsettings{} = 1\n", ".a".repeat(levels));
    let config = taken(&nested(64), "filters = ['a']\n");
    let text = serde_json::to_string(&config.plugins[0].settings).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    assert_eq!(said(&nested(65), "filters = ['a']\n"), "3 error: `a` is nested too deeply | 64 levels are read\n");
}

#[test]
fn settings_that_json_has_not() {
    insta::assert_snapshot!(
        said(
            "[plugins.a]\npath = 'a.wasm'\nsettings = { a = inf, b = [nan, -inf], c = { d = 1e999 }, e = 9223372036854775808, f = 1 }\n\
             [plugins.b]\npath = 'b.wasm'\nsettings = \"x\"\n",
            "filters = ['a', 'b']\n"
        ),
        @"
        3 error: `a` is not a finite number | JSON has neither inf nor nan
        3 error: `b` is not a finite number | JSON has neither inf nor nan
        3 error: `b` is not a finite number | JSON has neither inf nor nan
        3 error: `d` is not a finite number | JSON has neither inf nor nan
        3 error: `e` is out of range | it is a number of 64 bits
        6 error: `settings` must be a table, not a text | write settings = { KEY = … }
        "
    );
}

#[test]
fn every_mistake_in_one_run() {
    let plugins = r#"[plugins.IOC]
path = "a.wasm"
[plugins."pro cess"]
path = "a.wasm"
[plugins."1st"]
path = "a.wasm"
[plugins.notify_hunts]
path = "a.wasm"
[plugins.client_id]
path = "a.wasm"
[plugins.none]
pth = "a.wasm"
[plugins.text]
path = 1
sha256 = "sha256:0123"
settings = ["a"]
files = "list.txt"
limits = { memory = "1 kB", time = "61 s", output = "65 MiB", tme = "1 s" }
on_failure = "drop"
instances = "wram"
[plugins.more]
path = ""
sha256 = 12
files = { "" = "list.txt", a = 1, b = "none.txt", c = "." }
limits = { memory = 64, time = "0 s", output = "1025 MiB" }
on_failure = true
memory = "1 MiB"
whatever = 1
[plugins]
flat = "a.wasm"
"#;
    insta::assert_snapshot!(said(plugins, "filters = ['IOC', 'text']\n"), @r#"
    1 error: `IOC` cannot be the name of a plugin | write [plugins.ioc]
    3 error: `pro cess` cannot be the name of a plugin | write [plugins.pro-cess]
    5 error: `1st` cannot be the name of a plugin | at most 40 of a-z, 0-9, `-` and `_`, beginning with a letter
    7 error: `notify_hunts` is a key of rules and events, not the name of a plugin | what is told of a decision would not tell them apart: give the plugin another name
    9 error: `client_id` is a key of rules and events, not the name of a plugin | what is told of a decision would not tell them apart: give the plugin another name
    11 error: `path` is missing in [plugins.NAME] | The WebAssembly component. Others must not be able to change the file.
    12 error: unknown key `pth` in [plugins.NAME] | did you mean `path`?
    14 error: `path` must be a text, not a number | write "1"
    15 error: `sha256` is not a SHA-256 | 64 hexadecimal digits, as `sha256sum FILE` prints them
    16 error: `settings` must be a table, not a list | write settings = { KEY = … }
    17 error: `files` must be a table, not a text | write files = { NAME = … }
    18 error: `memory` is out of range | it is from 1 MiB to 1 GiB
    18 error: `time` is out of range | it is from 10 ms to 1 min
    18 error: `output` is out of range | it is from 1 KiB to 64 MiB
    18 error: unknown key `tme` in [plugins.NAME] limits | did you mean `time`?
    19 error: `on_failure` cannot be "drop" | one of "keep", "hold"
    20 error: `instances` cannot be "wram" | did you mean "warm"?
    22 error: `path` is not a path
    23 error: `sha256` must be a text, not a number | write "12"
    24 error: `` cannot be the name of a file | the name that the plugin uses for the file, for example files = { list = "list.txt" }
    24 error: `a` must be a text, not a number | write "1"
    24 error: FOLDER/none.txt cannot be read: No such file or directory (os error 2) | `files` names the plugin's files; relative paths start at the configuration's folder
    24 error: FOLDER/. is not a regular file | `files` names the plugin's files; relative paths start at the configuration's folder
    25 error: `memory` must be a size, not a number | write "64 B"
    25 error: `time` cannot be zero | for example "30 s"
    25 error: `output` is out of range | it is from 1 KiB to 64 MiB
    26 error: `on_failure` must be a text, not true or false
    27 error: unknown key `memory` in [plugins.NAME] | `memory` belongs in [plugins.NAME] limits
    28 error: unknown key `whatever` in [plugins.NAME] | keys are `path`, `sha256`, `settings`, `files`, `limits`, `on_failure` and `instances`
    30 error: `flat` must be a table, not a text | see [plugins.NAME]
    "#);
    insta::assert_snapshot!(said(&format!("[plugins.{}]\npath = 'a.wasm'\n", "a".repeat(41)), ""), @"
    1 error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` cannot be the name of a plugin | at most 40 of a-z, 0-9, `-` and `_`, beginning with a letter
    ");
    insta::assert_snapshot!(said("[[plugins]]\npath = 'a.wasm'\n", "filters = ['x']\n"), @"
    1 error: `plugins` must be a table, not a list | every plugin has a table of its own: [plugins.NAME]
    ");
}

#[test]
fn rules_that_name_plugins() {
    let plugins = "[plugins.ioc]\npath = 'a.wasm'\n[plugins.process-tree]\npath = 'b.wasm'\n";
    insta::assert_snapshot!(
        said(
            plugins,
            r#"filters = [
  "ioc",
  "icc",
  { plugin = "process_tree" },
  "geo",
  "Über Filter",
  { plugin = "ioc", when = "always" },
  1,
  { when = "allways" },
  { plugin = "process-tree", only = 1 },
  " ",
  ["ioc"],
]
renderers = [
  { source = "(", plugin = "ioc" },
  { source = "x" },
  { plugin = "ioc" },
  { source = "x", plugin = "iok" },
  "ioc",
]
Filters = []
"#
        ),
        @r#"
        11 error: there is no plugin `icc` | did you mean `ioc`?
        12 error: there is no plugin `process_tree` | did you mean `process-tree`?
        13 error: there is no plugin `geo` | there is no [plugins.geo]: write one, with its `path`
        14 error: there is no plugin `Über Filter` | rules name plugins by the NAME of [plugins.NAME]
        15 error: `ioc` is named twice in `filters` | a plugin is asked once for each event and rule: keep one of them
        16 error: `filters` must be a plugin's name or a table, not a number | for example "NAME" or { plugin = "NAME", when = "always" }
        17 error: `plugin` is missing in filters | Its name: NAME of [plugins.NAME].
        17 error: `when` cannot be "allways" | did you mean "always"?
        18 error: unknown key `only` in filters | keys are `plugin` and `when`
        19 error: `filters` is empty
        20 error: `filters` must be a plugin's name or a table, not a list | for example "NAME" or { plugin = "NAME", when = "always" }
        23 error: `source` is not a regular expression: unclosed group |     (
            ^
        24 error: `plugin` is missing in renderers | The plugin's name: NAME of [plugins.NAME].
        25 error: `source` is missing in renderers | Matched against `Artifact/Source`.
        26 error: there is no plugin `iok` | did you mean `ioc`?
        27 error: `renderers` must be a table, not a text | see renderers
        29 error: unknown key `Filters` in [[rule]] | did you mean `filters`?
        "#
    );
    insta::assert_snapshot!(said(plugins, "filters = \"ioc\"\nrenderers = { source = \"x\", plugin = \"ioc\" }\n"), @r#"
    9 error: `filters` must be a list, not a text | write filters = ["ioc"]
    10 error: `renderers` must be a list, not a table | put it in brackets: renderers = [{ … }]
    "#);
}

#[test]
fn a_plugin_that_no_rule_names_is_worth_a_word() {
    let plugins = "[plugins.ioc]\npath = 'a.wasm'\n[plugins.tree]\npath = 'b.wasm'\n[plugins.vip]\npath = 'b.wasm'\n";
    let rule = "renderers = [{ source = 'x', plugin = 'tree' }]\nfilters = ['vip']\n";
    insta::assert_snapshot!(said(plugins, rule), @"
    1 warning: no rule names the plugin `ioc` | name it in a rule's `filters` or `renderers`
    ");
    // Beside an error it is not: the error may be the reason.
    assert!(!said(plugins, &format!("{rule}html = 1\n")).contains("no rule names"));
}

#[test]
fn what_could_not_be_read_is_not_missed() {
    let torn = said("[plugins.ioc\npath = 'a.wasm'\n", "filters = ['ioc']\n");
    assert!(!torn.contains("there is no plugin"), "{torn}");
    assert_eq!(torn.lines().count(), 1, "{torn}");
}

#[test]
fn files_that_must_be_there_and_be_safe() {
    let folder = folder();
    let file = |name: &str, size: u64, mode: u32| {
        let path = folder.path().join(name);
        fs::File::create(&path).unwrap().set_len(size).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    };
    file("largest.wasm", 64 << 20, 0o600);
    file("larger.wasm", (64 << 20) + 1, 0o600);
    file("largest.txt", 16 << 20, 0o600);
    file("larger.txt", (16 << 20) + 1, 0o666);
    file("group.wasm", 1, 0o620);
    file("world.wasm", 1, 0o602);
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("a.wasm", folder.path().join("link.wasm")).unwrap();
    std::os::unix::fs::symlink("group.wasm", folder.path().join("bad-link.wasm")).unwrap();
    let shown = |path: &str, granted: &str, proof: Proof| {
        let text =
            format!("{HEAD}{RULE}filters = ['x']\n[plugins.x]\npath = '{path}'\nfiles = {{ list = '{granted}' }}\n");
        let examined = load::examine_text(&text, "bewit.toml", folder.path(), proof);
        assert_eq!(examined.plugins.len(), usize::from(examined.config.is_some()));
        list(&examined.diagnostics, &text, 0).replace(&folder.path().display().to_string(), "FOLDER")
    };
    for proof in [Proof::Text, Proof::Files, Proof::Everything] {
        assert_eq!(shown("largest.wasm", "largest.txt", proof), "");
        assert_eq!(shown("link.wasm", &folder.path().join("list.txt").display().to_string(), proof), "");
        let all = [
            ("none.wasm", "none.txt"),
            (".", "."),
            ("pipe", "pipe"),
            ("larger.wasm", "larger.txt"),
            ("group.wasm", "list.txt"),
            ("world.wasm", "list.txt"),
            ("bad-link.wasm", "list.txt"),
        ];
        let all: String = all.map(|(path, granted)| shown(path, granted, proof)).concat();
        insta::allow_duplicates! {
            insta::assert_snapshot!(all, @"
            11 error: FOLDER/none.wasm cannot be read: No such file or directory (os error 2) | `path` names the plugin's WebAssembly component; relative paths start at the configuration's folder
            12 error: FOLDER/none.txt cannot be read: No such file or directory (os error 2) | `files` names the plugin's files; relative paths start at the configuration's folder
            11 error: FOLDER/. is not a regular file | `path` names the plugin's WebAssembly component; relative paths start at the configuration's folder
            12 error: FOLDER/. is not a regular file | `files` names the plugin's files; relative paths start at the configuration's folder
            11 error: FOLDER/pipe is not a regular file | `path` names the plugin's WebAssembly component; relative paths start at the configuration's folder
            12 error: FOLDER/pipe is not a regular file | `files` names the plugin's files; relative paths start at the configuration's folder
            11 error: FOLDER/larger.wasm is larger than 64 MiB
            12 error: FOLDER/larger.txt is larger than 16 MiB
            11 error: FOLDER/group.wasm can be changed by others (mode 0620) | chmod go-w FOLDER/group.wasm
            11 error: FOLDER/world.wasm can be changed by others (mode 0602) | chmod go-w FOLDER/world.wasm
            11 error: FOLDER/bad-link.wasm can be changed by others (mode 0620) | chmod go-w FOLDER/bad-link.wasm
            ");
        }
    }
}

#[test]
fn as_it_is_shown() {
    let folder = folder();
    fs::set_permissions(folder.path().join("a.wasm"), Permissions::from_mode(0o664)).unwrap();
    let text = format!(
        "{HEAD}{RULE}filters = [\"icc\"]\n[plugins.ioc]\npath = \"a.wasm\"\nsettings = {{ token = \"canary\", x = nan }}\n"
    );
    let shown = look(&text, folder.path()).diagnostics.to_string();
    assert!(!shown.contains("canary"), "{shown}");
    insta::assert_snapshot!(shown.replace(&folder.path().display().to_string(), "FOLDER"), @r#"
    error: there is no plugin `icc`
     --> bewit.toml:9:12
      |
    9 | filters = ["icc"]
      |            ^^^^^
      = hint: did you mean `ioc`?

    error: FOLDER/a.wasm can be changed by others (mode 0664)
      --> bewit.toml:11:8
       |
    11 | path = "a.wasm"
       |        ^^^^^^^^
       = hint: chmod go-w FOLDER/a.wasm

    error: `x` is not a finite number
      --> bewit.toml:12:36
       |
    12 | settings = { token = ********* * * *** *
       |                                    ^^^
       = hint: JSON has neither inf nor nan

    3 errors
    "#);
}

/// The stock configuration with every `#` before a plugin's key taken away.
#[test]
fn the_stock_configuration_s_examples_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let keys = ["filters", "renderers"];
    let mut inside = false;
    let mut text = String::new();
    for line in load::STOCK.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        inside = line.starts_with("# [plugins.") || (inside && line.starts_with("# "));
        let key = bare.split(" = ").next().unwrap();
        text.push_str(if inside || keys.contains(&key) { bare } else { line });
        text.push('\n');
    }
    fs::create_dir(folder.path().join("plugins")).unwrap();
    for name in ["plugins/ioc-match.wasm", "plugins/process-tree.wasm", "iocs.txt"] {
        fs::write(folder.path().join(name), "x").unwrap();
        fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let examined = look(&text, folder.path());
    assert!(examined.diagnostics.findings.is_empty(), "{}", examined.diagnostics);
    let config = examined.config.unwrap();
    let ioc = &config.plugins[0];
    assert_eq!((ioc.name.as_str(), config.plugins[1].name.as_str()), ("ioc", "process-tree"));
    assert!(ioc.sha256.is_some() && !ioc.settings.is_empty() && !ioc.files.is_empty());
    // The others show what holds without them, as the file promises of all that is no example.
    assert_eq!((ioc.limits, ioc.on_failure, ioc.instances), {
        let bare = &config.plugins[1];
        (bare.limits, bare.on_failure, bare.instances)
    });
    assert_eq!((config.rules[0].filters.len(), config.rules[0].renderers.len()), (1, 1));
}
