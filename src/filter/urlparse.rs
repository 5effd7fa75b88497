//! The `urlparse` filter: splits a raw URL into the parts defined by ECS (`url.path`, `url.query`, `url.extension`,
//! `url.domain`, …).
//!
//! An access log contains whatever a client has sent, so nothing is rejected: a text is split at the delimiters of RFC
//! 3986 (appendix B), and a missing part is absent.

use memchr::{memchr, memchr2, memrchr2};

use super::common::piece;
use super::{Compiled, Compiler, Context, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "urlparse",
    summary: "Splits a raw URL, absolute or as in a request line, into the fields of ECS `url.*`.",
    options: &[
        option("source", Kind::Field, Fallback::Text("[url][original]"), "The field that holds the URL."),
        option(
            "target",
            Kind::Field,
            Fallback::Text("[url]"),
            "The field under which the parts go: `scheme`, `username`, `password`, `domain`, `port`, `path`, `extension`, `query`, `fragment`.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_urlparsefailure"]),
            "Tags for an event whose source is there and not a text.",
        ),
    ],
    example: r#"
[[filter]]
type = "urlparse"
source = "[url][original]"

[[test]]
event = { url = { original = "https://example.org:8443/a.html?b=c#d" } }
expect = { "[url][domain]" = "example.org", "[url][port]" = 8443 }
"#,
};

/// The target field of each part.
#[derive(Clone)]
struct Targets {
    scheme: FieldRef,
    username: FieldRef,
    password: FieldRef,
    domain: FieldRef,
    port: FieldRef,
    path: FieldRef,
    extension: FieldRef,
    query: FieldRef,
    fragment: FieldRef,
}

#[derive(Clone)]
struct UrlParse {
    source: FieldRef,
    targets: Targets,
    tag_on_failure: Vec<String>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let source = field_option(args, "source", &mut problems);
    let target = field_option(args, "target", &mut problems);
    match (source, target) {
        (Some(source), Some(target)) => Ok(Box::new(UrlParse {
            source,
            targets: Targets {
                scheme: target.child("scheme").lasting(),
                username: target.child("username").lasting(),
                password: target.child("password").lasting(),
                domain: target.child("domain").lasting(),
                port: target.child("port").lasting(),
                path: target.child("path").lasting(),
                extension: target.child("extension").lasting(),
                query: target.child("query").lasting(),
                fragment: target.child("fragment").lasting(),
            },
            tag_on_failure: args.strings("tag_on_failure"),
        })),
        _ => Err(problems),
    }
}

/// The byte ranges of a URL's parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parts {
    scheme: Option<(usize, usize)>,
    username: Option<(usize, usize)>,
    password: Option<(usize, usize)>,
    domain: Option<(usize, usize)>,
    port: Option<u16>,
    path: Option<(usize, usize)>,
    extension: Option<(usize, usize)>,
    query: Option<(usize, usize)>,
    fragment: Option<(usize, usize)>,
}

