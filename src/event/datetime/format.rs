//! Formatting of a time in UTC with a compiled pattern, as in `%{+yyyy.MM.dd}`.

use std::fmt::Write as _;

use super::names::spelled;
use super::{Field, Item, Pattern};
use crate::event::Timestamp;
use crate::event::timestamp::days_from_civil;

impl Pattern {
    /// Appends `time` in UTC, formatted with the pattern.
    pub fn format(&self, time: Timestamp, out: &mut String) {
        let (year, month, day, hour, minute, second) = time.civil_utc();
        let days = days_from_civil(year, month, day);
        let weekday = (days + 3).rem_euclid(7);
        let (week_year, week) = iso_week(year, days, weekday);
        for item in &self.items {
            // Writing to a String cannot fail.
            let _ = match item {
                Item::Literal(text) => {
                    out.push_str(text);
                    Ok(())
                }
                Item::Number { field, min, .. } => {
                    let value = match field {
                        Field::Year => year,
                        Field::WeekYear => week_year,
                        Field::Century => year / 100,
                        Field::Week => week,
                        Field::Weekday => weekday + 1,
                        Field::DayOfYear => days - days_from_civil(year, 1, 1) + 1,
                        Field::Month => i64::from(month),
                        Field::Day => i64::from(day),
                        Field::Hour => i64::from(hour),
                        Field::ClockHour => i64::from(if hour == 0 { 24 } else { hour }),
                        Field::HourOfHalfday => i64::from(hour % 12),
                        Field::ClockHourOfHalfday => i64::from(if hour % 12 == 0 { 12 } else { hour % 12 }),
                        Field::Minute => i64::from(minute),
                        Field::Second => i64::from(second),
                    };
                    write!(out, "{value:0min$}")
                }
                Item::TwoDigitYear { field, .. } => {
                    let value = if *field == Field::WeekYear { week_year } else { year };
                    write!(out, "{:02}", value.rem_euclid(100))
                }
                Item::Fraction { digits } => {
                    let nine = format!("{:09}", time.nanos);
                    out.push_str(&nine[..(*digits).min(9)]);
                    out.extend(std::iter::repeat_n('0', digits.saturating_sub(9)));
                    Ok(())
                }
                Item::MonthName { long } => {
                    out.push_str(spelled(&self.names.months, month as usize - 1, *long));
                    Ok(())
                }
                Item::WeekdayName { long } => {
                    out.push_str(spelled(&self.names.weekdays, weekday as usize, *long));
                    Ok(())
                }
                Item::Halfday => out.write_str(if hour < 12 { "AM" } else { "PM" }),
                Item::Era => out.write_str(if year > 0 { "AD" } else { "BC" }),
                Item::Offset { colon } => out.write_str(if *colon { "+00:00" } else { "+0000" }),
                Item::ZoneId | Item::ZoneName => out.write_str("UTC"),
            };
        }
    }
}

fn iso_week(year: i64, days: i64, weekday: i64) -> (i64, i64) {
    let first_monday = |year: i64| {
        let fourth = days_from_civil(year, 1, 4);
        fourth - (fourth + 3).rem_euclid(7)
    };
    let thursday = days - weekday + 3;
    let week_year = (year - 1..=year + 1).rev().find(|year| thursday >= first_monday(*year)).unwrap_or(year);
    (week_year, (days - first_monday(week_year)).div_euclid(7) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_along_patterns() {
        for (pattern, time, expected) in [
            ("yyyy.MM.dd", "2024-02-03T04:05:06.789Z", "2024.02.03"),
            ("YYYY.MM.dd.HH", "2024-02-03T04:05:06.789Z", "2024.02.03.04"),
            ("yyyy-MM-dd HH:mm:ss.SSS", "2024-02-03T04:05:06.789Z", "2024-02-03 04:05:06.789"),
            ("EEE, d MMM yy h a", "2024-02-03T16:05:06.789Z", "Sat, 3 Feb 24 4 PM"),
            ("xxxx.ww", "2021-01-01T00:00:00Z", "2020.53"),
            ("D", "2024-02-03T04:05:06.789Z", "34"),
        ] {
            let mut out = String::new();
            Pattern::compile(pattern, "en").unwrap().format(Timestamp::parse_iso8601(time).unwrap(), &mut out);
            assert_eq!(out, expected, "{pattern}");
        }
    }
}
