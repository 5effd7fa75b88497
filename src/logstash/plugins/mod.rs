//! What Logstash's inputs and outputs are here: options under another name, those that have no effect, those that can't
//! be carried, and defaults that differ.
//!
//! Filters need next to none of this, since they take Logstash's options under Logstash's names.
//!
//! For every plugin, flags inside hashes are texts, and so are all values of `add_field`: Logstash has them so.

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::value::{Data, Key, Node};
use crate::config::{Diagnostic, Span};

mod elasticsearch;
mod file;
mod kafka;
mod stores;

pub use crate::config::missing_plugins::{Section, instead_of};

/// An option that was not carried.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Where it stands, key and value.
    pub span: Span,
    /// Its name and why.
    pub message: String,
    /// Whether that changes what the pipeline does; otherwise it only has no effect here.
    pub refused: bool,
}

/// Turns an option into what it is here.
type Turn = fn(&mut Adapted, Key, Node);

/// What becomes of an option.
#[derive(Clone, Copy)]
enum Rule {
    /// It has another name.
    To(&'static str),
    /// It is a property of the Kafka client.
    Property(&'static str),
    /// It has no effect, and why.
    Idle(&'static str),
    /// It can't be carried, and why.
    Refused(&'static str),
    /// It can't be carried where it is `true`.
    RefusedFlag(&'static str),
    /// It depends on its value, or on other options.
    With(Turn),
}
use Rule::{Idle, Property, Refused, RefusedFlag, To, With};

const TUNING: &str = "there is nothing to tune: it looks after this itself";

const INPUT: &[(&str, Rule)] = &[("type", To("event_type"))];

const STDIN: &[(&str, Rule)] = &[("ecs_compatibility", Idle("nothing is added to a line"))];

const NULL: &[(&str, Rule)] = &[("codec", Idle("nothing is written"))];

/// The tables for a plugin's options, in which the first entry counts.
fn rules(section: Section, plugin: &str) -> [&'static [(&'static str, Rule)]; 2] {
    match (section, plugin) {
        (Section::Input, "kafka") => [kafka::INPUT, kafka::COMMON],
        (Section::Input, "file") => [file::INPUT, &[]],
        (Section::Input, "stdin") => [STDIN, &[]],
        (Section::Output, "null") => [NULL, &[]],
        (Section::Output, "elasticsearch") => [elasticsearch::OUTPUT, &[]],
        (Section::Output, "kafka") => [kafka::OUTPUT, kafka::COMMON],
        (Section::Output, "file") => [file::OUTPUT, &[]],
        _ => [&[], &[]],
    }
}

/// Looks up a variable of the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What holds around the plugins of a configuration.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The environment.
    pub variable: Variable<'a>,
    /// Whether the pipeline keeps to names from before the Elastic Common Schema.
    pub ecs_disabled: bool,
}

/// Makes of every plugin what it is here.
pub fn adapt(spec: &mut PipelineSpec, surroundings: Surroundings<'_>) -> Vec<Diagnostic> {
    let mut left_out = Vec::new();
    for source in &mut spec.sources {
        left_out.extend(adapt_component(Section::Input, source, surroundings));
    }
    adapt_all(Section::Filter, &mut spec.filters, surroundings, &mut left_out);
    adapt_all(Section::Output, &mut spec.sinks, surroundings, &mut left_out);
    let diagnostics = left_out.into_iter().map(|left: LeftOut| {
        if left.refused {
            Diagnostic::error(left.span, left.message)
        } else {
            Diagnostic::warning(left.span, left.message)
        }
    });
    diagnostics.collect()
}

fn adapt_all(
    section: Section,
    statements: &mut [Statement],
    surroundings: Surroundings<'_>,
    left_out: &mut Vec<LeftOut>,
) {
    for statement in statements {
        match statement {
            Statement::Component(component) => left_out.extend(adapt_component(section, component, surroundings)),
            Statement::If { branches, otherwise } => {
                for (_, body) in branches {
                    adapt_all(section, body, surroundings, left_out);
                }
                adapt_all(section, otherwise, surroundings, left_out);
            }
        }
    }
}

/// Makes of one plugin what it is here; answers with the options that were not carried.
pub fn adapt_component(section: Section, spec: &mut ComponentSpec, surroundings: Surroundings<'_>) -> Vec<LeftOut> {
    for (key, node) in &mut spec.entries {
        match key.name.as_str() {
            "add_field" => texts_inside(node, true),
            "codec" => {}
            _ => texts_inside(node, false),
        }
    }
    if section == Section::Filter {
        return add_geo_database(spec, surroundings.variable).into_iter().collect();
    }
    let texts =
        |(key, node): &(Key, Node)| (key.name.clone(), node.as_list().iter().filter_map(Node::to_text).collect());
    let mut adapted = Adapted {
        section,
        ecs_disabled: surroundings.ecs_disabled,
        written: spec.entries.iter().map(texts).collect(),
        spec: spec.span,
        entries: Vec::new(),
        properties: Vec::new(),
        left_out: Vec::new(),
    };
    let general = if section == Section::Input { INPUT } else { &[] };
    let [own, common] = rules(section, &spec.kind.name);
    for (key, node) in std::mem::take(&mut spec.entries) {
        let mut known = own.iter().chain(common).chain(general);
        match known.find(|(name, _)| *name == key.name).map(|(_, rule)| *rule) {
            None => adapted.entries.push((key, node)),
            Some(To(name)) => adapted.rename(name, key, node),
            Some(Property(name)) => adapted.property(name, key, node),
            Some(Idle(why)) => adapted.idle(&key, &node, why),
            Some(Refused(why)) => adapted.refuse(&key, &node, why),
            // What there is to say about a value that is not known has been said.
            Some(With(_) | RefusedFlag(_)) if node.is_unset() => {
                if has_option(section, &spec.kind.name, &key.name) {
                    adapted.entries.push((key, node));
                }
            }
            Some(RefusedFlag(why)) if node.single_text().as_deref() == Some("true") => adapted.refuse(&key, &node, why),
            Some(RefusedFlag(why)) => adapted.idle(&key, &node, why),
            Some(With(turn)) => turn(&mut adapted, key, node),
        }
    }
    adapted.defaults(&spec.kind.name);
    spec.entries = adapted.entries;
    adapted.left_out
}

/// Returns whether an input or output has an option of this name here too.
fn has_option(section: Section, plugin: &str, option: &str) -> bool {
    let defs = if section == Section::Input { crate::source::DEFS } else { crate::sink::DEFS };
    defs.iter().filter(|def| def.name == plugin).any(|def| def.options.iter().any(|known| known.name == option))
}

/// Makes texts of flags inside hashes and lists, which to Logstash are words like others, and on request of numbers.
fn texts_inside(node: &mut Node, numbers: bool) {
    let values: Vec<&mut Node> = match &mut node.data {
        Data::Array(items) => items.iter_mut().collect(),
        Data::Table(entries) => entries.iter_mut().map(|(_, value)| value).collect(),
        _ => return,
    };
    for value in values {
        let is_text = matches!(value.data, Data::Boolean(_))
            || numbers && matches!(value.data, Data::Integer(_) | Data::Float(_));
        match value.to_text().filter(|_| is_text) {
            Some(text) => value.data = Data::String(text),
            None => texts_inside(value, numbers),
        }
    }
}

/// The variables that name the databases of `geoip` filters which name none: of cities and of autonomous systems.
pub const GEO_DATABASES: [&str; 2] = ["GEOIP_CITY", "GEOIP_ASN"];

/// Logstash brings a database of its own; here the variables name it that the pipelines that ship use too.
fn add_geo_database(spec: &mut ComponentSpec, variable: Variable<'_>) -> Option<LeftOut> {
    let text = |name: &str| spec.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node.single_text());
    if spec.kind.name != "geoip" || text("database").is_some() {
        return None;
    }
    let name = GEO_DATABASES[usize::from(text("default_database_type").flatten().as_deref() == Some("ASN"))];
    let span = spec.kind.span;
    let Some(path) = variable(name) else {
        let message = format!(
            "Logstash brings a database for `geoip`: here `{name}` in the environment, or the option `database`, names one"
        );
        return Some(LeftOut { span, message, refused: false });
    };
    spec.entries.push((Key { span, name: "database".to_string() }, Node { span, data: Data::String(path) }));
    None
}

/// A plugin on its way to what it is here.
struct Adapted {
    section: Section,
    /// Whether names from before the Elastic Common Schema hold for this plugin.
    ecs_disabled: bool,
    /// The texts of the options as they were written, for rules that depend on other options.
    written: Vec<(String, Vec<String>)>,
    spec: Span,
    entries: Vec<(Key, Node)>,
    properties: Vec<(Key, Node)>,
    left_out: Vec<LeftOut>,
}

impl Adapted {
    fn is_input(&self) -> bool {
        self.section == Section::Input
    }

