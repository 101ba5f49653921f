use std::time::Duration;

use super::super::secret::Secret;
use super::super::{Mechanism, OnAmbiguous, Timeouts, TlsMode, Transport};
use super::*;
use crate::event::line::LineLimits;
use crate::rule::{AttachmentFormat, Delivery, ErrorHandling, Throttle};

fn smtp(keys: &str) -> super::super::SmtpConfig {
    let config = good(&format!("[smtp]\nfrom = \"bewit@example.org\"\nserver = \"relay\"\n{keys}\n"));
    match config.transport {
        Transport::Smtp(smtp) => *smtp,
        Transport::Mailbox(path) => panic!("a folder: {}", path.display()),
    }
}

#[test]
fn the_stock_configuration_is_right_in_a_fresh_folder() {
    let folder = tempfile::tempdir().unwrap();
    let examined = load::examine_text(load::STOCK, "bewit.toml", folder.path(), Proof::Everything);
    assert!(examined.diagnostics.findings.is_empty(), "{}", examined.diagnostics);
    let config = examined.config.unwrap();
    assert!(matches!(&config.transport, Transport::Mailbox(path) if *path == folder.path().join("mail")));
    assert_eq!(config.outbox.path, folder.path().join("bewit.db"));
    assert_eq!(config.spool.unwrap().path, folder.path().join("spool"));
    assert_eq!(config.base_url.as_deref(), Some("https://velociraptor.example.org/"));
    let names: Vec<_> = config.rules.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["analyst", "vip"]);
    assert_eq!(config.rules[0].client_metadata.len(), 3);
}

#[test]
fn the_stock_configuration_shows_every_key() {
    let shown: Vec<_> = load::STOCK
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split(" =").next())
        .map(|key| key.trim_start_matches(['{', ' ']).to_owned())
        .collect();
    let all = load::STOCK;
    for name in super::schema::keys() {
        let inside = [format!("{name} = "), format!("[{name}]"), format!("[{name}."), format!(".{name}]")];
        assert!(
            shown.contains(&name) || inside.iter().any(|pattern| all.contains(pattern.as_str())),
            "`{name}` is not in bewit.toml"
        );
    }
}

