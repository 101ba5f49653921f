use super::*;

/// One mistake of every kind in one file.
#[test]
fn every_error_is_reported_in_one_run() {
    let text = r#"[smtp]
server = "smtp://relay.example.org"
port = 70000
tls = "tls"
password = "hunter2"
retry = ["30 s", "2 minuts"]
give_up = 5
on_ambigous = "hold"

[outbox]
url = "postgres://bewit:hunter2@db/bewit"
min_free = "64 MIB"

[intake.spool]
pth = "spool"

[links]
base_url = "velociraptor.example.org"

[velociraptor]
org = ["root", "root"]

[[rule]]
name = "one"
recipents = ["a@example.org"]
on = "alert"
html = "yes"
artifacts_to_ignore = "(unclosed"
delay_threshold = "5 min"

[[rule]]
name = "one"
sender = "b@example.org"
recipients = ["Ana <ana@example.org>", "nobody", "c@example.org, d@example.org"]
filters = ["ioc"]
notify_executor_domains = [{ UsernameRegex = ".+", domain = "@example.org" }]
throttle = "digset"
"#;
    insta::assert_snapshot!(brief(text), @r#"
    2 error: `smtp://relay.example.org` is not a host name | only the host's name: server = "relay.example.org"
    3 error: `port` is out of range | it is from 1 to 65535
    4 error: `tls` cannot be "tls" | one of "starttls", "implicit", "none"
    5 error: `password` would keep a secret in this file | put it into a file of its own that others cannot read, and write password_file = "…"
    6 error: `2 minuts` is not a duration: there is no unit `minuts` | did you mean `minute`?
    7 error: `give_up` must be a duration, not a number | write "5 s"
    8 error: unknown key `on_ambigous` in [smtp] | did you mean `on_ambiguous`?
    11 error: an outbox on PostgreSQL is not supported by this version of Bewit | write url = "sqlite:bewit.db"
    12 error: `64 MIB` is not a size: there is no unit `MIB` | did you mean `MiB`?
    14 error: `path` is missing in [intake.spool] | The folder.
    15 error: unknown key `pth` in [intake.spool] | did you mean `path`?
    18 error: `base_url` has no scheme | write "https://velociraptor.example.org"
    20 error: `api_config` is missing in [velociraptor] | The API client file, as `velociraptor config api_client --role api` writes it. Others must not be able to read it.
    21 error: the org `root` is listed twice | keep one of them
    23 error: rule `one` has no sender | write sender = "…" in the rule, or from = "Bewit <bewit@example.org>" in [smtp] for all
    25 error: unknown key `recipents` in [[rule]] | did you mean `recipients`?
    26 error: `on = "alert"` is not supported by this version of Bewit | take it out, or use a version that has it
    27 error: `html` must be true or false, not a text | write true, without quotes
    28 error: `artifacts_to_ignore` is not a regular expression: unclosed group |     (unclosed
        ^
    29 error: `delay_threshold` must be a whole number, not a text | it counts seconds: write 300
    32 error: there are two rules named `one` | the first one is in line 24
    34 error: `Ana <ana@example.org>` is not an e-mail address: a character that no plain address has | recipients are bare addresses: "ana@example.org"
    34 error: `nobody` is not an e-mail address: there is no `@` | for example "soc@example.org"
    34 error: `c@example.org, d@example.org` is not an e-mail address: there is more than one `@` | one address in each pair of quotes
    35 error: there is no plugin `ioc` | there is no [plugins.ioc]: write one, with its `path`
    36 error: `@example.org` is not a mail domain | only what follows the @: "example.org"
    37 error: `throttle` cannot be "digset" | did you mean "digest"?
    "#);
}

#[test]
fn as_it_is_shown() {
    let text = format!("{HEAD}[[rule]]\nname = \"one\"\nrecipents = [\"a@example.org\"]\ndelay_threshold = \"300\"\n");
    insta::assert_snapshot!(findings(&text), @r#"
    error: unknown key `recipents` in [[rule]]
     --> bewit.toml:8:1
      |
    8 | recipents = ["a@example.org"]
      | ^^^^^^^^^
      = hint: did you mean `recipients`?

    error: `delay_threshold` must be a whole number, not a text
     --> bewit.toml:9:19
      |
    9 | delay_threshold = "300"
      |                   ^^^^^
      = hint: write 300, without quotes

    2 errors
    "#);
}

#[test]
fn no_secret_is_shown() {
    for text in [
        "[smtp]\nserver = \"relay\"\npassword = \"canary\"\n",
        "[smtp]\nserver = \"relay\"\npasword = 'canary'\n",
        "[smtp]\nserver = \"relay\"\npassword = \"canary\n",
        "[smtp]\nserver = \"relay\"\npassword = canary\n",
        "[smtp]\nserver = \"relay\"\ntoken: canary\n",
        "smtp = { server = 1, password = \"canary\" }\n",
        "[outbox]\nurl = \"postgres://bewit:canary@db/x\"\n",
    ] {
        let shown = findings(text).to_string();
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("error: "), "{shown}");
    }
}

#[test]
fn one_error_for_each_bad_statement() {
    let text = "[smtp]\nmailbox \"mail\"\nfrom = Bewit\nport = \n[intake.spool\npath = \"spool\"\nunknown = 1\n[[rule]]\n\
                name = \"foo\nrecipients = [\"a@example.org\",\n  \"b@example.org\"\nartifacts_to_ignore = \"^Generic\\.Client\"\n\
                delay_threshhold = 1\nhtml = true\nhtml = false\n";
    insta::assert_snapshot!(brief(text), @"
    2 error: a key with no value | write key = value
    3 error: a text must be in quotes | numbers, true and false stand without them
    4 error: a value is missing after `=`
    5 error: the section's name is not closed | it ends with `]`, or `]]` for [[rule]]
    9 error: the closing quote is missing
    10 error: the list is not closed | it ends with `]`
    12 error: a backslash that begins no escape | a backslash begins an escape; write paths and regular expressions in single quotes: '…'
    13 error: unknown key `delay_threshhold` in [[rule]] | did you mean `delay_threshold`?
    15 error: `html` is set twice | keep one of them
    ");
}

#[test]
fn statements_over_several_lines_are_left_alone() {
    let text = format!(
        "{HEAD}bad =\n{RULE}include_result_table_from = [\n  {{ source = \"a\" }},\n  # comment\n\n  {{ source = \"b\",\n    \
         columns = \"c\" }},\n]\nartifacts_to_alert_on = '''\n[x]\na = b'''\n"
    );
    insta::assert_snapshot!(brief(&text), @"
    6 error: a value is missing after `=`
    ");
}

#[test]
fn contradictions() {
    let server = |keys: &str| {
        brief(
            &format!("[smtp]\nserver = \"relay\"\n[intake.spool]\npath = \"s\"\n{RULE}sender = \"b@example.org\"\n")
                .replace("[intake", &format!("{keys}\n[intake")),
        )
    };
    insta::assert_snapshot!(server("mailbox = \"mail\""), @"
    2 error: `server` and `mailbox` exclude each other | mail goes to one of them: take the other out
    ");
    insta::assert_snapshot!(server("tls = \"none\"\nusername = \"u\"\npassword_env = \"PATH\""), @r#"
    4 error: credentials would travel in clear: `tls` is "none" | write tls = "starttls" or "implicit", or log in as nobody
    "#);
    insta::assert_snapshot!(server("username = \"u\""), @"
    3 error: a `username` without a password | write password_file, password_env, password_credential or password_command
    ");
    insta::assert_snapshot!(server("username = \"u\"\nauth = \"xoauth2\""), @"
    4 error: `auth` needs a token | write token_file, token_env, token_credential or token_command
    ");
    insta::assert_snapshot!(server("username = \"u\"\nauth = \"xoauth2\"\npassword_env = \"PATH\""), @r#"
    5 error: auth = "xoauth2" uses no password | it takes token_file, token_env, token_credential or token_command
    "#);
    insta::assert_snapshot!(server("username = \"u\"\ntoken_env = \"PATH\""), @r#"
    4 error: a token, but `auth` is "plain" | a token needs auth = "xoauth2" or "oauthbearer"
    "#);
    insta::assert_snapshot!(server("username = \"u\"\npassword_env = \"PATH\"\npassword_file = \"/x\""), @"
    5 error: the password is given more than once | keep one of them
    ");
    insta::assert_snapshot!(server("password_env = \"PATH\""), @r#"
    3 error: a password without a `username` | write username = "…" beside it
    "#);
    insta::assert_snapshot!(server("auth = \"login\""), @r#"
    3 error: `auth` without a `username` | write username = "…" beside it
    "#);
}

#[test]
fn files_that_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pw");
    std::fs::write(&path, "s3cret").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(folder.path().join("ca.pem"), "no certificate").unwrap();
    let text = "[smtp]\nserver = \"relay\"\nfrom = \"b@example.org\"\nroot_ca = \"ca.pem\"\nusername = \"u\"\npassword_file = \"pw\"\n\
                [intake.http]\nlisten = \"127.0.0.1:1\"\ntoken_credential = \"token\"\n[templates]\npath = \"none\"\n[[rule]]\nname = \"x\"\nnotify_executor = true\n";
    let examined = load::examine_text(text, "bewit.toml", folder.path(), Proof::Files);
    let shown = examined.diagnostics.to_string().replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(shown, @r#"
    error: FOLDER/ca.pem holds no certificate
     --> bewit.toml:4:11
      |
    4 | root_ca = "ca.pem"
      |           ^^^^^^^^
      = hint: a PEM file with the certificates to trust

    error: FOLDER/pw can be read by others (mode 0644)
     --> bewit.toml:6:17
      |
    6 | password_file = "pw"
      |                 ^^^^
      = hint: chmod o= FOLDER/pw

    error: there is no systemd credential `token` here
     --> bewit.toml:9:20
      |
    9 | token_credential = "token"
      |                    ^^^^^^^
      = hint: systemd sets CREDENTIALS_DIRECTORY for a unit with LoadCredential=token:PATH

    error: FOLDER/none cannot be read: No such file or directory (os error 2)
      --> bewit.toml:11:8
       |
    11 | path = "none"
       |        ^^^^^^
       = hint: the folder with your own templates; without [templates], the stock ones serve

    4 errors
    "#);
}

#[test]
fn a_certificate_that_is_one_passes() {
    let folder = tempfile::tempdir().unwrap();
    let key = "[smtp]\nserver = \"relay\"\nroot_ca = \"ca.pem\"\n";
    std::fs::write(folder.path().join("ca.pem"), ROOT).unwrap();
    assert!(load::parse(key, "x", folder.path()).is_ok());
    std::fs::write(folder.path().join("ca.pem"), ROOT.replace("MIIB", "MIIC")).unwrap();
    assert!(load::parse(key, "x", folder.path()).is_err());
}

#[test]
fn missing_parts() {
    insta::assert_snapshot!(brief(""), @"
    - error: [smtp] is missing | Where mail goes: a mail server, or a folder (`mailbox`).
    ");
    insta::assert_snapshot!(brief("[smtp]\n"), @r#"
    - error: [smtp] says nowhere where mail goes | write server = "…" for a mail server, or mailbox = "mail" for a folder of .eml files
    "#);
    insta::assert_snapshot!(brief("[smtp]\nmailbox = \"m\"\n[intake.http]\n[links]\n[templates]\n[web]\n[[rule]]\n"), @r#"
    3 error: `listen` is missing in [intake.http] | IP address and port.
    3 error: [intake.http] has no token | write token_file, token_env, token_credential or token_command: whoever pushes events must show it
    4 error: `base_url` is missing in [links] | Root of the Velociraptor server's GUI: links start at it, with app/index.html.
    5 error: `path` is missing in [templates] | A folder whose files override the stock templates by name.
    6 error: `listen` is missing in [web] | IP address and port.
    7 error: `name` is missing in [[rule]] | What the rule is called; no other rule has the same name.
    7 error: this rule has no sender | write sender = "…" in the rule, or from = "Bewit <bewit@example.org>" in [smtp] for all
    "#);
}

#[test]
fn a_rule_needs_a_sender() {
    insta::assert_snapshot!(brief(&format!("[smtp]\nmailbox = \"m\"\n[intake.spool]\npath = \"s\"\n{RULE}")), @r#"
    5 error: rule `one` has no sender | write sender = "…" in the rule, or from = "Bewit <bewit@example.org>" in [smtp] for all
    "#);
    // A wrong common sender is one mistake, not one for each rule.
    insta::assert_snapshot!(brief(&format!("[smtp]\nmailbox = \"m\"\nfrom = \"nobody\"\n[intake.spool]\npath = \"s\"\n{RULE}")), @r#"
    3 error: `nobody` is not an e-mail address: there is no `@` | for example "Bewit <bewit@example.org>"
    "#);
    assert_eq!(
        brief(&format!("[smtp]\nmailbox = \"m\"\n[intake.spool]\npath = \"s\"\n{RULE}sender = \"x@example.org\"\n")),
        ""
    );
}

#[test]
fn warnings_are_no_errors() {
    let text = "[smtp]\nserver = \"relay\"\nport = 465\ntls = \"starttls\"\nskip_verify = true\ngive_up = \"10 s\"\nfrom = \"b@example.org\"\n\
                [intake.http]\nlisten = \"0.0.0.0:80\"\ntoken_env = \"PATH\"\n\
                [[rule]]\nname = \"x\"\nnotify_executor_domains = [{ username_regex = \"\", domain = \"example.org\" }]\n\
                include_result_table_from = [{ source = \"a\", max_rows = 200 }]\n\
                include_result_attachment_from = [{ source = \"a\" }]\nattachments_max_mib = 0\n";
    insta::assert_snapshot!(brief(text), @r#"
    4 warning: STARTTLS on port 465 | servers expect tls = "implicit" on port 465
    5 warning: certificates are not verified | whoever sits between can read the password and the mail: write root_ca = "ca.pem" instead
    6 warning: a mail is given up before it is tried a second time | `give_up` is for days
    9 warning: events and their token travel in clear | listen on 127.0.0.1 behind a proxy that speaks TLS
    11 warning: rule `x` has nobody to tell | write recipients = ["soc@example.org"], notify_executor = true, or notify_metadata_email = "owner"
    13 warning: `notify_executor_domains` does nothing | it is used only with notify_executor = true
    14 warning: a table shows 100 rows at most | attach the results to have all
    15 warning: `include_result_attachment_from` does nothing | attachments_max_mib = 0 attaches nothing
    "#);
    let text = "[smtp]\nmailbox = \"m\"\nport = 25\n";
    insta::assert_snapshot!(brief(text), @"
    - warning: no intake is configured | without [velociraptor], [intake.spool] or [intake.http], events come from standard input alone (`bewit run -`)
    - warning: there is no rule | without a [[rule]], nobody is told of anything
    3 warning: `port` does nothing without `server` | mail goes to the folder `mailbox`
    ");
}

#[test]
fn wrong_types_say_what_to_write() {
    insta::assert_snapshot!(
        brief(&format!(
            "{HEAD}poll = 10\nlimits = {{ line = 100, depth = 0 }}\n[web]\nlisten = \"localhost:8026\"\n[rule]\nname = \"x\"\n"
        )),
        @r#"
        6 error: `poll` must be a duration, not a number | write "10 s"
        7 error: `line` must be a size, not a number | write "100 B"
        7 error: `depth` is out of range | it is from 1 to 127
        9 error: `localhost:8026` is not an address to listen on | write "127.0.0.1:8026"
        10 error: `rule` must be a list, not a table | every rule begins with [[rule]], in double brackets
        "#
    );
    insta::assert_snapshot!(
        brief(&format!(
            "{HEAD}{RULE}notify_executor_domains = {{ username_regex = \"a\", domain = \"b\" }}\nerror_handling = [\"IgnoreCanceled\"]\n\
             client_metadata = [\"owner\"]\nartifacts_to_ignore = [\"a\"]\nnew_client_threshold = 1.5\nsend_interval = \"-1 s\"\n\
             template = \"../x\"\nRecipients = [\"b@example.org\"]\nSecret = \"creds\"\nbase_url = \"x\"\n"
        )),
        @r#"
        9 error: `notify_executor_domains` must be a list, not a table | put it in brackets: notify_executor_domains = [{ … }]
        10 error: `error_handling` cannot be "IgnoreCanceled" | did you mean "IgnoreCancelled"?
        11 error: `client_metadata` must be a table, not a text | see client_metadata
        12 error: `artifacts_to_ignore` must be a text, not a list | take the brackets away
        13 error: `new_client_threshold` must be a whole number, not a number with a fraction
        14 error: `-1 s` is not a duration | a whole number and a unit, for example `30 s`
        15 error: `../x` is not the name of a template set | NAME of the files NAME.subject.j2, NAME.html.j2 and NAME.txt.j2
        16 error: `Recipients` and `recipients` are one key | keep one of them
        17 error: `Secret` is no key of a rule | what Velociraptor keeps in a secret of type "SMTP Creds" stands in [smtp]
        18 error: unknown key `base_url` in [[rule]] | `base_url` belongs in [links]
        "#
    );
}

#[test]
fn links_and_outboxes() {
    let url = |url: &str| brief(&format!("{HEAD}{RULE}[links]\nbase_url = \"{url}\"\n"));
    insta::assert_snapshot!(
        ["ftp://host/", "https:///", "https://u:p@host/", "https://host/?x", "https://host/app/index.html", "https://ho st/", "https://bücher/"]
            .map(url).concat(),
        @r#"
        10 error: `base_url` is not a web address | it begins with https://
        10 error: `base_url` names no host | for example "https://velociraptor.example.org/"
        10 error: `base_url` holds a user name | links must not carry credentials
        10 error: `base_url` has a query or a fragment | only the server's root, for example "https://host/"
        10 error: `base_url` is the GUI's page, not the server's root | write "https://host/"
        10 error: `base_url` holds characters that no web address has | write them in %XX or xn-- form
        10 error: `base_url` holds characters that no web address has | write them in %XX or xn-- form
        "#
    );
    let outbox = |url: &str| brief(&format!("{HEAD}{RULE}[outbox]\nurl = \"{url}\"\n"));
    insta::assert_snapshot!(
        ["bewit.db", "sqlite:", "sqlite::memory:", "sqlite:x?mode=ro", "sqlite:dir/", "mysql://x"].map(outbox).concat(),
        @r#"
        10 error: `url` has no scheme | write url = "sqlite:bewit.db"
        10 error: `url` names no database file | for example "sqlite:bewit.db"
        10 error: `url` names no database file | for example "sqlite:bewit.db"
        10 error: `url` names no database file | for example "sqlite:bewit.db"
        10 error: `url` names no database file | for example "sqlite:bewit.db"
        10 error: there is no outbox on `mysql` | write url = "sqlite:bewit.db"
        "#
    );
}

#[test]
fn hosts() {
    let server = |server: &str| {
        brief(&format!(
            "[smtp]\nserver = \"{server}\"\n[intake.spool]\npath = \"s\"\n{RULE}sender = \"b@example.org\"\n"
        ))
    };
    insta::assert_snapshot!(["relay:587", "bücher.example", "a b", "-", "a..b"].map(server).concat(), @r#"
    2 error: `relay:587` is not a host name | the port has a key of its own: server = "relay", port = 587
    2 error: `bücher.example` is not a host name | write an international name in its ASCII form (xn--…)
    2 error: `a b` is not a host name | for example "relay.example.org"
    2 error: `-` is not a host name | for example "relay.example.org"
    2 error: `a..b` is not a host name | for example "relay.example.org"
    "#);
}

#[test]
fn files_that_are_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let shown =
        |path: &Path| load::load(path).unwrap_err().to_string().replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(shown(&folder.path().join("none.toml")), @"
    error: the configuration cannot be read: No such file or directory (os error 2)
     --> FOLDER/none.toml
      = hint: -c FILE names another; `bewit demo` needs none
    ");
    insta::assert_snapshot!(shown(folder.path()), @"
    error: this is a folder, not a configuration file
     --> FOLDER
    ");
    let path = folder.path().join("latin.toml");
    std::fs::write(&path, b"[smtp]\nfrom = \"J\xf6rg\"\n").unwrap();
    insta::assert_snapshot!(shown(&path), @"
    error: line 2 is not UTF-8
     --> FOLDER/latin.toml
      = hint: save the file as UTF-8
    ");
}

#[test]
fn anything_at_all_is_survived() {
    let pieces = [
        "[", "]", "[[rule]]", "=", "\"", "'''", "\"\"\"", "{", "}", "\n", "a", "smtp", ".", "é", "\0", "\u{1b}", "#",
        ",", "1", "\\",
    ];
    let mut seed = 7_u64;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
        }
        let shown = findings(&text).to_string();
        assert!(!shown.contains(['\0', '\u{1b}']), "{text:?}");
    }
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(findings(&deep).errors() > 0);
    let dotted = format!("{HEAD}[plugins.x]\nsettings{} = 1", ".a".repeat(100_000));
    assert!(findings(&dotted).errors() > 0);
}

/// A self-signed root, made for this test.
const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBizCCATGgAwIBAgIUXLvVhHBSEvw+XHK4wb/gHXN7rOIwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPQmV3aXQgdGVzdCByb290MCAXDTI2MTEyNDIyMDY0MVoYDzIx
MjYxMDMxMjIwNjQxWjAaMRgwFgYDVQQDDA9CZXdpdCB0ZXN0IHJvb3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAARyHzO+sOcCm7lzuVZtymEii3MLjj/LjKBSedw4
he6nSZrWVbOAeD77Oai9TMqVjBHhGONjqWq5XtuzxtgmeOQco1MwUTAdBgNVHQ4E
FgQUTIM0SPxxiRx2hnCMo03xB4tueMUwHwYDVR0jBBgwFoAUTIM0SPxxiRx2hnCM
o03xB4tueMUwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiA5h7vm
WbTAvzKzPdhVE65vEdonji11tXsUNNQp0pN0EwIhAK6W9Oz82BSwml9acybdG/+V
WRoRLo47QdS0ZmzZh8V7
-----END CERTIFICATE-----
";
