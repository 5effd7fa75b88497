//! Serialisation of an event to the bytes that a sink sends.
//!
//! A document is written directly into the sink's batch. For Elasticsearch, that is the action line and the document,
//! with an index routed by the event's fields and an id that depends only on the origin of the record.

use super::kafka_frame::frame;
use crate::codec::id::{DocumentOrigin, IdRule};
use crate::config::fields::parse_template;
use crate::config::{Args, Diagnostic, Fallback, Kind, OptionDef, option};
use crate::event::encode::write_escaped;
use crate::event::{Constant, Event, FieldRef, Template};
use std::fmt;

/// The encoder of a sink's documents.
#[derive(Clone, Debug)]
pub enum Encoder {
    /// The lines of a bulk request.
    Elasticsearch(Box<BulkEncoder>),
    /// The key, the headers and the value of a Kafka record.
    Kafka {
        /// The template of the key.
        key: Option<Template>,
        /// The names and templates of the headers.
        headers: Vec<(Box<str>, Template)>,
        /// The form of the value.
        form: Form,
    },
    /// Text, usually one JSON document per line.
    Lines(Form),
    /// Documents for standard output, in place of the pipeline's sinks.
    Trial(Box<dyn EncodeDocument>),
}

/// The form of an event in sinks other than Elasticsearch.
#[derive(Clone, Debug)]
pub enum Form {
    /// A JSON document, on a line of its own if the sink writes lines.
    Json,
    /// A rendered template. It is on a line of its own if the flag is set and the sink writes lines.
    Text(Template, bool),
    /// A dot, as a progress indicator.
    Dot,
}

/// The option `codec` of sinks that write text.
pub const CODEC_OPTION: OptionDef = option(
    "codec",
    Kind::Any,
    Fallback::Text("json_lines"),
    "What is written of an event: `json` or `json_lines` (also `rubydebug`) for the document, `{ line = { format = \"%{message}\" } }` \
     for a line of text, `{ plain = { format = … } }` for text without a newline, or `dots`.",
);

impl Form {
    fn from_args(args: &Args) -> Result<Form, Vec<Diagnostic>> {
        let Some(node) = args.node("codec") else { return Ok(Form::Json) };
        let (name, options) = node.named();
        let lines = match name.as_str() {
            "json" | "json_lines" | "rubydebug" => return Ok(Form::Json),
            "dots" => return Ok(Form::Dot),
            "line" => true,
            "plain" => false,
            other => {
                let problem = Diagnostic::error(node.span, format!("there is no codec `{other}` for a sink"));
                return Err(vec![problem.with_help("there are json, json_lines, line, plain, rubydebug and dots")]);
            }
        };
        let format = options.iter().find(|(key, _)| key.name == "format").and_then(|(_, format)| format.to_text());
        // The default format in Logstash.
        let format = format.unwrap_or_else(|| "%{@timestamp} %{host} %{message}".to_string());
        match Template::parse(&format) {
            Ok(template) => Ok(Form::Text(template, lines)),
            Err(error) => Err(vec![Diagnostic::error(node.span, error.to_string())]),
        }
    }

    /// Appends the event. Returns whether a newline must follow it.
    fn write(&self, event: &mut Event, out: &mut Vec<u8>) -> bool {
        match self {
            Form::Json => event.write_next_json(out),
            Form::Dot => out.push(b'.'),
            Form::Text(template, _) => {
                let mut text = String::new();
                template.render(event, &mut text);
                out.extend_from_slice(text.as_bytes());
            }
        }
        matches!(self, Form::Json | Form::Text(_, true))
    }
}

/// The error of an event that cannot become a document, so that its record becomes a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The event's fields do not form a valid index name.
    #[error("`{0}` is not a legal name of an index")]
    IndexName(String),
    /// The event's fields form an id that Elasticsearch rejects.
    #[error("the id is empty or longer than 512 bytes")]
    DocumentId,
    /// One of the sinks that a trial run replaces refuses the event.
    #[error("sink {sink}: {error}")]
    OfSink {
        /// The sink.
        sink: String,
        /// The reason.
        error: Box<EncodeError>,
    },
}

/// An encoder that is implemented outside of this module.
pub trait EncodeDocument: fmt::Debug + Send + Sync {
    /// Starts a new batch of records.
    fn start_batch(&mut self);

