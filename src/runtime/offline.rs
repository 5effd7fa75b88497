//! Checks of a pipeline on another machine than it runs on: options that refer to missing files are treated as unknown.

use std::path::Path;

use crate::config::spec::{ComponentSpec, PipelineSpec, Statement};
use crate::config::{Data, Diagnostic, Kind, Node};
use crate::sink::dead_letter;
use crate::{filter, sink, source};

/// The options that contain lists of paths.
const LISTS: &[&str] = &["database", "patterns_dir", "ssl_certificate_authorities"];

/// Marks values that refer to missing files as unknown, and returns a warning for each. Relative paths of filters start
/// at `folder`.
pub fn set_missing_files_aside(spec: &mut PipelineSpec, folder: &Path) -> Vec<Diagnostic> {
    let mut warnings = Vec::new();
    for component in &mut spec.sources {
        look_at(component, source::DEFS.iter().copied(), Path::new(""), &mut warnings);
    }
    walk(&mut spec.filters, &mut |component| {
        look_at(component, filter::FILTERS.iter().map(|def| &def.component), folder, &mut warnings)
    });
    walk(&mut spec.sinks, &mut |component| {
        look_at(component, sink::DEFS.iter().copied(), Path::new(""), &mut warnings)
    });
    if let Some(component) = &mut spec.dead_letter {
        component.kind.name = dead_letter::DEF.name.to_string();
        look_at(component, [&dead_letter::DEF].into_iter(), Path::new(""), &mut warnings);
    }
    warnings
}

fn walk(statements: &mut [Statement], act: &mut dyn FnMut(&mut ComponentSpec)) {
    for statement in statements {
        match statement {
            Statement::Component(component) => act(component),
            Statement::If { branches, otherwise } => {
                for (_, body) in branches {
                    walk(body, act);
                }
                walk(otherwise, act);
            }
        }
    }
}

fn look_at<'d>(
    component: &mut ComponentSpec,
    mut defs: impl Iterator<Item = &'d crate::config::ComponentDef>,
    folder: &Path,
    warnings: &mut Vec<Diagnostic>,
) {
    let Some(def) = defs.find(|def| def.name == component.kind.name) else { return };
    for (key, node) in &mut component.entries {
        let is_path = def.options.iter().any(|option| option.name == key.name && matches!(option.kind, Kind::Path));
        // Files that are written are created if they are missing.
        let is_read =
            (is_path || LISTS.contains(&key.name.as_str())) && !matches!(key.name.as_str(), "path" | "sincedb_path");
        if is_read {
            set_aside(node, &key.name, folder, warnings);
        } else if key.name == "properties"
            && let Data::Table(entries) = &mut node.data
        {
            let files = entries.iter_mut().filter(|(key, _)| key.name.ends_with(".location"));
            files.for_each(|(key, node)| set_aside(node, &key.name, folder, warnings));
        }
    }
}

fn set_aside(node: &mut Node, name: &str, folder: &Path, warnings: &mut Vec<Diagnostic>) {
    let paths: Vec<String> = node
        .as_list()
        .iter()
        .filter_map(Node::to_text)
        .flat_map(|text| text.split(',').map(|path| path.trim().to_string()).collect::<Vec<_>>())
        .collect();
    let missing =
        paths.iter().find(|path| !path.is_empty() && !path.contains(['*', '?']) && !folder.join(path).exists());
    if let Some(missing) = missing {
        let message = format!("`{missing}` is not here: what depends on `{name}` is not checked");
        warnings.push(Diagnostic::warning(node.span, message));
        node.data = Data::Unset;
    }
}
