//! The rows of a table in the HTML part. A mail has hundreds of cells, and a template's own loop over them takes more time
//! than all the rest of the mail; what they look like is the template's all the same.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, State};

use super::filters::{LONG, break_into, escape, shown};
use super::given::{attribute, list, texts};
use crate::text;

const FILTER: &str = "html_rows";

pub(super) fn add(environment: &mut Environment<'static>) {
    environment.add_filter("html_rows", |state: &State<'_, '_>, table: Value, options: Kwargs| {
        let style = |name: &str| -> Result<String, Error> {
            let style = options.get::<Option<Value>>(name)?.unwrap_or_default();
            Ok(match () {
                () if style.is_undefined() => String::new(),
                () if style.is_safe() => shown(&style).into_owned(),
                () => escape(&shown(&style)).into_owned(),
            })
        };
        let (cell, label) = (style("cell")?, style("label")?);
        options.assert_all_used()?;
        let out = rows(&table, &cell, &label)?;
        state.consume_fuel(out.len() as u64 / 64)?;
        Ok(Value::from_safe_string(out))
    });
}

/// `tr` elements. `cell` and `label` are what stands in `style`, escaped. Each value has its column's name before it,
/// which is seen on phones alone, unless `label` is empty. Cells that say nothing are of the class `none`.
fn rows(table: &Value, cell: &str, label: &str) -> Result<String, Error> {
    let columns = texts(&attribute(table, "columns", FILTER)?, FILTER)?;
    // The last column says only that others were left out.
    let hidden = table.get_attr("hidden_columns")?.is_true();
    let named = columns.len() - usize::from(hidden && !columns.is_empty());
    let labels: Vec<String> = if label.is_empty() {
        Vec::new()
    } else {
        let label = |name: &String| {
            let name = text::one_line(name);
            format!("<span class=\"lbl\" style=\"{label}\"><bdi>{}</bdi>: </span>", escape(&name))
        };
        columns.iter().map(label).collect()
    };
    let mut out = String::with_capacity(4096);
    for row in list(&attribute(table, "rows", FILTER)?, FILTER)? {
        out.push_str("<tr valign=\"top\">\n");
        for (at, value) in list(&row, FILTER)?.enumerate() {
            let text = shown(&value);
            let says = !text.is_empty() && at < named;
            out.push_str(if says { "<td style=\"" } else { "<td class=\"none\" style=\"" });
            out.push_str(cell);
            out.push_str("\">");
            if says && at > 0 {
                out.push_str(labels.get(at).map(String::as_str).unwrap_or_default());
            }
            out.push_str("<bdi>");
            break_into(&mut out, &text, LONG);
            out.push_str("</bdi></td>\n");
        }
        out.push_str("</tr>\n");
    }
    // The template has the last line end.
    out.pop();
    Ok(out)
}
