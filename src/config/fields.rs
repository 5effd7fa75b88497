//! Field references and templates in the options of components.

use super::{Args, Diagnostic, Span};
use crate::event::{FieldRef, Template};

/// A field reference given as an option.
pub(crate) fn field_option(args: &Args, name: &str, problems: &mut Vec<Diagnostic>) -> Option<FieldRef> {
    let text = args.text(name)?;
    parse_field(&text, args.span_of(name), problems)
}

/// Field references given as a list.
pub(crate) fn field_options(args: &Args, name: &str, problems: &mut Vec<Diagnostic>) -> Vec<FieldRef> {
    let span = args.span_of(name);
    args.strings(name).iter().filter_map(|text| parse_field(text, span, problems)).collect()
}

/// A field reference written at `span`.
pub(crate) fn parse_field(text: &str, span: Span, problems: &mut Vec<Diagnostic>) -> Option<FieldRef> {
    match FieldRef::parse(text) {
        Ok(field) => Some(field.lasting()),
        Err(error) => {
            problems.push(Diagnostic::error(span, error.to_string()));
            None
        }
    }
}

/// A template written at `span`.
pub(crate) fn parse_template(text: &str, span: Span, problems: &mut Vec<Diagnostic>) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => Some(template),
        Err(error) => {
            problems.push(Diagnostic::error(span, error.to_string()));
            None
        }
    }
}
