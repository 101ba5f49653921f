//! A live server: its API client file, the orgs, and where notifications are written back.

use std::path::{Path, PathBuf};

use super::decode::{Field, Span};
use super::load::Proof;
use super::raw_velociraptor::{OrgNames, Velociraptor};
use super::resolve::Resolver;
use super::values::{FilePath, Word};
use super::{Orgs, VelociraptorConfig};
use crate::velociraptor::client::ROOT_ORG;
use crate::velociraptor::credentials::Credentials;

/// The artifact that is shipped for `publish`.
const NOTIFICATIONS: &str = "Custom.Server.Bewit.Notifications";

impl Resolver<'_> {
    /// `[velociraptor]`, if nothing is wrong in it.
    pub(super) fn velociraptor(&mut self, section: Velociraptor) -> Option<VelociraptorConfig> {
        let api_config = self.api_config(&section.api_config);
        let orgs = match section.org {
            Field::Absent => Some(Orgs::These(vec![ROOT_ORG.to_owned()])),
            Field::Wrong(_) => None,
            Field::Given(orgs, span) => self.orgs(orgs, span),
        };
        let watch = section.watch.unless_wrong(true);
        let publish = match section.publish {
            Field::Absent => Some(None),
            Field::Wrong(_) => None,
            Field::Given(Word(artifact), span) => self.publish(artifact, span).map(Some),
        };
        Some(VelociraptorConfig { api_config: api_config?, orgs: orgs?, watch: watch?, publish: publish? })
    }

    fn api_config(&mut self, path: &Field<FilePath>) -> Option<PathBuf> {
        let Field::Given(path, span) = path else { return None };
        let path = self.path(path);
        let there = std::fs::metadata(&path);
        let problem = match there {
            Err(error) => format!("{} cannot be read: {error}", path.display()),
            Ok(found) if !found.is_file() => format!("{} is not a file", path.display()),
            Ok(_) if self.proof >= Proof::Files => match Credentials::read(&path) {
                Ok(_) => return Some(path),
                Err(error) => {
                    // The reason says what to do.
                    self.findings.error(Some(span.clone()), error.to_string(), "");
                    return None;
                }
            },
            Ok(_) => return Some(path),
        };
        let name = path.file_name().map_or(Path::new("api.config.yaml"), Path::new);
        let hint = format!(
            "`velociraptor --config server.config.yaml config api_client --name bewit --role api {}` writes one",
            name.display()
        );
        self.findings.error(Some(span.clone()), problem, hint);
        None
    }

    fn orgs(&mut self, orgs: OrgNames, span: Span) -> Option<Orgs> {
        let list = match orgs {
            OrgNames::One(Word(all)) if all == "*" => return Some(Orgs::All),
            OrgNames::One(Word(org)) => return self.org(&org, span).then(|| Orgs::These(vec![org])),
            OrgNames::Several(list) => list,
        };
        if list.is_empty() {
            let hint = "name one, or write org = \"*\" for all; watch = false watches none";
            self.findings.error(Some(span), "`org` lists no org", hint);
            return None;
        }
        let mut whole = list.whole;
        let mut known: Vec<String> = Vec::new();
        for (Word(org), span) in list.items {
            if org == "*" {
                let hint = "every org is more than a list: write org = \"*\", without brackets";
                self.findings.error(Some(span), "`*` is not an org's id", hint);
                whole = false;
            } else if known.contains(&org) {
                self.findings.error(Some(span), format!("the org `{org}` is listed twice"), "keep one of them");
                whole = false;
            } else if self.org(&org, span) {
                known.push(org);
            } else {
                whole = false;
            }
        }
        whole.then_some(Orgs::These(known))
    }

    /// Whether this may be the id of an org.
    fn org(&mut self, org: &str, span: Span) -> bool {
        if org.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            if org.eq_ignore_ascii_case(ROOT_ORG) && org != ROOT_ORG {
                self.findings.error(Some(span), format!("`{org}` is not an org's id"), "did you mean `root`?");
                return false;
            }
            return true;
        }
        let hint = match org.trim_matches(['<', '>']) {
            ROOT_ORG => "write \"root\"",
            _ => "an id such as \"root\" or \"O123\", not the org's name: the server's GUI lists both",
        };
        self.findings.error(Some(span), format!("`{org}` is not an org's id"), hint);
        false
    }

    fn publish(&mut self, artifact: String, span: Span) -> Option<String> {
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let hint = format!("write publish = \"{NOTIFICATIONS}\": the artifact is shipped in velociraptor/");
        if !artifact.split('.').all(word) {
            self.findings.error(Some(span), format!("`{artifact}` is not the name of an artifact"), hint);
            return None;
        }
        if ["System.", "Server.Internal."].iter().any(|own| artifact.starts_with(own)) {
            let message =
                format!("`{artifact}` is the server's own: it would act on notifications as on its own events");
            self.findings.error(Some(span), message, hint);
            return None;
        }
        Some(artifact)
    }
}
