//! ISO 8601 as the date filter parses it: calendar, ordinal and week dates, optionally with a time after `T` or a
//! space, a fraction after a point or a comma, and an offset.

use super::parse::{Context, Found};
use crate::event::Timestamp;

/// Parses `text`, in the context's zone if it has no offset. Digits finer than milliseconds are dropped. Returns `None`
/// if the text is not valid.
pub fn parse(text: &str, context: Context<'_>) -> Option<Timestamp> {
    let mut found = Found::default();
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    read_date(date, &mut found)?;
    if let Some(time) = time {
        read_time(time, &mut found)?;
    }
    found.resolve(context).map(|time| Timestamp::new(time.seconds, time.nanos / 1_000_000 * 1_000_000))
}

fn digits(text: &str, least: usize, most: usize) -> Option<i64> {
    let fits = (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

fn read_date(date: &str, found: &mut Found) -> Option<()> {
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 1, 9)?;
    found.set_year(year);
    let Some(second) = parts.next() else { return Some(()) };
    if let Some(week) = second.strip_prefix('W') {
        let weekday = parts.next().map_or(Some(1), |weekday| digits(weekday, 1, 1))?;
        found.set_week(year, digits(week, 1, 2)?, weekday)?;
    } else if second.len() == 3 {
        found.set_day_of_year(digits(second, 3, 3)?)?;
    } else {
        let day = parts.next().map_or(Some(1), |day| digits(day, 1, 2))?;
        found.set_month_and_day(digits(second, 1, 2)?, day)?;
    }
    parts.next().is_none().then_some(())
}

fn read_time(time: &str, found: &mut Found) -> Option<()> {
    let end = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, mut offset) = time.split_at(end);
    let clock = clock.trim_end_matches(' ');
    let (clock, fraction) = match clock.find(['.', ',']) {
        Some(at) => (&clock[..at], Some(&clock[at + 1..])),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 1, 2)?;
    let minute = parts.next().map_or(Some(0), |minute| digits(minute, 1, 2))?;
    let second = parts.next().map_or(Some(0), |second| digits(second, 1, 2))?;
    if parts.next().is_some() {
        return None;
    }
    let nanos = match fraction {
        None => 0,
        Some(fraction) if !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit()) => fraction
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0')),
        Some(_) => return None,
    };
    found.set_time(hour, minute, second, nanos)?;
    if !offset.is_empty() {
        found.set_offset(super::parse::offset(&mut offset)?);
        if !offset.is_empty() {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_joda_takes() {
        let tokyo = jiff::tz::TimeZone::get("Asia/Tokyo").unwrap();
        for (text, expected) in [
            ("2024-05-06T07:08:09.5Z", "2024-05-06T07:08:09.500Z"),
            ("2024-05-06 07:08:09.5", "2024-05-05T22:08:09.500Z"),
            ("2024-05-06T07:08+01:00", "2024-05-06T06:08:00.000Z"),
            ("2024-05-06", "2024-05-05T15:00:00.000Z"),
            ("2024-W19-1", "2024-05-05T15:00:00.000Z"),
            ("2024-127", "2024-05-05T15:00:00.000Z"),
            ("2001", "2000-12-31T15:00:00.000Z"),
            ("2001-13-01", "none"),
            ("2024-05-06T07:08:09.5x", "none"),
        ] {
            let context = Context { zone: &tokyo, now: Timestamp::new(0, 0) };
            assert_eq!(parse(text, context).map_or("none".into(), |time| time.to_string()), expected, "{text}");
        }
    }
}