    /// The start of the plugin, for what is written nowhere.
    fn start(&self) -> Span {
        Span { end: self.spec.start, ..self.spec }
    }

    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, _)| key.name == name)
    }

    fn has_property(&self, name: &str) -> bool {
        self.properties.iter().any(|(key, _)| key.name == name)
    }

    /// The text of an option as it was written; of a list the first.
    fn written(&self, name: &str) -> Option<&str> {
        self.written_list(name).first().map(String::as_str)
    }

    /// The texts of an option as they were written.
    fn written_list(&self, name: &str) -> &[String] {
        self.written.iter().find(|(option, _)| option == name).map_or(&[], |(_, texts)| texts)
    }

    fn add(&mut self, name: &str, span: Span, data: Data) {
        self.entries.push((Key { span, name: name.to_string() }, Node { span, data }));
    }

    /// Adds an option that was not written, with Logstash's default.
    fn add_default(&mut self, name: &str, text: &str) {
        self.add(name, self.start(), Data::String(text.to_string()));
    }

    /// Changes the texts of an option.
    fn map_texts(&mut self, name: &str, change: &dyn Fn(&str) -> String) {
        let nodes = self.entries.iter_mut().filter(|(key, _)| key.name == name).map(|(_, node)| node);
        for node in nodes {
            match &mut node.data {
                Data::String(text) => *text = change(text),
                Data::Array(items) => {
                    for item in items {
                        if let Data::String(text) = &mut item.data {
                            *text = change(text);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn rename(&mut self, name: &str, key: Key, node: Node) {
        self.entries.push((Key { name: name.to_string(), ..key }, node));
    }

    fn property(&mut self, name: &str, key: Key, node: Node) {
        self.properties.push((Key { name: name.to_string(), ..key }, node.into_single()));
    }

    /// An option of the Kafka source, which for the Kafka sink is a property.
    fn setting(&mut self, option: &str, property: &str, key: Key, node: Node) {
        match self.section {
            Section::Input => self.rename(option, key, node),
            _ => self.property(property, key, node),
        }
    }

    fn leave(&mut self, key: &Key, node: &Node, message: String, refused: bool) {
        let span = Span { end: node.span.end, ..key.span };
        self.left_out.push(LeftOut { span, message, refused });
    }

    fn warn(&mut self, key: &Key, node: &Node, message: String) {
        self.leave(key, node, message, false);
    }

    fn idle(&mut self, key: &Key, node: &Node, why: &str) {
        self.leave(key, node, format!("`{}` has no effect here: {why}", key.name), false);
    }

    fn refuse(&mut self, key: &Key, node: &Node, why: &str) {
        self.leave(key, node, format!("`{}` can't be carried: {why}", key.name), true);
    }

    /// What Logstash does where an option is not given, and this program would do otherwise.
    fn defaults(&mut self, plugin: &str) {
        match (self.section, plugin) {
            (Section::Input, "file") if !self.has("mode") => self.add_default("mode", "tail"),
            (Section::Output, "elasticsearch") => elasticsearch::defaults(self),
            (Section::Output, "kafka") => kafka::output_defaults(self),
            _ => {}
        }
        if !self.properties.is_empty() {
            let properties = std::mem::take(&mut self.properties);
            self.add("properties", self.start(), Data::Table(properties));
        }
    }
}
