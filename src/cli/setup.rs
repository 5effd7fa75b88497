//! `logproc setup`: installs what an Elasticsearch cluster needs before documents come.
//!
//! A folder of templates holds `ilm/NAME.json`, `component/NAME.json` and `index/NAME.json`, each the body of the call
//! that puts it. They are installed in that order, since one refers to the other, and again at will: the same body
//! changes nothing. A cluster without lifecycle management gets the templates without their lifecycle settings.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tracing::{info, warn};

use super::ending::Ending;
use super::{FORCED, INVALID};
use crate::pipeline::load::{Overrides, Pipeline};
use crate::sink::SinkSpec;
use crate::sink::elasticsearch::{Answer, Client, Method, Payload};

/// Options of `logproc setup`.
#[derive(clap::Args)]
pub struct SetupArgs {
    /// The pipeline file, which names the cluster and the folders of templates.
    #[arg(long, short, value_name = "FILE")]
    pipeline: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// The cluster refuses something or can't be reached.
pub fn run(args: &SetupArgs) -> anyhow::Result<ExitCode> {
    let _ending = Ending::listen(FORCED)?;
    let Some(pipeline) = super::load(&args.pipeline, &Overrides::default()) else { return Ok(ExitCode::from(INVALID)) };
    for name in install(&pipeline)? {
        writeln!(std::io::stdout(), "installed {name}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs a pipeline's templates into each of its clusters, and answers what was installed.
///
/// # Errors
/// The cluster refuses something or can't be reached.
pub fn install(pipeline: &Pipeline) -> anyhow::Result<Vec<String>> {
    let clusters = pipeline.sinks.iter().filter_map(|(_, sink)| match sink {
        SinkSpec::Elasticsearch(sink) => Some(sink.client()),
        _ => None,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut installed = Vec::new();
    let mut reached = false;
    for client in clusters {
        reached = true;
        installed.extend(runtime.block_on(install_into(client, &pipeline.templates))?);
    }
    if !reached {
        bail!("the pipeline has no elasticsearch sink");
    }
    Ok(installed)
}

async fn install_into(client: &Client, folders: &[PathBuf]) -> anyhow::Result<Vec<String>> {
    let mut installed = Vec::new();
    let mut lifecycle = true;
    for folder in folders {
        for (kind, path) in [("ilm", "/_ilm/policy"), ("component", "/_component_template"), ("index", "/_index_template")] {
            for file in files(&folder.join(kind))? {
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let mut body: Value = serde_json::from_str(&text).with_context(|| file.display().to_string())?;
                if !lifecycle {
                    without_lifecycle(&mut body);
                }
                let answer = put(client, &format!("{path}/{name}"), &body).await?;
                if kind == "ilm" && is_unsupported(&answer) {
                    warn!("this cluster has no lifecycle management; templates are installed without it");
                    lifecycle = false;
                    continue;
                }
                if !(200..300).contains(&answer.status) {
                    let reason = String::from_utf8_lossy(&answer.body);
                    bail!("{kind} `{name}`: the cluster answers {}: {reason}", answer.status);
                }
                let response: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                if response["acknowledged"] != true {
                    bail!("{kind} `{name}`: not acknowledged: {}", String::from_utf8_lossy(&answer.body));
                }
                info!(kind, name, "installed");
                installed.push(format!("{kind}/{name}"));
            }
        }
    }
    Ok(installed)
}

async fn put(client: &Client, path: &str, body: &Value) -> anyhow::Result<Answer> {
    let payload = Payload::Json(serde_json::to_vec(body)?.into());
    let answer = client.request(Method::PUT, path, &[], payload).await;
    answer.with_context(|| format!("PUT {path}"))
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

/// What a server without the lifecycle module answers.
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
