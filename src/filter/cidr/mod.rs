//! The `cidr` filter: tests whether an address is in one of several networks.

mod networks;

use std::path::Path;
use std::sync::Arc;

use self::networks::{Network, Networks};
use super::reload::Reloaded;
use super::{Compiled, Compiler, Context, Filter, Flow, field_option, parse_template, refresh_interval};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::event::{Event, FieldRef, Template, Value};

pub const DEF: ComponentDef = ComponentDef {
    name: "cidr",
    summary: "Applies its common options to events with an address in one of some networks.",
    options: &[
        option("address", Kind::Strings, Fallback::None, "The addresses: texts with `%{[field]}`."),
        option("address_field", Kind::Field, Fallback::None, "A field with an address or a list of them."),
        option(
            "network",
            Kind::Strings,
            Fallback::None,
            "The networks, such as `10.0.0.0/8`; a text may hold several with commas between them, and `%{[field]}`.",
        ),
        option("network_path", Kind::Path, Fallback::None, "A file with the networks, read again when it changes."),
        option(
            "refresh_interval",
            Kind::Integer(-1, i64::MAX),
            Fallback::Integer(600),
            "Seconds between looks at the file; 0 or less for never.",
        ),
        option("separator", Kind::String, Fallback::Text("\n"), "What stands between networks in the file."),
    ],
    example: r#"
[[filter]]
type = "cidr"
address = ["%{[source][ip]}"]
network = ["10.0.0.0/8", "192.168.0.0/16", "fe80::/64"]
add_tag = ["internal"]

[[test]]
event = { source = { ip = "10.1.2.3" } }
tags = ["internal"]
"#,
};

struct Options {
    addresses: Vec<Template>,
    address_field: Option<FieldRef>,
    /// Networks with field references, evaluated for each event.
    filled: Vec<Template>,
    file: Option<Arc<Reloaded<Networks>>>,
}

#[derive(Clone)]
struct Cidr {
    options: Arc<Options>,
    networks: Arc<Networks>,
}

fn read(path: &Path, separator: &str) -> Result<Networks, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut networks = Networks::default();
    for piece in text.split(separator).map(str::trim).filter(|piece| !piece.is_empty()) {
        match Network::parse(piece) {
            Some(network) => networks.add(network),
            None => tracing::warn!(path = %path.display(), network = piece, "not a network, passed over"),
        }
    }
    if networks.is_empty() { Err("holds no network".to_string()) } else { Ok(networks) }
}

pub fn compile(args: &Args, compiler: &mut Compiler) -> Compiled {
    let mut problems = Vec::new();
    let span = args.span_of("address");
    let addresses: Vec<Template> =
        args.strings("address").iter().filter_map(|text| parse_template(text, span, &mut problems)).collect();
    let address_field = field_option(args, "address_field", &mut problems);
    if addresses.is_empty() && address_field.is_none() && problems.is_empty() {
        problems.push(Diagnostic::error(args.span, "filter cidr needs the option `address` or `address_field`"));
    }
    let span = args.span_of("network");
    let mut networks = Networks::default();
    let mut filled = Vec::new();
    for text in args.strings("network") {
        if text.contains("%{") {
            filled.extend(parse_template(&text, span, &mut problems));
            continue;
        }
        for piece in text.split(',') {
            match Network::parse(piece) {
                Some(network) => networks.add(network),
                None => compiler
                    .warnings
                    .push(Diagnostic::warning(span, format!("`{piece}` is no network and is passed over"))),
            }
        }
    }
    let mut file = None;
    if let Some(path) = args.text("network_path") {
        let span = args.span_of("network_path");
        if args.is_given("network") {
            problems.push(Diagnostic::error(span, "`network` and `network_path` exclude each other"));
        }
        let separator = args.text("separator").filter(|text| !text.is_empty()).unwrap_or_else(|| "\n".to_string());
        match Reloaded::open(compiler.path(&path), refresh_interval(args), move |path, _| read(path, &separator)) {
            Ok(opened) => {
                networks = Networks::clone(&opened.current());
                file = Some(opened);
            }
            Err(message) => problems.push(Diagnostic::error(span, message)),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Box::new(Cidr {
        options: Arc::new(Options { addresses, address_field, filled, file }),
        networks: Arc::new(networks),
    }))
}

impl Filter for Cidr {
    fn run(&mut self, event: &mut Event, _: &mut Context) -> Flow {
        let options = &*self.options;
        let mut more = Networks::default();
        for template in &options.filled {
            let mut text = String::new();
            template.render(event, &mut text);
            text.split(',').filter_map(Network::parse).for_each(|network| more.add(network));
        }
        let known = |address| self.networks.contain(address) || more.contain(address);
        let within = |text: &str| Network::parse(text).is_some_and(known);
        let mut found = false;
        if let Some(field) = &options.address_field {
            let values = match event.get(field) {
                Some(Value::Array(list)) => event.loaded_values(list),
                value => value.into_iter().collect(),
            };
            found = values.into_iter().any(|value| event.as_str(value).is_some_and(within));
        }
        let mut text = String::new();
        for template in &options.addresses {
            text.clear();
            template.render(event, &mut text);
            found |= within(&text);
        }
        if found { Flow::Matched } else { Flow::Passed }
    }

    fn fork(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }

    fn between_batches(&mut self) {
        if let Some(file) = &self.options.file {
            file.refresh();
            self.networks = file.current();
        }
    }
}
