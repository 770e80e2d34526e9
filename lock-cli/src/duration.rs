//! How durations are written on the command line.

use std::time::Duration;

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `500ms`, `5s`, `1m30s`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut rest = text;
    let mut total = 0_u64;
    loop {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(malformed());
        };
        if number.is_empty() {
            return Err(malformed());
        }
        let part = number.parse().ok().and_then(|number: u64| number.checked_mul(*scale));
        total = part.and_then(|part| total.checked_add(part)).ok_or("it is too long")?;
        if after.is_empty() {
            return Ok(Duration::from_millis(total));
        }
        rest = after;
    }
}

fn malformed() -> String {
    "write a whole number and a unit (ms, s, m, h, d), as in 0s, 500ms, 5s or 1m30s".to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1m30s", 90_000),
            ("1s500ms", 1_500),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_duration() {
        for text in ["", "5", "s", "-1s", "+1s", "1.5s", "5 s", "5s ", "5S", "5sec", "1s5", "٣s"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert_eq!(parse("99999999999999999999s"), Err("it is too long".to_owned()));
        assert_eq!(parse("18446744073709551615h"), Err("it is too long".to_owned()));
    }
}
