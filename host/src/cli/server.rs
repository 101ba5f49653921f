//! Which server and which orgs a command asks: as the configuration says, or as its arguments do.

use std::path::Path;

use serde::Deserialize;

use super::{Exit, UsageError, output};
use crate::config::{Orgs, VelociraptorConfig};
use crate::text::{Visible, one_line};
use crate::velociraptor::client::{Ask, Client, ROOT_ORG};
use crate::velociraptor::error::ApiError;
use crate::velociraptor::queries::ORGS;

/// The section, or what to do when there is none.
pub(super) fn section<'c>(
    config: Option<&'c VelociraptorConfig>,
    file: &Path,
) -> Result<&'c VelociraptorConfig, UsageError> {
    config.ok_or_else(|| {
        UsageError(format!(
            "{}: there is no [velociraptor], so there is no server to ask; write api_config = \"FILE\" there",
            Visible(&file.display().to_string())
        ))
    })
}

/// The orgs that are meant: those of the arguments, else those of the configuration; `*` is every org.
pub(super) fn wanted(arguments: &[String], configured: &Orgs) -> Orgs {
    if arguments.is_empty() {
        return configured.clone();
    }
    if arguments.iter().any(|org| org == "*") {
        return Orgs::All;
    }
    let mut orgs: Vec<String> = Vec::new();
    for org in arguments {
        if !orgs.contains(org) {
            orgs.push(org.clone());
        }
    }
    Orgs::These(orgs)
}

/// The orgs by id.
///
/// # Errors
/// When all are meant and the server does not tell which there are.
pub(super) async fn ids(client: &Client, orgs: &Orgs) -> Result<Vec<String>, ApiError> {
    #[derive(Deserialize)]
    struct Org {
        #[serde(rename = "OrgId")]
        id: String,
    }
    let orgs = match orgs {
        Orgs::These(orgs) => return Ok(orgs.clone()),
        Orgs::All => client.rows(Ask::new(&ORGS, ROOT_ORG), 10_000).await?,
    };
    orgs.iter()
        .map(|row| match serde_json::from_str::<Org>(row.get()) {
            // Velociraptor has two spellings for the root org.
            Ok(Org { id }) => Ok(if id.is_empty() { ROOT_ORG.to_owned() } else { id }),
            Err(error) => Err(ApiError::Answer { query: ORGS.name, reason: error.to_string() }),
        })
        .collect()
}

/// Reports what the server has not answered, with what to do.
pub(super) fn report(what: &str, error: &ApiError) -> Exit {
    let hint = match error.hint() {
        "" => String::new(),
        hint => format!("\n  {hint}"),
    };
    output::note(format_args!("error: {}: {}{hint}", one_line(what), one_line(&error.to_string())));
    Exit::Incomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_beat_the_configuration() {
        let these = |orgs: &[&str]| Orgs::These(orgs.iter().map(|org| (*org).to_owned()).collect());
        let names = |orgs: &[&str]| orgs.iter().map(|org| (*org).to_owned()).collect::<Vec<_>>();
        assert_eq!(wanted(&[], &Orgs::All), Orgs::All);
        assert_eq!(wanted(&names(&["O1", "root", "O1"]), &Orgs::All), these(&["O1", "root"]));
        assert_eq!(wanted(&names(&["O1", "*"]), &these(&["root"])), Orgs::All);
    }
}
