//! Random regular expressions, small enough that every corner is reached.

use crate::random::Random;

const ATOMS: &[&str] = &[
    "a",
    "b",
    "c",
    "1",
    " ",
    "ab",
    "ba",
    ".",
    "\\w",
    "\\d",
    "\\s",
    "\\S",
    "\\W",
    "\\b",
    "\\B",
    "^",
    "$",
    "\\A",
    "\\z",
    "\\Z",
    "[ab]",
    "[^a]",
    "[^ab]",
    "[a-c]",
    "[^ ]",
    "[0-9]",
    "é",
    "[é]",
    "[^é]",
    "\\h",
    "[[:alnum:]]",
    "[ab&&bc]",
    "[\\w-]",
];
const QUANTIFIERS: &[&str] =
    &["*", "+", "?", "*?", "+?", "??", "*+", "++", "?+", "{2}", "{1,2}", "{0,2}", "{2,}", "{1,3}?", "{,2}"];

/// A random expression; `names` counts the named groups, so that no name is used twice.
pub fn expression(random: &mut Random, depth: u32, names: &mut u32) -> String {
    let branches = if random.one_in(3) { 2 + random.below(2) } else { 1 };
    (0..branches).map(|_| branch(random, depth, names)).collect::<Vec<_>>().join("|")
}

fn branch(random: &mut Random, depth: u32, names: &mut u32) -> String {
    (0..random.below(4)).map(|_| piece(random, depth, names)).collect()
}

fn piece(random: &mut Random, depth: u32, names: &mut u32) -> String {
    let atom =
        if depth == 0 || !random.one_in(3) { random.pick(ATOMS).to_owned() } else { group(random, depth - 1, names) };
    let assertion = atom.starts_with(['^', '$']) || ["\\b", "\\B", "\\A", "\\z", "\\Z"].contains(&atom.as_str());
    let look =
        atom.starts_with("(?=") || atom.starts_with("(?!") || atom.starts_with("(?<=") || atom.starts_with("(?<!");
    if assertion || look || !random.one_in(3) {
        return atom;
    }
    let quantifier = random.pick(QUANTIFIERS);
    // In a counted loop over a group Oniguruma has quirks of its own: it does not restore groups
    // when it backtracks, and leaves the loop after an empty round even before its minimum.
    if quantifier.starts_with('{') && atom.starts_with('(') {
        return atom;
    }
    // A quantifier repeats one character, so a longer literal is grouped.
    if atom.len() == 2 && atom.is_ascii() && !atom.starts_with('\\') {
        return format!("(?:{atom}){quantifier}");
    }
    format!("{atom}{quantifier}")
}

fn group(random: &mut Random, depth: u32, names: &mut u32) -> String {
    match random.below(9) {
        0..=2 => {
            *names += 1;
            let name = *names;
            format!("(?<n{name}>{})", expression(random, depth, names))
        }
        3 | 4 => format!("(?:{})", expression(random, depth, names)),
        5 => format!("(?>{})", expression(random, depth, names)),
        6 => format!("(?={})", expression(random, depth, names)),
        7 => format!("(?!{})", look(random)),
        _ if random.one_in(2) => format!("(?<={})", look(random)),
        _ => format!("(?<!{})", look(random)),
    }
}

/// Something of fixed length.
fn look(random: &mut Random) -> String {
    (0..=random.below(2)).map(|_| random.pick(&["a", "b", "[ab]", "\\w", "é", " ", "."])).collect()
}

/// A text of the expressions' own letters.
pub fn text(random: &mut Random) -> String {
    (0..random.below(12)).map(|_| random.pick(&["a", "b", "c", "1", " ", "é", "ab", "\n", "-", "a"])).collect()
}
