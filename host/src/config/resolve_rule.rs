//! One rule: defaults, limits, and what contradicts itself.

use std::time::Duration;

use super::decode::{Field, Findings, Span};
use super::raw_rule::{self, Failure};
use super::resolve_locale::Languages;
use super::resolve_plugin::Names;
use super::values::{AnyInt, Choice, List, OneOf};
use crate::rule::address::{Address, Mailbox};
use crate::rule::defaults;
use crate::rule::pattern::Pattern;
use crate::rule::{
    Delivery, ErrorHandling, ExecutorDomain, MetadataField, Priority, ResultAttachment, ResultTable, Rule, Throttle,
};

/// Whether a text names a template set: a plain file name.
pub(super) fn is_set_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|character| character.is_alphanumeric() || matches!(character, '-' | '_' | '.'))
}

/// Resolves a rule. `from` is the sender of rules that name none; if it is not `from_known`, it was there but wrong.
/// `None` has been reported.
pub(super) fn resolve(
    rule: raw_rule::Rule,
    from: Option<&Mailbox>,
    from_known: bool,
    plugins: &mut Names,
    languages: &Languages,
    findings: &mut Findings,
) -> Option<Rule> {
    let language = languages.known(rule.language.clone(), findings);
    let name = rule.name.get().map(|name| name.0.clone());
    let called = name.as_ref().map_or_else(|| "this rule".to_owned(), |name| format!("rule `{name}`"));
    let sender = sender(&rule, &called, from, from_known, findings);
    remark(&rule, &called, findings);
    let domains = domains(rule.notify_executor_domains.or(List::default()), findings);
    let tables = rule.include_result_table_from.or(List::default()).into_values();
    let tables = tables.filter_map(|table| result_table(table, findings)).collect();
    let attachments = rule.include_result_attachment_from.or(List::default()).into_values();
    let attachments = attachments.filter_map(result_attachment).collect();
    let filters = plugins.filters(rule.filters, findings);
    let renderers = plugins.renderers(rule.renderers, findings);
    let template = match rule.template {
        Field::Absent => Some(defaults::TEMPLATE.to_owned()),
        Field::Wrong(_) => None,
        Field::Given(template, _) if is_set_name(&template.0) => Some(template.0),
        Field::Given(template, span) => {
            let message = format!("`{}` is not the name of a template set", template.0);
            findings.error(Some(span), message, "NAME of the files NAME.subject.j2, NAME.html.j2 and NAME.txt.j2");
            None
        }
    };
    Some(Rule {
        name: name?,
        recipients: rule.recipients.or(List::default()).into_values().collect::<Vec<Address>>(),
        notify_executor: rule.notify_executor.or(false),
        notify_executor_domains: domains,
        notify_metadata_email: rule.notify_metadata_email.or(String::new()),
        sender: sender?,
        html: rule.html.or(defaults::HTML),
        artifacts_to_alert_on: pattern(rule.artifacts_to_alert_on, defaults::ARTIFACTS_TO_ALERT_ON)?,
        artifacts_to_ignore: pattern(rule.artifacts_to_ignore, defaults::ARTIFACTS_TO_IGNORE)?,
        client_labels_to_alert_on: pattern(rule.client_labels_to_alert_on, defaults::CLIENT_LABELS_TO_ALERT_ON)?,
        client_labels_to_ignore: pattern(rule.client_labels_to_ignore, "")?,
        notify_hunts: rule.notify_hunts.or(false),
        new_client_artifacts: pattern(rule.new_client_artifacts, "")?,
        new_client_threshold: rule.new_client_threshold.or(AnyInt::new(defaults::NEW_CLIENT_THRESHOLD)).get(),
        artifact_perm_to_alert_on: pattern(rule.artifact_perm_to_alert_on, "")?,
        error_handling: error_handling(rule.error_handling),
        delay_threshold: rule.delay_threshold.or(AnyInt::new(defaults::DELAY_THRESHOLD)).get(),
        send_interval: rule
            .send_interval
            .into_value()
            .map_or(Duration::from_secs(defaults::SEND_INTERVAL), |interval| interval.0),
        throttle: rule.throttle.into_value().map_or(Throttle::default(), |choice| choice.0),
        priority: rule.priority.into_value().map_or(Priority::default(), |choice| choice.0),
        keep_empty_rows: rule.keep_empty_rows.or(false),
        client_metadata: rule
            .client_metadata
            .or(List::default())
            .into_values()
            .filter_map(|row| {
                Some(MetadataField { field: row.field.into_value()?.0, alias: row.alias.or(String::new()) })
            })
            .collect(),
        include_uploads_table_rows: count(rule.include_uploads_table_rows, defaults::INCLUDE_UPLOADS_TABLE_ROWS),
        include_result_table_from: tables,
        result_table_max_columns: limit(rule.result_table_max_columns.into_value(), defaults::RESULT_TABLE_MAX_COLUMNS),
        include_result_attachment_from: attachments,
        attachment_format: rule.attachment_format.into_value().map_or(defaults::ATTACHMENT_FORMAT, |choice| choice.0),
        attachments_max_mib: count(rule.attachments_max_mib, defaults::ATTACHMENTS_MAX_MIB),
        notify_if_results_labels: pattern(rule.notify_if_results_labels, defaults::NOTIFY_IF_RESULTS_LABELS)?,
        notify_if_uploads_labels: pattern(rule.notify_if_uploads_labels, defaults::NOTIFY_IF_UPLOADS_LABELS)?,
        filters,
        renderers,
        template: template?,
        language,
        delivery: rule.delivery.into_value().map_or(Delivery::default(), |choice| choice.0),
    })
}

