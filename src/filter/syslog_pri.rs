//! The `syslog_pri` filter: severity and facility of the number at the start of a syslog line (RFC 3164, section
//! 4.1.1).

use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option, ruby};
use crate::config::{Args, ComponentDef, Fallback, Kind, option};
use crate::event::{Event, FieldRef, NotAnObject, Value};
use crate::grok::{EcsCompatibility, Integer, to_i};

pub const DEF: ComponentDef = ComponentDef {
    name: "syslog_pri",
    summary: "Splits a syslog priority into severity and facility.",
    options: &[
        option(
            "syslog_pri_field_name",
            Kind::Field,
            Fallback::None,
            "The field with the priority: by default `syslog_pri`, with ECS `[log][syslog][priority]`. Where it is absent, the priority is 13.",
        ),
        option("use_labels", Kind::Boolean, Fallback::Boolean(true), "Whether names are added to the numbers."),
        option(
            "facility_labels",
            Kind::Strings,
            Fallback::List(&[
                "kernel",
                "user-level",
                "mail",
                "daemon",
                "security/authorization",
                "syslogd",
                "line printer",
                "network news",
                "uucp",
                "clock",
                "security/authorization",
                "ftp",
                "ntp",
                "log audit",
                "log alert",
                "clock",
                "local0",
                "local1",
                "local2",
                "local3",
                "local4",
                "local5",
                "local6",
                "local7",
            ]),
            "Names of the facilities.",
        ),
        option(
            "severity_labels",
            Kind::Strings,
            Fallback::List(&["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"]),
            "Names of the severities.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "syslog_pri"
syslog_pri_field_name = "priority"

[[test]]
event = { priority = "165" }
expect = { log = { syslog = { facility = { code = 20, name = "local4" }, severity = { code = 5, name = "notice" } } } }
"#,
};

/// Priority of a line without one.
const DEFAULT_PRIORITY: i64 = 13;

/// A code and its label, with the fields that they are stored in.
#[derive(Clone)]
struct Part {
    code: FieldRef,
    name: FieldRef,
    labels: Vec<String>,
}

#[derive(Clone)]
struct SyslogPri {
    source: FieldRef,
    severity: Part,
    facility: Part,
    use_labels: bool,
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let ecs = compiler.ecs(args) != EcsCompatibility::Disabled;
    let syslog = FieldRef::from_names(["log", "syslog"]);
    let source = match args.is_given("syslog_pri_field_name") {
        true => field_option(args, "syslog_pri_field_name", &mut problems),
        false if ecs => Some(syslog.child("priority")),
        false => Some(FieldRef::from_names(["syslog_pri"])),
    };
    let part = |name: &str, labels: &str| {
        let (code, name) = match ecs {
            true => (syslog.child(name).child("code"), syslog.child(name).child("name")),
            false => {
                let name = format!("syslog_{name}");
                (FieldRef::from_names([format!("{name}_code").as_str()]), FieldRef::from_names([name.as_str()]))
            }
        };
        Part { code, name, labels: args.strings(labels) }
    };
    let (severity, facility) = (part("severity", "severity_labels"), part("facility", "facility_labels"));
    match source {
        Some(source) => Ok(Box::new(SyslogPri { source, severity, facility, use_labels: args.flag("use_labels") })),
        None => Err(problems),
    }
}

impl Filter for SyslogPri {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        let value = match event.get(&self.source) {
            Some(Value::Array(list)) => event.loaded_values(list).first().copied().or(Some(Value::Null)),
            value => value.filter(|value| *value != Value::Null),
        };
        if matches!(value, Some(Value::Object(_))) {
            context.fail(event, &["_syslogpriparsefailure".to_string()]);
            return Flow::Passed;
        }
        let priority = value.map_or(DEFAULT_PRIORITY, |value| {
            let mut text = String::new();
            ruby::to_s(event, value, &mut text);
            match to_i(&text) {
                Integer::Small(number) => number,
                Integer::Big(_) => i64::MAX,
            }
        });
        match self.put(event, priority) {
            Ok(true) => {}
            Ok(false) | Err(NotAnObject) => context.fail(event, &["_syslogpriparsefailure".to_string()]),
        }
        Flow::Matched
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

impl SyslogPri {
    /// Sets the fields. Returns `false` if a label is wanted and a code has none.
    fn put(&self, event: &mut Event, priority: i64) -> Result<bool, NotAnObject> {
        let parts = [(&self.facility, priority >> 3), (&self.severity, priority & 7)];
        for (part, code) in parts {
            event.set(&part.code, Value::Int(code))?;
        }
        if self.use_labels {
            for (part, code) in parts {
                let label = usize::try_from(code).ok().and_then(|code| part.labels.get(code));
                let Some(label) = label else { return Ok(false) };
                let text = event.push_str(label);
                event.set(&part.name, Value::Str(text))?;
            }
        }
        Ok(true)
    }
}
