//! @summary@

use bewit_plugin::prelude::*;
use serde_json::Value;

/// `[plugins.@name@] settings`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default = "five")]
    rows: usize,
}

fn five() -> usize {
    5
}

struct FirstRows {
    rows: usize,
}

impl Plugin for FirstRows {
    type Settings = Settings;
    const SETTINGS: &[Setting] = &[Setting::optional("rows", "how many rows are shown, from 1 to 100; default 5")];

    // What is refused here is seen by `bewit check`, and not in the night.
    fn new(settings: Settings) -> Result<Self, Problems> {
        if !(1..=100).contains(&settings.rows) {
            return Err(Problem::new("rows", "rows must be a whole number from 1 to 100").into());
        }
        Ok(Self { rows: settings.rows })
    }
}

impl Renderer for FirstRows {
    // Asked for each source that the rule gives it. Rows come as a stream: what is not read costs nothing.
    fn render(&self, source: &Source, event: &Event) -> Rendered {
        let rows = event.rows(&source.name)?;
        let total = rows.total()?;
        let columns = rows.columns();
        let mut table = Table::new(columns.clone());
        for row in rows.take(self.rows) {
            let row = row?;
            table.push(columns.iter().map(|column| match row.get(column) {
                Some(Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            }));
        }
        Ok(Fragment::new("").table(table.of(total)))
    }
}

export_renderer!(FirstRows: Plugin);
