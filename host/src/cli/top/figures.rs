//! Arithmetic on what was seen, and numbers as people read them.

use super::samples::Buckets;

/// What was recorded after `before`.
pub(super) fn since(now: &Buckets, before: &Buckets) -> Buckets {
    let cumulative = now.cumulative.iter().map(|(bound, count)| {
        let earlier = before.cumulative.iter().find(|(own, _)| own == bound).map_or(0.0, |(_, count)| *count);
        (*bound, (count - earlier).max(0.0))
    });
    Buckets { cumulative: cumulative.collect(), sum: (now.sum - before.sum).max(0.0) }
}

/// How many values there are.
pub(super) fn total(buckets: &Buckets) -> f64 {
    buckets.cumulative.last().map_or(0.0, |(_, count)| *count)
}

/// The value below which so many of all lie (0.5: half of them), taken to lie evenly within its bucket, as Prometheus does.
/// What is above the last bound counts as it. `None`: there are no values.
pub(super) fn quantile(buckets: &Buckets, share: f64) -> Option<f64> {
    let wanted = total(buckets) * share;
    if wanted <= 0.0 {
        return None;
    }
    let (mut low, mut below) = (0.0, 0.0);
    for (bound, count) in &buckets.cumulative {
        if *count >= wanted {
            return Some(if bound.is_finite() {
                low + (bound - low) * (wanted - below) / (count - below)
            } else {
                low
            });
        }
        (low, below) = (*bound, *count);
    }
    None
}

/// A duration in its unit: `12 µs`, `3.4 ms`, `56 s`, `7 min`, `8.9 h`, `10 d`.
pub(super) fn seconds(seconds: f64) -> String {
    let units = [(1e-3, 1e-6, "µs"), (1.0, 1e-3, "ms"), (120.0, 1.0, "s"), (7_200.0, 60.0, "min")];
    let (size, unit) = match units.iter().find(|(below, ..)| seconds < *below) {
        Some((_, size, unit)) => (*size, *unit),
        None if seconds < 172_800.0 => (3_600.0, "h"),
        None => (86_400.0, "d"),
    };
    if seconds == 0.0 { "0 s".to_owned() } else { format!("{} {unit}", digits(seconds / size)) }
}

/// Bytes in binary units.
pub(super) fn bytes(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut left = bytes;
    let mut unit = units.iter();
    let mut named = unit.next();
    while left >= 1024.0
        && let Some(next) = unit.next()
    {
        left /= 1024.0;
        named = Some(next);
    }
    format!("{} {}", digits(left), named.unwrap_or(&"B"))
}

/// A number with one digit behind the point if it is small and not whole.
pub(super) fn digits(number: f64) -> String {
    if number >= 9.95 || number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}
