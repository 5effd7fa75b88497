//! Line framing for files, archives and standard input: no allocation per line, and a bound on the length of a line.
//!
//! Input is read directly into a batch's buffer, where a line becomes a record in place. Of each read, only the
//! incomplete line at its end is moved, to be completed by the next read.

use std::io;
use std::ops::Range;

use memchr::memchr;
use rustix::buffer::spare_capacity;
use rustix::fd::AsFd;

use crate::delivery::{BatchBuilder, NewRecord, RawRecord, Shape};

/// Minimum buffer size for a read, in bytes. A smaller read is not worth its system call.
const SMALLEST_READ: usize = 64 << 10;

/// Length in bytes from which on an incomplete line is assembled in a separate buffer.
const LONGEST_MOVED: usize = 64 << 10;

/// A splitter of bytes into lines. A line ends with `\n` or `\r\n`, which are not part of it.
#[derive(Debug)]
pub(super) struct Framer {
    /// Start of a line whose end has not been read yet.
    carry: Vec<u8>,
    /// Offset at which that line starts.
    line_start: u64,
    /// Number of bytes read of that line.
    seen: u64,
    /// Set if the line was too long and was already emitted; its remaining bytes are skipped.
    skipping: bool,
    max: usize,
}

/// One line and the offset of its start.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub offset: i64,
    pub text: Text<'a>,
    pub shape: Shape,
}

/// The location of a line's bytes.
#[derive(Debug)]
pub(super) enum Text<'a> {
    /// A range of the block.
    Within(Range<usize>),
    /// A separate buffer, because the line started before the block.
    Carried(&'a [u8]),
}

impl<'a> Line<'a> {
    /// Returns the line's bytes. `block` is the block that it was found in.
    pub(super) fn bytes(&self, block: &'a [u8]) -> &'a [u8] {
        match &self.text {
            Text::Within(place) => &block[place.clone()],
            Text::Carried(bytes) => bytes,
        }
    }
}

impl Framer {
    /// Returns a framer for input that starts at offset `position`. Lines longer than `max` bytes are cut and marked as
    /// oversized.
    pub(super) fn new(position: u64, max: usize) -> Self {
        Framer { carry: Vec::new(), line_start: position, seen: 0, skipping: false, max }
    }

    /// Splits the next block. Returns the end of its last complete line; the bytes after it are kept in the framer.
    pub(super) fn feed(&mut self, block: &[u8], mut emit: impl FnMut(Line<'_>)) -> usize {
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &block[start..]) {
            let line = start..start + length;
            start = line.end + 1;
            self.seen += length as u64 + 1;
            if self.skipping {
                self.skipping = false;
            } else if self.carry.is_empty() {
                let (length, shape) = self.measure(&block[line.clone()]);
                emit(Line {
                    offset: self.line_start as i64,
                    text: Text::Within(line.start..line.start + length),
                    shape,
                });
            } else {
                self.carry.extend_from_slice(&block[line]);
                self.emit_carried(&mut emit);
            }
            self.line_start += self.seen;
            self.seen = 0;
        }
        let rest = &block[start..];
        self.seen += rest.len() as u64;
        if !self.skipping {
            self.carry.extend_from_slice(rest);
            if self.carry.len() > self.max + 1 {
                self.emit_carried(&mut emit);
                self.skipping = true;
            }
        }
        start
    }

    /// Emits the unterminated last line at the end of the input.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(Line<'_>)) {
        if !self.carry.is_empty() {
            self.emit_carried(&mut emit);
        }
        self.line_start += self.seen;
        self.seen = 0;
        self.skipping = false;
    }

