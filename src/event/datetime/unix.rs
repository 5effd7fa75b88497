//! Numeric times: seconds or milliseconds since the epoch, and TAI64N labels.

use crate::event::Timestamp;

/// Parses seconds since the epoch with an optional fraction, such as `1445385600.25` (the date filter's `UNIX`). As in
/// Logstash, digits finer than a millisecond are dropped, and a number of seconds that exceeds 31 bits (mostly one in
/// milliseconds) is rejected.
pub fn seconds(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    if exponent != 0 {
        let value: f64 = text.parse().ok()?;
        let millis = value * 1e3;
        return (millis.abs() < 9e15).then(|| Timestamp::from_millis(millis as i64));
    }
    let negative = mantissa.starts_with('-');
    let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole: i64 = whole.parse().ok().filter(|seconds| *seconds <= i64::from(i32::MAX))?;
    let millis = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |millis, digit| millis * 10 + i64::from(digit - b'0'));
    let total = whole.checked_mul(1_000)?.checked_add(millis)?;
    Some(Timestamp::from_millis(if negative { -total } else { total }))
}

/// Parses milliseconds since the epoch (the date filter's `UNIX_MS`).
pub fn millis(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok().map(Timestamp::from_millis)
}

/// Parses a TAI64N label: `@` (optional) and 24 hexadecimal digits, which are seconds counted from 2^62 and then
/// nanoseconds. In the form that log writers use, TAI is ten seconds ahead of UTC.
pub fn tai64n(text: &str) -> Option<Timestamp> {
    const AHEAD_OF_UTC: i64 = 10;
    let label = text.strip_prefix('@').unwrap_or(text);
    let seconds = i64::from_str_radix(label.get(1..16)?, 16).ok().filter(|_| label.starts_with('4'))?;
    let nanos = u32::from_str_radix(label.get(16..24)?, 16).ok()?;
    let millis = nanos / 1_000_000;
    (millis < 1_000).then(|| Timestamp::new(seconds - AHEAD_OF_UTC, millis * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_times() {
        let shown = |time: Option<Timestamp>| time.map_or("none".into(), |time| time.to_string());
        assert_eq!(shown(seconds("1000000000.5")), "2001-09-09T01:46:40.500Z");
        assert_eq!(shown(seconds("-1.25")), "1969-12-31T23:59:58.750Z");
        assert_eq!(shown(seconds("1.478207457E9")), "2016-11-03T21:10:57.000Z");
        assert_eq!(shown(seconds("1a")), "none");
        assert_eq!(shown(millis("1000000000123")), "2001-09-09T01:46:40.123Z");
        assert_eq!(shown(tai64n("@4000000050d506482dbdf024")), "2012-12-22T01:00:46.767Z");
    }
}
