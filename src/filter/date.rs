//! The `date` filter: parses a time from a field, usually into `@timestamp`.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option, parse_field, parse_template};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::datetime::parse::{self, zone_named};
use crate::event::datetime::{Pattern, iso8601, knows_locale, strftime, unix};
use crate::event::{Event, FieldRef, Template, Timestamp, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "date",
    summary: "Parses a date in a field and uses it as the event's timestamp.",
    options: &[
        option(
            "match",
            Kind::Strings,
            Fallback::Required,
            "The field, then one or more formats that are tried in order: Joda patterns (`dd/MMM/yyyy:HH:mm:ss Z`), `ISO8601`, `UNIX`, `UNIX_MS`, `TAI64N`.",
        ),
        option("target", Kind::Field, Fallback::Text("@timestamp"), "Where the time goes."),
        option(
            "timezone",
            Kind::Template,
            Fallback::None,
            "The zone of dates that do not say: a name (`Europe/Berlin`), an offset (`+02:00`), or a field that holds one (`%{[event][timezone]}`). UTC by default.",
        ),
        option(
            "locale",
            Kind::String,
            Fallback::Text("en"),
            "The language of month and day names, such as `en` or `de-DE`: any of Unicode CLDR that has names.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_dateparsefailure"]),
            "Tags for an event whose date fits no format.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "date"
match = ["[nginx][access][time]", "dd/MMM/yyyy:HH:mm:ss Z"]
remove_field = ["[nginx][access][time]"]

[[test]]
event = { nginx = { access = { time = "23/Nov/2026:10:05:01 +0100" } } }
expect = { "@timestamp" = "2026-11-23T09:05:01.000Z" }
"#,
};

enum Format {
    Joda(Pattern),
    Iso8601,
    Unix,
    UnixMillis,
    Tai64n,
}

enum Zone {
    Fixed(TimeZone),
    Field(Template),
}

struct Options {
    source: FieldRef,
    formats: Vec<Format>,
    target: FieldRef,
    zone: Zone,
    /// Set if a text means the same time in every event: the zone does not come from a field, nor the year from the
    /// clock.
    fixed: bool,
    tag_on_failure: Vec<String>,
}

#[derive(Clone)]
struct Date {
    options: Arc<Options>,
    /// The last text and its time, used if `fixed` is set, because consecutive lines often have the same second.
    last: Option<(String, Timestamp)>,
    /// The zone of the last event, if zones come from a field: it is nearly always the same.
    last_zone: Option<(String, TimeZone)>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let matches = args.strings("match");
    let span = args.span_of("match");
    if matches.len() < 2 {
        problems.push(Diagnostic::error(span, "`match` takes a field and at least one format"));
        return Err(problems);
    }
    let source = parse_field(&matches[0], span, &mut problems);
    let mut locale = args.required_text("locale");
    if !knows_locale(&locale) {
        let message = format!("the names of months and days of the locale `{locale}` are not known");
        problems.push(
            Diagnostic::error(args.span_of("locale"), message)
                .with_help("a locale begins with the code of its language, such as `en`, `de-DE` or `pt_BR`"),
        );
        locale = "en".to_string();
    }
    let nodes = args.node("match").map_or(&[][..], |node| node.as_list());
    let mut formats = Vec::new();
    for (index, text) in matches.iter().enumerate().skip(1) {
        formats.push(match text.as_str() {
            "ISO8601" => Format::Iso8601,
            "UNIX" => Format::Unix,
            "UNIX_MS" => Format::UnixMillis,
            "TAI64N" => Format::Tai64n,
            format if strftime::to_joda(format).is_some() => {
                let span = nodes.get(index).map_or(span, |node| node.span);
                let pattern = strftime::to_joda(format).unwrap_or_default();
                problems.push(
                    Diagnostic::error(span, format!("`{format}` is a format of strftime, not of Joda"))
                        .with_help(format!("write `{pattern}`")),
                );
                continue;
            }
            pattern => match Pattern::compile(pattern, &locale) {
                Ok(pattern) => Format::Joda(pattern),
                Err(error) => {
                    let span = nodes.get(index).map_or(span, |node| node.span);
                    problems.push(
                        Diagnostic::error(span, format!("bad date format `{text}`: {error}"))
                            .with_help("put text that is not a date field in single quotes"),
                    );
                    continue;
                }
            },
        });
    }
    let target = field_option(args, "target", &mut problems);
    let zone = match args.text("timezone") {
        None => Zone::Fixed(TimeZone::UTC),
        Some(text) if text.contains("%{") => match parse_template(&text, args.span_of("timezone"), &mut problems) {
            Some(template) => Zone::Field(template),
            None => return Err(problems),
        },
        Some(text) => match zone_named(&text) {
            Some(zone) => Zone::Fixed(zone),
            None => {
                problems.push(Diagnostic::error(args.span_of("timezone"), format!("`{text}` is not a time zone")));
                return Err(problems);
            }
        },
    };
    match (source, target) {
        (Some(source), Some(target)) if problems.is_empty() => {
            let says_year = |format: &Format| !matches!(format, Format::Joda(pattern) if !pattern.has_year());
            let fixed = matches!(zone, Zone::Fixed(_)) && formats.iter().all(says_year);
            let options =
                Options { source, formats, target, zone, fixed, tag_on_failure: args.strings("tag_on_failure") };
            Ok(Box::new(Date { options: Arc::new(options), last: None, last_zone: None }))
        }
        _ => Err(problems),
    }
}

