//! `[[rule]]` as it is written: the parameters of Velociraptor's `Server.Monitor.FlowCompletion`, each under its own name
//! in snake_case or as Velociraptor spells it, and what Bewit adds.

use super::decode::{Field, Fields, Section, Span, key};
use super::raw_plugin::{Filter, Renderer};
use super::values::{AnyInt, Choice, Interval, List, OneOf, Sender, Word};
use crate::rule::address::Address;
use crate::rule::pattern::Pattern;
use crate::rule::{AttachmentFormat, Delivery, Priority, Throttle};

/// `[[rule]]`
pub(super) struct Rule {
    pub(super) span: Option<Span>,
    pub(super) name: Field<Word>,
    pub(super) recipients: Field<List<Address>>,
    pub(super) notify_executor: Field<bool>,
    pub(super) notify_executor_domains: Field<List<ExecutorDomain>>,
    pub(super) notify_metadata_email: Field<String>,
    pub(super) sender: Field<Sender>,
    pub(super) html: Field<bool>,
    pub(super) artifacts_to_alert_on: Field<Pattern>,
    pub(super) artifacts_to_ignore: Field<Pattern>,
    pub(super) client_labels_to_alert_on: Field<Pattern>,
    pub(super) client_labels_to_ignore: Field<Pattern>,
    pub(super) notify_hunts: Field<bool>,
    pub(super) new_client_artifacts: Field<Pattern>,
    pub(super) new_client_threshold: Field<AnyInt>,
    pub(super) artifact_perm_to_alert_on: Field<Pattern>,
    pub(super) error_handling: Field<List<OneOf<Failure>>>,
    pub(super) delay_threshold: Field<AnyInt>,
    pub(super) send_interval: Field<Interval>,
    pub(super) throttle: Field<OneOf<Throttle>>,
    pub(super) priority: Field<OneOf<Priority>>,
    pub(super) keep_empty_rows: Field<bool>,
    pub(super) client_metadata: Field<List<MetadataField>>,
    pub(super) include_uploads_table_rows: Field<AnyInt>,
    pub(super) include_result_table_from: Field<List<ResultTable>>,
    pub(super) result_table_max_columns: Field<AnyInt>,
    pub(super) include_result_attachment_from: Field<List<ResultAttachment>>,
    pub(super) attachment_format: Field<OneOf<AttachmentFormat>>,
    pub(super) attachments_max_mib: Field<AnyInt>,
    pub(super) notify_if_results_labels: Field<Pattern>,
    pub(super) notify_if_uploads_labels: Field<Pattern>,
    pub(super) filters: Field<List<Filter>>,
    pub(super) renderers: Field<List<Renderer>>,
    pub(super) template: Field<Word>,
    pub(super) language: Field<Word>,
    pub(super) delivery: Field<OneOf<Delivery>>,
}

