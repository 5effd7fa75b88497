//! Paths with wildcards, as Logstash's file input takes them: `*`, `?`, `[abc]` and `{a,b}` in any part, and `**` for folders at any depth.

use std::borrow::Cow;
use std::path::{Component, Path, PathBuf};

/// Folders below `**` are searched this deep.
const MOST_LEVELS: usize = 32;

/// Alternatives in braces are multiplied out up to this many patterns.
const MOST_ALTERNATIVES: usize = 1_024;

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The files that a pattern stands for. A path without wildcards stands for itself, and so does one that is there.
pub(crate) fn expand(pattern: &str) -> Vec<PathBuf> {
    if !has_wildcard(pattern) || Path::new(pattern).is_file() {
        return vec![PathBuf::from(pattern)];
    }
    let mut found = Vec::new();
    for alternative in alternatives(pattern) {
        let parts: Vec<Component<'_>> = Path::new(&alternative).components().collect();
        descend(PathBuf::new(), &parts, MOST_LEVELS, &mut found);
    }
    found
}

/// Adds the files below `folder` that the rest of a pattern stands for.
fn descend(folder: PathBuf, parts: &[Component<'_>], levels: usize, found: &mut Vec<PathBuf>) {
    let Some((part, rest)) = parts.split_first() else {
        if folder.is_file() {
            found.push(folder);
        }
        return;
    };
    let text = part.as_os_str().to_string_lossy();
    if !has_wildcard(&text) {
        return descend(folder.join(part), rest, levels, found);
    }
    let is_deep = text == "**";
    if is_deep {
        descend(folder.clone(), rest, levels, found);
    }
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
    let Ok(entries) = std::fs::read_dir(here) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if is_deep {
            // Links to folders are not followed, since they may lead round in circles.
            if levels > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                descend(folder.join(&name), parts, levels - 1, found);
            }
        } else if matches(text.as_bytes(), name.to_string_lossy().as_bytes()) {
            descend(folder.join(&name), rest, levels, found);
        }
    }
}

/// Returns whether an absolute pattern matches an absolute path.
pub(crate) fn covers(pattern: &Path, path: &Path) -> bool {
    fn fits(pattern: &[Component<'_>], path: &[Component<'_>]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((part, rest)), _) if part.as_os_str() == "**" => {
                (0..=path.len()).any(|skipped| fits(rest, &path[skipped..]))
            }
            (Some((part, rest)), Some((name, tail))) => {
                matches(part.as_os_str().to_string_lossy().as_bytes(), name.as_os_str().to_string_lossy().as_bytes())
                    && fits(rest, tail)
            }
            _ => false,
        }
    }
    let parts: Vec<Component<'_>> = path.components().collect();
    let fits = |alternative: &String| fits(&Path::new(alternative).components().collect::<Vec<_>>(), &parts);
    pattern == path || alternatives(&pattern.to_string_lossy()).iter().any(fits)
}

/// The patterns that one with alternatives in braces stands for.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut whole = vec![pattern.to_string()];
    while let Some((at, open, close)) =
        whole.iter().enumerate().find_map(|(at, text)| innermost_braces(text).map(|(open, close)| (at, open, close)))
    {
        let text = whole.swap_remove(at);
        whole.extend(
            text[open + 1..close].split(',').map(|choice| format!("{}{choice}{}", &text[..open], &text[close + 1..])),
        );
        if whole.len() > MOST_ALTERNATIVES {
            return vec![pattern.to_string()];
        }
    }
    whole
}

fn innermost_braces(text: &str) -> Option<(usize, usize)> {
    let close = text.char_indices().find(|(at, c)| *c == '}' && text[..*at].contains('{')).map(|(at, _)| at)?;
    text[..close].rfind('{').map(|open| (open, close))
}

/// The last part of a path or pattern.
pub(crate) fn name_of(path: &Path) -> Cow<'_, str> {
    path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
}

/// Returns whether `name` matches a pattern of `*` (any text), `?` (any one byte) and `[a-c]` (one of these bytes, with `^` none of them).
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
        (Some((b'[', rest)), Some((got, tail))) => match rest.iter().skip(1).position(|byte| *byte == b']') {
            Some(last) => is_in(&rest[..=last], *got) && matches(&rest[last + 2..], tail),
            None => *got == b'[' && matches(rest, tail),
        },
        (Some((wanted, rest)), Some((got, tail))) => wanted == got && matches(rest, tail),
        _ => false,
    }
}

/// Returns whether a byte is in a bracket expression.
fn is_in(set: &[u8], byte: u8) -> bool {
    let (is_negated, mut set) = match set.split_first() {
        Some((b'^' | b'!', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    while let Some((first, rest)) = set.split_first() {
        match rest {
            [b'-', last, tail @ ..] => {
                found |= (*first..=*last).contains(&byte);
                set = tail;
            }
            _ => {
                found |= *first == byte;
                set = rest;
            }
        }
    }
    found != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.log", "a.log", true),
            ("*.log", "a.log.1", false),
            ("a?c", "abc", true),
            ("*", "", true),
            ("a[0-9x].log", "a7.log", true),
            ("a[0-9x].log", "ax.log", true),
            ("a[^0-9].log", "a7.log", false),
            ("a[1", "a[1", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn any_part_of_a_path_may_hold_wildcards() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in ["a/x/1.log", "a/y/2.log", "a/y/z/3.log", "b/x/4.txt", "5.log", "a/[odd].log"] {
            let path = root.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        for (pattern, expected) in [
            ("a/*/*.log", &["a/x/1.log", "a/y/2.log"][..]),
            ("**/*.log", &["5.log", "a/[odd].log", "a/x/1.log", "a/y/2.log", "a/y/z/3.log"]),
            ("a/**/[1-2].log", &["a/x/1.log", "a/y/2.log"]),
            ("{a,b}/x/*.{log,txt}", &["a/x/1.log", "b/x/4.txt"]),
            ("a/[odd].log", &["a/[odd].log"]),
            ("?/x/nothing", &[]),
        ] {
            let pattern = root.join(pattern);
            let mut found: Vec<PathBuf> = expand(&pattern.to_string_lossy());
            found.sort();
            let expected: Vec<PathBuf> = expected.iter().map(|file| root.join(file)).collect();
            assert_eq!(found, expected, "{}", pattern.display());
            assert!(expected.iter().all(|path| covers(&pattern, path)), "{}", pattern.display());
            assert!(!covers(&pattern, &root.join("b/y/other.md")), "{}", pattern.display());
        }
    }
}