    /// Appends a document without the newline after it.
    ///
    /// # Errors
    /// The event cannot become a document. The caller must remove what has been appended.
    fn encode(&mut self, event: &mut Event, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Returns a copy for another worker.
    fn clone_box(&self) -> Box<dyn EncodeDocument>;
}

impl Clone for Box<dyn EncodeDocument> {
    fn clone(&self) -> Self {
        (**self).clone_box()
    }
}

impl Encoder {
    /// Creates the encoder for a sink of type `kind`.
    ///
    /// # Errors
    /// All options that are not valid.
    pub fn from_args(kind: &str, args: &Args) -> Result<Encoder, Vec<Diagnostic>> {
        match kind {
            "elasticsearch" => BulkEncoder::from_args(args).map(|encoder| Encoder::Elasticsearch(Box::new(encoder))),
            "kafka" => {
                let mut problems = Vec::new();
                let key = template(args, "message_key", &mut problems);
                let headers = headers(args, &mut problems);
                let form = Form::from_args(args).map_err(|found| problems.extend(found));
                match form {
                    Ok(form) if problems.is_empty() => Ok(Encoder::Kafka { key, headers, form }),
                    _ => Err(problems),
                }
            }
            "null" => Ok(Encoder::Lines(Form::Json)),
            _ => Form::from_args(args).map(Encoder::Lines),
        }
    }

    /// Changes the index, data stream or action of an encoder for Elasticsearch. Has no effect on other encoders.
    pub fn redirect(&mut self, to: &Redirect) {
        if let Encoder::Elasticsearch(encoder) = self {
            encoder.redirect(to);
        }
    }

    /// Returns whether documents are written to data streams.
    pub fn writes_data_streams(&self) -> bool {
        matches!(self, Encoder::Elasticsearch(encoder) if matches!(encoder.target, Target::DataStream { .. }))
    }

    /// Returns the destination of documents for display.
    pub fn target(&self) -> String {
        match self {
            Encoder::Elasticsearch(encoder) => match &encoder.target {
                Target::Index(template) => format!("index {}", written(template)),
                Target::DataStream { parts, auto_routing, .. } => {
                    let names: Vec<String> = parts.iter().map(|part| written(&part.template)).collect();
                    let own = if *auto_routing { " (or where the event's data_stream fields say)" } else { "" };
                    format!("data stream {}{own}", names.join("-"))
                }
            },
            Encoder::Kafka { .. } => "a topic".to_string(),
            Encoder::Lines(_) | Encoder::Trial(_) => "lines".to_string(),
        }
    }

    /// The index or data stream that documents go to, with `*` for what differs between events.
    pub fn index_pattern(&self) -> Option<String> {
        match self {
            Encoder::Elasticsearch(encoder) => Some(match &encoder.target {
                Target::Index(template) => template.as_pattern(),
                Target::DataStream { parts, auto_routing: false, .. } => {
                    parts.each_ref().map(|part| part.template.as_pattern()).join("-")
                }
                // The type is the same for all as a rule.
                Target::DataStream { parts, .. } => format!("{}-*", parts[0].template.as_pattern()),
            }),
            _ => None,
        }
    }

    /// Returns the bulk action of documents for Elasticsearch, and whether their ids come from fields.
    pub fn action(&self) -> Option<(&'static str, bool)> {
        match self {
            Encoder::Elasticsearch(encoder) => Some((encoder.action, encoder.document_id.is_some())),
            _ => None,
        }
    }

    /// Starts a new batch of records.
    pub fn start_batch(&mut self) {
        match self {
            Encoder::Elasticsearch(encoder) => encoder.id.start_batch(),
            Encoder::Trial(encoder) => encoder.start_batch(),
            Encoder::Kafka { .. } | Encoder::Lines(_) => {}
        }
    }

