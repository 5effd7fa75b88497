//! Parsing of CSV rows like Ruby's `CSV.parse_line`: strictly, so that text which is not CSV is detected.

/// The error that a row is malformed: a quote is misplaced or not closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A column. `None` is an empty column, which differs from an empty text in quotes.
pub type Column = Option<String>;

/// The format of rows.
#[derive(Clone, Debug)]
pub struct Format {
    /// Separator of columns.
    pub separator: String,
    /// Quote character; NUL stands for none.
    pub quote: char,
}

/// Maximum number of columns per row.
const MOST_COLUMNS: usize = 10_000;

impl Format {
    /// Parses the first row of a text. Returns `None` if the text is empty; an empty first row has no columns.
    ///
    /// # Errors
    /// Fails if the row is malformed.
    pub fn read(&self, text: &str) -> Result<Option<Vec<Column>>, Malformed> {
        if text.is_empty() { Ok(None) } else { self.row(text).map(|(columns, _)| Some(columns)) }
    }

    /// Parses all non-empty rows of a file.
    ///
    /// # Errors
    /// Returns the number, from 1, of the row that is malformed, not counting empty rows.
    pub fn read_all(&self, text: &str) -> Result<Vec<Vec<Column>>, usize> {
        let mut rows = Vec::new();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(['\n', '\r']);
            if rest.is_empty() {
                return Ok(rows);
            }
            let (columns, after) = self.row(rest).map_err(|_| rows.len() + 1)?;
            rows.push(columns);
            rest = after;
        }
    }

    /// Parses the columns of the first row. Returns them and the remaining text.
    fn row<'t>(&self, text: &'t str) -> Result<(Vec<Column>, &'t str), Malformed> {
        let mut columns = Vec::new();
        if text.starts_with(['\n', '\r']) {
            return Ok((columns, text));
        }
        let mut rest = text;
        while columns.len() < MOST_COLUMNS {
            let after = match rest.strip_prefix(self.quote).filter(|_| self.quote != '\0') {
                Some(inner) => {
                    let (column, after) = self.quoted(inner)?;
                    columns.push(Some(column));
                    after
                }
                None => {
                    let (column, after) = self.bare(rest)?;
                    columns.push(Some(column).filter(|column| !column.is_empty()).map(str::to_string));
                    after
                }
            };
            match after.strip_prefix(self.separator.as_str()) {
                Some(next) => rest = next,
                None => return Ok((columns, after)),
            }
        }
        Err(Malformed)
    }

    /// Parses an unquoted column, up to the separator or the end of the row. Returns it and the remaining text.
    fn bare<'t>(&self, text: &'t str) -> Result<(&'t str, &'t str), Malformed> {
        let separator = text.find(self.separator.as_str()).unwrap_or(text.len());
        let end = text[..separator].find(['\n', '\r']).unwrap_or(separator);
        let column = &text[..end];
        if self.quote != '\0' && column.contains(self.quote) {
            return Err(Malformed);
        }
        Ok((column, &text[end..]))
    }

    /// Parses a column after its opening quote. Returns it and the text after its closing quote. A doubled quote is a
    /// quote.
    fn quoted<'t>(&self, text: &'t str) -> Result<(String, &'t str), Malformed> {
        let mut column = String::new();
        let mut rest = text;
        loop {
            let end = rest.find(self.quote).ok_or(Malformed)?;
            column.push_str(&rest[..end]);
            rest = &rest[end + self.quote.len_utf8()..];
            match rest.strip_prefix(self.quote) {
                Some(more) => {
                    column.push(self.quote);
                    rest = more;
                }
                None if rest.is_empty()
                    || rest.starts_with(['\n', '\r'])
                    || rest.starts_with(self.separator.as_str()) =>
                {
                    return Ok((column, rest));
                }
                None => return Err(Malformed),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(separator: &str) -> Format {
        Format { separator: separator.to_string(), quote: '"' }
    }

    #[test]
    fn rows_are_read_strictly() {
        let row = |text: &str| {
            let columns = format(",").read(text)?.unwrap_or_default();
            Ok(columns.into_iter().map(|column| column.unwrap_or_else(|| "nil".into())).collect::<Vec<_>>().join("|"))
        };
        for (text, expected) in [
            ("a,b", Ok("a|b")),
            ("a,,\"\",", Ok("a|nil||nil")),
            ("\"x, \"\"y\"\"\nz\",2\nnext row", Ok("x, \"y\"\nz|2")),
            ("\nx", Ok("")),
            ("a,b\"c", Err(Malformed)),
            ("\"a\"b,c", Err(Malformed)),
            ("\"a", Err(Malformed)),
        ] {
            assert_eq!(row(text), expected.map(str::to_string), "{text:?}");
        }
        assert_eq!(format(",").read(""), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(columns in proptest::collection::vec("[a,\" \né]{0,6}", 1..6)) {
            let written: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
            let read = format(",").read(&written.join(",")).unwrap().unwrap();
            prop_assert_eq!(read.into_iter().flatten().collect::<Vec<_>>(), columns);
        }

        #[test]
        fn every_text_is_read_or_refused(text in "[a,;\"\n\r ]{0,24}", separator in prop_oneof![Just(","), Just(";,")]) {
            if let Ok(Some(columns)) = format(separator).read(&text) {
                prop_assert!(columns.iter().flatten().map(String::len).sum::<usize>() <= text.len());
            }
        }
    }
}
