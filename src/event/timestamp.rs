//! Points in time with nanosecond precision, as Logstash's `LogStash::Timestamp` holds and prints them.

use std::cell::Cell;
use std::fmt;

use jiff::civil;

/// A point in time: seconds since 1970-01-01T00:00:00Z and nanoseconds within that second.
// Twelve bytes instead of sixteen make a `Value`, and all types that contain one, a third smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(Rust, packed(4))]
pub struct Timestamp {
    /// Whole seconds since the epoch, possibly negative.
    pub seconds: i64,
    /// Nanoseconds after that second, less than 1,000,000,000.
    pub nanos: u32,
}

const DAYS_PER_400_YEARS: i64 = 146_097;

/// Returns the number of days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's `days_from_civil`).
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month = i64::from(month);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_400_YEARS + day_of_era - 719_468
}

/// Returns year, month and day of a number of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_PER_400_YEARS);
    let day_of_era = shifted.rem_euclid(DAYS_PER_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Returns the number of days in a month.
pub fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Timestamp {
    /// Creates a timestamp from seconds and nanoseconds.
    pub fn new(seconds: i64, nanos: u32) -> Self {
        debug_assert!(nanos < 1_000_000_000);
        Timestamp { seconds, nanos }
    }

    /// Creates a timestamp from milliseconds since the epoch, the unit of Kafka's timestamps.
    pub fn from_millis(millis: i64) -> Self {
        Timestamp { seconds: millis.div_euclid(1_000), nanos: (millis.rem_euclid(1_000) * 1_000_000) as u32 }
    }

    /// Returns whole milliseconds since the epoch, rounded down.
    pub fn as_millis(self) -> i64 {
        self.seconds.saturating_mul(1_000).saturating_add(i64::from(self.nanos / 1_000_000))
    }

    /// Returns the time of the system clock.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() }
    }

    /// Returns date and time of day in UTC: year, month, day, hour, minute, second.
    pub fn civil_utc(self) -> (i64, u32, u32, u32, u32, u32) {
        let days = self.seconds.div_euclid(86_400);
        let second_of_day = self.seconds.rem_euclid(86_400) as u32;
        let (year, month, day) = civil_from_days(days);
        (year, month, day, second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60)
    }

    /// Parses ISO 8601 as Logstash parses `@timestamp`: a date, optionally a time with seconds and fraction (`.` or
    /// `,`), optionally an offset (`Z`, `+01:00`, `+0100`, `+01`). A time without an offset is in UTC.
    pub fn parse_iso8601(text: &str) -> Option<Timestamp> {
        if let Some(time) = Timestamp::parse_canonical(text) {
            return Some(time);
        }
        let mut reader = Digits { bytes: text.as_bytes(), at: 0 };
        let negative = reader.eat(b'-');
        let year_digits = reader.count();
        if !(4..=9).contains(&year_digits) {
            return None;
        }
        let mut year = reader.number(year_digits)? as i64;
        if negative {
            year = -year;
        }
        let (mut month, mut day) = (1, 1);
        if reader.eat(b'-') {
            month = reader.number(2)?;
            if reader.eat(b'-') {
                day = reader.number(2)?;
            }
        }
        if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return None;
        }
        let (mut hour, mut minute, mut second, mut nanos) = (0, 0, 0, 0);
        if reader.eat(b'T') || reader.eat(b't') || reader.eat(b' ') {
            hour = reader.number(2)?;
            if reader.eat(b':') {
                minute = reader.number(2)?;
                if reader.eat(b':') {
                    second = reader.number(2)?;
                    if reader.eat(b'.') || reader.eat(b',') {
                        nanos = reader.fraction()?;
                    }
                }
            }
        }
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let offset = reader.offset()?;
        if reader.at != reader.bytes.len() {
            return None;
        }
        let days = days_from_civil(year, month, day);
        let seconds = days * 86_400 + i64::from(hour * 3_600 + minute * 60 + second) - i64::from(offset);
        Some(Timestamp { seconds, nanos })
    }

    /// Parses a text in exactly the printed format: a time in UTC with milliseconds and a year of four digits.
    pub(super) fn parse_canonical(text: &str) -> Option<Timestamp> {
        let text: &[u8; 24] = text.as_bytes().try_into().ok()?;
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')];
        if marks.iter().any(|(at, mark)| text[*at] != *mark) {
            return None;
        }
        let mut wrong = 0;
        let mut two = |at: usize| {
            let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
            wrong |= u8::from(tens > 9) | u8::from(ones > 9);
            u32::from(tens) * 10 + u32::from(ones)
        };
        let year = i64::from(two(0) * 100 + two(2));
        let (month, day, hour, minute, second) = (two(5), two(8), two(11), two(14), two(17));
        let (hundreds, rest) = (text[20].wrapping_sub(b'0'), two(21));
        let fits = wrong == 0 && hundreds <= 9 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
        if !fits || day == 0 || day > days_in_month(year, month) {
            return None;
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + i64::from(hour * 3_600 + minute * 60 + second);
        Some(Timestamp { seconds, nanos: (u32::from(hundreds) * 100 + rest) * 1_000_000 })
    }

    /// Returns the instant of a civil date and time in a time zone. A time that a clock change skips or repeats is
    /// resolved as in Joda (the earlier offset).
    pub fn from_zoned(datetime: civil::DateTime, zone: &jiff::tz::TimeZone) -> Option<Timestamp> {
        let instant = zone.to_ambiguous_timestamp(datetime).compatible().ok()?;
        Some(Timestamp { seconds: instant.as_second(), nanos: 0 }.plus_nanos(i64::from(instant.subsec_nanosecond())))
    }

    fn plus_nanos(self, nanos: i64) -> Timestamp {
        let total = i64::from(self.nanos) + nanos;
        Timestamp {
            seconds: self.seconds + total.div_euclid(1_000_000_000),
            nanos: total.rem_euclid(1_000_000_000) as u32,
        }
    }

    /// Appends the time as `2026-11-23T10:05:01.000Z`: always with milliseconds, and with micro- and nanoseconds only
    /// if they are not zero.
    pub fn write_iso8601(self, out: &mut Vec<u8>) {
        let (text, length) = self.iso8601();
        out.extend_from_slice(&text[..length]);
    }

    /// Returns the time in ISO 8601 in a buffer, and its length in bytes.
    pub(super) fn iso8601(self) -> ([u8; 64], usize) {
        let (year, month, day, hour, minute, second) = self.civil_utc();
        let mut text = [0; 64];
        let mut at = 4;
        match u32::try_from(year) {
            Ok(year @ 0..=9_999) => {
                pair(&mut text, 0, year / 100);
                pair(&mut text, 2, year % 100);
            }
            _ => {
                let year = year.to_string();
                at = year.len();
                text[..at].copy_from_slice(year.as_bytes());
            }
        }
        for (mark, value) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
            text[at] = mark;
            pair(&mut text, at + 1, value);
            at += 3;
        }
        text[at] = b'.';
        at += 1;
        let kept = if self.nanos % 1_000_000 == 0 {
            3
        } else if self.nanos % 1_000 == 0 {
            6
        } else {
            9
        };
        let mut unit = 1_000_000;
        for place in (at..at + kept).step_by(3) {
            let three = self.nanos / unit % 1_000;
            text[place] = b'0' + (three / 100) as u8;
            pair(&mut text, place + 1, three % 100);
            unit /= 1_000;
        }
        at += kept;
        text[at] = b'Z';
        (text, at + 1)
    }
}

