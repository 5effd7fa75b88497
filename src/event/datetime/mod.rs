//! Parsing and formatting of dates with Joda-Time patterns, as in Logstash.
//!
//! A pattern such as `dd/MMM/yyyy:HH:mm:ss Z` is compiled once into a list of [`Item`]s, with which [`parse`] parses a
//! text and [`format`] formats a time. Joda's less obvious rules apply: a number takes as many digits as there are
//! (unless the next item is a number too), names of months and days are matched ignoring case, and fields missing in
//! the pattern are taken from 1970-01-01T00:00:00.

pub mod format;
pub mod iso8601;
mod names;
pub mod parse;
pub mod strftime;
pub mod unix;

use names::Names;

/// A field of a date that a pattern can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Year, signed (`y`) or of the era (`Y`), which are equal for all dates in logs.
    Year,
    /// ISO week-based year (`x`).
    WeekYear,
    /// ISO week of that year (`w`).
    Week,
    /// Day of the week, Monday = 1 (`e`).
    Weekday,
    /// Day of the year (`D`).
    DayOfYear,
    /// Month (`M`).
    Month,
    /// Day of the month (`d`).
    Day,
    /// Hour of the half day, 0 to 11 (`K`).
    HourOfHalfday,
    /// Clock hour of the half day, 1 to 12 (`h`).
    ClockHourOfHalfday,
    /// Hour of the day, 0 to 23 (`H`).
    Hour,
    /// Clock hour of the day, 1 to 24 (`k`).
    ClockHour,
    /// Minute (`m`).
    Minute,
    /// Second (`s`).
    Second,
    /// Century of the era (`C`).
    Century,
}

/// An item of a compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Literal text.
    Literal(String),
    /// A number with at least `min` digits when formatted, and at most `max` when parsed.
    Number {
        /// The field of the date.
        field: Field,
        /// The minimum number of digits when formatted.
        min: usize,
        /// The maximum number of digits when parsed.
        max: usize,
    },
    /// A year of two digits, parsed as a year from 1970 to 2069.
    TwoDigitYear {
        /// The kind of year: calendar or week-based.
        field: Field,
        /// True if more than two digits may be parsed, as the full year.
        lenient: bool,
    },
    /// The fraction of a second.
    Fraction {
        /// The number of digits.
        digits: usize,
    },
    /// The name of the month, long or short.
    MonthName {
        /// True if the long name is formatted; both are parsed.
        long: bool,
    },
    /// The name of the day of the week, long or short.
    WeekdayName {
        /// True if the long name is formatted; both are parsed.
        long: bool,
    },
    /// The half of the day: AM or PM.
    Halfday,
    /// The era: BC or AD.
    Era,
    /// The offset from UTC, with a colon or without.
    Offset {
        /// True if a colon is formatted between hours and minutes; both forms are parsed.
        colon: bool,
    },
    /// The id of a time zone, such as `Europe/Berlin`.
    ZoneId,
    /// The name of a time zone, such as `PST`.
    ZoneName,
}

/// A compiled Joda pattern with the names of its locale.
#[derive(Clone, Debug)]
pub struct Pattern {
    items: Vec<Item>,
    names: &'static Names,
}

/// Returns whether the names of months and days are available for the language of a locale.
pub fn knows_locale(locale: &str) -> bool {
    names::of(locale).is_some()
}

/// The error of a text that is not a date pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A letter that is not a field in Joda.
    #[error("`{letter}` is no date field")]
    UnknownLetter {
        /// The letter.
        letter: char,
        /// The offset of the letter in the pattern, in bytes.
        offset: usize,
    },
    /// An empty pattern.
    #[error("the pattern is empty")]
    Empty,
    /// A locale for whose language the names of months and days are not available.
    #[error("the names of months and days of the locale `{0}` are not known")]
    UnknownLocale(String),
}

