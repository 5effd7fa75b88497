//! Parsing of a text with a compiled pattern.

use jiff::civil;
use jiff::tz::TimeZone;

use super::{Field, Item, Pattern};
use crate::event::Timestamp;
use crate::event::timestamp::{civil_from_days, days_from_civil, days_in_month};

/// The fields that were parsed from a text. A field that is not in the pattern keeps its default.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    year: Option<i64>,
    week_year: Option<i64>,
    week: Option<i64>,
    weekday: Option<i64>,
    day_of_year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    hour: Option<i64>,
    half_hour: Option<i64>,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    nanos: u32,
    before_christ: bool,
    offset_seconds: Option<i64>,
    zone: Option<TimeZone>,
}

/// The context of a text: the values for what it does not contain.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time zone of a text without an offset or zone of its own.
    pub zone: &'a TimeZone,
    /// The current time, from which a missing year is guessed.
    pub now: Timestamp,
}

impl Pattern {
    /// Parses `text`. Returns `None` if the text as a whole does not match the pattern, or contains a day or hour that
    /// does not exist.
    pub fn parse(&self, text: &str, context: Context<'_>) -> Option<Timestamp> {
        let mut found = Found::default();
        let mut rest = text;
        for (item, next) in self.items.iter().zip(self.items.iter().skip(1).map(Some).chain([None])) {
            self.read(item, &mut rest, &mut found)?;
            // A short name may be followed by a full stop, depending on the writer and on the version of CLDR.
            let named = matches!(item, Item::MonthName { .. } | Item::WeekdayName { .. });
            let stop = if matches!(next, Some(Item::Literal(text)) if text.starts_with('.')) { ".." } else { "." };
            if named && rest.starts_with(stop) {
                rest = &rest[1..];
            }
        }
        if !rest.is_empty() {
            return None;
        }
        found.resolve(context)
    }

    fn read(&self, item: &Item, rest: &mut &str, found: &mut Found) -> Option<()> {
        match item {
            Item::Literal(literal) => {
                let matches = rest.get(..literal.len()).is_some_and(|start| start.eq_ignore_ascii_case(literal));
                if !matches {
                    return None;
                }
                *rest = &rest[literal.len()..];
            }
            Item::Number { field, max, .. } => {
                let signed = matches!(field, Field::Year | Field::WeekYear | Field::Century);
                let value = number(rest, *max, signed)?;
                found.put(*field, value)?;
            }
            Item::TwoDigitYear { field, lenient } => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                let signed = rest.starts_with(['+', '-']);
                let value = if digits == 2 || !*lenient {
                    if digits < 2 || signed {
                        return None;
                    }
                    around_pivot(number(rest, 2, false)?)
                } else {
                    number(rest, 9, true)?
                };
                found.put(*field, value)?;
            }
            Item::Fraction { digits } => {
                let count = rest.bytes().take(*digits).take_while(u8::is_ascii_digit).count();
                if count == 0 {
                    return None;
                }
                found.nanos =
                    rest.bytes().take(count.min(9)).fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'))
                        * 10u32.pow(9 - count.min(9) as u32);
                *rest = &rest[count..];
            }
            Item::MonthName { .. } => {
                let month = name(rest, spellings(&self.names.months))?;
                found.month = Some(month as i64 + 1);
            }
            Item::WeekdayName { .. } => {
                let weekday = name(rest, spellings(&self.names.weekdays))?;
                found.weekday = Some(weekday as i64 + 1);
            }
            Item::Halfday => found.afternoon = Some(name(rest, ["AM", "PM"].into_iter().enumerate())? == 1),
            Item::Era => found.before_christ = name(rest, ["BC", "AD", "BCE", "CE"].into_iter().enumerate())? % 2 == 0,
            Item::Offset { .. } => found.offset_seconds = Some(offset(rest)?),
            Item::ZoneId => {
                let length =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/_+-:".contains(c))).unwrap_or(rest.len());
                // The longest prefix that is the name of a zone is used, as in Joda.
                let (zone, length) =
                    (1..=length).rev().find_map(|length| Some((zone_named(rest.get(..length)?)?, length)))?;
                found.zone = Some(zone);
                *rest = &rest[length..];
            }
            Item::ZoneName => {
                let (zone, length) = ZONE_NAMES.iter().find_map(|(name, zone)| {
                    rest.get(..name.len())?.eq_ignore_ascii_case(name).then_some((zone, name.len()))
                })?;
                found.zone = Some(TimeZone::get(zone).ok()?);
                *rest = &rest[length..];
            }
        }
        Some(())
    }
}

