//! Until when a certificate is valid: the one field of X.509 (RFC 5280, 4.1.2.5) that people are to be warned of. TLS
//! itself judges certificates; this only reads.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;

/// ASN.1 tags, as DER writes them.
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, the certificate's version.
const VERSION: u8 = 0xa0;

/// The last second in which a certificate is valid; `None` if it is no certificate.
#[must_use]
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (tag, certificate, _) = value(certificate)?;
    let (inner, signed, _) = value(certificate)?;
    if (tag, inner) != (SEQUENCE, SEQUENCE) {
        return None;
    }
    let rest = match value(signed)? {
        (VERSION, _, rest) => rest,
        _ => signed,
    };
    // Serial number, algorithm, issuer; then the validity.
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (SEQUENCE, validity, _) = value(rest)? else { return None };
    let (_, _, end) = value(validity)?;
    let (tag, text, _) = value(end)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// Tag and content of a value, and what follows it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        length @ 0..=0x7f => (usize::from(*length), rest),
        // Longer than four bytes is no certificate.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let text = match tag {
        // RFC 5280: below 50 is this century.
        UTC_TIME if text < "5" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(year: i32) -> String {
        let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 4);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        not_after(certificate.der()).unwrap().to_string()
    }

    #[test]
    fn of_certificates() {
        // UTCTime until 2049, GeneralizedTime from 2050.
        assert_eq!(of(1999), "1999-03-04T00:00:00Z");
        assert_eq!(of(2031), "2031-03-04T00:00:00Z");
        assert_eq!(of(2077), "2077-03-04T00:00:00Z");
    }

    #[test]
    fn of_what_is_none() {
        let params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let whole = certificate.der();
        for cut in 0..whole.len() {
            let _ = not_after(&CertificateDer::from(whole[..cut].to_vec()));
            let mut other = whole.to_vec();
            other[cut] ^= 0xff;
            let _ = not_after(&CertificateDer::from(other));
        }
        assert_eq!(not_after(&CertificateDer::from(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff])), None);
        assert_eq!(not_after(&CertificateDer::from(b"nothing".to_vec())), None);
    }
}
