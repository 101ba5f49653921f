//! Which form of a text belongs to a whole number: the cardinal rules of CLDR for the languages whose rule is not that of
//! English.

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Zero,
    One,
    Two,
    Few,
    Many,
    Other,
}

impl Form {
    /// All of them, as they are written.
    pub(super) const NAMES: [(&'static str, Self); 6] = [
        ("zero", Self::Zero),
        ("one", Self::One),
        ("two", Self::Two),
        ("few", Self::Few),
        ("many", Self::Many),
        ("other", Self::Other),
    ];

    /// The form for a number in a language (`pt-BR` has that of `pt`).
    pub(super) fn of(language: &str, number: u64) -> Self {
        let (ten, hundred) = (number % 10, number % 100);
        match language.split('-').next().unwrap_or_default() {
            "id" | "ja" | "ko" | "lo" | "ms" | "my" | "th" | "vi" | "zh" => Self::Other,
            "fa" | "fr" | "hi" | "hy" | "pt" if number <= 1 => Self::One,
            "pl" => match (number, ten, hundred) {
                (1, ..) => Self::One,
                (_, 2..=4, hundred) if !(12..=14).contains(&hundred) => Self::Few,
                _ => Self::Many,
            },
            "be" | "ru" | "uk" => match (ten, hundred) {
                (1, hundred) if hundred != 11 => Self::One,
                (2..=4, hundred) if !(12..=14).contains(&hundred) => Self::Few,
                _ => Self::Many,
            },
            "bs" | "hr" | "sr" => match (ten, hundred) {
                (1, hundred) if hundred != 11 => Self::One,
                (2..=4, hundred) if !(12..=14).contains(&hundred) => Self::Few,
                _ => Self::Other,
            },
            "cs" | "sk" => match number {
                1 => Self::One,
                2..=4 => Self::Few,
                _ => Self::Other,
            },
            "lt" => match (ten, hundred) {
                (1, hundred) if !(11..=19).contains(&hundred) => Self::One,
                (2..=9, hundred) if !(11..=19).contains(&hundred) => Self::Few,
                _ => Self::Other,
            },
            "lv" => match (ten, hundred) {
                (0, _) | (_, 11..=19) => Self::Zero,
                (1, _) => Self::One,
                _ => Self::Other,
            },
            "ro" => match (number, hundred) {
                (1, _) => Self::One,
                (0, _) | (_, 1..=19) => Self::Few,
                _ => Self::Other,
            },
            "sl" => match hundred {
                1 => Self::One,
                2 => Self::Two,
                3 | 4 => Self::Few,
                _ => Self::Other,
            },
            "he" if number == 2 => Self::Two,
            "ar" => match (number, hundred) {
                (0, _) => Self::Zero,
                (1, _) => Self::One,
                (2, _) => Self::Two,
                (_, 3..=10) => Self::Few,
                (_, 11..=99) => Self::Many,
                _ => Self::Other,
            },
            _ if number == 1 => Self::One,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Form::{Few, Many, One, Other, Two, Zero};
    use super::*;

    #[test]
    fn numbers_take_the_form_that_cldr_gives_them() {
        for (language, forms) in [
            ("en", &[(0, Other), (1, One), (2, Other), (21, Other)][..]),
            ("de-AT", &[(0, Other), (1, One), (101, Other)]),
            ("fr", &[(0, One), (1, One), (2, Other)]),
            ("ja", &[(1, Other)]),
            ("pl", &[(0, Many), (1, One), (3, Few), (13, Many), (21, Many), (22, Few)]),
            ("ru", &[(1, One), (11, Many), (21, One), (22, Few), (25, Many)]),
            ("hr", &[(1, One), (12, Other), (24, Few), (5, Other)]),
            ("cs", &[(1, One), (4, Few), (5, Other)]),
            ("lt", &[(21, One), (11, Other), (9, Few)]),
            ("lv", &[(0, Zero), (21, One), (11, Zero), (2, Other)]),
            ("ro", &[(0, Few), (1, One), (19, Few), (20, Other), (119, Few)]),
            ("sl", &[(101, One), (102, Two), (104, Few), (5, Other)]),
            ("he", &[(1, One), (2, Two), (3, Other)]),
            ("ar", &[(0, Zero), (2, Two), (110, Few), (111, Many), (100, Other)]),
        ] {
            for (number, form) in forms {
                assert_eq!(Form::of(language, *number), *form, "{number} in {language}");
            }
        }
    }
}