/// The zone names that Joda parses by default.
const ZONE_NAMES: &[(&str, &str)] = &[
    ("UTC", "UTC"),
    ("UT", "UTC"),
    ("GMT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

/// Returns the time zone of an id or offset: `Europe/Berlin`, `UTC`, `+02:00`, `-0800`.
pub fn zone_named(name: &str) -> Option<TimeZone> {
    if name.starts_with(['+', '-']) || name == "Z" {
        let mut rest = name;
        let seconds = offset(&mut rest).filter(|_| rest.is_empty())?;
        return Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds as i32).ok()?));
    }
    TimeZone::get(name).ok()
}

/// Returns the year of a two-digit year: the one within 50 years before and 49 years after the pivot 2020, as for the
/// parsers that Logstash builds. The pivot is fixed here, while Joda's default pivot is the current year minus 30.
fn around_pivot(year: i64) -> i64 {
    const PIVOT: i64 = 2020;
    let low = PIVOT - 50;
    let base = low.div_euclid(100) * 100 + year;
    if base < low { base + 100 } else { base }
}

fn number(rest: &mut &str, max: usize, signed: bool) -> Option<i64> {
    let negative = signed && rest.starts_with('-');
    let start = usize::from(signed && rest.starts_with(['+', '-']));
    let digits = rest.as_bytes()[start..].iter().take(max).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let value =
        rest.as_bytes()[start..start + digits].iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    *rest = &rest[start + digits..];
    Some(if negative { -value } else { value })
}

