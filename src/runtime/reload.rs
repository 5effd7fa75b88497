//! Reloading while a run goes on: filters, conditions, encoders and codec from the pipeline file, addresses and credentials
//! of Elasticsearch from file, secrets and certificates, passwords and certificates of Kafka.
//!
//! SIGHUP reloads. Files of secrets that the pipeline names (`${file:…}`, or `VAR_FILE` for `${VAR}`), of certificates and of keys are looked at now and then, the
//! pipeline file itself too where that is asked for. A file with a mistake changes nothing. Workers take the new pipeline up with their
//! next batch; nothing is drained.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::expand;
use crate::delivery::Processors;
use crate::kafka::Login;
use crate::runtime::load::{Fixed, Pipeline, pipeline_files};
use crate::sink::SinkSpec;
use crate::sink::elasticsearch::Client;
use crate::source::SourceSpec;
use crate::telemetry::metrics as names;

/// A function that loads the pipeline file and reports its mistakes. It returns `None` if the pipeline can't be used.
pub type Loader = Box<dyn Fn() -> Option<Pipeline> + Send>;

/// What of a running pipeline can be replaced.
pub struct Reloader {
    path: PathBuf,
    load: Loader,
    fixed: Fixed,
    clients: Vec<Option<Arc<Client>>>,
    logins: Vec<Option<Login>>,
}

/// SIGHUP, from the moment on at which this was made: without it the signal ends the process. One that comes while a pipeline is
/// loaded, or waits for Elasticsearch to take its templates, is heeded when [`Reloader::watch`] begins.
pub struct Hangup {
    runtime: Runtime,
    signal: Signal,
}

impl Hangup {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system gives no signal.
    pub fn listen() -> std::io::Result<Hangup> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signal = {
            let _entered = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Hangup { runtime, signal })
    }

    /// Waits for it (`true`) or for the time to look at files.
    fn asked(&mut self, interval: Duration) -> bool {
        let signal = &mut self.signal;
        self.runtime.block_on(async {
            tokio::select! {
                _ = signal.recv() => true,
                () = tokio::time::sleep(interval) => false,
            }
        })
    }
}

/// Length and time of change of a file.
type Stamp = Option<(u64, SystemTime)>;

impl Reloader {
    /// Prepares to reload `pipeline`, which `load` has loaded from `path`.
    pub fn new(path: &Path, load: Loader, pipeline: &Pipeline) -> Reloader {
        let (fixed, clients, logins) = (pipeline.fixed(), clients(pipeline), logins(pipeline));
        Reloader { path: path.to_path_buf(), load, fixed, clients, logins }
    }

    /// Reloads into `processors` for as long as the process lives, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn watch(
        self,
        mut hangup: Hangup,
        processors: Processors,
        interval: Duration,
        pipeline_too: bool,
    ) -> std::io::Result<()> {
        std::thread::Builder::new().name("logproc-reload".to_string()).spawn(move || {
            let (mut secrets, mut files) = (self.secrets(), stamps(self.files()));
            loop {
                let asked = hangup.asked(interval);
                let now = (self.secrets(), stamps(self.files()));
                if asked || (pipeline_too && now.1 != files) {
                    self.reload(Some(&processors));
                } else if now.0 != secrets {
                    self.reload(None);
                }
                (secrets, files) = now;
            }
        })?;
        Ok(())
    }

    /// The files of secrets, certificates and keys that the pipeline names, and how they are now.
    fn secrets(&self) -> Vec<(PathBuf, Stamp)> {
        let mut named = Vec::new();
        for file in self.files() {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let folder = file.parent().unwrap_or(Path::new("."));
            named.extend(expand::files_of(&text, folder, &|name| std::env::var(name).ok()));
        }
        named.extend(self.clients.iter().flatten().flat_map(|client| client.files().to_vec()));
        named.extend(self.logins.iter().flatten().flat_map(Login::files));
        stamps(named)
    }

    /// The pipeline's files: one, or those of a folder or a pattern.
    fn files(&self) -> Vec<PathBuf> {
        pipeline_files(&self.path).map(|(files, _)| files).unwrap_or_default()
    }

    /// Loads the file again; without `processors` only for its secrets.
    fn reload(&self, processors: Option<&Processors>) {
        let outcome = match (self.load)() {
            Some(pipeline) => self.take_up(&pipeline, processors),
            None => Err("the file has mistakes".to_string()),
        };
        let label = if outcome.is_ok() { "ok" } else { "refused" };
        metrics::counter!(names::RELOADS, "outcome" => label).increment(1);
        names::reloaded(outcome.is_ok());
        if let Err(problem) = outcome {
            error!(file = %self.path.display(), problem, "not reloaded: the old pipeline goes on");
        }
    }

    fn take_up(&self, pipeline: &Pipeline, processors: Option<&Processors>) -> Result<(), String> {
        let fixed = pipeline.fixed();
        if !self.fixed.has_ends_of(&fixed) {
            return Err(
                "the number of sources, or number or kinds of sinks, are others: this needs a restart".to_string()
            );
        }
        in_pairs(&self.clients, &clients(pipeline), |running, new| running.adopt(new));
        in_pairs(&self.logins, &logins(pipeline), Login::adopt);
        let Some(processors) = processors else {
            info!(
                "a secret or certificate has changed: credentials, certificates, and elasticsearch's addresses, are reloaded"
            );
            return Ok(());
        };
        for table in self.fixed.tables_that_differ(&fixed) {
            warn!(table, "this table has changed; it is taken up at the next start");
        }
        processors.replace(&pipeline.processors());
        info!(version = pipeline.version, "reloaded: workers take the pipeline up with their next batch");
        Ok(())
    }
}

/// Calls `adopt` with what stands in the same place of the running pipeline and of the new one, where both have it.
fn in_pairs<T>(running: &[Option<T>], new: &[Option<T>], adopt: impl Fn(&T, &T)) {
    running
        .iter()
        .zip(new)
        .filter_map(|(running, new)| running.as_ref().zip(new.as_ref()))
        .for_each(|(running, new)| adopt(running, new));
}

fn clients(pipeline: &Pipeline) -> Vec<Option<Arc<Client>>> {
    let client = |sink: &SinkSpec| match sink {
        SinkSpec::Elasticsearch(sink) => Some(sink.client().clone()),
        _ => None,
    };
    pipeline.sinks.iter().map(|(_, sink)| client(sink)).collect()
}

/// What the clients of Kafka log in with: of the sources, the sinks, and the dead letters.
fn logins(pipeline: &Pipeline) -> Vec<Option<Login>> {
    let sources = pipeline.sources.iter().map(|source| match source {
        SourceSpec::Kafka(source) => Some(source.login()),
        _ => None,
    });
    let sinks = pipeline.sinks.iter().map(|(_, sink)| match sink {
        SinkSpec::Kafka(sink) => Some(sink.login()),
        _ => None,
    });
    sources.chain(sinks).chain([pipeline.dead_letter.login()]).map(|login| login.cloned()).collect()
}

fn stamps(paths: Vec<PathBuf>) -> Vec<(PathBuf, Stamp)> {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
}
