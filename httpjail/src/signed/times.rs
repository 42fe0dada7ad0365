//! Times as a user types them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Reads a period: a whole number of seconds, or one with `s`, `m`, `h` or `d` behind it.
///
/// # Errors
/// For anything else, for none, and for more than a hundred years.
pub(crate) fn period(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(60 * 60),
        "d" => Some(24 * 60 * 60),
        _ => None,
    };
    let counted = number.parse::<u64>().ok().zip(seconds);
    let whole = counted.and_then(|(number, seconds)| number.checked_mul(seconds));
    match whole {
        Some(seconds @ 1..=3_155_760_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "invalid period `{text}`: expected a number with a unit, such as 90s, 5m, 12h or 30d"
        )),
    }
}

/// Reads a time: one of RFC 3339, to the second, or a [`period`] from `now` on.
///
/// # Errors
/// For anything else.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return whole(time);
    }
    let wrong = || format!("invalid time `{text}`: expected one such as 2030-01-31T00:00:00Z, or a period such as 30d");
    let period = SignedDuration::try_from(period(text).map_err(|_| wrong())?).map_err(|_| wrong())?;
    whole(now.checked_add(period).map_err(|_| wrong())?)
}

/// The file's times are whole seconds.
fn whole(time: Timestamp) -> Result<Timestamp, String> {
    Timestamp::from_second(time.as_second()).map_err(|error| error.to_string())
}