#[test]
fn the_example_of_the_design() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["smtp-password", "token"] {
        let path = folder.path().join(name);
        std::fs::write(&path, "s3cret\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    }
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    let text = r#"
[smtp]                       # what Velociraptor keeps in an "SMTP Creds" secret
server = "localhost"
port = 587
username = "bewit"
password_file = "smtp-password"
from = "Bewit <bewit@example.org>"
tls = "starttls"             # starttls (required) | implicit | none
skip_verify = false          # root_ca = "ca.pem" is the better way
connections = 4              # most at a time
timeouts = { connect = "30 s", greeting = "5 min", command = "5 min", data = "3 min", final = "10 min" }
retry = ["30 s", "2 min", "5 min", "15 min", "30 min", "1 h"]   # the last one repeats, each with 20 % jitter
give_up = "5 d"
on_ambiguous = "resend"

[outbox]
url = "sqlite:bewit.db"
retention = "30 d"
min_free = "64 MiB"

[intake.spool]
path = "spool"
poll = "10 s"
limits = { line = "16 MiB", depth = 64, nodes = 2000000 }
[intake.http]
listen = "127.0.0.1:8027"
token_file = "token"
max_body = "16 MiB"

[links]
base_url = "https://velociraptor.example.org/"

[templates]
path = "templates"

[web]
listen = "127.0.0.1:8026"

[[rule]]
name = "analyst"
on = "flow-completion"
notify_executor = true
notify_executor_domains = [{ username_regex = ".+", domain = "example.org" }]
delay_threshold = 300
include_result_table_from = [{ source = "DiskSpace$", columns = "Filesystem|Size|Avail|Use%", max_rows = 20 }]
template = "flow-completion"
"#;
    let examined = load::examine_text(text, "bewit.toml", folder.path(), Proof::Everything);
    assert!(examined.diagnostics.findings.is_empty(), "{}", examined.diagnostics);
    let config = examined.config.unwrap();
    let Transport::Smtp(smtp) = &config.transport else { panic!() };
    assert_eq!((smtp.server.as_str(), smtp.port, smtp.tls, smtp.connections), ("localhost", 587, TlsMode::StartTls, 4));
    assert_eq!(smtp.helo, "example.org");
    assert_eq!(smtp.timeouts, Timeouts::default());
    let credentials = smtp.credentials.as_ref().unwrap();
    assert_eq!((credentials.username.as_str(), credentials.mechanism), ("bewit", Mechanism::Plain));
    assert_eq!(credentials.secret.read().unwrap().expose(), "s3cret");
    assert_eq!(config.retry.waits.iter().map(Duration::as_secs).collect::<Vec<_>>(), [30, 120, 300, 900, 1800, 3600]);
    assert_eq!(config.limits, LineLimits::default());
    assert_eq!(config.templates, Some(folder.path().join("templates")));
    assert_eq!(config.web.unwrap().listen.port(), 8026);
    let rule = &config.rules[0];
    assert_eq!(rule.delay_threshold, 300);
    assert_eq!(rule.include_result_table_from[0].max_rows, 20);
    assert_eq!(rule.notify_executor_domains[0].domain, "example.org");
}

#[test]
fn what_is_not_written_is_the_artifact_s_default() {
    let config = good(&format!("{HEAD}{RULE}"));
    let rule = &config.rules[0];
    assert!(!rule.notify_executor && rule.html && !rule.notify_hunts && !rule.keep_empty_rows);
    assert_eq!(rule.artifacts_to_alert_on.source(), ".+");
    assert_eq!(rule.artifacts_to_ignore.source(), r"^(Custom\.)?Generic\.Client\.Info$");
    assert_eq!(rule.client_labels_to_alert_on.source(), ".+");
    assert!(rule.client_labels_to_ignore.is_empty() && rule.new_client_artifacts.is_empty());
    assert!(rule.artifact_perm_to_alert_on.is_empty() && rule.notify_metadata_email.is_empty());
    assert_eq!((rule.new_client_threshold, rule.delay_threshold), (300, 10));
    assert_eq!(rule.error_handling, ErrorHandling { ignore_cancelled: true, ..ErrorHandling::default() });
    assert_eq!((rule.send_interval, rule.throttle), (Duration::from_secs(10), Throttle::Digest));
    assert_eq!((rule.include_uploads_table_rows, rule.result_table_max_columns), (10, 4));
    assert_eq!((rule.attachment_format, rule.attachments_max_mib), (AttachmentFormat::Jsonl, 100));
    assert_eq!(rule.notify_if_results_labels.source(), "^notify_results$");
    assert_eq!(rule.notify_if_uploads_labels.source(), "^notify_uploads$");
    assert_eq!((rule.template.as_str(), rule.delivery), ("flow-completion", Delivery::Individual));
    assert_eq!((rule.sender.name.as_str(), rule.sender.address.as_str()), ("Bewit", "bewit@example.org"));
    assert_eq!(config.outbox.path, Path::new("/etc/bewit/bewit.db"));
    assert_eq!((config.outbox.retention.as_secs(), config.outbox.min_free), (30 * 86_400, 64 << 20));
    assert!(config.http.is_none() && config.web.is_none() && config.base_url.is_none() && config.templates.is_none());
}

#[test]
fn velociraptor_s_own_names_mean_the_same() {
    let snake = r#"
recipients = ["a@example.org"]
notify_executor = true
notify_executor_domains = [{ username_regex = "^a", domain = "example.org" }]
notify_metadata_email = "owner"
sender = "Other <other@example.org>"
html = false
artifacts_to_alert_on = "Windows"
artifacts_to_ignore = "Linux"
client_labels_to_alert_on = "vip"
client_labels_to_ignore = "test"
notify_hunts = true
new_client_artifacts = "Info"
new_client_threshold = 60
artifact_perm_to_alert_on = "EXECVE"
error_handling = ["IncludeHunts", "IgnoreArtifactFilters", "IgnoreDelay"]
delay_threshold = -1
send_interval = 60
keep_empty_rows = true
client_metadata = [{ field = "owner", alias = "Owner" }]
include_uploads_table_rows = 3
include_result_table_from = [{ source = "A", columns = "B", max_rows = 7, cell_limit = 9 }]
result_table_max_columns = 6
include_result_attachment_from = [{ source = "C", columns = "D", max_rows = 11 }]
attachment_format = "csv"
attachments_max_mib = 5
notify_if_results_labels = "r"
notify_if_uploads_labels = "u"
"#;
    let camel = r#"
Recipients = ["a@example.org"]
NotifyExecutor = true
NotifyExecutorDomains = [{ UsernameRegex = "^a", Domain = "example.org" }]
NotifyMetadataEMail = "owner"
Sender = "Other <other@example.org>"
HTML = false
ArtifactsToAlertOn = "Windows"
ArtifactsToIgnore = "Linux"
ClientLabelsToAlertOn = "vip"
ClientLabelsToIgnore = "test"
NotifyHunts = true
NewClientArtifacts = "Info"
NewClientThreshold = 60
ArtifactPermToAlertOn = "EXECVE"
ErrorHandling = ["IncludeHunts", "IgnoreArtifactFilters", "IgnoreDelay"]
DelayThreshold = -1
SendInterval = 60
KeepEmptyRows = true
ClientMetadata = [{ Field = "owner", Alias = "Owner" }]
IncludeUploadsTableRows = 3
IncludeResultTableFrom = [{ Source = "A", Columns = "B", MaxRows = 7, CellLimit = 9 }]
ResultTableMaxColumns = 6
IncludeResultAttachmentFrom = [{ Source = "C", Columns = "D", MaxRows = 11 }]
AttachmentFormat = "csv"
AttachmentsMaxMiB = 5
NotifyIfResultsLabels = "r"
NotifyIfUploadsLabels = "u"
"#;
    let snake = good(&format!("{HEAD}[[rule]]\nname = \"x\"\n{snake}"));
    let camel = good(&format!("{HEAD}[[rule]]\nname = \"x\"\n{camel}"));
    assert_eq!(format!("{:?}", snake.rules), format!("{:?}", camel.rules));
    let rule = &camel.rules[0];
    assert!(rule.notify_executor && !rule.html && rule.notify_hunts && rule.keep_empty_rows);
    assert!(rule.error_handling.ignore_delay && !rule.error_handling.ignore_cancelled);
    assert_eq!((rule.delay_threshold, rule.send_interval.as_secs()), (-1, 60));
    assert_eq!((rule.include_result_table_from[0].max_rows, rule.include_result_table_from[0].cell_limit), (7, 9));
    assert_eq!(rule.include_result_attachment_from[0].max_rows, Some(11));
    assert_eq!(rule.attachment_format, AttachmentFormat::Csv);
    assert_eq!(rule.sender.address, "other@example.org");
}

#[test]
fn limits_of_tables_and_attachments() {
    let rows = |row: &str| {
        let config = good(&format!("{HEAD}{RULE}include_result_table_from = [{row}]\n"));
        let table = &config.rules[0].include_result_table_from[0];
        (table.max_rows, table.cell_limit)
    };
    assert_eq!(rows("{ source = \"x\" }"), (100, 10_000));
    assert_eq!(rows("{ source = \"x\", max_rows = 0, cell_limit = -1 }"), (100, 10_000));
    assert_eq!(rows("{ source = \"x\", max_rows = 100000, cell_limit = 100000 }"), (100, 10_000));
    assert_eq!(rows("{ source = \"x\", max_rows = 1, cell_limit = 2 }"), (1, 2));
    for (written, meant) in
        [("", None), (", max_rows = 0", None), (", max_rows = -3", None), (", max_rows = 500", Some(500))]
    {
        let config = good(&format!("{HEAD}{RULE}include_result_attachment_from = [{{ source = \"x\"{written} }}]\n"));
        assert_eq!(config.rules[0].include_result_attachment_from[0].max_rows, meant);
    }
    let config = good(&format!(
        "{HEAD}{RULE}attachments_max_mib = -1\ninclude_uploads_table_rows = -5\nresult_table_max_columns = 0\n"
    ));
    let rule = &config.rules[0];
    assert_eq!((rule.attachments_max_mib, rule.include_uploads_table_rows, rule.result_table_max_columns), (0, 0, 4));
}

#[test]
fn send_interval_is_a_duration_or_seconds() {
    for (written, seconds) in
        [("\"10 s\"", 10), ("\"1 h 30 min\"", 5400), ("\"0 s\"", 0), ("0", 0), ("-1", 0), ("60", 60)]
    {
        let config = good(&format!("{HEAD}{RULE}send_interval = {written}\n"));
        assert_eq!(config.rules[0].send_interval.as_secs(), seconds, "{written}");
    }
}

#[test]
fn an_empty_list_of_failures_is_no_failure() {
    let config = good(&format!("{HEAD}{RULE}error_handling = []\n"));
    assert_eq!(config.rules[0].error_handling, ErrorHandling::default());
}

#[test]
fn port_and_tls_fill_each_other_in() {
    for (keys, port, tls) in [
        ("", 587, TlsMode::StartTls),
        ("port = 465", 465, TlsMode::Implicit),
        ("port = 25", 25, TlsMode::StartTls),
        ("tls = \"implicit\"", 465, TlsMode::Implicit),
        ("tls = \"none\"", 25, TlsMode::None),
        ("port = 465\ntls = \"none\"", 465, TlsMode::None),
        ("port = 2525\ntls = \"implicit\"", 2525, TlsMode::Implicit),
    ] {
        let smtp = smtp(keys);
        assert_eq!((smtp.port, smtp.tls), (port, tls), "{keys}");
    }
}

#[test]
fn a_part_of_the_timeouts_keeps_the_rest() {
    let timeouts = smtp("timeouts = { greeting = \"7 s\", final = \"9 min\" }").timeouts;
    let wanted = Timeouts { greeting: Duration::from_secs(7), final_: Duration::from_secs(540), ..Timeouts::default() };
    assert_eq!(timeouts, wanted);
}

#[test]
fn hosts() {
    for (written, meant) in
        [("[::1]", "::1"), ("::1", "::1"), ("192.0.2.1", "192.0.2.1"), ("mail.example.org.", "mail.example.org.")]
    {
        let config = good(&format!("[smtp]\nserver = \"{written}\"\n"));
        let Transport::Smtp(smtp) = config.transport else { panic!() };
        assert_eq!(smtp.server, meant);
    }
}

#[test]
fn helo_is_the_sender_s_domain_or_the_host_s_name() {
    let helo = |from: &str| {
        let config = good(&format!("[smtp]\nserver = \"relay\"\n{from}\n"));
        let Transport::Smtp(smtp) = config.transport else { panic!() };
        smtp.helo
    };
    assert_eq!(helo("from = \"Bewit <b@mail.example.org>\""), "mail.example.org");
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    assert_eq!(helo(""), host);
    assert_eq!(helo("from = \"b@bücher.example\""), host);
}

#[test]
fn secrets_and_mechanisms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "s3cret").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let shown = path.display();
    let credentials = |keys: &str| smtp(&format!("username = \"u\"\n{keys}")).credentials.unwrap();
    let file = credentials(&format!("password_file = '{shown}'\nauth = \"login\""));
    assert!(matches!((&file.secret, file.mechanism), (Secret::File(read), Mechanism::Login) if *read == path));
    let env = credentials("token_env = \"PATH\"\nauth = \"xoauth2\"");
    assert!(matches!((&env.secret, env.mechanism), (Secret::Env(name), Mechanism::XOAuth2) if name == "PATH"));
    for written in ["[\"oauth\", \"--for\", \"smtp\"]", "\"oauth  --for smtp\""] {
        let command = credentials(&format!("token_command = {written}\nauth = \"oauthbearer\""));
        assert!(matches!(command.secret, Secret::Command(argv) if argv == ["oauth", "--for", "smtp"]));
    }
    assert!(smtp("").credentials.is_none());
}