/// A cache of the printed form of the most recent seconds, since the times of adjacent events are mostly in the same
/// ones.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    seconds: [Cell<(i64, [u8; 20])>; 4],
    /// The last time that was not a whole millisecond, which is often the time of a batch.
    fine: Cell<(Timestamp, [u8; 32])>,
}

impl Default for Clock {
    fn default() -> Clock {
        let never = Timestamp { seconds: i64::MIN, nanos: 0 };
        Clock { seconds: [const { Cell::new((i64::MIN, [0; 20])) }; 4], fine: Cell::new((never, [0; 32])) }
    }
}

impl Clock {
    /// Returns a time in quotes and its length in bytes, for years with four digits.
    #[inline]
    pub(super) fn quoted(&self, time: Timestamp) -> Option<([u8; 32], usize)> {
        const FIRST: i64 = -62_167_219_200;
        const END: i64 = 253_402_300_800;
        if !(FIRST..END).contains(&{ time.seconds }) {
            return None;
        }
        if time.nanos % 1_000_000 != 0 {
            return Some(self.finely(time));
        }
        let place = &self.seconds[(time.seconds & 3) as usize];
        let (mut second, mut text) = place.get();
        if second != time.seconds {
            text.copy_from_slice(&time.iso8601().0[..20]);
            second = time.seconds;
            place.set((second, text));
        }
        let mut quoted = [b'"'; 32];
        quoted[1..21].copy_from_slice(&text);
        let millis = time.nanos / 1_000_000;
        quoted[21..25].copy_from_slice(&[
            b'0' + (millis / 100) as u8,
            b'0' + (millis / 10 % 10) as u8,
            b'0' + (millis % 10) as u8,
            b'Z',
        ]);
        Some((quoted, 26))
    }