    fn emit_carried(&mut self, emit: &mut impl FnMut(Line<'_>)) {
        let (length, shape) = self.measure(&self.carry);
        emit(Line { offset: self.line_start as i64, text: Text::Carried(&self.carry[..length]), shape });
        self.carry.clear();
    }

    /// Returns the number of bytes of a line to emit, and whether it was cut.
    fn measure(&self, line: &[u8]) -> (usize, Shape) {
        let length = line.strip_suffix(b"\r").unwrap_or(line).len();
        if length > self.max { (self.max, Shape::Oversized) } else { (length, Shape::Plain) }
    }

    /// Splits the bytes that `read` appends to the batch's buffer, and adds the lines as records. Returns the result of
    /// `read`: the number of bytes, 0 at the end of the input.
    pub(super) fn take(
        &mut self,
        builder: &mut BatchBuilder,
        origin: u32,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (data, records) = (&mut builder.data, &mut builder.records);
        let start = data.len();
        // An incomplete line is continued in the batch's buffer, unless it is so long that moving it for each read
        // would cost more than reading.
        if self.carry.len() <= LONGEST_MOVED {
            self.seen -= self.carry.len() as u64;
            data.append(&mut self.carry);
        }
        let read = read(data);
        let mut carried: Vec<(usize, Vec<u8>)> = Vec::new();
        let end = self.feed(&data[start..], |line| {
            let place = match line.text {
                Text::Within(place) => start + place.start..start + place.end,
                Text::Carried(bytes) => {
                    carried.push((records.len(), bytes.to_vec()));
                    0..0
                }
            };
            records.push(RawRecord::line(origin, line.offset, place, line.shape));
        });
        data.truncate(start + end);
        // Records are in the order of their offsets; their bytes need not be.
        for (record, bytes) in carried {
            records[record].place(data.len()..data.len() + bytes.len());
            data.extend_from_slice(&bytes);
        }
        read
    }

    /// Adds an unterminated last line as a record at the end of the input.
    pub(super) fn end(&mut self, builder: &mut BatchBuilder, origin: u32) {
        self.finish(|line| {
            let Text::Carried(value) = line.text else { return };
            let record =
                NewRecord { origin, offset: line.offset, timestamp_ms: -1, key: None, value, shape: line.shape };
            builder.push(record, std::iter::empty());
        });
    }
}

/// Reads once into `data`, at most as many bytes as there is room for in a batch of `batch_bytes`. Returns the number
/// of bytes.
pub(super) fn read_some(input: impl AsFd, data: &mut Vec<u8>, batch_bytes: usize) -> io::Result<usize> {
    if data.capacity() - data.len() < SMALLEST_READ {
        // Leaves room for later reads of the same batch as well.
        data.reserve_exact(SMALLEST_READ + batch_bytes.saturating_sub(data.len()));
    }
    Ok(rustix::io::retry_on_intr(|| rustix::io::read(&input, spare_capacity(data)))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::Origin;

    fn lines(blocks: &[&[u8]], max: usize) -> Vec<(i64, String, bool)> {
        let mut framer = Framer::new(0, max);
        let mut lines = Vec::new();
        for block in blocks {
            framer.feed(block, |line| lines.push(shown(&line, line.bytes(block))));
        }
        framer.finish(|line| lines.push(shown(&line, line.bytes(&[]))));
        lines
    }

    fn shown(line: &Line<'_>, bytes: &[u8]) -> (i64, String, bool) {
        (line.offset, String::from_utf8_lossy(bytes).into_owned(), line.shape == Shape::Oversized)
    }

    /// Returns the lines as [`Framer::take`] adds them to a batch.
    fn records(blocks: &[&[u8]], max: usize) -> Vec<(i64, String, bool)> {
        let mut framer = Framer::new(0, max);
        let mut builder = BatchBuilder::default();
        let origin = builder.origin("f", 0, || Origin::detached("f", 0));
        for block in blocks {
            let read = |data: &mut Vec<u8>| {
                data.extend_from_slice(block);
                Ok(block.len())
            };
            framer.take(&mut builder, origin, read).unwrap();
        }
        framer.end(&mut builder, origin);
        let batch = builder.into_detached();
        let shown = |(index, record): (usize, &RawRecord)| {
            (record.offset, String::from_utf8_lossy(batch.value(index)).into_owned(), record.shape == Shape::Oversized)
        };
        batch.records().iter().enumerate().map(shown).collect()
    }

    #[test]
    fn long_lines_are_cut_and_the_next_one_is_whole() {
        let expected = [(0, "abcd".to_string(), true), (9, "x".to_string(), false)];
        assert_eq!(lines(&[b"abcdefgh\nx\n"], 4), expected);
        assert_eq!(lines(&[b"abc", b"def", b"gh\nx"], 4), expected);
        // A line that started before the block, and one that is too long to wait for its end.
        let expected = [(0, "ab".to_string(), false), (3, "c".to_string(), false), (5, "defg".to_string(), true)];
        assert_eq!(records(&[b"a", b"b\nc\ndefghi", b"j"], 4), expected);
    }

    #[test]
    fn a_long_line_is_put_together_from_many_reads() {
        let long = vec![b'x'; LONGEST_MOVED * 5 / 2];
        let text = [&b"a\n"[..], &long, b"\nb\nc"].concat();
        let shown = String::from_utf8(long).unwrap();
        let expected = [(0, "a"), (2, &shown), (2 + shown.len() as i64 + 1, "b"), (2 + shown.len() as i64 + 3, "c")];
        let expected: Vec<_> = expected.into_iter().map(|(offset, line)| (offset, line.to_string(), false)).collect();
        for block in [LONGEST_MOVED / 3, LONGEST_MOVED + 10, text.len()] {
            assert_eq!(records(&text.chunks(block).collect::<Vec<_>>(), usize::MAX - 1), expected, "{block}");
        }
    }

    proptest! {
        /// The lines do not depend on the block boundaries.
        #[test]
        fn blocks_do_not_matter(text in "[ab\r\n]{0,60}", cut in 1..7usize, max in 1..9usize) {
            let blocks: Vec<&[u8]> = text.as_bytes().chunks(cut).collect();
            let got: Vec<String> = lines(&blocks, 1_000).into_iter().map(|line| line.1).collect();
            let mut expected: Vec<String> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).to_string()).collect();
            if text.is_empty() || text.ends_with('\n') { expected.pop(); }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(records(&blocks, max), lines(&blocks, max));
        }
    }
}
