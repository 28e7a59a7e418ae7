//! The clock of the HTTP side, and times as JSON shows them.

use std::time::SystemTime;

use cratekeeper_domain::{Rejection, RejectionKind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since the Unix epoch. Only judges expiry; events are stamped by the leader.
pub(crate) fn now_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |elapsed| {
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}

/// `2026-11-21T12:00:00.5Z`.
pub(crate) fn rfc3339(time_ms: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        // Only a time past the year 9999 gets here; its number is better than nothing.
        .unwrap_or_else(|| time_ms.to_string())
}

/// A time as somebody wrote it, in milliseconds since the Unix epoch.
pub(crate) fn parse_rfc3339(text: &str) -> Result<u64, Rejection> {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok())
        .ok_or_else(|| {
            Rejection::new(
                RejectionKind::Invalid,
                format!("`{text}` is not a time; write it as in RFC 3339, for example `2027-01-31T00:00:00Z`"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_round_trip() {
        let text = rfc3339(1_795_262_400_500);
        assert_eq!(text, "2026-11-21T12:00:00.5Z");
        assert_eq!(parse_rfc3339(&text), Ok(1_795_262_400_500));
    }

    #[test]
    fn what_is_no_time_is_refused_by_a_sentence() {
        let refused = parse_rfc3339("tomorrow").expect_err("not a time");
        assert!(refused.sentence.contains("`tomorrow`"));
    }
}