#[test]
fn commands_run_only_when_everything_is_proved() {
    let text = "[smtp]\nserver = \"relay\"\nusername = \"u\"\npassword_command = \"/no/such/program\"\n";
    let look = |proof| load::examine_text(text, "bewit.toml", Path::new("/"), proof).diagnostics.errors();
    assert_eq!((look(Proof::Text), look(Proof::Files), look(Proof::Everything)), (0, 0, 1));
    let text = "[smtp]\nserver = \"relay\"\nroot_ca = \"/no\"\nusername = \"u\"\npassword_file = \"/no\"\n";
    let look = |proof| load::examine_text(text, "bewit.toml", Path::new("/"), proof).diagnostics.errors();
    assert_eq!((look(Proof::Text), look(Proof::Files), look(Proof::Everything)), (0, 2, 2));
}

#[test]
fn small_things() {
    let config = good(
        "[smtp]\nmailbox = \"/var/mail\"\non_ambiguous = \"hold\"\n[outbox]\nurl = \"sqlite:///var/lib/b.db\"\n\
         [links]\nbase_url = \"https://host:8889/base\"\n",
    );
    assert_eq!(config.outbox.path, Path::new("/var/lib/b.db"));
    assert_eq!(config.base_url.as_deref(), Some("https://host:8889/base/"));
    assert_eq!(smtp("on_ambiguous = \"hold\"").on_ambiguous, OnAmbiguous::Hold);
    let config =
        good(&format!("\u{feff}{HEAD}limits = {{ depth = 9, line = \"1 KiB\" }}\r\nkeep = true\r\npoll = \"1 s\"\r\n"));
    assert_eq!((config.limits.depth, config.limits.line, config.limits.nodes), (9, 1024, 2_000_000));
    let spool = config.spool.unwrap();
    assert!(spool.keep && spool.poll == Duration::from_secs(1));
}

