//! Compilation of a specification to programs. All filters and conditions are compiled, and all problems are reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::program::{FilterStep, Program, Step, flatten};
use crate::config::diagnostic::nearest;
use crate::config::missing_plugins::{Section, instead_of};
use crate::config::spec::{ComponentSpec, ConditionSpec, Statement};
use crate::config::{Args, ComponentDef, Diagnostic, Dialect, Expander};
use crate::filter::common::Common;
use crate::filter::{self, Compiler};
use crate::grok::EcsCompatibility;
use crate::script::Condition;

/// The environment in which a pipeline file is compiled: the source of variables and the base of relative paths.
#[derive(Clone)]
pub struct Environment {
    /// Returns the value of `${VAR}`.
    pub variable: Arc<dyn Fn(&str) -> Option<String> + Send + Sync>,
    /// The folder of the pipeline file, to which paths are relative.
    pub folder: PathBuf,
    /// The syntax of default values in variable references: TOML's or Logstash's.
    pub dialect: Dialect,
    /// The dictionary and the field names of filters that do not specify them.
    pub ecs_compatibility: EcsCompatibility,
    /// True if the pipeline reads what filters store in `[@metadata][filter]`.
    pub metadata_visible: bool,
}

impl Environment {
    /// Returns the environment of the process for a pipeline file.
    pub fn of_process(file: &Path, dialect: Dialect, ecs_compatibility: EcsCompatibility) -> Environment {
        let folder =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
        let variable = Arc::new(|name: &str| std::env::var(name).ok());
        Environment { variable, folder, dialect, ecs_compatibility, metadata_visible: false }
    }

    /// Returns the expander for this environment.
    pub fn expander(&self) -> Expander<'_> {
        Expander { variable: &*self.variable, folder: &self.folder, dialect: self.dialect }
    }
}

/// Compiles the filters of a pipeline. Warnings are returned with the program.
///
/// # Errors
/// All problems of all filters and conditions.
pub fn filters(
    statements: &[Statement],
    environment: &Environment,
) -> Result<(Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    filters_within(statements, environment, usize::MAX)
}

/// Compiles the filters of a pipeline for a `memory_limit` in bytes, which determines the default size of caches.
/// Warnings are returned with the program.
///
/// # Errors
/// All problems of all filters and conditions.
pub fn filters_within(
    statements: &[Statement],
    environment: &Environment,
    memory_limit: usize,
) -> Result<(Program, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut compiler = Compiler {
        ecs_compatibility: environment.ecs_compatibility,
        folder: environment.folder.clone(),
        metadata_visible: environment.metadata_visible,
        memory_limit,
        warnings: Vec::new(),
    };
    let problems = std::cell::RefCell::new(Vec::new());
    let mut count = 0usize;
    let mut leaf = |spec: &ComponentSpec| {
        let position = count;
        count += 1;
        match compile_filter(spec, position, &mut compiler) {
            Ok(step) => Some(step),
            Err(found) => {
                problems.borrow_mut().extend(found);
                None
            }
        }
    };
    let mut compile_condition = |spec: &ConditionSpec| match condition(spec, environment) {
        Ok(condition) => Some(condition),
        Err(problem) => {
            problems.borrow_mut().push(problem);
            None
        }
    };
    let steps: Vec<Step<FilterStep>> = flatten(statements, &mut leaf, &mut compile_condition);
    let problems = problems.into_inner();
    if problems.is_empty() { Ok((Program::new(steps), compiler.warnings)) } else { Err(problems) }
}

fn compile_filter(
    spec: &ComponentSpec,
    position: usize,
    compiler: &mut Compiler,
) -> Result<FilterStep, Vec<Diagnostic>> {
    let Some(def) = filter::find(&spec.kind.name) else {
        return Err(vec![unknown(Section::Filter, spec, filter::FILTERS.iter().map(|def| &def.component))]);
    };
    let what = format!("filter {}", def.component.name);
    let options = def.component.options.iter().chain(filter::COMMON_OPTIONS).copied();
    let (args, mut problems) = Args::read(&what, spec.kind.span, spec.entries.clone(), options);
    if !args.is_complete() {
        return Err(problems);
    }
    let common = Common::compile(&args, &mut problems);
    let compiled = match (def.compile)(&args, compiler) {
        Ok(filter) => Some(filter),
        Err(found) => {
            problems.extend(found);
            None
        }
    };
    match compiled {
        Some(filter) if problems.is_empty() => {
            let id = args.text("id").unwrap_or_else(|| format!("{}[{position}]", def.component.name));
            Ok(FilterStep::new(id.into(), def.component.name, filter, common))
        }
        _ => Err(problems),
    }
}

/// Compiles a condition.
///
/// # Errors
/// The condition is not valid. The problem is located inside the condition if that is possible.
pub fn condition(spec: &ConditionSpec, environment: &Environment) -> Result<Condition, Diagnostic> {
    let expander = environment.expander();
    Condition::parse(&spec.text, &|text| expander.expand(text)).map_err(|error| {
        let span = if spec.verbatim { spec.span.part(error.offset, error.end) } else { spec.span };
        Diagnostic::error(span, error.message)
    })
}

/// Returns the problem of a component whose type is unknown.
pub fn unknown<'a>(
    section: Section,
    spec: &ComponentSpec,
    known: impl Iterator<Item = &'a ComponentDef>,
) -> Diagnostic {
    let problem = Diagnostic::error(spec.kind.span, format!("there is no {} `{}`", section.word(), spec.kind.name));
    let names: Vec<&str> = known.map(|def| def.name).collect();
    match (nearest(&spec.kind.name, names.iter().copied()), instead_of(section, &spec.kind.name)) {
        (_, Some(advice)) => problem.with_help(advice),
        (Some(near), None) => problem.with_help(format!("did you mean `{near}`?")),
        (None, None) => problem.with_help(format!("there are {}", names.join(", "))),
    }
}