impl Filter for Date {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let value = match event.get(&self.options.source) {
            None | Some(Value::Null) => return Flow::Passed,
            Some(value) => value,
        };
        if let (Some((text, time)), true) = (&self.last, self.options.fixed)
            && event.as_str(value) == Some(text)
        {
            let time = *time;
            return self.put(event, context, Some(time));
        }
        // Cloned only after the cache of the last text, because the reference count is shared by all workers and
        // updating it would cost more than the rest.
        let options = Arc::clone(&self.options);
        let zone = match &options.zone {
            Zone::Fixed(zone) => Some(zone),
            Zone::Field(template) => self.zone_of(template, event),
        };
        let time = zone.and_then(|zone| {
            let context = parse::Context { zone, now: context.now };
            options.formats.iter().find_map(|format| format.read(event, value, context))
        });
        if let (Some(time), Some(text), true) = (time, event.as_str(value), options.fixed) {
            let (last, at) = self.last.get_or_insert_with(|| (String::new(), time));
            last.clear();
            last.push_str(text);
            *at = time;
        }
        self.put(event, context, time)
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl Date {
    fn put(&self, event: &mut Event, context: &mut Context, time: Option<Timestamp>) -> Flow {
        match time {
            Some(time) if event.set(&self.options.target, Value::Time(time)).is_ok() => Flow::Matched,
            _ => {
                context.fail(event, &self.options.tag_on_failure);
                Flow::Passed
            }
        }
    }

    fn zone_of(&mut self, template: &Template, event: &mut Event) -> Option<&TimeZone> {
        let mut name = String::new();
        if !template.render(event, &mut name) {
            name.clear();
            name.push_str("UTC");
        }
        if self.last_zone.as_ref().is_none_or(|(last, _)| *last != name) {
            self.last_zone = zone_named(&name).map(|zone| (name, zone));
        }
        self.last_zone.as_ref().map(|(_, zone)| zone)
    }
}

impl Format {
    fn read(&self, event: &Event, value: Value, context: parse::Context<'_>) -> Option<Timestamp> {
        if let (Format::Iso8601, Value::Time(time)) = (self, value) {
            return Some(time);
        }
        let mut printed = String::new();
        let text = match event.as_str(value) {
            Some(text) => text,
            None => {
                event.print_scalar(value, &mut printed);
                printed.as_str()
            }
        };
        match self {
            Format::Joda(pattern) => pattern.parse(text, context),
            Format::Iso8601 => iso8601::parse(text, context),
            Format::Unix => unix::seconds(text),
            Format::UnixMillis => unix::millis(text),
            Format::Tai64n => unix::tai64n(text),
        }
    }
}
