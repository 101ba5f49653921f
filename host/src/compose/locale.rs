//! How a mail speaks: its language, and its times and numbers as people of a place write them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::human;
use super::language::Language;
use crate::event::time::Moment;
use crate::locale::LocaleConfig;
use crate::text;

/// A language with the site's time zone and form of dates.
#[derive(Debug, Clone)]
pub struct Locale {
    language: Arc<Language>,
    zone: TimeZone,
    format: Option<String>,
}

impl Locale {
    /// A language as a site writes it.
    #[must_use]
    pub fn new(language: Language, config: &LocaleConfig) -> Self {
        Self { language: Arc::new(language), zone: config.time_zone.clone(), format: config.date_format.clone() }
    }

    /// The language.
    #[must_use]
    pub fn language(&self) -> &Language {
        &self.language
    }

    /// A text of the catalogue, filled in.
    #[must_use]
    pub fn t(&self, key: &str, values: &[(&str, &str)]) -> String {
        self.language.fill(key, None, values)
    }

    /// A text of the catalogue in the form for a number, which is its `{n}`.
    #[must_use]
    pub fn n(&self, key: &str, number: u64) -> String {
        self.language.fill(key, Some(number), &[("n", &self.grouped(number))])
    }

    /// `1,234,567`
    #[must_use]
    pub fn grouped(&self, number: u64) -> String {
        human::grouped(number, &self.mark("thousands_mark"))
    }

    /// `9 B`, `1.2 kB`, `83 MB`: SI units, as VQL `humanize(bytes=)` writes them.
    #[must_use]
    pub fn size(&self, bytes: u64) -> String {
        self.decimal(human::size(bytes))
    }

    /// `9 B`, `1.2 KiB`, `79 MiB`
    #[must_use]
    pub fn binary_size(&self, bytes: u64) -> String {
        self.decimal(human::binary_size(bytes))
    }

    /// `17.3 s`, `600.0 s`: as the stock mails write it.
    #[must_use]
    pub fn seconds(&self, nanoseconds: i64) -> String {
        self.decimal(human::duration(nanoseconds))
    }

    /// `17.3 s`, `10 min`, `2 h 5 min`: seconds below a minute, then the two largest units.
    #[must_use]
    pub fn span(&self, nanoseconds: i64) -> String {
        self.decimal(human::span(nanoseconds))
    }

    /// `2026-08-12T02:02:03Z (5 minutes ago)`, or `(never)`. Whole seconds.
    #[must_use]
    pub fn moment(&self, moment: Option<Moment>, now: Timestamp) -> String {
        let Some(moment) = moment else { return self.t("never", &[]) };
        match self.time(moment.unix()) {
            Some(time) => {
                let ago = self.relative(moment.unix(), now.as_second());
                self.t("moment", &[("time", &time), ("ago", &ago)])
            }
            // Beyond the year 9999, or before -9999: a forged number, shown as it came.
            None => self.t("since_1970", &[("seconds", &moment.unix().to_string())]),
        }
    }

    /// A time of Unix seconds, as the site writes it; `None` outside the years -9999 to 9999.
    #[must_use]
    pub fn time(&self, unix: i64) -> Option<String> {
        let time = Timestamp::from_second(unix).ok()?;
        match &self.format {
            // The format has been proved when the configuration was read.
            Some(format) => self.formatted(time, format, &self.zone).ok(),
            None => Some(rfc3339(time, &self.zone)),
        }
    }

    /// A time as `format` (strftime) says, in a zone of its own if there is one; without a format as the site writes it.
    ///
    /// # Errors
    /// When the format has a directive that there is not.
    pub fn time_as(
        &self,
        time: Timestamp,
        format: Option<&str>,
        zone: Option<&TimeZone>,
    ) -> Result<String, jiff::Error> {
        let zone = zone.unwrap_or(&self.zone);
        match format.or(self.format.as_deref()) {
            Some(format) => self.formatted(time, format, zone),
            None => Ok(rfc3339(time, zone)),
        }
    }