impl Section for Rule {
    const TITLE: &'static str = "[[rule]]";
    const DOC: &'static str =
        "Who is told of which events, and what the mail shows. Any number of rules run side by side.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        fields.refuse(
            &["secret", "Secret"],
            "`{}` is no key of a rule",
            "what Velociraptor keeps in a secret of type \"SMTP Creds\" stands in [smtp]",
        );
        let _: Field<OneOf<Kind>> = fields.take(key("on", "The kind of event.").default("\"flow-completion\""));
        let span = fields.header();
        Self {
            span,
            name: fields.take(key("name", "What the rule is called; no other rule has the same name.").required()),
            recipients: fields
                .take(key("recipients", "Told of every match: bare addresses.").alias("Recipients").default("[]")),
            notify_executor: fields.take(
                key("notify_executor", "Tell whoever started the collection.").alias("NotifyExecutor").default("false"),
            ),
            notify_executor_domains: fields.take(
                key(
                    "notify_executor_domains",
                    "How a user name that is no address becomes one; every row that matches adds one.",
                )
                .alias("NotifyExecutorDomains")
                .default("[]"),
            ),
            notify_metadata_email: fields.take(
                key("notify_metadata_email", "Client metadata field that holds an address to tell; empty: none.")
                    .alias("NotifyMetadataEMail")
                    .default("\"\""),
            ),
            sender: fields
                .take(key("sender", "From: an address or `Name <address>`. Without it, [smtp] from.").alias("Sender")),
            html: fields.take(key("html", "Write an HTML part beside the text.").alias("HTML").default("true")),
            artifacts_to_alert_on: fields.take(
                key("artifacts_to_alert_on", "Any of the requested artifacts must match; empty: off.")
                    .alias("ArtifactsToAlertOn")
                    .default("\".+\""),
            ),
            artifacts_to_ignore: fields.take(
                key("artifacts_to_ignore", "A collection of this one artifact alone is not mailed; empty: off.")
                    .alias("ArtifactsToIgnore")
                    .default(r#""^(Custom\\.)?Generic\\.Client\\.Info$""#),
            ),
            client_labels_to_alert_on: fields.take(
                key("client_labels_to_alert_on", "A label of the client must match; empty, `.`, `.*` and `.+`: off.")
                    .alias("ClientLabelsToAlertOn")
                    .default("\".+\""),
            ),
            client_labels_to_ignore: fields.take(
                key("client_labels_to_ignore", "No label of the client may match; empty: off.")
                    .alias("ClientLabelsToIgnore")
                    .default("\"\""),
            ),
            notify_hunts: fields
                .take(key("notify_hunts", "Mail collections of hunts too.").alias("NotifyHunts").default("false")),
            new_client_artifacts: fields.take(
                key("new_client_artifacts", "Such an artifact on a new client is always mailed; empty: off.")
                    .alias("NewClientArtifacts")
                    .default("\"\""),
            ),
            new_client_threshold: fields.take(
                key("new_client_threshold", "Seconds since enrolment for which a client is new.")
                    .alias("NewClientThreshold")
                    .default("300"),
            ),
            artifact_perm_to_alert_on: fields.take(
                key(
                    "artifact_perm_to_alert_on",
                    "A requested artifact must need such a permission (EXECVE, …); empty: off.",
                )
                .alias("ArtifactPermToAlertOn")
                .default("\"\""),
            ),
            error_handling: fields.take(
                key(
                    "error_handling",
                    "IncludeHunts: failed hunt collections are mailed. IgnoreCancelled: cancelled ones are not. \
                     IgnoreArtifactFilters: failures pass the artifact filters. IgnoreDelay: failures pass the delay.",
                )
                .alias("ErrorHandling")
                .default(r#"["IgnoreCancelled"]"#),
            ),
            delay_threshold: fields.take(
                key("delay_threshold", "Seconds that a collection must have taken; 0 or less: off.")
                    .alias("DelayThreshold")
                    .default("10"),
            ),
            send_interval: fields.take(
                key("send_interval", "At most one mail in this time; 0 or less: off.")
                    .alias("SendInterval")
                    .default("\"10 s\""),
            ),
            throttle: fields.take(
                key(
                    "throttle",
                    "What happens to mails within send_interval: digest (gathered into one), delay (sent later, one by \
                     one), or drop (not sent, but recorded).",
                )
                .default("\"digest\""),
            ),
            priority: fields.take(
                key(
                    "priority",
                    "Which mails go first: critical (never wait behind others, nor for the limits of a recipient or a \
                     domain), normal, or bulk (when nothing else waits, or in their small share).",
                )
                .default("\"normal\""),
            ),
            keep_empty_rows: fields.take(
                key("keep_empty_rows", "Show facts that are empty, too.").alias("KeepEmptyRows").default("false"),
            ),
            client_metadata: fields.take(
                key("client_metadata", "Client metadata fields that the mail shows.")
                    .alias("ClientMetadata")
                    .default("[]"),
            ),
            include_uploads_table_rows: fields.take(
                key("include_uploads_table_rows", "Rows of the table of uploads; 0: no table.")
                    .alias("IncludeUploadsTableRows")
                    .default("10"),
            ),
            include_result_table_from: fields.take(
                key("include_result_table_from", "Results that the mail shows as tables.")
                    .alias("IncludeResultTableFrom")
                    .default("[]"),
            ),
            result_table_max_columns: fields.take(
                key("result_table_max_columns", "Columns of a result table; 0 or less: the default.")
                    .alias("ResultTableMaxColumns")
                    .default("4"),
            ),
            include_result_attachment_from: fields.take(
                key("include_result_attachment_from", "Results that are attached.")
                    .alias("IncludeResultAttachmentFrom")
                    .default("[]"),
            ),
            attachment_format: fields.take(
                key("attachment_format", "Format of attached results.").alias("AttachmentFormat").default("\"jsonl\""),
            ),
            attachments_max_mib: fields.take(
                key(
                    "attachments_max_mib",
                    "All attachments of a mail together, in MiB; 0: none. One too much drops all.",
                )
                .alias("AttachmentsMaxMiB")
                .default("100"),
            ),
            notify_if_results_labels: fields.take(
                key(
                    "notify_if_results_labels",
                    "With rows, such a client label or hunt tag is always mailed; empty: off.",
                )
                .alias("NotifyIfResultsLabels")
                .default("\"^notify_results$\""),
            ),
            notify_if_uploads_labels: fields.take(
                key(
                    "notify_if_uploads_labels",
                    "With uploads, such a client label or hunt tag is always mailed; empty: off.",
                )
                .alias("NotifyIfUploadsLabels")
                .default("\"^notify_uploads$\""),
            ),
            filters: fields.take(
                key(
                    "filters",
                    "Plugins that have a say, by name, asked in this order after the built-in filters. Each once.",
                )
                .default("[]"),
            ),
            renderers: fields.take(
                key(
                    "renderers",
                    "Results that plugins show instead of a table; the last entry that matches a source counts.",
                )
                .default("[]"),
            ),
            template: fields.take(
                key("template", "Template set: NAME of NAME.subject.j2, NAME.html.j2, NAME.txt.j2.")
                    .default("\"flow-completion\""),
            ),
            language: fields.take(key("language", "Language of its mails. Without it, that of [locale].")),
            delivery: fields.take(
                key("delivery", "individual (each recipient a mail of their own) or shared (one mail, all in To).")
                    .default("\"individual\""),
            ),
        }
    }
}