    /// Appends a document.
    ///
    /// # Errors
    /// The event cannot become a document of this sink. The caller must remove what has been appended.
    pub fn encode(
        &mut self,
        event: &mut Event,
        origin: &DocumentOrigin<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        match self {
            Encoder::Elasticsearch(encoder) => encoder.encode(event, origin, out)?,
            Encoder::Trial(encoder) => encoder.encode(event, origin, out)?,
            Encoder::Kafka { key, headers, form } => {
                let mut filled = |template: &Template| {
                    let mut text = String::new();
                    template.render(event, &mut text);
                    text
                };
                let key = key.as_ref().map(&mut filled);
                let headers: Vec<(&str, String)> =
                    headers.iter().map(|(name, value)| (&**name, filled(value))).collect();
                frame(out, key.as_ref().map(|key| key.as_bytes()), &headers);
                form.write(event, out);
                return Ok(());
            }
            Encoder::Lines(form) => {
                if !form.write(event, out) {
                    return Ok(());
                }
            }
        }
        out.push(b'\n');
        Ok(())
    }
}

fn template(args: &Args, name: &str, problems: &mut Vec<Diagnostic>) -> Option<Template> {
    parse_template(&args.text(name)?, args.span_of(name), problems)
}

/// Returns the headers of a Kafka record.
fn headers(args: &Args, problems: &mut Vec<Diagnostic>) -> Vec<(Box<str>, Template)> {
    let mut headers = Vec::new();
    for (name, node) in args.entries("message_headers") {
        match node.single_text().map(|text| Template::parse(&text)) {
            Some(Ok(template)) => headers.push((name.name.as_str().into(), template)),
            Some(Err(error)) => problems.push(Diagnostic::error(node.span, error.to_string())),
            None => problems.push(Diagnostic::error(node.span, "a header is a text")),
        }
    }
    headers
}

/// Returns a template as it is written, which is how it renders for an event without fields.
fn written(template: &Template) -> String {
    let mut text = String::new();
    template.render(&mut Event::new(), &mut text);
    text
}

/// A change of the behaviour of an encoder for Elasticsearch from its options.
#[derive(Clone, Debug)]
pub enum Redirect {
    /// Writes all documents to this index.
    Index(Template),
    /// Writes all documents to the data stream with these three parts, and sets their `data_stream` fields accordingly.
    DataStream([Template; 3]),
    /// Uses this bulk action, if the target allows a choice.
    Action(&'static str),
}

/// The destination of documents.
#[derive(Clone, Debug)]
enum Target {
    /// An index, alias or data stream named by a template.
    Index(Template),
    /// A data stream named by its three parts.
    DataStream { parts: Box<[Part; 3]>, auto_routing: bool, sync_fields: bool },
}

/// A part of a data stream's name, with the event's field for it.
#[derive(Clone, Debug)]
struct Part {
    template: Template,
    field: FieldRef,
    /// The field with its value, if it is the same for all events.
    constant: Option<Constant>,
}

impl Part {
    fn new(template: Template, name: &str) -> Part {
        let field = FieldRef::from_names(["data_stream", name]).lasting();
        let constant = template.as_plain().map(|text| Constant::of_text(field.clone(), text));
        Part { template, field, constant }
    }
}

/// The fields that contain the parts of a data stream's name.
const STREAM_FIELDS: [&str; 3] = ["type", "dataset", "namespace"];

/// Writes action lines and documents for `_bulk`.
#[derive(Clone, Debug)]
pub struct BulkEncoder {
    target: Target,
    action: &'static str,
    id: IdRule,
    document_id: Option<Template>,
    routing: Option<Template>,
    pipeline: Option<Template>,
    /// The name of the current document's index.
    index: String,
    /// The input from which the last index name was built, which is nearly always equal to the next one. That name was
    /// valid.
    last: [String; 3],
    /// The action line with the last index name, up to the id.
    beginning: Vec<u8>,
    text: String,
}

impl BulkEncoder {
    fn from_args(args: &Args) -> Result<BulkEncoder, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let index = template(args, "index", &mut problems);
        let streams = args.text("data_stream").unwrap_or_default();
        let target = match (index, streams.as_str()) {
            (Some(_), "true") => {
                problems.push(Diagnostic::error(
                    args.span_of("index"),
                    "`index` and `data_stream = true` exclude each other",
                ));
                return Err(problems);
            }
            (Some(index), _) => Target::Index(index),
            (None, "false") => {
                problems.push(Diagnostic::error(args.span, "without a data stream the sink needs an `index`"));
                return Err(problems);
            }
            (None, _) => {
                let mut part = |option: &str, name: &str| Some(Part::new(template(args, option, &mut problems)?, name));
                let parts = [
                    part("data_stream_type", "type"),
                    part("data_stream_dataset", "dataset"),
                    part("data_stream_namespace", "namespace"),
                ];
                match parts {
                    [Some(kind), Some(dataset), Some(namespace)] => Target::DataStream {
                        parts: Box::new([kind, dataset, namespace]),
                        auto_routing: args.flag("data_stream_auto_routing"),
                        sync_fields: args.flag("data_stream_sync_fields"),
                    },
                    _ => return Err(problems),
                }
            }
        };
        let action = match (args.text("action").as_deref(), &target) {
            (Some("index"), Target::DataStream { .. }) => {
                problems.push(Diagnostic::error(args.span_of("action"), "a data stream takes only `create`"));
                "create"
            }
            (Some("index"), _) => "index",
            _ => "create",
        };
        let id = match IdRule::new(&args.text("id_salt").unwrap_or_default()) {
            Ok(rule) => rule,
            Err(error) => {
                problems.push(Diagnostic::error(args.span_of("id_salt"), error.to_string()));
                IdRule::default()
            }
        };
        let document_id = template(args, "document_id", &mut problems);
        let routing = template(args, "routing", &mut problems);
        let pipeline = template(args, "pipeline", &mut problems);
        if let Target::Index(index) = &target
            && let Some(name) = index.as_literal()
            && !is_legal_index(name)
        {
            problems
                .push(Diagnostic::error(args.span_of("index"), EncodeError::IndexName(name.to_string()).to_string()));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(BulkEncoder {
            target,
            action,
            id,
            document_id,
            routing,
            pipeline,
            index: String::new(),
            last: Default::default(),
            beginning: Vec::new(),
            text: String::new(),
        })
    }

