//! Points in time for people and programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What time it was `ago`, in UTC to the second as of RFC 3339.
pub(crate) fn before_now(ago: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Half a second up, so that asking twice gives one answer more often than not.
    let then = now.saturating_sub(ago) + Duration::from_millis(500);
    rfc3339(then.as_secs())
}

fn rfc3339(unix_seconds: u64) -> String {
    let (year, month, day) = civil(unix_seconds / 86_400);
    let second = unix_seconds % 86_400;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The date of a day, counted from 1970, by [Hinnant]'s `civil_from_days`.
///
/// [Hinnant]: https://howardhinnant.github.io/date_algorithms.html
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// How long, in the two largest units.
pub(crate) fn rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        86_400.. => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{rfc3339, rough};

    #[test]
    fn timestamps_are_those_of_date() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_763_701_200, "2025-11-21T05:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m01s"), (7_380, "2h03m"), (93_600, "1d02h")]
        {
            assert_eq!(rough(Duration::from_secs(seconds)), text);
        }
    }
}
