use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::super::Orgs;
use super::*;

/// An API client file as `velociraptor config api_client` writes it.
pub(super) fn api_file(folder: &Path) -> PathBuf {
    let identity = rcgen::generate_simple_self_signed(vec!["bewit".to_owned()]).unwrap();
    let block = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let (cert, key) = (block(&identity.cert.pem()), block(&identity.signing_key.serialize_pem()));
    let path = folder.join("api.config.yaml");
    let text = format!(
        "ca_certificate: |\n{cert}client_cert: |\n{cert}client_private_key: |\n{key}api_connection_string: \
         velo.example.org:8001\nname: bewit\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Findings on `[velociraptor]` with these keys beside a good `api_config`.
fn with(keys: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    api_file(folder.path());
    let text = format!("[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}\n{HEAD}{RULE}");
    list(&load::examine_text(&text, "bewit.toml", folder.path(), Proof::Files).diagnostics, &text, 0)
}

#[test]
fn what_it_means() {
    let folder = tempfile::tempdir().unwrap();
    let path = api_file(folder.path());
    let of = |keys: &str| {
        let text = format!("[velociraptor]\napi_config = \"{}\"\n{keys}\n{HEAD}{RULE}", path.display());
        good(&text).velociraptor.unwrap()
    };
    let plain = of("");
    assert_eq!((plain.api_config.as_path(), plain.watch, &plain.publish), (path.as_path(), true, &None));
    assert_eq!(plain.orgs, Orgs::These(vec!["root".to_owned()]));
    assert_eq!(of("org = \"O1AB\"").orgs, Orgs::These(vec!["O1AB".to_owned()]));
    assert_eq!(of("org = [\"root\", \"O1AB\"]").orgs, Orgs::These(vec!["root".to_owned(), "O1AB".to_owned()]));
    let all = of("org = \"*\"\nwatch = false\npublish = \"Custom.Server.Bewit.Notifications\"");
    assert_eq!((all.orgs, all.watch), (Orgs::All, false));
    assert_eq!(all.publish.as_deref(), Some("Custom.Server.Bewit.Notifications"));
    assert!(good(&format!("{HEAD}{RULE}")).velociraptor.is_none());
}

#[test]
fn what_is_wrong_with_its_keys() {
    insta::assert_snapshot!(
        [
            "org = []",
            "org = [\"root\", \"O1\", \"root\"]",
            "org = [\"*\"]",
            "org = \"<root>\"",
            "org = \"Root\"",
            "org = \"Acme Ltd\"",
            "org = 1",
            "org = \"\"",
            "watch = \"yes\"",
            "publish = \"Custom Notifications\"",
            "publish = \"System.Flow.Completion\"",
            "orgs = \"root\"",
            "client_private_key = \"canary\"",
        ]
        .map(with)
        .concat(),
        @r#"
        3 error: `org` lists no org | name one, or write org = "*" for all; watch = false watches none
        3 error: the org `root` is listed twice | keep one of them
        3 error: `*` is not an org's id | every org is more than a list: write org = "*", without brackets
        3 error: `<root>` is not an org's id | write "root"
        3 error: `Root` is not an org's id | did you mean `root`?
        3 error: `Acme Ltd` is not an org's id | an id such as "root" or "O123", not the org's name: the server's GUI lists both
        3 error: `org` must be an org's id or a list of ids, not a number | for example "root", or "*" for all
        3 error: `org` is empty
        3 error: `watch` must be true or false, not a text | write true, without quotes
        3 error: `Custom Notifications` is not the name of an artifact | write publish = "Custom.Server.Bewit.Notifications": the artifact is shipped in velociraptor/
        3 error: `System.Flow.Completion` is the server's own: it would act on notifications as on its own events | write publish = "Custom.Server.Bewit.Notifications": the artifact is shipped in velociraptor/
        3 error: unknown key `orgs` in [velociraptor] | did you mean `org`?
        3 error: `client_private_key` stands in the API client file, not here | write api_config = "api.config.yaml", the file that `velociraptor config api_client` has written
        "#
    );
}

#[test]
fn the_file_must_be_there_and_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = api_file(folder.path());
    let text = format!("[velociraptor]\napi_config = \"api.config.yaml\"\n{HEAD}{RULE}");
    let look = |proof: Proof| {
        let shown = list(&load::examine_text(&text, "bewit.toml", folder.path(), proof).diagnostics, &text, 0);
        shown.replace(&folder.path().display().to_string(), "FOLDER")
    };
    assert_eq!(look(Proof::Files), "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    insta::assert_snapshot!(look(Proof::Files), @"
    2 error: FOLDER/api.config.yaml: others can read or change it (mode 0644), and it holds a private key: `chmod o= FOLDER/api.config.yaml`
    ");
    // Who only explains may be one of those who must not read it.
    assert_eq!(look(Proof::Text), "");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "name: bewit\n").unwrap();
    insta::assert_snapshot!(look(Proof::Files), @"
    2 error: FOLDER/api.config.yaml: no `client_private_key` in it; `velociraptor config api_client --name NAME --role api FILE` writes one
    ");
    std::fs::remove_file(&path).unwrap();
    insta::assert_snapshot!(look(Proof::Text), @"
    2 error: FOLDER/api.config.yaml cannot be read: No such file or directory (os error 2) | `velociraptor --config server.config.yaml config api_client --name bewit --role api api.config.yaml` writes one
    ");
    std::fs::create_dir(&path).unwrap();
    insta::assert_snapshot!(look(Proof::Files), @"
    2 error: FOLDER/api.config.yaml is not a file | `velociraptor --config server.config.yaml config api_client --name bewit --role api api.config.yaml` writes one
    ");
    insta::assert_snapshot!(brief(&format!("[velociraptor]\n{HEAD}{RULE}")), @"
    1 error: `api_config` is missing in [velociraptor] | The API client file, as `velociraptor config api_client --role api` writes it. Others must not be able to read it.
    ");
}

#[test]
fn it_is_an_intake_when_it_watches() {
    let folder = tempfile::tempdir().unwrap();
    api_file(folder.path());
    let look = |keys: &str| {
        let text = format!(
            "[smtp]\nmailbox = \"m\"\nfrom = \"b@example.org\"\n[velociraptor]\napi_config = \"api.config.yaml\"\n{keys}{RULE}"
        );
        list(&load::examine_text(&text, "bewit.toml", folder.path(), Proof::Files).diagnostics, &text, 0)
    };
    assert_eq!(look(""), "");
    assert!(look("watch = false\n").contains("no intake is configured"));
}