/// Returns all spellings of months or days with their indices, without trailing full stops.
fn spellings(names: &[Vec<&'static str>]) -> impl Iterator<Item = (usize, &'static str)> {
    names
        .iter()
        .enumerate()
        .flat_map(|(index, names)| names.iter().map(move |name| (index, name.trim_end_matches('.'))))
}

/// Parses the longest name at the start of the text, ignoring case, and returns its index.
fn name(rest: &mut &str, candidates: impl Iterator<Item = (usize, &'static str)>) -> Option<usize> {
    let starts = |name: &str| {
        let length = name.len();
        match rest.get(..length) {
            Some(start) if start.eq_ignore_ascii_case(name) => Some(length),
            _ => {
                let start: String = rest.chars().take(name.chars().count()).collect();
                (start.to_lowercase() == name.to_lowercase()).then_some(start.len())
            }
        }
    };
    let (index, length) = candidates
        .filter(|(_, name)| {
            // The first letter nearly always decides, and is cheap to compare.
            let first = |text: &str| text.bytes().next().map(|byte| byte.to_ascii_lowercase());
            !name.is_ascii() || first(name) == first(rest)
        })
        .filter_map(|(index, name)| Some((index, starts(name)?)))
        .max_by_key(|(_, length)| *length)?;
    *rest = &rest[length..];
    Some(index)
}

/// Parses an offset (`Z`, `+01`, `+0100`, `+01:00`, `-01:00:30`) and returns it in seconds.
pub(super) fn offset(rest: &mut &str) -> Option<i64> {
    if let Some(after) = rest.strip_prefix(['Z', 'z']) {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let mut at = &rest[1..];
    let two = |at: &mut &str| -> Option<i64> {
        let digits = at.as_bytes().get(..2)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        *at = &at[2..];
        Some(i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0'))
    };
    let hours = two(&mut at).filter(|hours| *hours <= 23)?;
    let mut seconds = hours * 3_600;
    let colon = at.starts_with(':');
    for unit in [60, 1] {
        let mut next = if colon { at.strip_prefix(':').unwrap_or("") } else { at };
        match two(&mut next).filter(|value| *value <= 59) {
            Some(value) => {
                seconds += value * unit;
                at = next;
            }
            None => break,
        }
    }
    *rest = at;
    Some(sign * seconds)
}

impl Found {
    pub(super) fn set_year(&mut self, year: i64) {
        self.year = Some(year);
    }

    pub(super) fn set_week(&mut self, year: i64, week: i64, weekday: i64) -> Option<()> {
        self.week_year = Some(year);
        self.put(Field::Week, week)?;
        self.put(Field::Weekday, weekday)
    }

    pub(super) fn set_day_of_year(&mut self, day: i64) -> Option<()> {
        self.put(Field::DayOfYear, day)
    }

    pub(super) fn set_month_and_day(&mut self, month: i64, day: i64) -> Option<()> {
        self.put(Field::Month, month)?;
        self.put(Field::Day, day)
    }

    pub(super) fn set_time(&mut self, hour: i64, minute: i64, second: i64, nanos: u32) -> Option<()> {
        self.nanos = nanos;
        self.put(Field::Hour, hour)?;
        self.put(Field::Minute, minute)?;
        self.put(Field::Second, second)
    }

    pub(super) fn set_offset(&mut self, seconds: i64) {
        self.offset_seconds = Some(seconds);
    }

    fn put(&mut self, field: Field, value: i64) -> Option<()> {
        let within = |least: i64, most: i64| (least..=most).contains(&value).then_some(value);
        match field {
            Field::Year => self.year = Some(value),
            Field::WeekYear => self.week_year = Some(value),
            Field::Century => self.year = Some(value * 100),
            Field::Week => self.week = Some(within(1, 53)?),
            Field::Weekday => self.weekday = Some(within(1, 7)?),
            Field::DayOfYear => self.day_of_year = Some(within(1, 366)?),
            Field::Month => self.month = Some(within(1, 12)?),
            Field::Day => self.day = Some(within(1, 31)?),
            Field::Hour => self.hour = Some(within(0, 23)?),
            Field::ClockHour => self.hour = Some(within(1, 24)? % 24),
            Field::HourOfHalfday => self.half_hour = Some(within(0, 11)?),
            Field::ClockHourOfHalfday => self.half_hour = Some(within(1, 12)? % 12),
            Field::Minute => self.minute = within(0, 59)?,
            Field::Second => self.second = within(0, 59)?,
        }
        Some(())
    }

    pub(super) fn resolve(self, context: Context<'_>) -> Option<Timestamp> {
        let days = self.days(context.now)?;
        let hour = match (self.hour, self.half_hour, self.afternoon) {
            (Some(hour), _, _) => hour,
            (None, Some(half_hour), afternoon) => half_hour + if afternoon == Some(true) { 12 } else { 0 },
            (None, None, afternoon) => i64::from(afternoon == Some(true)) * 12,
        };
        let local = days * 86_400 + hour * 3_600 + self.minute * 60 + self.second;
        if let Some(offset) = self.offset_seconds {
            return Some(Timestamp::new(local - offset, self.nanos));
        }
        let zone = self.zone.as_ref().unwrap_or(context.zone);
        if let Ok(fixed) = zone.to_fixed_offset() {
            return Some(Timestamp::new(local - i64::from(fixed.seconds()), self.nanos));
        }
        let (year, month, day) = civil_from_days(days);
        let date = civil::Date::new(i16::try_from(year).ok()?, month as i8, day as i8).ok()?;
        let time = civil::Time::new(hour as i8, self.minute as i8, self.second as i8, self.nanos as i32).ok()?;
        Timestamp::from_zoned(date.to_datetime(time), zone)
    }

    fn days(&self, now: Timestamp) -> Option<i64> {
        if self.week_year.is_some() || self.week.is_some() {
            let year = self.week_year.or(self.year).unwrap_or(1970);
            let fourth = days_from_civil(year, 1, 4);
            let first_monday = fourth - (fourth + 3).rem_euclid(7);
            return Some(first_monday + (self.week.unwrap_or(1) - 1) * 7 + self.weekday.unwrap_or(1) - 1);
        }
        let mut year = match self.year {
            Some(year) => year,
            None => self.guessed_year(now),
        };
        if self.before_christ {
            year = 1 - year;
        }
        if let Some(day_of_year) = self.day_of_year {
            let length = days_from_civil(year + 1, 1, 1) - days_from_civil(year, 1, 1);
            return (day_of_year <= length).then(|| days_from_civil(year, 1, 1) + day_of_year - 1);
        }
        let month = self.month.unwrap_or(1) as u32;
        let day = self.day.unwrap_or(1) as u32;
        if day > days_in_month(year, month) {
            return None;
        }
        let days = days_from_civil(year, month, day);
        // Joda sets the day of the week last, within the week (Monday to Sunday) of the date.
        Some(self.weekday.map_or(days, |weekday| days - (days + 3).rem_euclid(7) + weekday - 1))
    }

    /// Returns the year that Logstash guesses for a syslog-like date: the current year, but last year for a December
    /// parsed in January, and next year for a January parsed in December.
    fn guessed_year(&self, now: Timestamp) -> i64 {
        let (year, month, ..) = now.civil_utc();
        match (self.month, month) {
            (Some(12), 1) => year - 1,
            (Some(1), 12) => year + 1,
            _ => year,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, locale: &str, text: &str) -> String {
        let now = Timestamp::parse_iso8601("2026-01-15T00:00:00Z").unwrap();
        let context = Context { zone: &TimeZone::UTC, now };
        let time = Pattern::compile(pattern, locale).unwrap().parse(text, context);
        time.map_or("none".into(), |time| time.to_string())
    }

    #[test]
    fn joda_patterns_read_what_joda_reads() {
        for (pattern, text, expected) in [
            ("dd/MMM/yyyy:HH:mm:ss Z", "25/Oct/2016:14:49:34 +0200", "2016-10-25T12:49:34.000Z"),
            ("dd/MMM/yyyy:HH:mm:ss Z", "5/oct/2016:1:4:3 Z", "2016-10-05T01:04:03.000Z"),
            ("dd/MMM/yyyy:HH:mm:ss Z", "31/Feb/2016:14:49:34 +0200", "none"),
            ("yyyy/MM/dd HH:mm:ss", "2026/11/23 10:05:06", "2026-11-23T10:05:06.000Z"),
            ("yyyyMMddHHmmssSSS", "20140217123456789", "2014-02-17T12:34:56.789Z"),
            ("MMM dd HH:mm:ss", "Dec 31 23:59:59", "2025-12-31T23:59:59.000Z"),
            ("MMM  d HH:mm:ss", "Jan  2 00:00:00", "2026-01-02T00:00:00.000Z"),
            ("yyyy-MM-dd hh:mm:ss a", "2013-11-02 12:30:00 PM", "2013-11-02T12:30:00.000Z"),
            ("yyyy-MM-dd hh:mm:ss a", "2013-11-02 12:30:00 am", "2013-11-02T00:30:00.000Z"),
            ("yyyy-MM-dd'T'HH:mm:ssZZ", "2013-11-02T12:30:00-05:00", "2013-11-02T17:30:00.000Z"),
            ("yyyy-MM-dd HH:mm:ss ZZZ", "2013-11-02 12:30:00 Europe/Berlin", "2013-11-02T11:30:00.000Z"),
            ("yyyy-MM-dd HH:mm:ss zzz", "2013-11-02 12:30:00 PST", "2013-11-02T19:30:00.000Z"),
            ("yyyy-D", "2016-366", "2016-12-31T00:00:00.000Z"),
            ("yyyy-D", "2015-366", "none"),
            ("MM/dd/yy", "03/04/16", "2016-03-04T00:00:00.000Z"),
            ("MM/dd/yy", "03/04/71", "1971-03-04T00:00:00.000Z"),
            ("xxxx-ww-e", "2020-53-5", "2021-01-01T00:00:00.000Z"),
            ("yyyy", "2016x", "none"),
            ("HH:mm", "24:00", "none"),
        ] {
            assert_eq!(read(pattern, "en", text), expected, "{pattern} on {text}");
        }
        assert_eq!(read("dd MMMM yyyy", "de", "02 März 2013"), "2013-03-02T00:00:00.000Z");
        // Abbreviations of the current and of earlier CLDR versions, with and without full stops.
        for (pattern, locale, text, expected) in [
            ("dd MMM yyyy", "en", "02 Sept 2013", "2013-09-02"),
            ("dd MMM yyyy", "en-GB", "02 Sept. 2013", "2013-09-02"),
            ("dd MMM yyyy", "en", "02 jan. 2013", "2013-01-02"),
            ("dd MMM yyyy", "de", "02 Sept. 2013", "2013-09-02"),
            ("dd.MMM.yyyy", "de", "02.Sept..2013", "2013-09-02"),
            ("dd.MMM.yyyy", "fr", "02.janv.2013", "2013-01-02"),
            ("dd MMM yyyy", "fr", "02 sept 2013", "2013-09-02"),
            ("dd MMM yyyy", "es", "02 sept 2013", "2013-09-02"),
            ("d MMMM yyyy", "ru", "2 марта 2013", "2013-03-02"),
            ("d MMM yyyy", "pl", "2 paź 2013", "2013-10-02"),
            ("EEEE d MMMM yyyy", "sv", "onsdag 2 oktober 2013", "2013-10-02"),
            ("yyyy年MMMd日", "ja", "2013年11月2日", "2013-11-02"),
        ] {
            assert_eq!(
                read(pattern, locale, text),
                format!("{expected}T00:00:00.000Z"),
                "{locale}: {pattern} on {text}"
            );
        }
        assert_eq!(read("dd MMMM yyyy", "fr_FR", "02 FÉVRIER 2013"), "2013-02-02T00:00:00.000Z");
    }
}
