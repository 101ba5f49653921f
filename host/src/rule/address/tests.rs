use std::collections::HashSet;

use super::*;

#[test]
fn addresses() {
    let long_local = format!("{}@example.org", "a".repeat(64));
    let long_domain = format!("a@{}example.org", "abcdefgh.".repeat(27));
    for text in [
        "ana@example.org",
        "o'neil@example.org",
        "1001@pager.example",
        "first.last+tag@example.net",
        "x@localhost",
        "jörg@example.net",
        "alice@blåbær.example",
        "jo\u{308}rg@example.net",
        "日本@例え.jp",
        "x@[192.0.2.1]",
        "x@[IPv6:2001:db8::1]",
        "svc@my_host.internal",
        "!#$%&'*+/=?^_`{|}~-@example.org",
        long_local.as_str(),
        long_domain.as_str(),
    ] {
        let address = Address::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(address.as_str(), text);
        assert_eq!(format!("{}@{}", address.local(), address.domain()), text);
        assert_eq!(address.is_ascii(), text.is_ascii());
    }
}

#[test]
fn no_addresses() {
    let long_local = format!("{}@example.org", "a".repeat(65));
    let long_domain = format!("a@{}example.org", "abcdefgh.".repeat(28));
    let long_label = format!("a@{}.example", "b".repeat(64));
    for text in [
        "",
        "   ",
        "nobody",
        "@",
        "@example.org",
        "user@",
        "a@b@c",
        "a@x, b@y",
        "a@x b@y",
        "a@x,b",
        "Ana <ana@example.org>",
        "<ana@example.org>",
        "ana@ex ample.org",
        "ana @example.org",
        "\"a b\"@example.org",
        "-oQ/tmp@example.org",
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a@example.org.",
        "a@.example.org",
        "a@-x.example",
        "a@x-.example",
        "a@[127.0.0.1",
        "a@[localhost]",
        "a@[IPv6:no]",
        "a@[::1]",
        "ana\r\nBcc: eve@example.org@example.org",
        "a\n@example.org",
        "a\0b@example.org",
        "a@exam\u{202e}ple.org",
        "a\u{200d}b@example.org",
        "a\u{a0}b@example.org",
        "😀@example.org",
        "a@x/y",
        "(c)a@example.org",
        "a;b@example.org",
        long_local.as_str(),
        long_domain.as_str(),
        long_label.as_str(),
    ] {
        assert!(Address::parse(text).is_err(), "{text:?}");
    }
    let error = Address::parse("a\u{202e}@x").unwrap_err().to_string();
    assert!(error.starts_with("`a\\u{202e}@x` is not an e-mail address: "), "{error}");
}

#[test]
fn what_an_address_is_may_be_sent_to() {
    for text in ["o'neil@example.org", "x@localhost", "jörg@example.net", "x@blåbær.example", "x@[192.0.2.1]"] {
        let address = Address::parse(text).unwrap();
        let taken = lettre::Address::new(address.local(), address.domain());
        assert!(taken.is_ok(), "{text}: {taken:?}");
    }
}

#[test]
fn blanks_around_are_no_part_of_it() {
    assert_eq!(Address::parse(" \tana@example.org \r\n").unwrap().as_str(), "ana@example.org");
}

#[test]
fn equality_is_exact_before_the_at_and_folded_after_it() {
    let parse = |text| Address::parse(text).unwrap();
    assert_eq!(parse("soc@example.org"), parse("soc@EXAMPLE.org"));
    assert_eq!(parse("x@blåbær.example"), parse("x@BLÅBÆR.example"));
    assert_ne!(parse("SOC@example.org"), parse("soc@example.org"));
    assert_ne!(parse("ab@c"), parse("a@bc"));
    let set: HashSet<Address> = ["a@x.org", "a@X.ORG", "A@x.org", "a@y.org"].map(parse).into_iter().collect();
    assert_eq!(set.len(), 3);
}

#[test]
fn senders() {
    let parsed = |text: &str| Mailbox::parse(text).map(|mailbox| (mailbox.name, mailbox.address));
    let ok = |name: &str, address: &str| Ok((name.to_owned(), address.to_owned()));
    assert_eq!(parsed(" bewit@example.org "), ok("", "bewit@example.org"));
    assert_eq!(parsed("<bewit@example.org>"), ok("", "bewit@example.org"));
    assert_eq!(parsed("Bewit <bewit@example.org>"), ok("Bewit", "bewit@example.org"));
    assert_eq!(parsed("Bewit (SOC)  < bewit@example.org >"), ok("Bewit (SOC)", "bewit@example.org"));
    assert_eq!(parsed(r#""Duty, Desk <1> \"x\"" <duty@example.org>"#), ok("Duty, Desk <1> \"x\"", "duty@example.org"));
    assert_eq!(parsed("Jörg 👩\u{200d}💻 <jörg@example.net>"), ok("Jörg 👩\u{200d}💻", "jörg@example.net"));
    for text in [
        "",
        "Bewit",
        "Bewit <>",
        "Bewit <bewit>",
        "Bewit <bewit@example.org> x",
        "Bewit <bewit@example.org",
        "a@x.org, Bewit <b@x.org>",
        "Ana, Bob <b@x.org>",
        "\"Bewit <b@x.org>",
        "\"Bewit\" x <b@x.org>",
        "Be\u{202e}wit <b@x.org>",
        "Be\nBcc: x@y\nwit <b@x.org>",
        "<a@x.org> <b@x.org>",
    ] {
        assert!(Mailbox::parse(text).is_err(), "{text:?}");
    }
}

proptest::proptest! {
    /// What is taken for an address can break out of nothing: envelope, header, log.
    #[test]
    fn an_address_is_harmless(text in "[\\PC\\x00-\\x20@.<>,;\"\\\\a-z-]{0,20}@[\\PC\\x00-\\x20@.<>,;\\[\\]a-z-]{0,20}") {
        if let Ok(address) = Address::parse(&text) {
            let text = address.as_str();
            proptest::prop_assert_eq!(text.matches('@').count(), 1);
            proptest::prop_assert!(!text.starts_with('-'));
            let bad = |character: char| character.is_whitespace() || character.is_control() || "<>,;\"\\()".contains(character);
            proptest::prop_assert!(!text.chars().any(bad));
            proptest::prop_assert_eq!(Address::parse(text).unwrap(), address);
        }
    }
}