/// The rule's own sender, else the common one, else an error.
fn sender(
    rule: &raw_rule::Rule,
    called: &str,
    from: Option<&Mailbox>,
    from_known: bool,
    findings: &mut Findings,
) -> Option<Mailbox> {
    let own = match &rule.sender {
        Field::Wrong(_) => return None,
        Field::Given(sender, _) => sender.0.clone(),
        Field::Absent => None,
    };
    let sender = own.or_else(|| from.cloned());
    if sender.is_none() && from_known {
        let span = rule.sender.span().or_else(|| rule.span.clone());
        let hint = "write sender = \"…\" in the rule, or from = \"Bewit <bewit@example.org>\" in [smtp] for all";
        findings.missing(span, format!("{called} has no sender"), hint);
    }
    sender
}

/// Keys that are right, but do nothing.
fn remark(rule: &raw_rule::Rule, called: &str, findings: &mut Findings) {
    let executor = rule.notify_executor.get().copied().unwrap_or(false);
    let nobody = rule.recipients.get().is_none_or(List::is_empty)
        && rule.notify_metadata_email.get().is_none_or(|field| field.trim().is_empty());
    if nobody && !executor {
        let hint =
            "write recipients = [\"soc@example.org\"], notify_executor = true, or notify_metadata_email = \"owner\"";
        findings.remark(rule.span.clone(), format!("{called} has nobody to tell"), hint);
    }
    if let Field::Given(list, span) = &rule.notify_executor_domains
        && !list.items.is_empty()
        && !executor
    {
        let hint = "it is used only with notify_executor = true";
        findings.remark(Some(span.clone()), "`notify_executor_domains` does nothing", hint);
    }
    if let Field::Given(list, span) = &rule.include_result_attachment_from
        && !list.items.is_empty()
        && rule.attachments_max_mib.get().is_some_and(|most| most.get() <= 0)
    {
        let hint = "attachments_max_mib = 0 attaches nothing";
        findings.warning(Some(span.clone()), "`include_result_attachment_from` does nothing", hint);
    }
}

fn domains(rows: List<raw_rule::ExecutorDomain>, findings: &mut Findings) -> Vec<ExecutorDomain> {
    let mut domains = Vec::new();
    for row in rows.into_values() {
        let Field::Given(domain, span) = row.domain else { continue };
        let domain = domain.0;
        if domain.contains('@') || Address::parse(&format!("x@{domain}")).is_err() {
            let bare = domain.rsplit('@').next().unwrap_or_default();
            let hint =
                if domain.contains('@') { format!("only what follows the @: \"{bare}\"") } else { String::new() };
            findings.error(Some(span), format!("`{domain}` is not a mail domain"), hint);
            continue;
        }
        if let Some(username_regex) = row.username_regex.into_value() {
            domains.push(ExecutorDomain { username_regex, domain });
        }
    }
    domains
}

fn result_table(row: raw_rule::ResultTable, findings: &mut Findings) -> Option<ResultTable> {
    capped(&row.max_rows, defaults::TABLE_MAX_ROWS, "rows", findings);
    capped(&row.cell_limit, defaults::TABLE_CELL_LIMIT, "characters", findings);
    Some(ResultTable {
        source: row.source.into_value()?,
        columns: pattern(row.columns, "")?,
        max_rows: limit(row.max_rows.into_value(), defaults::TABLE_MAX_ROWS).min(defaults::TABLE_MAX_ROWS),
        cell_limit: limit(row.cell_limit.into_value(), defaults::TABLE_CELL_LIMIT).min(defaults::TABLE_CELL_LIMIT),
    })
}

fn result_attachment(row: raw_rule::ResultAttachment) -> Option<ResultAttachment> {
    Some(ResultAttachment {
        source: row.source.into_value()?,
        columns: pattern(row.columns, "")?,
        max_rows: row.max_rows.into_value().and_then(|rows| u64::try_from(rows.get()).ok()).filter(|rows| *rows > 0),
    })
}

/// Warns of a limit beyond the most.
fn capped(field: &Field<AnyInt>, most: u64, what: &str, findings: &mut Findings) {
    if let Field::Given(number, span) = field
        && u64::try_from(number.get()).is_ok_and(|number| number > most)
    {
        let span: Span = span.clone();
        findings.warning(Some(span), format!("a table shows {most} {what} at most"), "attach the results to have all");
    }
}

/// A number that has no meaning at zero or below: then it is the default.
fn limit(number: Option<AnyInt>, default: u64) -> u64 {
    number.and_then(|number| u64::try_from(number.get()).ok()).filter(|number| *number > 0).unwrap_or(default)
}

/// A number that is zero at zero and below.
fn count(field: Field<AnyInt>, default: u64) -> u64 {
    field.into_value().map_or(default, |number| u64::try_from(number.get()).unwrap_or(0))
}

/// The pattern or the default; `None` when it was wrong.
fn pattern(field: Field<Pattern>, default: &str) -> Option<Pattern> {
    match field {
        Field::Given(pattern, _) => Some(pattern),
        Field::Absent => Pattern::new(default).ok(),
        Field::Wrong(_) => None,
    }
}

fn error_handling(field: Field<List<OneOf<Failure>>>) -> ErrorHandling {
    let failures: Vec<Failure> = match field.into_value() {
        Some(list) => list.into_values().map(|choice| choice.0).collect(),
        None => {
            let named = |name: &&str| Failure::NAMES.iter().find(|(known, _)| known == name)?.1;
            defaults::ERROR_HANDLING.iter().filter_map(named).collect()
        }
    };
    ErrorHandling {
        include_hunts: failures.contains(&Failure::IncludeHunts),
        ignore_cancelled: failures.contains(&Failure::IgnoreCancelled),
        ignore_artifact_filters: failures.contains(&Failure::IgnoreArtifactFilters),
        ignore_delay: failures.contains(&Failure::IgnoreDelay),
    }
}
