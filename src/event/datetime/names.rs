//! Names of months and days in the languages of Unicode CLDR.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The spellings of one month or day: the long name, the short name, then others.
type Spellings = Vec<&'static str>;

/// The names of one language.
#[derive(Debug)]
pub struct Names {
    /// The names of the months from January to December.
    pub months: Vec<Spellings>,
    /// The names of the days from Monday to Sunday.
    pub weekdays: Vec<Spellings>,
}

/// The names of all languages, one per line: the code, twelve months and seven days, with bars between the spellings of
/// each.
const TABLE: &str = include_str!("cldr.tsv");

/// Alternative language codes, with the code used in the table.
const OTHER_CODES: [(&str, &str); 6] =
    [("no", "nb"), ("iw", "he"), ("in", "id"), ("ji", "yi"), ("tl", "fil"), ("mo", "ro")];

/// The languages used so far. They are few, and are kept for the life of the process.
static KNOWN: Mutex<BTreeMap<&'static str, &'static Names>> = Mutex::new(BTreeMap::new());

/// Returns the names of a locale (`de`, `de-DE`, `de_DE`), which are those of its language, or `None` if the language
/// is not in the table.
pub fn of(locale: &str) -> Option<&'static Names> {
    let code = locale.split(['-', '_', '.', '@']).next().unwrap_or_default().to_ascii_lowercase();
    let code = OTHER_CODES.iter().find(|(other, _)| *other == code).map_or(code.as_str(), |(_, code)| code);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(names) = known.get(code) {
        return Some(names);
    }
    let (code, names) = TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .find(|(known, _)| *known == code)?;
    let mut spellings: Vec<Spellings> = names.split('\t').map(|cell| cell.split('|').collect()).collect();
    let weekdays = spellings.split_off(spellings.len().min(12));
    let names: &'static Names = Box::leak(Box::new(Names { months: spellings, weekdays }));
    known.insert(code, names);
    Some(names)
}

/// Returns a name for formatting: the long or the short one.
pub fn spelled(names: &[Spellings], index: usize, long: bool) -> &'static str {
    let spellings = names.get(index).map_or(&[][..], Vec::as_slice);
    let short = spellings.get(1).filter(|_| !long);
    short.or(spellings.first()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_twelve_months_and_seven_days() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let code = line.split('\t').next().unwrap();
            let names = of(code).unwrap();
            assert_eq!((names.months.len(), names.weekdays.len()), (12, 7), "{code}");
            assert!(names.months.iter().chain(&names.weekdays).flatten().all(|name| !name.is_empty()), "{code}");
        }
    }

    #[test]
    fn a_locale_is_known_by_its_language() {
        let march = |locale: &str| of(locale).map(|names| spelled(&names.months, 2, true));
        for (locale, name) in [
            ("de", "März"),
            ("de-AT", "März"),
            ("pt_BR", "março"),
            ("ru", "марта"),
            ("no", "mars"),
            ("zh-Hant-TW", "三月"),
        ] {
            assert_eq!(march(locale), Some(name), "{locale}");
        }
        assert!(["", "klingon", "xx-YY"].iter().all(|locale| march(locale).is_none()));
    }
}
