//! `logproc setup`: installs what an Elasticsearch cluster needs before documents come.
//!
//! A folder of templates holds `ilm/NAME.json`, `component/NAME.json` and `index/NAME.json`, each the body of the call
//! that puts it. All files are read and all clusters are asked for what they have before anything is changed; then what is
//! new or different is installed in that order, since one refers to the other. If the cluster refuses one of them, what was
//! installed before it is put back. A cluster without lifecycle management gets the templates without their lifecycle settings.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::ending::Ending;
use super::{FORCED, INVALID, template_diff};
use crate::runtime::load::{Overrides, Pipeline};
use crate::sink::SinkSpec;
use crate::sink::elasticsearch::{Answer, Client, Method, Payload};

/// Options of `logproc setup`.
#[derive(clap::Args)]
#[command(
    after_help = "Installs index templates, component templates and lifecycle policies that are new or differ; nothing is left half \
installed: if the cluster refuses one, the others are put back. Data streams that exist keep their settings and mappings until they roll over.\n\n\
Example:\n  logproc setup --dry-run --pipeline pipelines/nginx.toml"
)]
pub struct SetupArgs {
    /// The pipeline file, which names the cluster and the folders of templates.
    #[arg(long, short, value_name = "FILE")]
    pipeline: PathBuf,
    /// Show what would be changed, as a diff against what the cluster has, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// The cluster refuses something or can't be reached.
pub fn run(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let _ending = Ending::listen(FORCED)?;
    let Some(pipeline) = super::load(&args.pipeline, &Overrides::default()) else { return Ok(ExitCode::from(INVALID)) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = runtime.block_on(plan(&pipeline))?;
    if !args.dry_run {
        runtime.block_on(apply(&plan))?;
    }
    let mut out = std::io::stdout().lock();
    for step in &plan {
        let name = step.template.full_name();
        match (&step.change, args.dry_run) {
            (Change::None, _) => writeln!(out, "unchanged {name}")?,
            (_, false) => writeln!(out, "installed {name}")?,
            (Change::New, true) => writeln!(out, "new {name}")?,
            (Change::Diff(_), true) => writeln!(out, "changed {name}")?,
        }
        if let (Change::Diff(lines), true) = (&step.change, args.dry_run) {
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    for (client, patterns) in changed_streams(&plan) {
        if let Some(note) = runtime.block_on(note_on_streams(client, &patterns)) {
            writeln!(out, "{note}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs a pipeline's templates into each of its clusters.
///
/// # Errors
/// The cluster refuses something or can't be reached.
pub fn install(pipeline: &Pipeline) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let plan = runtime.block_on(plan(pipeline))?;
    runtime.block_on(apply(&plan))
}

/// The kinds of what is installed, in the order in which they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Policy,
    Component,
    Index,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Policy, Kind::Component, Kind::Index];

    fn folder(self) -> &'static str {
        match self {
            Kind::Policy => "ilm",
            Kind::Component => "component",
            Kind::Index => "index",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Kind::Policy => "/_ilm/policy",
            Kind::Component => "/_component_template",
            Kind::Index => "/_index_template",
        }
    }

    /// The body that was put, in the answer to the call that gets it. The dates that the cluster adds can't be put.
    fn body_in(self, name: &str, mut answer: Value) -> Value {
        let mut body = match self {
            Kind::Policy => json!({ "policy": answer[name]["policy"].take() }),
            Kind::Component => answer["component_templates"][0]["component_template"].take(),
            Kind::Index => answer["index_templates"][0]["index_template"].take(),
        };
        if let Value::Object(members) = &mut body {
            members.retain(|key, _| !key.starts_with("created_date") && !key.starts_with("modified_date"));
        }
        body
    }
}

/// A template or policy as its file has it.
#[derive(Clone)]
struct Template {
    kind: Kind,
    name: String,
    body: Value,
}

impl Template {
    fn full_name(&self) -> String {
        format!("{}/{}", self.kind.folder(), self.name)
    }

    fn path(&self) -> String {
        format!("{}/{}", self.kind.path(), self.name)
    }
}

/// The change that installing a template makes.
enum Change {
    None,
    New,
    Diff(Vec<String>),
}

/// A template on its way into a cluster.
struct Step<'a> {
    client: &'a Client,
    template: Template,
    /// The template that the cluster has under this name.
    previous: Option<Value>,
    change: Change,
}

/// Reads all files and asks all clusters for what they have.
async fn plan(pipeline: &Pipeline) -> anyhow::Result<Vec<Step<'_>>> {
    let clusters: Vec<&Client> = pipeline
        .sinks
        .iter()
        .filter_map(|(_, sink)| match sink {
            SinkSpec::Elasticsearch(sink) => Some(&**sink.client()),
            _ => None,
        })
        .collect();
    if clusters.is_empty() {
        bail!("the pipeline has no elasticsearch sink");
    }
    let templates = read(&pipeline.templates)?;
    let mut steps = Vec::new();
    for client in clusters {
        let mut has_lifecycle = true;
        for template in &templates {
            let mut template = template.clone();
            if !has_lifecycle {
                without_lifecycle(&mut template.body);
            }
            let answer = call(client, Method::GET, &template.path(), None).await?;
            if template.kind == Kind::Policy && is_unsupported(&answer) {
                if has_lifecycle {
                    warn!("this cluster has no lifecycle management; templates are installed without it");
                }
                has_lifecycle = false;
                continue;
            }
            let previous = match answer.status {
                404 => None,
                200..300 => Some(template.kind.body_in(&template.name, serde_json::from_slice(&answer.body)?)),
                _ => bail!(refusal(&template, &answer)),
            };
            let change = match &previous {
                None => Change::New,
                Some(previous) => match template_diff::lines(previous, &template.body) {
                    lines if lines.is_empty() => Change::None,
                    lines => Change::Diff(lines),
                },
            };
            steps.push(Step { client, template, previous, change });
        }
    }
    Ok(steps)
}

/// Installs what is new or different; puts it back if one of them is refused.
async fn apply(plan: &[Step<'_>]) -> anyhow::Result<()> {
    let changes: Vec<&Step<'_>> = plan.iter().filter(|step| !matches!(step.change, Change::None)).collect();
    for (done, step) in changes.iter().enumerate() {
        let Err(error) = put(step).await else {
            info!(kind = step.template.kind.folder(), name = step.template.name, "installed");
            continue;
        };
        let mut kept = Vec::new();
        for earlier in changes[..done].iter().rev() {
            if let Err(error) = put_back(earlier).await {
                warn!(
                    template = earlier.template.full_name(),
                    error = format!("{error:#}"),
                    "failed to put back what was there"
                );
                kept.push(earlier.template.full_name());
            }
        }
        let outcome = match kept.is_empty() {
            true => "nothing has been changed".to_string(),
            false => format!("installed, and could not be put back: {}", kept.join(", ")),
        };
        return Err(error.context(outcome));
    }
    Ok(())
}

async fn put(step: &Step<'_>) -> anyhow::Result<()> {
    acknowledged(
        &step.template,
        &call(step.client, Method::PUT, &step.template.path(), Some(&step.template.body)).await?,
    )
}

async fn put_back(step: &Step<'_>) -> anyhow::Result<()> {
    let (method, body) =
        if step.previous.is_some() { (Method::PUT, step.previous.as_ref()) } else { (Method::DELETE, None) };
    acknowledged(&step.template, &call(step.client, method, &step.template.path(), body).await?)
}

fn acknowledged(template: &Template, answer: &Answer) -> anyhow::Result<()> {
    if !(200..300).contains(&answer.status) {
        bail!(refusal(template, answer));
    }
    let response: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if response["acknowledged"] != true {
        bail!(
            "{} `{}`: not acknowledged: {}",
            template.kind.folder(),
            template.name,
            String::from_utf8_lossy(&answer.body)
        );
    }
    Ok(())
}

fn refusal(template: &Template, answer: &Answer) -> String {
    let reason = String::from_utf8_lossy(&answer.body);
    format!("{} `{}`: the cluster returns {}: {reason}", template.kind.folder(), template.name, answer.status)
}

async fn call(client: &Client, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
    let payload = match body {
        Some(body) => Payload::Json(serde_json::to_vec(body)?.into()),
        None => Payload::None,
    };
    let answer = client.request(method.clone(), path, &[], payload).await;
    answer.with_context(|| format!("{method} {path}"))
}

/// The patterns of data streams whose templates change, by cluster.
fn changed_streams<'a>(plan: &[Step<'a>]) -> Vec<(&'a Client, Vec<String>)> {
    let mut clusters: Vec<(&Client, Vec<String>)> = Vec::new();
    // A changed component may be part of any index template.
    let is_changed = |client: &Client| {
        plan.iter().any(|step| std::ptr::eq(step.client, client) && !matches!(step.change, Change::None))
    };
    for step in
        plan.iter().filter(|step| step.template.kind == Kind::Index && step.template.body.get("data_stream").is_some())
    {
        let patterns = match &step.template.body["index_patterns"] {
            Value::Array(patterns) => patterns.iter().filter_map(Value::as_str).map(str::to_string).collect(),
            Value::String(pattern) => vec![pattern.clone()],
            _ => Vec::new(),
        };
        match clusters.iter_mut().find(|(client, _)| std::ptr::eq(*client, step.client)) {
            Some((_, known)) => known.extend(patterns),
            None if is_changed(step.client) => clusters.push((step.client, patterns)),
            None => {}
        }
    }
    clusters
}

/// Returns what is to be said of data streams that exist; nothing where there is none.
async fn note_on_streams(client: &Client, patterns: &[String]) -> Option<String> {
    const KEPT: &str = "keep their settings and mappings until they roll over";
    let answer = call(client, Method::GET, &format!("/_data_stream/{}", patterns.join(",")), None).await.ok();
    match answer.filter(|answer| answer.status == 200 || answer.status == 404 && !is_unsupported(answer)) {
        None => Some(format!("data streams that exist {KEPT} (POST NAME/_rollover)")),
        Some(answer) => {
            let found: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let streams = found["data_streams"].as_array().map_or(&[][..], Vec::as_slice);
            let names: Vec<&str> = streams.iter().filter_map(|stream| stream["name"].as_str()).collect();
            (!names.is_empty())
                .then(|| format!("data streams that exist {KEPT} (POST NAME/_rollover): {}", names.join(", ")))
        }
    }
}

/// Reads the files of all folders, in the order in which they are installed.
fn read(folders: &[PathBuf]) -> anyhow::Result<Vec<Template>> {
    let mut templates = Vec::new();
    for kind in Kind::ALL {
        for folder in folders {
            for file in files(&folder.join(kind.folder()))? {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let body = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
                templates.push(Template { kind, name, body });
            }
        }
    }
    Ok(templates)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Returns whether the response is that of a server without the lifecycle module.
fn is_unsupported(answer: &Answer) -> bool {
    matches!(answer.status, 400 | 404 | 405) && String::from_utf8_lossy(&answer.body).contains("no handler found")
}

fn without_lifecycle(body: &mut Value) {
    if let Value::Object(map) = body {
        map.remove("lifecycle");
        map.remove("index.lifecycle.name");
        map.values_mut().for_each(without_lifecycle);
    }
}
