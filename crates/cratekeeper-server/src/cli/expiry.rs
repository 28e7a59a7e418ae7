//! When a token shall expire: in some time, or at some date.

use std::str::FromStr;

use anyhow::Context;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, Duration, OffsetDateTime, Time};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Expiry {
    In(Duration),
    At(OffsetDateTime),
}

impl Expiry {
    /// The point in time, reckoned from now.
    pub(super) fn rfc3339(self) -> anyhow::Result<String> {
        let at = match self {
            Expiry::In(duration) => OffsetDateTime::now_utc()
                .checked_add(duration)
                .context("the expiry is too far away")?,
            Expiry::At(at) => at,
        };
        let at = at
            .replace_nanosecond(0)
            .context("the expiry has no whole second")?;
        Ok(at.format(&Rfc3339)?)
    }
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Expiry, String> {
        let parsed = duration(text)
            .map(Expiry::In)
            .or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok().map(Expiry::At))
            .or_else(|| date(text).map(Expiry::At));
        parsed.ok_or_else(|| {
            format!("`{text}` is no expiry; write `90d`, `12h`, `8w`, `2030-12-31` or `2030-12-31T12:00:00Z`")
        })
    }
}

/// Is this time of the registry's over?
pub(super) fn is_past(text: &str) -> bool {
    OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|at| at <= OffsetDateTime::now_utc())
}

/// A number above zero with `m`, `h`, `d` or `w`.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let number: i64 = text
        .strip_suffix(unit)?
        .parse()
        .ok()
        .filter(|number| (1..1_000_000).contains(number))?;
    match unit {
        'm' => Some(Duration::minutes(number)),
        'h' => Some(Duration::hours(number)),
        'd' => Some(Duration::days(number)),
        'w' => Some(Duration::weeks(number)),
        _ => None,
    }
}

/// The end of that day, UTC.
fn date(text: &str) -> Option<OffsetDateTime> {
    let date = Date::parse(text, format_description!("[year]-[month]-[day]")).ok()?;
    Some(date.next_day()?.with_time(Time::MIDNIGHT).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_a_unit_is_a_time_from_now() {
        assert_eq!("90d".parse(), Ok(Expiry::In(Duration::days(90))));
        assert_eq!("12h".parse(), Ok(Expiry::In(Duration::hours(12))));
        assert_eq!("8w".parse(), Ok(Expiry::In(Duration::weeks(8))));
        assert_eq!("30m".parse(), Ok(Expiry::In(Duration::minutes(30))));
    }

    #[test]
    fn a_date_means_until_its_end() {
        let expiry: Expiry = "2030-12-31".parse().expect("a date is an expiry");
        assert_eq!(
            expiry.rfc3339().expect("a date can be written"),
            "2031-01-01T00:00:00Z"
        );
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
        for text in [
            "",
            "d",
            "0d",
            "-1d",
            "90",
            "90y",
            "2030-13-01",
            "ninety days",
            "é",
        ] {
            let refused = text.parse::<Expiry>().expect_err("this is no expiry");
            assert!(refused.contains("write `90d`"), "{refused}");
        }
    }
}