#[test]
fn relative_paths_start_at_the_file_s_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.toml");
    std::fs::write(&path, format!("{HEAD}{RULE}")).unwrap();
    let config = load::load(&path).unwrap();
    assert!(matches!(&config.transport, Transport::Mailbox(mailbox) if *mailbox == folder.path().join("mail")));
    let config = load::parse(HEAD, "x", Path::new("")).unwrap();
    assert!(config.outbox.path.is_absolute());
}

#[test]
fn the_studio_needs_a_token_wherever_others_reach_it() {
    let examine = |web: &str| {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "s3cret").unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let text = format!("[smtp]\nmailbox = \"m\"\nfrom = \"b@example.org\"\n[web]\n{web}\n");
        load::examine_text(&text, "bewit.toml", folder.path(), Proof::Everything)
    };
    let web = |text: &str| examine(text).config.map(|config| config.web.unwrap());
    let local = web("listen = \"127.0.0.1:1\"").unwrap();
    assert!(local.token.is_none() && local.hosts.is_empty());
    assert!(web("listen = \"[::1]:1\"\ntoken_file = \"token\"").unwrap().token.is_some());
    for open in ["listen = \"0.0.0.0:1\"", "listen = \"127.0.0.1:1\"\nhosts = [\"bewit.example.org\"]"] {
        let refused = examine(open);
        assert!(refused.config.is_none());
        assert!(refused.diagnostics.to_string().contains("has no token"), "{}", refused.diagnostics);
        let told = examine(&format!("{open}\ntoken_file = \"token\""));
        assert_eq!(told.diagnostics.to_string().contains("in clear"), open.contains("0.0.0.0"), "{}", told.diagnostics);
        assert!(told.config.is_some());
    }
    let named = web("listen = \"127.0.0.1:1\"\ntoken_file = \"token\"\nhosts = [\"Bewit.Example.org\"]").unwrap();
    assert_eq!(named.hosts, ["bewit.example.org"]);
    for wrong in ["https://bewit.example.org", "bewit:8026", "a b"] {
        let text = format!("listen = \"127.0.0.1:1\"\ntoken_file = \"token\"\nhosts = [\"{wrong}\"]");
        assert!(examine(&text).diagnostics.to_string().contains("not the name of a host"), "{wrong}");
    }
}