    /// How long ago, as VQL `humanize(time=)` says it: whole units, rounded down.
    #[must_use]
    pub fn relative(&self, then: i64, now: i64) -> String {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        const WEEK: u64 = 7 * DAY;
        const MONTH: u64 = 30 * DAY;
        const YEAR: u64 = 12 * MONTH;
        let seconds = now.abs_diff(then);
        let (count, past, future) = match seconds {
            0 => return self.t("now", &[]),
            _ if seconds < MINUTE => (seconds, "seconds_ago", "in_seconds"),
            _ if seconds < HOUR => (seconds / MINUTE, "minutes_ago", "in_minutes"),
            _ if seconds < DAY => (seconds / HOUR, "hours_ago", "in_hours"),
            _ if seconds < WEEK => (seconds / DAY, "days_ago", "in_days"),
            _ if seconds < MONTH => (seconds / WEEK, "weeks_ago", "in_weeks"),
            _ if seconds < YEAR => (seconds / MONTH, "months_ago", "in_months"),
            _ if seconds < YEAR + YEAR / 2 => (1, "years_ago", "in_years"),
            _ if seconds < 2 * YEAR => (2, "years_ago", "in_years"),
            _ if seconds < 37 * YEAR => (seconds / YEAR, "years_ago", "in_years"),
            _ => return self.t(if then > now { "in_long" } else { "long_ago" }, &[]),
        };
        self.n(if then > now { future } else { past }, count)
    }

    /// `(Showing 20 of 120 rows)`, if some are left out.
    #[must_use]
    pub fn showing(&self, key: &str, shown: u64, total: u64) -> String {
        if shown >= total {
            return String::new();
        }
        self.t(key, &[("shown", &shown.to_string()), ("total", &total.to_string())])
    }

    fn mark(&self, key: &str) -> String {
        self.t(key, &[])
    }

    fn decimal(&self, text: String) -> String {
        match self.mark("decimal_mark").as_str() {
            "." => text,
            mark => text.replace('.', mark),
        }
    }

    /// strftime, with the names of months and days in the locale's language.
    fn formatted(&self, time: Timestamp, format: &str, zone: &TimeZone) -> Result<String, jiff::Error> {
        let zoned = time.to_zoned_datetime(zone.clone());
        let mut own = String::with_capacity(format.len());
        let mut rest = format.chars().peekable();
        while let Some(c) = rest.next() {
            if c != '%' {
                own.push(c);
                continue;
            }
            match rest.peek().copied().and_then(|directive| self.named(&zoned, directive)) {
                Some(name) => {
                    rest.next();
                    own.push_str(&name.replace('%', "%%"));
                }
                None => {
                    own.push('%');
                    // So that `%%B` stays what it is.
                    own.extend(rest.next());
                }
            }
        }
        jiff::fmt::strtime::format(&own, &zoned).map(|text| text::one_line(&text))
    }

    /// The name of a month or of a day, if the directive is one.
    fn named(&self, time: &ZonedDateTime, directive: char) -> Option<String> {
        let (list, at) = match directive {
            'B' => ("months", time.month() - 1),
            'b' | 'h' => ("months_short", time.month() - 1),
            'A' => ("weekdays", time.weekday().to_monday_zero_offset()),
            'a' => ("weekdays_short", time.weekday().to_monday_zero_offset()),
            _ => return None,
        };
        self.t(list, &[]).split_whitespace().nth(usize::try_from(at).ok()?).map(str::to_owned)
    }
}

