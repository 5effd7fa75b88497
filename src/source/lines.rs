//! From blocks of bytes to lines, for files and standard input: no allocation per line, no line without bound.

use memchr::memchr;

use crate::delivery::Shape;

/// Cuts blocks into lines. A line ends with `\n` or `\r\n`, which are not part of it.
#[derive(Debug)]
pub(super) struct Framer {
    /// The beginning of a line whose end has not come.
    carry: Vec<u8>,
    /// Where that line began.
    line_start: u64,
    /// Bytes seen of that line.
    seen: u64,
    /// The line was too long and has been given already; the rest of it is passed over.
    skipping: bool,
    max: usize,
}

/// One line and where it began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub offset: i64,
    pub bytes: &'a [u8],
    pub shape: Shape,
}

impl Framer {
    /// A framer for input that begins at `position`; longer lines than `max` are cut and marked.
    pub(super) fn new(position: u64, max: usize) -> Self {
        Framer { carry: Vec::new(), line_start: position, seen: 0, skipping: false, max }
    }

    /// Takes the next block.
    pub(super) fn feed(&mut self, mut block: &[u8], mut emit: impl FnMut(Line<'_>)) {
        while let Some(newline) = memchr(b'\n', block) {
            let (line, rest) = (&block[..newline], &block[newline + 1..]);
            block = rest;
            self.seen += line.len() as u64 + 1;
            if self.skipping {
                self.skipping = false;
            } else if self.carry.is_empty() {
                self.emit(line, &mut emit);
            } else {
                let mut whole = std::mem::take(&mut self.carry);
                whole.extend_from_slice(line);
                self.emit(&whole, &mut emit);
                whole.clear();
                self.carry = whole;
            }
            self.line_start += self.seen;
            self.seen = 0;
        }
        self.seen += block.len() as u64;
        if !self.skipping {
            self.carry.extend_from_slice(block);
            if self.carry.len() > self.max + 1 {
                let start = std::mem::take(&mut self.carry);
                self.emit(&start, &mut emit);
                self.skipping = true;
            }
        }
    }

    /// The input has ended: what is left is a line without an end.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Line<'_>)) {
        let rest = std::mem::take(&mut self.carry);
        if !rest.is_empty() {
            self.emit(&rest, &mut emit);
        }
        self.line_start += self.seen;
        self.seen = 0;
        self.skipping = false;
    }

    fn emit(&self, line: &[u8], emit: &mut impl FnMut(Line<'_>)) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let shape = if line.len() > self.max { Shape::Oversized } else { Shape::Plain };
        emit(Line { offset: self.line_start as i64, bytes: &line[..line.len().min(self.max)], shape });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(blocks: &[&[u8]], max: usize) -> Vec<(i64, String, bool)> {
        let mut framer = Framer::new(0, max);
        let mut lines = Vec::new();
        let mut emit = |line: Line<'_>| {
            lines.push((line.offset, String::from_utf8_lossy(line.bytes).into_owned(), line.shape == Shape::Oversized));
        };
        for block in blocks {
            framer.feed(block, &mut emit);
        }
        framer.finish(&mut emit);
        lines
    }

    #[test]
    fn long_lines_are_cut_and_the_next_one_is_whole() {
        let expected = [(0, "abcd".to_string(), true), (9, "x".to_string(), false)];
        assert_eq!(lines(&[b"abcdefgh\nx\n"], 4), expected);
        assert_eq!(lines(&[b"abc", b"def", b"gh\nx"], 4), expected);
    }

    proptest! {
        /// Wherever the blocks end, the lines are those of the whole.
        #[test]
        fn blocks_do_not_matter(text in "[ab\r\n]{0,60}", cut in 1..7usize) {
            let blocks: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let got: Vec<String> = lines(&blocks, 1_000).into_iter().map(|line| line.1).collect();
            let mut expected: Vec<String> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_string()).collect();
            if text.is_empty() || text.ends_with('\n') { expected.pop(); }
            prop_assert_eq!(got, expected);
        }
    }
}
