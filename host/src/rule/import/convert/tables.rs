//! The parameters that are tables.

use std::collections::HashSet;

use serde_json::Value;

use super::super::csv::Table;
use super::super::{Item, values};
use super::{Converter, positive};
use crate::rule::address::Address;
use crate::rule::defaults;
use crate::rule::pattern::Pattern;
use crate::rule::recipients::INTERROGATION;
use crate::text::Shown;

impl Converter<'_> {
    /// A table: CSV, or an array of objects (or of the first column's values).
    fn table<const N: usize>(&mut self, name: &str, columns: [&str; N]) -> Option<(Table, Vec<String>)> {
        let table = match self.get(name)? {
            Value::Array(items) => Table::new(&columns, items.iter().map(|item| row(item, &columns)).collect()),
            Value::String(text) => Table::read(text),
            _ => Table::default(),
        };
        let mut notes = Vec::new();
        if !table.is_empty() {
            for column in columns.iter().filter(|column| table.column(column).is_none()) {
                // Limits may be missing: then the artifact has its own.
                if !matches!(*column, "MaxRows" | "CellLimit" | "Alias" | "Columns") {
                    notes.push(self.warn(name, format!("the table has no column {column}")));
                }
            }
        }
        Some((table, notes))
    }

    pub(super) fn recipients(&mut self) {
        let Some((table, mut notes)) = self.table("Recipients", ["Address"]) else {
            return self.nobody();
        };
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for [cell] in table.rows(["Address"]) {
            let cell = cell.unwrap_or_default().trim();
            if cell.is_empty() {
                continue;
            }
            match Address::parse(cell) {
                Err(error) => notes.push(self.warn("Recipients", format!("{error}; left out"))),
                Ok(address) => {
                    let text = address.as_str().to_owned();
                    if let Some(first) = seen.get(&address) {
                        let first: &Address = first;
                        if first.as_str() != text {
                            notes.push(format!("{} is {} and told once", Shown(&text), Shown(first.as_str())));
                        }
                        continue;
                    }
                    seen.insert(address);
                    addresses.push(Item::Text(text));
                }
            }
        }
        let none = addresses.is_empty();
        self.set("recipients", Item::List(addresses), notes);
        if none {
            self.nobody();
        }
    }

    /// Says so if no source of recipients is left.
    fn nobody(&mut self) {
        let executor = self.text("NotifyExecutor").is_some_and(|text| values::is_true(&text));
        let metadata = self.text("NotifyMetadataEMail").is_some_and(|field| !field.is_empty());
        if !executor && !metadata {
            let note = "there is nobody to tell: every match ends as an error, which is recorded; \
                        Velociraptor says nothing";
            self.remark("recipients", vec![note.to_owned()]);
        }
    }

    pub(super) fn executor(&mut self) {
        let executor = self.boolean("NotifyExecutor", "notify_executor", Vec::new());
        let Some((table, mut notes)) = self.table("NotifyExecutorDomains", ["UsernameRegex", "Domain"]) else { return };
        let mut rows = Vec::new();
        let mut interrogation = false;
        for [regex, domain] in table.rows(["UsernameRegex", "Domain"]) {
            let (Some(regex), Some(domain)) = (regex, domain.map(str::trim)) else { continue };
            let Some(pattern) = self.usable("NotifyExecutorDomains", regex, &mut notes) else { continue };
            if let Err(error) = Address::parse(&format!("user@{domain}")) {
                let text = format!("row {}: {}: {}; left out", Shown(regex), Shown(domain), error.reason);
                notes.push(self.warn("NotifyExecutorDomains", text));
                continue;
            }
            interrogation |= pattern.matches(INTERROGATION);
            rows.push(Item::Table(vec![
                ("username_regex", Item::Pattern(regex.to_owned())),
                ("domain", Item::Text(domain.to_owned())),
            ]));
        }
        if !rows.is_empty() && !executor {
            notes.push(
                "used only with notify_executor = true; Velociraptor uses it always, also for users that are addresses"
                    .to_owned(),
            );
        } else if interrogation {
            notes.push("InterrogationService is never told; in Velociraptor a row that matches it tells it".to_owned());
        }
        self.set("notify_executor_domains", Item::List(rows), notes);
    }

    /// A row's pattern, or a note that the row is left out.
    fn usable(&mut self, name: &str, source: &str, notes: &mut Vec<String>) -> Option<Pattern> {
        match Pattern::new(source) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = error.reason.lines().next().unwrap_or_default();
                notes.push(self.warn(name, format!("{} cannot be used ({why}): the row is left out", Shown(source))));
                None
            }
        }
    }

    pub(super) fn client_metadata(&mut self) {
        let Some((table, notes)) = self.table("ClientMetadata", ["Field", "Alias"]) else { return };
        let rows = table.rows(["Field", "Alias"]).filter_map(|[field, alias]| {
            let field = field.filter(|field| !field.is_empty())?;
            let mut row = vec![("field", Item::Text(field.to_owned()))];
            if let Some(alias) = alias.filter(|alias| !alias.is_empty()) {
                row.push(("alias", Item::Text(alias.to_owned())));
            }
            Some(Item::Table(row))
        });
        let rows = Item::List(rows.collect());
        self.set("client_metadata", rows, notes);
    }

    pub(super) fn result_tables(&mut self) {
        const NAME: &str = "IncludeResultTableFrom";
        let columns = ["Source", "Columns", "MaxRows", "CellLimit"];
        let Some((table, mut notes)) = self.table(NAME, columns) else { return };
        let (mut unlimited, mut bytes) = (false, false);
        let mut rows = Vec::new();
        for [source, columns, max_rows, cell_limit] in table.rows(columns) {
            let Some(mut row) = self.source(NAME, source, columns, &mut notes) else { continue };
            for (key, cell, most) in [
                ("max_rows", max_rows, defaults::TABLE_MAX_ROWS),
                ("cell_limit", cell_limit, defaults::TABLE_CELL_LIMIT),
            ] {
                let limit = cell.and_then(positive).map(|limit| limit.min(i64::try_from(most).unwrap_or(i64::MAX)));
                // A column that the header lacks has the default in both places.
                unlimited |= limit.is_none() && cell.is_some();
                bytes |= limit.is_some() && key == "cell_limit";
                row.extend(limit.map(|limit| (key, Item::Integer(limit))));
            }
            rows.push(Item::Table(row));
        }
        if unlimited {
            notes.push(format!(
                "a limit that is blank, 0 or less is the default, {} rows or {} characters; in Velociraptor a blank one \
                 is no limit, and 0 leaves nothing",
                defaults::TABLE_MAX_ROWS,
                defaults::TABLE_CELL_LIMIT
            ));
        }
        if bytes {
            notes.push("cell_limit counts characters; in Velociraptor bytes".to_owned());
        }
        self.set("include_result_table_from", Item::List(rows), notes);
    }

    pub(super) fn result_attachments(&mut self) {
        const NAME: &str = "IncludeResultAttachmentFrom";
        let columns = ["Source", "Columns", "MaxRows"];
        let Some((table, mut notes)) = self.table(NAME, columns) else { return };
        let mut rows = Vec::new();
        for [source, columns, max_rows] in table.rows(columns) {
            let Some(mut row) = self.source(NAME, source, columns, &mut notes) else { continue };
            row.extend(max_rows.and_then(positive).map(|limit| ("max_rows", Item::Integer(limit))));
            rows.push(Item::Table(row));
        }
        if !rows.is_empty() {
            notes.push("attached; Velociraptor loses its attachments".to_owned());
        }
        self.set("include_result_attachment_from", Item::List(rows), notes);
    }

    /// The keys that both result parameters have. A blank pattern matches everything.
    fn source(
        &mut self,
        name: &str,
        source: Option<&str>,
        columns: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Option<Vec<(&'static str, Item)>> {
        let source = source?;
        self.usable(name, source, notes)?;
        let source = if source.is_empty() { ".*" } else { source };
        let mut row = vec![("source", Item::Pattern(source.to_owned()))];
        if let Some(columns) = columns.filter(|columns| !columns.is_empty()) {
            self.usable(name, columns, notes)?;
            row.push(("columns", Item::Pattern(columns.to_owned())));
        }
        Some(row)
    }
}

/// A row of a typed table: an object's values by name, or one value for the first column.
fn row(item: &Value, columns: &[&str]) -> Vec<String> {
    let cell = |value: &Value| values::text(value).unwrap_or_default().into_owned();
    let Value::Object(object) = item else { return vec![cell(item)] };
    columns
        .iter()
        .map(|column| {
            let found = object.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
            found.map(|(_, value)| cell(value)).unwrap_or_default()
        })
        .collect()
}