    fn redirect(&mut self, to: &Redirect) {
        self.beginning.clear();
        match to {
            Redirect::Index(name) => self.target = Target::Index(name.clone()),
            Redirect::DataStream(names) => {
                let part = |at: usize| Part::new(names[at].clone(), STREAM_FIELDS[at]);
                self.target = Target::DataStream {
                    parts: Box::new([part(0), part(1), part(2)]),
                    auto_routing: false,
                    sync_fields: true,
                };
                self.action = "create";
            }
            Redirect::Action(action) => match &self.target {
                Target::Index(_) => self.action = action,
                Target::DataStream { .. } => {}
            },
        }
    }

    fn encode(&mut self, event: &mut Event, origin: &DocumentOrigin<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.route(event)?;
        out.extend_from_slice(&self.beginning);
        match &self.document_id {
            None => self.id.write(origin, out),
            Some(template) => {
                self.text.clear();
                template.render(event, &mut self.text);
                if self.text.is_empty() || self.text.len() > 512 {
                    return Err(EncodeError::DocumentId);
                }
                write_escaped(&self.text, out);
            }
        }
        out.push(b'"');
        for (name, template) in [("routing", &self.routing), ("pipeline", &self.pipeline)] {
            let Some(template) = template else { continue };
            self.text.clear();
            // If a field is missing, no routing value can be built.
            if template.render(event, &mut self.text) && !self.text.is_empty() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":\"");
                write_escaped(&self.text, out);
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}}\n");
        event.write_next_json(out);
        Ok(())
    }

    /// Builds the beginning of the event's action line in `self.beginning`.
    ///
    /// The input of the index name is compared rather than the name itself: building the name in parts and then reading
    /// it as a whole would stall the processor until its earlier writes have reached the cache.
    fn route(&mut self, event: &mut Event) -> Result<(), EncodeError> {
        let mut known = !self.beginning.is_empty();
        match &self.target {
            Target::Index(template) => {
                self.index.clear();
                template.render(event, &mut self.index);
                known &= self.index == self.last[0];
                self.last[0].clone_from(&self.index);
            }
            Target::DataStream { parts, auto_routing, sync_fields } => {
                for (part, last) in parts.iter().zip(&mut self.last) {
                    let own = if *auto_routing { event.get(&part.field) } else { None };
                    let own = own.and_then(|value| event.as_str(value)).filter(|text| !text.is_empty());
                    let value;
                    let text = match (own, &part.constant, part.template.as_literal()) {
                        (Some(own), ..) => own,
                        // A value named `data_stream` that is not an object is left unchanged.
                        (None, Some(constant), Some(text)) => {
                            let _ = sync_fields.then(|| event.set_constant(constant));
                            text
                        }
                        _ => {
                            value = part.template.value(event);
                            let _ = sync_fields.then(|| event.set(&part.field, value));
                            event.as_str(value).unwrap_or_default()
                        }
                    };
                    if last != text {
                        known = false;
                        last.clear();
                        last.push_str(text);
                    }
                }
            }
        }
        if !known {
            self.begin()?;
        }
        Ok(())
    }