/// `on`
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A flow has completed.
    FlowCompletion,
}

impl Choice for Kind {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("flow-completion", Some(Self::FlowCompletion)), ("alert", None)];
}

/// An entry of `error_handling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    IncludeHunts,
    IgnoreCancelled,
    IgnoreArtifactFilters,
    IgnoreDelay,
}

impl Choice for Failure {
    const NAMES: &'static [(&'static str, Option<Self>)] = &[
        ("IncludeHunts", Some(Self::IncludeHunts)),
        ("IgnoreCancelled", Some(Self::IgnoreCancelled)),
        ("IgnoreArtifactFilters", Some(Self::IgnoreArtifactFilters)),
        ("IgnoreDelay", Some(Self::IgnoreDelay)),
        ("include_hunts", Some(Self::IncludeHunts)),
        ("ignore_cancelled", Some(Self::IgnoreCancelled)),
        ("ignore_artifact_filters", Some(Self::IgnoreArtifactFilters)),
        ("ignore_delay", Some(Self::IgnoreDelay)),
    ];
}

impl Choice for Priority {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("critical", Some(Self::Critical)), ("normal", Some(Self::Normal)), ("bulk", Some(Self::Bulk))];
}

impl Choice for Throttle {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("digest", Some(Self::Digest)), ("delay", Some(Self::Delay)), ("drop", Some(Self::Drop))];
}

impl Choice for AttachmentFormat {
    const NAMES: &'static [(&'static str, Option<Self>)] = &[("jsonl", Some(Self::Jsonl)), ("csv", Some(Self::Csv))];
}

impl Choice for Delivery {
    const NAMES: &'static [(&'static str, Option<Self>)] =
        &[("individual", Some(Self::Individual)), ("shared", Some(Self::Shared))];
}

/// A row of `notify_executor_domains`.
pub(super) struct ExecutorDomain {
    pub(super) username_regex: Field<Pattern>,
    pub(super) domain: Field<Word>,
}

impl Section for ExecutorDomain {
    const TITLE: &'static str = "notify_executor_domains";
    const DOC: &'static str = "How a user name becomes an address.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            username_regex: fields
                .take(key("username_regex", "User names that it holds for.").alias("UsernameRegex").required()),
            domain: fields.take(key("domain", "What follows the @.").alias("Domain").required()),
        }
    }
}

/// A row of `client_metadata`.
pub(super) struct MetadataField {
    pub(super) field: Field<Word>,
    pub(super) alias: Field<String>,
}

impl Section for MetadataField {
    const TITLE: &'static str = "client_metadata";
    const DOC: &'static str = "A client metadata field that the mail shows.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            field: fields.take(key("field", "Its key; case matters.").alias("Field").required()),
            alias: fields
                .take(key("alias", "The name that it is shown under; empty: its key.").alias("Alias").default("\"\"")),
        }
    }
}

/// A row of `include_result_table_from`.
pub(super) struct ResultTable {
    pub(super) source: Field<Pattern>,
    pub(super) columns: Field<Pattern>,
    pub(super) max_rows: Field<AnyInt>,
    pub(super) cell_limit: Field<AnyInt>,
}

impl Section for ResultTable {
    const TITLE: &'static str = "include_result_table_from";
    const DOC: &'static str = "Results that the mail shows as a table.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            source: fields.take(key("source", "Matched against `Artifact/Source`.").alias("Source").required()),
            columns: fields.take(key("columns", "Columns shown; empty: all.").alias("Columns").default("\"\"")),
            max_rows: fields.take(
                key("max_rows", "Rows shown, 100 at most; 0 or less: the default.").alias("MaxRows").default("100"),
            ),
            cell_limit: fields.take(
                key("cell_limit", "Characters of a cell, 10 000 at most; 0 or less: the default.")
                    .alias("CellLimit")
                    .default("10000"),
            ),
        }
    }
}

/// A row of `include_result_attachment_from`.
pub(super) struct ResultAttachment {
    pub(super) source: Field<Pattern>,
    pub(super) columns: Field<Pattern>,
    pub(super) max_rows: Field<AnyInt>,
}

impl Section for ResultAttachment {
    const TITLE: &'static str = "include_result_attachment_from";
    const DOC: &'static str = "Results that are attached.";

    fn read(fields: &mut Fields<'_, '_>) -> Self {
        Self {
            source: fields.take(key("source", "Matched against `Artifact/Source`.").alias("Source").required()),
            columns: fields.take(key("columns", "Columns attached; empty: all.").alias("Columns").default("\"\"")),
            max_rows: fields.take(key("max_rows", "Rows attached; 0 or less: all.").alias("MaxRows").default("0")),
        }
    }
}