fn split(url: &str) -> Parts {
    let mut parts = Parts::default();
    let mut at = 0;
    // Only a scheme can precede the first colon. URLs that start with a slash, which are nearly all, have none.
    let colon = if url.starts_with('/') {
        None
    } else {
        memchr(b':', url.as_bytes()).filter(|colon| url[*colon..].starts_with("://"))
    };
    if let Some(end) = colon.filter(|end| is_scheme(&url[..*end])) {
        parts.scheme = Some((0, end));
        at = end + 3;
        let authority_end = url[at..].find(['/', '?', '#']).map_or(url.len(), |length| at + length);
        authority(url, at, authority_end, &mut parts);
        at = authority_end;
    }
    let bytes = url.as_bytes();
    let path_end = memchr2(b'?', b'#', &bytes[at..]).map_or(url.len(), |length| at + length);
    let query = bytes.get(path_end) == Some(&b'?');
    let fragment = if query {
        memchr(b'#', &bytes[path_end..]).map(|length| path_end + length)
    } else {
        Some(path_end).filter(|end| *end < url.len())
    };
    parts.fragment = fragment.map(|fragment| (fragment + 1, url.len()));
    parts.query = query.then(|| (path_end + 1, fragment.unwrap_or(url.len())));
    if path_end > at {
        parts.path = Some((at, path_end));
        // A dot before the last slash belongs to a folder's name.
        let last = memrchr2(b'/', b'.', &bytes[at..path_end]).map(|last| at + last);
        parts.extension = last.filter(|last| bytes[*last] == b'.').map(|dot| (dot + 1, path_end));
    }
    parts
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn authority(url: &str, start: usize, end: usize, parts: &mut Parts) {
    let mut host = start;
    if let Some(sign) = url[start..end].rfind('@') {
        let user_end = url[start..start + sign].find(':').map_or(start + sign, |colon| start + colon);
        parts.username = Some((start, user_end));
        if user_end < start + sign {
            parts.password = Some((user_end + 1, start + sign));
        }
        host = start + sign + 1;
    }
    let bracket = url[host..end].rfind(']').map_or(host, |bracket| host + bracket);
    let colon = url[bracket..end].rfind(':').map(|colon| bracket + colon);
    let host_end = colon.unwrap_or(end);
    parts.port = colon.and_then(|colon| url[colon + 1..end].parse().ok());
    let inner = url[host..host_end].strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
    parts.domain = Some(if inner.is_some() { (host + 1, host_end - 1) } else { (host, host_end) });
}

impl Filter for UrlParse {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let (whole, text) = match event.get(&self.source) {
            None | Some(Value::Null) => return Flow::Passed,
            Some(whole @ (Value::Str(text) | Value::Plain(text))) => (whole, text),
            Some(_) => {
                context.fail(event, &self.tag_on_failure);
                return Flow::Passed;
            }
        };
        let parts = split(event.str(text));
        let targets = &self.targets;
        for (part, target) in [
            (parts.scheme, &targets.scheme),
            (parts.username, &targets.username),
            (parts.password, &targets.password),
            (parts.domain, &targets.domain),
            (parts.path, &targets.path),
            (parts.extension, &targets.extension),
            (parts.query, &targets.query),
            (parts.fragment, &targets.fragment),
        ] {
            if let Some((start, end)) = part.filter(|(start, end)| start < end)
                && event.set(target, piece(whole, start, end)).is_err()
            {
                context.fail(event, &self.tag_on_failure);
                return Flow::Passed;
            }
        }
        if let Some(port) = parts.port
            && event.set(&targets.port, Value::Int(i64::from(port))).is_err()
        {
            context.fail(event, &self.tag_on_failure);
            return Flow::Passed;
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_where_rfc_3986_splits_them() {
        for (url, expected) in [
            ("/a/b.tar.gz?x=1&y=/z.q#top", "path=/a/b.tar.gz extension=gz query=x=1&y=/z.q fragment=top"),
            ("/", "path=/"),
            ("*", "path=*"),
            ("/a.b/c", "path=/a.b/c"),
            ("/x.?q", "path=/x. query=q"),
            ("?q", "query=q"),
            ("/a#b?c", "path=/a fragment=b?c"),
            ("/a?b#c?d", "path=/a query=b fragment=c?d"),
            ("#", ""),
            ("//x.y:8/z", "path=//x.y:8/z"),
            (
                "http://u:p@example.org:8080/i.php",
                "scheme=http username=u password=p domain=example.org path=/i.php extension=php port=8080",
            ),
            ("https://[2001:db8::1]:443", "scheme=https domain=2001:db8::1 port=443"),
            ("example.org:443", "path=example.org:443 extension=org:443"),
            ("/redirect?to=http://x/", "path=/redirect query=to=http://x/"),
        ] {
            let parts = split(url);
            let mut shown = Vec::new();
            for (name, part) in [
                ("scheme", parts.scheme),
                ("username", parts.username),
                ("password", parts.password),
                ("domain", parts.domain),
                ("path", parts.path),
                ("extension", parts.extension),
                ("query", parts.query),
                ("fragment", parts.fragment),
            ] {
                if let Some((start, end)) = part.filter(|(start, end)| start < end) {
                    shown.push(format!("{name}={}", &url[start..end]));
                }
            }
            shown.extend(parts.port.map(|port| format!("port={port}")));
            assert_eq!(shown.join(" "), expected, "{url}");
        }
    }
}