    fn finely(&self, time: Timestamp) -> ([u8; 32], usize) {
        let length = if time.nanos % 1_000 == 0 { 29 } else { 32 };
        let (last, text) = self.fine.get();
        if last == time {
            return (text, length);
        }
        let mut quoted = [b'"'; 32];
        quoted[1..length - 1].copy_from_slice(&time.iso8601().0[..length - 2]);
        self.fine.set((time, quoted));
        (quoted, length)
    }
}

/// Writes two digits.
#[inline(always)]
fn pair(text: &mut [u8; 64], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(32);
        self.write_iso8601(&mut out);
        formatter.write_str(&String::from_utf8_lossy(&out))
    }
}

struct Digits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Digits<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn count(&self) -> usize {
        self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    }

    fn number(&mut self, digits: usize) -> Option<u32> {
        let piece = self.bytes.get(self.at..self.at + digits)?;
        let mut value = 0u32;
        for byte in piece {
            value = value * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?);
        }
        self.at += digits;
        Some(value)
    }

    /// Parses the digits after a decimal mark as nanoseconds. Digits after the ninth are dropped.
    fn fraction(&mut self) -> Option<u32> {
        let digits = self.count();
        if digits == 0 {
            return None;
        }
        let kept = digits.min(9);
        let value = self.number(kept)? * 10u32.pow(9 - kept as u32);
        self.at += digits - kept;
        Some(value)
    }

    /// Parses an offset in seconds; zero if there is none.
    fn offset(&mut self) -> Option<i32> {
        if self.eat(b'Z') || self.eat(b'z') || self.at == self.bytes.len() {
            return Some(0);
        }
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            return None;
        };
        let hours = self.number(2)? as i32;
        let minutes = if self.eat(b':') || self.count() == 2 { self.number(2)? as i32 } else { 0 };
        (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3_600 + minutes * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso8601_is_read_and_printed() {
        let clock = Clock::default();
        for (text, printed) in [
            ("2026-11-23T10:06:10.235Z", "2026-11-23T10:06:10.235Z"),
            ("2016-10-25T14:49:34+02:00", "2016-10-25T12:49:34.000Z"),
            ("2016-10-25T14:49:34,5+0200", "2016-10-25T12:49:34.500Z"),
            ("2016-10-25 14:49", "2016-10-25T14:49:00.000Z"),
            ("2000-02-29", "2000-02-29T00:00:00.000Z"),
            ("1969-12-31T23:59:59.123456789Z", "1969-12-31T23:59:59.123456789Z"),
            ("2026-01-01T00:00:00.123456Z", "2026-01-01T00:00:00.123456Z"),
        ] {
            let time = Timestamp::parse_iso8601(text).unwrap();
            assert_eq!(time.to_string(), printed, "{text}");
            for clock in [&clock, &clock, &Clock::default()] {
                let quoted =
                    clock.quoted(time).map(|(text, length)| String::from_utf8(text[..length].to_vec()).unwrap());
                assert_eq!(quoted, Some(format!("\"{printed}\"")));
            }
        }
        for text in [
            "2026-02-30T00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-01-01T00:00:00.00aZ",
            "",
            "now",
            "2026-13-01",
            "2026-02-30",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01x",
        ] {
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
    }

    #[test]
    fn days_and_dates_agree_over_centuries() {
        let mut days = days_from_civil(1599, 12, 31);
        for (year, month) in (1600..=2400).flat_map(|year| (1..=12).map(move |month| (year, month))) {
            for day in 1..=days_in_month(year, month) {
                days += 1;
                assert_eq!(days_from_civil(year, month, day), days);
                assert_eq!(civil_from_days(days), (year, month, day));
            }
        }
    }
}
