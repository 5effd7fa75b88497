//! The `csv` filter: parses a row of separated values into fields.

mod convert;
mod line;

use std::sync::{Arc, OnceLock};

use self::convert::Type;
use self::line::Column;
pub(super) use self::line::Format;
use super::{Compiled, Compiler, Context, ECS_OPTION, Filter, Flow, field_option};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, FieldRefError, NotAnObject, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "csv",
    summary: "Reads a row of comma-separated values into fields.",
    options: &[
        option("source", Kind::Field, Fallback::Text("message"), "The field that holds the row."),
        option(
            "target",
            Kind::Field,
            Fallback::None,
            "The field under which the columns go; the top of the event by default.",
        ),
        option(
            "columns",
            Kind::Strings,
            Fallback::None,
            "Names of the columns, in order. Columns past them are named `column4` and so on.",
        ),
        option("separator", Kind::String, Fallback::Text(","), "What stands between columns."),
        option("quote_char", Kind::String, Fallback::Text("\""), "The quote; a NUL character for none."),
        option(
            "autogenerate_column_names",
            Kind::Boolean,
            Fallback::Boolean(true),
            "Whether columns without a name are kept.",
        ),
        option(
            "autodetect_column_names",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Take the names from the first row that comes, which is dropped. Of use with one source of rows only.",
        ),
        option("skip_empty_columns", Kind::Boolean, Fallback::Boolean(false), "Leave out columns that hold nothing."),
        option(
            "skip_empty_rows",
            Kind::Boolean,
            Fallback::Boolean(false),
            "Tag empty rows with `_csvskippedemptyfield`; otherwise they count as failures.",
        ),
        option("skip_header", Kind::Boolean, Fallback::Boolean(false), "Drop rows that are the names of the columns."),
        option(
            "convert",
            Kind::Hash,
            Fallback::None,
            "Types of columns: `integer`, `float`, `date`, `date_time`, `boolean`.",
        ),
        option(
            "tag_on_failure",
            Kind::Strings,
            Fallback::List(&["_csvparsefailure"]),
            "Tags for an event whose row is not CSV.",
        ),
        ECS_OPTION,
    ],
    example: r#"
[[filter]]
type = "csv"
columns = ["time", "user", "bytes"]
convert = { bytes = "integer" }

[[test]]
event = { message = "10:05,\"Ada, Countess\",512" }
expect = { time = "10:05", user = "Ada, Countess", bytes = 512 }
"#,
};

/// A column with a name.
struct Named {
    name: String,
    field: FieldRef,
    ty: Option<Type>,
}

struct Options {
    source: FieldRef,
    target: Option<FieldRef>,
    format: Format,
    autogenerate: bool,
    autodetect: bool,
    skip_empty_columns: bool,
    skip_empty_rows: bool,
    skip_header: bool,
    convert: Vec<(String, Type)>,
    tag_on_failure: Vec<String>,
    /// The column names, given or detected. They are shared, so that one row is the header for all workers.
    columns: OnceLock<Vec<Named>>,
}

struct Csv {
    options: Arc<Options>,
    /// Columns beyond the named ones, created on first use.
    generated: Vec<Named>,
}

