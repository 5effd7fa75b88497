//! Extended grapheme clusters, as `\X` matches them (Unicode Annex 29, without the finer points of the emoji tables).

use super::syntax::CharSet;
use std::sync::LazyLock;

struct Tables {
    control: CharSet,
    extend: CharSet,
    prepend: CharSet,
    l: CharSet,
    v: CharSet,
    t: CharSet,
    lv: CharSet,
    lvt: CharSet,
    regional: CharSet,
    pictographic: CharSet,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let set = |names: &[&str]| {
        let mut all = CharSet::empty();
        for name in names {
            all.union(&CharSet::property(name).unwrap_or_else(CharSet::empty));
        }
        all
    };
    Tables {
        control: set(&["gcb=control", "gcb=cr", "gcb=lf"]),
        extend: set(&["gcb=extend", "gcb=zwj", "gcb=spacingmark"]),
        prepend: set(&["gcb=prepend"]),
        l: set(&["gcb=l"]),
        v: set(&["gcb=v"]),
        t: set(&["gcb=t"]),
        lv: set(&["gcb=lv"]),
        lvt: set(&["gcb=lvt"]),
        regional: set(&["regional_indicator"]),
        pictographic: set(&["extended_pictographic"]),
    }
});

/// Returns the end of the grapheme cluster that begins at `start`, or `None` at the end of the text.
pub(super) fn end(text: &str, start: usize) -> Option<usize> {
    let tables = &*TABLES;
    let mut chars = text[start..].char_indices().map(|(offset, c)| (start + offset + c.len_utf8(), c)).peekable();
    let (mut end, mut last) = chars.next()?;
    let mut pictograph = tables.pictographic.contains(last);
    let mut regionals = u32::from(tables.regional.contains(last));
    while let Some(&(next_end, next)) = chars.peek() {
        let joined = match (last, next) {
            ('\r', '\n') => true,
            _ if tables.control.contains(last) || tables.control.contains(next) => false,
            _ if tables.extend.contains(next) || tables.prepend.contains(last) => true,
            _ if tables.l.contains(last) => {
                tables.l.contains(next)
                    || tables.v.contains(next)
                    || tables.lv.contains(next)
                    || tables.lvt.contains(next)
            }
            _ if tables.lv.contains(last) || tables.v.contains(last) => {
                tables.v.contains(next) || tables.t.contains(next)
            }
            _ if tables.lvt.contains(last) || tables.t.contains(last) => tables.t.contains(next),
            ('\u{200d}', _) if pictograph => tables.pictographic.contains(next),
            _ => regionals % 2 == 1 && tables.regional.contains(next),
        };
        if !joined {
            break;
        }
        regionals = if tables.regional.contains(next) { regionals + 1 } else { 0 };
        pictograph = tables.pictographic.contains(next) || pictograph && tables.extend.contains(next);
        (end, last) = (next_end, next);
        chars.next();
    }
    Some(end)
}