/// Whole seconds; `Z` in UTC.
fn rfc3339(time: Timestamp, zone: &TimeZone) -> String {
    let time = Timestamp::from_second(time.as_second()).unwrap_or(time);
    if *zone == TimeZone::UTC {
        return time.to_string();
    }
    time.display_with_offset(zone.to_offset(time)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::language::stock;

    const THEN: i64 = 1_786_500_123;

    fn locale(language: &str, zone: &str, format: Option<&str>) -> Locale {
        let config = LocaleConfig {
            language: language.to_owned(),
            time_zone: TimeZone::get(zone).unwrap(),
            date_format: format.map(str::to_owned),
        };
        Locale::new(stock().remove(language).unwrap(), &config)
    }

    fn english() -> Locale {
        locale("en", "UTC", None)
    }

    #[test]
    fn relative_times_use_velociraptors_words() {
        let day = 86_400;
        for (seconds, words) in [
            (0, "now"),
            (1, "1 second ago"),
            (2, "2 seconds ago"),
            (59, "59 seconds ago"),
            (60, "1 minute ago"),
            (119, "1 minute ago"),
            (120, "2 minutes ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (7_199, "1 hour ago"),
            (7_200, "2 hours ago"),
            (day - 1, "23 hours ago"),
            (day, "1 day ago"),
            (2 * day, "2 days ago"),
            (7 * day - 1, "6 days ago"),
            (7 * day, "1 week ago"),
            (14 * day, "2 weeks ago"),
            (30 * day - 1, "4 weeks ago"),
            (30 * day, "1 month ago"),
            (60 * day, "2 months ago"),
            (360 * day - 1, "11 months ago"),
            (360 * day, "1 year ago"),
            (540 * day - 1, "1 year ago"),
            (540 * day, "2 years ago"),
            (720 * day, "2 years ago"),
            (1_080 * day, "3 years ago"),
            (37 * 360 * day - 1, "36 years ago"),
            (37 * 360 * day, "a long while ago"),
            (-1, "1 second from now"),
            (-3 * 7 * day, "3 weeks from now"),
        ] {
            assert_eq!(english().relative(THEN - seconds, THEN), words);
        }
        assert_eq!(english().relative(i64::MIN, i64::MAX), "a long while ago");
    }

    #[test]
    fn moments_never_fail() {
        let now = Timestamp::from_second(1_786_500_423).unwrap();
        assert_eq!(english().moment(Some(Moment(1_786_500_123_900_000)), now), "2026-08-12T02:02:03Z (5 minutes ago)");
        assert_eq!(english().moment(None, now), "(never)");
        assert_eq!(english().moment(Some(Moment(i64::MAX)), now), "9223372036854 s since 1970");
    }

    #[test]
    fn zone_format_and_language_decide_how_times_are_written() {
        for (language, zone, format, words) in [
            ("en", "UTC", None, "2026-08-12T02:02:03Z"),
            ("en", "Europe/Berlin", None, "2026-08-12T04:02:03+02:00"),
            ("en", "America/New_York", Some("%a %-d %b %Y %H:%M %Z"), "Tue 11 Aug 2026 22:02 EDT"),
            ("de", "Europe/Berlin", Some("%A, %-d. %B %Y %H:%M"), "Mittwoch, 12. August 2026 04:02"),
            ("de", "Europe/Berlin", Some("%d.%m.%Y %H:%M %Z"), "12.08.2026 04:02 CEST"),
            ("de", "UTC", Some("%%B %a"), "%B Mi"),
            ("en", "Asia/Kathmandu", Some("%H:%M"), "07:47"),
        ] {
            assert_eq!(locale(language, zone, format).time(THEN).unwrap(), words);
        }
        // Summer and winter.
        let berlin = locale("de", "Europe/Berlin", Some("%H:%M %:z"));
        assert_eq!(berlin.time(1_792_890_000).unwrap(), "02:00 +01:00");
        assert_eq!(berlin.time(1_792_886_400).unwrap(), "02:00 +02:00");
    }

    #[test]
    fn every_directive_of_names_agrees_with_jiff_in_english() {
        let english = english();
        for day in 0..400 {
            let time = Timestamp::from_second(THEN + day * 86_400).unwrap();
            for format in ["%A", "%a", "%B", "%b", "%h"] {
                let jiff = jiff::fmt::strtime::format(format, &time.to_zoned_datetime(TimeZone::UTC)).unwrap();
                assert_eq!(english.time_as(time, Some(format), None).unwrap(), jiff);
            }
        }
        assert!(english.time_as(Timestamp::UNIX_EPOCH, Some("%"), None).is_err());
        assert!(english.time_as(Timestamp::UNIX_EPOCH, Some("%!"), None).is_err());
    }

    #[test]
    fn numbers_have_the_marks_of_the_language() {
        let german = locale("de", "UTC", None);
        assert_eq!(german.size(1_234), "1,2 kB");
        assert_eq!(german.binary_size(1_234), "1,2 KiB");
        assert_eq!(german.seconds(17_340_000_000), "17,3 s");
        assert_eq!(german.grouped(1_234_567), "1.234.567");
        assert_eq!(german.n("rows", 0), "keine Zeilen");
        assert_eq!(german.n("rows", 1), "1 Zeile");
        assert_eq!(german.n("rows", 1_234), "1.234 Zeilen");
        assert_eq!(english().n("rows", 1_234), "1,234 rows");
        assert_eq!(german.relative(THEN - 120, THEN), "vor 2 Minuten");
        assert_eq!(german.relative(THEN + 86_400, THEN), "in 1 Tag");
    }
}