pub fn compile(args: &Args, _: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let source = field_option(args, "source", &mut problems);
    let target = field_option(args, "target", &mut problems);
    let mut convert = Vec::new();
    for (key, node) in args.entries("convert") {
        match Type::named(&node.to_text().unwrap_or_default()) {
            Some(ty) => convert.push((key.name.clone(), ty)),
            None => problems.push(
                Diagnostic::error(node.span, format!("`{}` can't be converted to that", key.name))
                    .with_help("the types are integer, float, date, date_time, boolean"),
            ),
        }
    }
    let separator = args.required_text("separator");
    if separator.is_empty() {
        problems.push(Diagnostic::error(args.span_of("separator"), "`separator` is empty"));
    }
    // Without support for escapes, a Logstash configuration has no other notation for a NUL.
    let quote = args.required_text("quote_char").replace("\\x00", "\0").replace("\\u0000", "\0");
    let mut quotes = quote.chars();
    let (Some(quote), None) = (quotes.next(), quotes.next()) else {
        problems.push(Diagnostic::error(args.span_of("quote_char"), "`quote_char` is one character"));
        return Err(problems);
    };
    let Some(source) = source else { return Err(problems) };
    let options = Options {
        source,
        target,
        format: Format { separator, quote },
        autogenerate: args.flag("autogenerate_column_names"),
        autodetect: args.flag("autodetect_column_names"),
        skip_empty_columns: args.flag("skip_empty_columns"),
        skip_empty_rows: args.flag("skip_empty_rows"),
        skip_header: args.flag("skip_header"),
        convert,
        tag_on_failure: args.strings("tag_on_failure"),
        columns: OnceLock::new(),
    };
    let mut columns = Vec::new();
    for name in args.strings("columns") {
        match options.column(&name) {
            Ok(column) => columns.push(column),
            Err(error) => problems.push(Diagnostic::error(args.span_of("columns"), error.to_string())),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if !columns.is_empty() || !options.autodetect {
        // The cell is new, so setting it can't fail.
        let _ = options.columns.set(columns);
    }
    Ok(Box::new(Csv { options: Arc::new(options), generated: Vec::new() }))
}

impl Options {
    fn column(&self, name: &str) -> Result<Named, FieldRefError> {
        let own = match name.starts_with('[') && name.ends_with(']') {
            true => FieldRef::parse(name)?,
            false => FieldRef::from_names([name]),
        };
        let field = match &self.target {
            Some(target) => own.path.iter().fold(target.clone(), |field, segment| field.child(&segment.name)),
            None => own,
        };
        let ty = self.convert.iter().find(|(column, _)| column == name).map(|(_, ty)| *ty);
        Ok(Named { name: name.to_string(), field, ty })
    }

    fn is_header(&self, columns: &[Named], row: &[Column]) -> bool {
        let same = |(named, column): (&Named, &Column)| column.as_deref() == Some(&named.name);
        !columns.is_empty() && columns.len() == row.len() && columns.iter().zip(row).all(same)
    }
}

/// The text is not CSV, or its columns can't be set on the event.
struct Failed;

impl From<line::Malformed> for Failed {
    fn from(_: line::Malformed) -> Self {
        Failed
    }
}

impl From<NotAnObject> for Failed {
    fn from(_: NotAnObject) -> Self {
        Failed
    }
}

impl Filter for Csv {
    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        self.read(event, context).unwrap_or_else(|_| {
            context.fail(event, &self.options.tag_on_failure);
            Flow::Passed
        })
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(Csv { options: Arc::clone(&self.options), generated: Vec::new() })
    }
}

impl Csv {
    fn read(&mut self, event: &mut Event, context: &mut Context) -> Result<Flow, Failed> {
        let options = &*self.options;
        let row = match event.get(&options.source) {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(Flow::Passed),
            Some(value) => options.format.read(event.as_str(value).ok_or(Failed)?)?,
        };
        let Some(row) = row else {
            if options.skip_empty_rows {
                context.fail(event, &["_csvskippedemptyfield".to_string()]);
                return Ok(Flow::Passed);
            }
            return Err(Failed);
        };
        let mut detected = false;
        let columns = options.columns.get_or_init(|| {
            detected = true;
            let names = row.iter().map(|column| column.as_deref().unwrap_or_default());
            names.filter_map(|name| options.column(name).ok()).collect()
        });
        if detected || (options.skip_header && options.is_header(columns, &row)) {
            return Ok(Flow::Drop);
        }
        for (index, column) in row.into_iter().enumerate() {
            let text = column.as_deref();
            if options.skip_empty_columns && text.is_none_or(str::is_empty) {
                continue;
            }
            let named = match columns.get(index) {
                Some(named) => named,
                None if !options.autogenerate => continue,
                None => {
                    while self.generated.len() <= index {
                        let name = format!("column{}", self.generated.len() + 1);
                        self.generated.push(options.column(&name).map_err(|_| Failed)?);
                    }
                    &self.generated[index]
                }
            };
            let value = match (text, named.ty) {
                (Some(text), Some(ty)) => ty.convert(text, event),
                (Some(text), None) => Value::Str(event.push_str(text)),
                // Logstash fails here, because Ruby can't strip white space from `nil`.
                (None, Some(Type::Boolean)) => return Err(Failed),
                (None, _) => Value::Null,
            };
            event.set(&named.field, value)?;
        }
        Ok(Flow::Matched)
    }
}
