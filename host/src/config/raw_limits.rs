//! `[smtp.limits]` as it is written.

use super::decode::{Field, Fields, Section, key};
use super::rate::Rate;
use super::values::Named;

/// `[smtp.limits]`
pub(super) struct SmtpLimits {
    pub(super) recipient: Field<Rate>,
    pub(super) domain: Field<Rate>,
    pub(super) domains: Field<Named<Rate>>,
}

impl Section for SmtpLimits {
    const TITLE: &'static str = "[smtp.limits]";
    const DOC: &'static str =
        "What single recipients and domains get. Mails over it wait in the outbox; none is dropped.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            recipient: fields.take(key("recipient", "Mails to one address: \"20/h\". Critical mails do not wait.")),
            domain: fields.take(key("domain", "Mails to one domain: \"100/min\". Critical mails do not wait.")),
            domains: fields
                .take(key("domains", "Domains with a limit of their own: { \"example.org\" = \"10/min\" }.")),
        }
    }
}