impl Pattern {
    /// Compiles a Joda-Time pattern. `locale` determines the language of month and day names (`en`, `de-DE`, `fr_FR`).
    ///
    /// # Errors
    /// The pattern has a letter that is not a field (text must be in single quotes), the pattern is empty, or the
    /// language is unknown.
    pub fn compile(pattern: &str, locale: &str) -> Result<Pattern, PatternError> {
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        let tokens = tokens(pattern);
        let mut items = Vec::new();
        for (position, token) in tokens.iter().enumerate() {
            let item = match *token {
                Token::Text(ref text) => Item::Literal(text.clone()),
                Token::Letters { letter, count, offset } => {
                    let next_is_number = tokens.get(position + 1).is_some_and(Token::is_number);
                    item_of(letter, count, next_is_number).ok_or(PatternError::UnknownLetter { letter, offset })?
                }
            };
            items.push(item);
        }
        let names = names::of(locale).ok_or_else(|| PatternError::UnknownLocale(locale.to_string()))?;
        Ok(Pattern { items, names })
    }

    /// Returns whether a text parsed with this pattern has a year.
    pub fn has_year(&self) -> bool {
        self.items.iter().any(|item| {
            matches!(item, Item::Number { field: Field::Year | Field::WeekYear, .. } | Item::TwoDigitYear { .. })
        })
    }
}

enum Token {
    Text(String),
    Letters { letter: char, count: usize, offset: usize },
}

impl Token {
    /// Returns whether the token is formatted as digits. Before such a field, Joda limits the digits of the preceding
    /// number.
    fn is_number(&self) -> bool {
        match self {
            Token::Letters { letter, count, .. } => match letter {
                'c' | 'C' | 'x' | 'y' | 'Y' | 'd' | 'h' | 'H' | 'm' | 's' | 'S' | 'e' | 'D' | 'F' | 'w' | 'W' | 'k'
                | 'K' => true,
                'M' => *count <= 2,
                _ => false,
            },
            Token::Text(_) => false,
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = pattern.char_indices().peekable();
    let mut literal = String::new();
    while let Some((offset, character)) = chars.next() {
        if character.is_ascii_alphabetic() {
            if !literal.is_empty() {
                tokens.push(Token::Text(std::mem::take(&mut literal)));
            }
            let mut count = 1;
            while chars.next_if(|(_, next)| *next == character).is_some() {
                count += 1;
            }
            tokens.push(Token::Letters { letter: character, count, offset });
        } else if character == '\'' {
            if chars.next_if(|(_, next)| *next == '\'').is_some() {
                literal.push('\'');
                continue;
            }
            while let Some((_, quoted)) = chars.next() {
                if quoted != '\'' {
                    literal.push(quoted);
                } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
                    literal.push('\'');
                } else {
                    break;
                }
            }
        } else {
            literal.push(character);
        }
    }
    if !literal.is_empty() {
        tokens.push(Token::Text(literal));
    }
    tokens
}

fn item_of(letter: char, count: usize, next_is_number: bool) -> Option<Item> {
    let number = |field, max| Item::Number { field, min: count, max };
    let year = |field| {
        if count == 2 {
            Item::TwoDigitYear { field, lenient: !next_is_number }
        } else {
            Item::Number { field, min: count, max: if next_is_number { count } else { 9 } }
        }
    };
    Some(match letter {
        'G' => Item::Era,
        'C' => number(Field::Century, count.max(2)),
        'y' | 'Y' => year(Field::Year),
        'x' => year(Field::WeekYear),
        'w' => number(Field::Week, 2),
        'e' => number(Field::Weekday, 1),
        'E' => Item::WeekdayName { long: count >= 4 },
        'D' => number(Field::DayOfYear, 3),
        'M' if count >= 3 => Item::MonthName { long: count >= 4 },
        'M' => number(Field::Month, 2),
        'd' => number(Field::Day, 2),
        'a' => Item::Halfday,
        'K' => number(Field::HourOfHalfday, 2),
        'h' => number(Field::ClockHourOfHalfday, 2),
        'H' => number(Field::Hour, 2),
        'k' => number(Field::ClockHour, 2),
        'm' => number(Field::Minute, 2),
        's' => number(Field::Second, 2),
        'S' => Item::Fraction { digits: count },
        'z' => Item::ZoneName,
        'Z' if count >= 3 => Item::ZoneId,
        'Z' => Item::Offset { colon: count == 2 },
        _ => return None,
    })
}