    /// Builds the beginning of action lines for the index given by `self.last`.
    #[cold]
    fn begin(&mut self) -> Result<(), EncodeError> {
        if let Target::DataStream { .. } = &self.target {
            self.index = self.last.join("-");
        }
        self.beginning.clear();
        if !is_legal_index(&self.index) {
            return Err(EncodeError::IndexName(self.index.clone()));
        }
        self.beginning = format!("{{\"{}\":{{\"_index\":\"{}\",\"_id\":\"", self.action, self.index).into_bytes();
        Ok(())
    }
}

/// Returns whether a name is valid for indices and data streams by Elasticsearch's rules.
pub fn is_legal_index(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != "."
        && name != ".."
        && !name.starts_with(['-', '_', '+'])
        && !name.chars().any(|c| c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:%{}".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Data, Key, Node, Span};

    fn encoder(options: &[(&str, &str)]) -> Result<Encoder, Vec<Diagnostic>> {
        let entry = |(name, value): &(&str, &str)| {
            let key = Key { span: Span::default(), name: name.to_string() };
            (key, Node { span: Span::default(), data: Data::String(value.to_string()) })
        };
        let def = crate::sink::elasticsearch::DEF;
        let args =
            Args::check("sink", Span::default(), options.iter().map(entry).collect(), def.options.iter().copied())?;
        Encoder::from_args("elasticsearch", &args)
    }

    fn encoded(options: &[(&str, &str)], json: &str) -> Result<String, EncodeError> {
        let mut event = Event::new();
        event.decode_json(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        let origin = DocumentOrigin {
            place: 0,
            source: "",
            topic: "t",
            topic_id: None,
            partition: 1,
            offset: 2,
            timestamp_ms: -1,
            value: b"",
            ordinal: 0,
        };
        encoder(options).unwrap().encode(&mut event, &origin, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn documents_are_routed_by_fields() {
        for (options, json, expected) in [
            (
                vec![("index", "logs-%{[event][dataset]}-default")],
                r#"{"event":{"dataset":"nginx.access"}}"#,
                "{\"create\":{\"_index\":\"logs-nginx.access-default\",\"_id\":\"AAAAAHUjaFBFhAABAAAAAAAC\"}}\n{\"event\":{\"dataset\":\"nginx.access\"}}\n",
            ),
            (
                vec![("data_stream_dataset", "nginx")],
                r#"{"data_stream":{"namespace":"prod"}}"#,
                "{\"create\":{\"_index\":\"logs-nginx-prod\",\"_id\":\"AAAAAHUjaFBFhAABAAAAAAAC\"}}\n{\"data_stream\":{\"namespace\":\"prod\",\"type\":\"logs\",\"dataset\":\"nginx\"}}\n",
            ),
            (
                vec![
                    ("index", "i"),
                    ("action", "index"),
                    ("document_id", "%{k}"),
                    ("routing", "%{r}"),
                    ("pipeline", "%{none}"),
                ],
                r#"{"k":"a\"b","r":7}"#,
                "{\"index\":{\"_index\":\"i\",\"_id\":\"a\\\"b\",\"routing\":\"7\"}}\n{\"k\":\"a\\\"b\",\"r\":7}\n",
            ),
        ] {
            assert_eq!(encoded(&options, json).unwrap(), expected);
        }
    }

    #[test]
    fn illegal_names_are_refused() {
        assert_eq!(encoded(&[("index", "x-%{nope}")], "{}"), Err(EncodeError::IndexName("x-%{nope}".into())));
        assert_eq!(encoded(&[("index", "%{a}")], r#"{"a":"Upper"}"#), Err(EncodeError::IndexName("Upper".into())));
        assert!(encoder(&[("index", "UPPER")]).is_err());
        assert!(encoder(&[("index", "a"), ("data_stream", "true")]).is_err());
        assert!(encoder(&[("action", "index")]).is_err());
    }
}
