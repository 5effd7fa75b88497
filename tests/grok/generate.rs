//! Makes texts that a regular expression is likely to match, and texts that almost match.
//!
//! The generator reads the expression loosely: what it does not understand it skips, for a text
//! that does not match is a test case too.

use crate::random::Random;
use std::iter::Peekable;
use std::str::Chars;

/// Characters for classes that are too wide to list.
const ANY: &[&str] =
    &["a", "Z", "7", "0", " ", "-", "_", ".", "/", ":", "\"", "\\", "é", "ß", "漢", "😀", "\t", "]", "("];

/// A text for the expression.
pub fn sample(regex: &str, random: &mut Random) -> String {
    let mut out = String::new();
    alternation(&mut regex.chars().peekable(), random, &mut out, true, 0);
    out
}

/// Changes a text a little.
pub fn mutate(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=random.below(3) {
        let at = random.below(chars.len() + 1);
        let new = random.pick(ANY).chars().next().unwrap_or(' ');
        match random.below(5) {
            0 if at < chars.len() => drop(chars.remove(at)),
            1 => chars.insert(at, new),
            2 if at < chars.len() => chars[at] = new,
            3 => chars.truncate(at),
            _ if at < chars.len() => {
                let copy = chars[at];
                chars.insert(at, copy);
            }
            _ => chars.push(new),
        }
    }
    chars.into_iter().collect()
}

/// A text of anything.
pub fn noise(random: &mut Random) -> String {
    (0..random.below(40)).map(|_| random.pick(ANY)).collect()
}

type Input<'r> = Peekable<Chars<'r>>;

fn alternation(input: &mut Input<'_>, random: &mut Random, out: &mut String, emit: bool, depth: u32) {
    let mut branches = vec![String::new()];
    loop {
        match input.peek() {
            None | Some(')') => break,
            Some('|') => {
                input.next();
                branches.push(String::new());
            }
            Some(_) => {
                if let Some(branch) = branches.last_mut() {
                    piece(input, random, branch, depth);
                }
            }
        }
    }
    if emit {
        let chosen = random.below(branches.len());
        out.push_str(&branches[chosen]);
    }
}

/// One atom with its quantifier, written as often as the quantifier may want.
fn piece(input: &mut Input<'_>, random: &mut Random, out: &mut String, depth: u32) {
    let start = input.clone();
    let mut first = String::new();
    atom(input, random, &mut first, depth);
    let after = input.clone();
    let (min, max) = quantifier(input);
    let end = input.clone();
    if (min, max) == (1, 1) {
        out.push_str(&first);
        return;
    }
    let most = if depth > 12 { min } else { max.min(min + 4) };
    let count = min + random.below((most - min + 1) as usize) as u32;
    for round in 0..count.min(40) {
        if round == 0 || out.len() > 4000 {
            out.push_str(&first);
            continue;
        }
        let mut again = start.clone();
        atom(&mut again, random, out, depth + 1);
    }
    drop(after);
    *input = end;
}

fn quantifier(input: &mut Input<'_>) -> (u32, u32) {
    let range = match input.peek() {
        Some('*') => (0, 5),
        Some('+') => (1, 5),
        Some('?') => (0, 1),
        Some('{') => {
            let inside: String = input.clone().skip(1).take_while(|&c| c != '}').collect();
            let mut parts = inside.splitn(2, ',');
            let low = parts.next().unwrap_or("");
            let high = parts.next();
            if inside.is_empty() || !inside.chars().all(|c| c.is_ascii_digit() || c == ',') {
                return (1, 1);
            }
            let min = low.parse().unwrap_or(0);
            let max = high.map_or(min, |high| high.parse().unwrap_or(min + 4));
            for _ in 0..inside.chars().count() + 1 {
                input.next();
            }
            (min, max.max(min))
        }
        _ => return (1, 1),
    };
    input.next();
    while matches!(input.peek(), Some('?' | '+')) {
        input.next();
    }
    range
}

fn atom(input: &mut Input<'_>, random: &mut Random, out: &mut String, depth: u32) {
    match input.next() {
        Some('(') => group(input, random, out, depth + 1),
        Some('[') => class(input, random, out),
        Some('.') => out.push_str(random.pick(ANY)),
        Some('\\') => escape(input.next(), random, out),
        Some('^' | '$') | None => {}
        Some(c) => out.push(c),
    }
}

fn group(input: &mut Input<'_>, random: &mut Random, out: &mut String, depth: u32) {
    let mut emit = true;
    if input.peek() == Some(&'?') {
        input.next();
        match input.next() {
            Some(':' | '>') => {}
            Some('=' | '!') => emit = false,
            Some('<') => match input.peek() {
                Some('=' | '!') => {
                    input.next();
                    emit = false;
                }
                _ => while !matches!(input.next(), Some('>') | None) {},
            },
            _ => {
                while !matches!(input.peek(), Some(')' | ':') | None) {
                    input.next();
                }
                if input.next() == Some(')') {
                    return;
                }
            }
        }
    }
    alternation(input, random, out, emit, depth);
    input.next();
}

fn escape(c: Option<char>, random: &mut Random, out: &mut String) {
    match c {
        Some('d') => out.push_str(random.pick(&["0", "1", "5", "9"])),
        Some('w') => out.push_str(random.pick(&["a", "Z", "0", "_", "q"])),
        Some('s') => out.push_str(random.pick(&[" ", " ", "\t"])),
        Some('S' | 'D' | 'W') => out.push_str(random.pick(&["x", "-", "é", ";", "[", "\""])),
        Some('h') => out.push_str(random.pick(&["a", "F", "3"])),
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('b' | 'B' | 'A' | 'z' | 'Z' | 'G' | 'K') | None => {}
        Some('1'..='9') => out.push('a'),
        Some(c) => out.push(c),
    }
}

/// One member of a class; a negative class gives a character that it does not list.
fn class(input: &mut Input<'_>, random: &mut Random, out: &mut String) {
    let negative = input.peek() == Some(&'^');
    if negative {
        input.next();
    }
    let mut members: Vec<char> = Vec::new();
    let mut first = true;
    let mut pending: Option<char> = None;
    while let Some(c) = input.next() {
        match c {
            ']' if !first => break,
            '[' if input.peek() == Some(&':') => {
                while !matches!(input.next(), Some(']') | None) {}
                members.extend("aZ5".chars());
            }
            '[' => {
                let mut inner = String::new();
                class(input, random, &mut inner);
                members.extend(inner.chars());
            }
            '\\' => {
                let mut text = String::new();
                escape(input.next(), random, &mut text);
                members.extend(text.chars());
                pending = text.chars().next();
            }
            '-' if pending.is_some() && input.peek().is_some_and(|&next| next != ']') => {
                let low = pending.take().unwrap_or(c);
                if let Some(high) = input.next() {
                    let span = (high as u32).saturating_sub(low as u32) + 1;
                    for _ in 0..3 {
                        members.extend(char::from_u32(low as u32 + random.below(span as usize) as u32));
                    }
                }
            }
            c => {
                members.push(c);
                pending = Some(c);
            }
        }
        first = false;
    }
    if negative {
        let others: Vec<&str> = ANY.iter().copied().filter(|any| !any.chars().any(|c| members.contains(&c))).collect();
        out.push_str(if others.is_empty() { "x" } else { random.pick(&others) });
    } else if !members.is_empty() {
        out.push(members[random.below(members.len())]);
    }
}
