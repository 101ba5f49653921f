//! So many in a time: `"30/min"`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use toml::de::DeValue;

use super::decode::{Decode, Findings, Spot};
use super::units::{self, UnitError};

/// The largest count.
const MOST: u32 = 1_000_000;
/// The longest time.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// From 1 to a million.
    pub count: u32,
    /// From a second to a week.
    pub per: Duration,
}

/// `[smtp.limits]`: what single recipients and domains get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Mails to one address; `None`: as many as there are.
    pub recipient: Option<Rate>,
    /// Mails to the addresses of one domain, unless it has a limit of its own.
    pub domain: Option<Rate>,
    /// By domain, in lower case.
    pub domains: BTreeMap<String, Rate>,
}

impl fmt::Display for Rate {
    /// As it is written: `30/min`, `100/10 min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = units::show_duration(self.per);
        let per = per.strip_prefix("1 ").filter(|unit| !unit.contains(' ')).unwrap_or(&per);
        write!(f, "{}/{per}", self.count)
    }
}

/// Reads `30/min` or `100/10 min`.
fn parse(text: &str) -> Result<Rate, UnitError> {
    let example = "for example \"30/min\", \"500/h\" or \"100/10 min\"";
    let wrong = |hint: &str| UnitError { message: format!("`{text}` is not a rate"), hint: hint.to_owned() };
    let (count, per) = text.split_once('/').ok_or_else(|| wrong(example))?;
    let count: u32 = count.trim().parse().map_err(|_| wrong(example))?;
    let per = per.trim();
    let per = if per.starts_with(|first: char| first.is_ascii_digit()) { per.to_owned() } else { format!("1 {per}") };
    let per = units::duration(&per).map_err(|error| wrong(&format!("{}; {example}", error.hint)))?;
    if !(1..=MOST).contains(&count) {
        return Err(wrong(&format!("the number is from 1 to {MOST}")));
    }
    if !(Duration::from_secs(1)..=LONGEST).contains(&per) {
        return Err(wrong("the time is from 1 s to 7 d"));
    }
    Ok(Rate { count, per })
}

impl Decode for Rate {
    fn schema() -> Value {
        let unit = "(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?)";
        let pattern = format!(r"^\s*\d+\s*/\s*(\d+ *(ms|{unit}) *)*({unit})?\s*$");
        json!({ "type": "string", "pattern": pattern, "examples": ["30/min", "500/h", "100/10 min"] })
    }

    fn decode(at: &Spot<'_>, value: &DeValue<'_>, findings: &mut Findings) -> Option<Self> {
        let DeValue::String(text) = value else {
            let hint = match value {
                DeValue::Integer(number) => format!("in which time? Write \"{}/min\"", number.as_str()),
                _ => "for example \"30/min\"".to_owned(),
            };
            findings.mistyped(at, "a rate", value, hint);
            return None;
        };
        match parse(text) {
            Ok(rate) => Some(rate),
            Err(UnitError { message, hint }) => {
                findings.error(Some(at.span.clone()), message, hint);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    #[test]
    fn read_and_shown() {
        for (text, read, shown) in [
            ("30/min", rate(30, 60), "30/min"),
            (" 30 / 1 min ", rate(30, 60), "30/min"),
            ("500/h", rate(500, 3600), "500/h"),
            ("500/hour", rate(500, 3600), "500/h"),
            ("10000/d", rate(10_000, 86_400), "10000/d"),
            ("100/10 min", rate(100, 600), "100/10 min"),
            ("1/s", rate(1, 1), "1/s"),
            ("2/1 h 30 min", rate(2, 5_400), "2/1 h 30 min"),
        ] {
            assert_eq!(parse(text), Ok(read), "{text}");
            assert_eq!(read.to_string(), shown);
            assert_eq!(parse(shown), Ok(read), "{shown}");
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, hint) in [
            ("30", "30/min"),
            ("thirty/min", "30/min"),
            ("30/", "unit is missing"),
            ("30/minut", "did you mean `minute`?"),
            ("0/min", "from 1 to 1000000"),
            ("30/0 s", "from 1 s to 7 d"),
            ("30/500 ms", "from 1 s to 7 d"),
            ("30/8 d", "from 1 s to 7 d"),
            ("-3/min", "30/min"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.hint.contains(hint) && error.message.contains(text), "{text}: {error:?}");
        }
    }
}
