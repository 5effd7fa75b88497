//! Pipeline files: from text to a checked specification.

pub mod diagnostic;
pub mod options;

pub use diagnostic::{Diagnostic, Files, Severity, Span};
pub use options::{Args, ComponentDef, Data, Fallback, Key, Kind, Node, OptionDef, option};
