//! Looking at the jobs of replays: `logproc replay list` and `status`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use rdkafka::ClientConfig;
use serde_json::json;

use crate::cli::{FAILED, INVALID, eprint_line, load};
use crate::misuse::misuse;
use crate::replay::counts::Figures;
use crate::replay::job::{self, Job};
use crate::replay::list::{Listed, list as list_jobs, state_word, topic_of};
use crate::runtime::load::{Overrides, Pipeline};
use crate::sink::dead_letter::read::topic_client;
use crate::source::SourceSpec;
use crate::source::kafka::{KafkaSource, Topics};

/// Options of `logproc replay list`.
#[derive(Args)]
pub(super) struct ListArgs {
    /// The pipeline file, which names the clusters: its sources' and its dead letters'.
    #[arg(long, short, value_name = "FILE")]
    pipeline: PathBuf,
    /// Only jobs that read this topic.
    #[arg(long)]
    topic: Option<String>,
}

#[derive(Args)]
pub(super) struct Named {
    /// The pipeline file, which names the cluster.
    #[arg(long, short, value_name = "FILE")]
    pub(super) pipeline: PathBuf,
    /// The topic; by default the one that the job reads.
    #[arg(long)]
    topic: Option<String>,
    /// The job's name.
    #[arg(long, value_name = "ID")]
    job: String,
}

/// Returns the Kafka source of a pipeline that jobs are looked up with.
fn take_source(pipeline: &mut Pipeline, path: &std::path::Path) -> anyhow::Result<KafkaSource> {
    let kafka = std::mem::take(&mut pipeline.sources).into_iter().find_map(|source| match source {
        SourceSpec::Kafka(source) => Some(*source),
        _ => None,
    });
    let Some(source) = kafka else { misuse!("{}: the pipeline has no kafka source", path.display()) };
    Ok(source)
}

/// Finds the job of a name, on the cluster of the pipeline's source or that of its dead letters.
pub(super) fn find(named: &Named) -> anyhow::Result<Option<Job>> {
    let Some(mut pipeline) = load(&named.pipeline, &Overrides::default()) else { return Ok(None) };
    let source = take_source(&mut pipeline, &named.pipeline)?;
    let letters = pipeline.dead_letter.topic();
    if let Some(topic) = &named.topic {
        return match letters {
            Some((letters, properties)) if letters == topic => {
                Job::new(&source.with_properties(properties), &named.job, topic).map(Some)
            }
            _ => Job::new(&source, &named.job, topic).map(Some),
        };
    }
    let own = match source.topics() {
        Topics::Named(names) if names.len() == 1 => names.first().cloned(),
        _ => None,
    };
    // As a rule it reads the pipeline's topic, and its offsets there are all that has to be asked for.
    if let Some(topic) = &own {
        let job = Job::new(&source, &named.job, topic)?;
        if job.state()?.is_some() {
            return Ok(Some(job));
        }
    }
    if let Some(topic) = topic_of(&source.client_config(""), &named.job)? {
        return Job::new(&source, &named.job, &topic).map(Some);
    }
    if let Some((topic, properties)) = letters {
        let job = Job::new(&source.clone().with_properties(properties), &named.job, topic)?;
        if job.state().is_ok_and(|state| state.is_some()) {
            return Ok(Some(job));
        }
    }
    let Some(topic) = own else {
        misuse!("there is no job {}; `logproc replay list` shows those that there are", named.job)
    };
    Job::new(&source, &named.job, &topic).map(Some)
}

pub(super) fn no_job(job: &Job) -> anyhow::Result<ExitCode> {
    eprint_line(&format!("there is no job {} on topic {}", job.id, job.topic));
    Ok(ExitCode::from(FAILED))
}

/// Runs `logproc replay list`.
pub(super) fn list(args: &ListArgs, as_json: bool) -> anyhow::Result<ExitCode> {
    let Some(mut pipeline) = load(&args.pipeline, &Overrides::default()) else { return Ok(ExitCode::from(INVALID)) };
    let source = take_source(&mut pipeline, &args.pipeline)?;
    let mut jobs = list_jobs(&source.client_config(""), args.topic.as_deref())?;
    // Another cluster, perhaps, for the dead letters.
    if let Some((topic, config)) = topic_client(&pipeline.dead_letter)
        && args.topic.as_deref().is_none_or(|wanted| wanted == topic)
        && servers(&config) != source.property("bootstrap.servers")
    {
        jobs.extend(list_jobs(&config, Some(topic))?);
    }
    jobs.sort_by(|one, other| (&one.id, &one.topic).cmp(&(&other.id, &other.topic)));
    let mut out = std::io::stdout().lock();
    if !as_json {
        write!(out, "{}", table(&jobs))?;
        return Ok(ExitCode::SUCCESS);
    }
    for job in &jobs {
        let (done, all) = job::totals(&job.state);
        let line = json!({"job": job.id, "topic": job.topic, "state": job.word(), "processes": job.members, "offsets_done": done,
            "offsets": all, "definition": job.definition});
        writeln!(out, "{line}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn servers(config: &ClientConfig) -> Option<&str> {
    config.get("bootstrap.servers")
}

/// Returns the jobs as a table for people.
fn table(jobs: &[Listed]) -> String {
    if jobs.is_empty() {
        return "there are no jobs\n".to_string();
    }
    let header = ["job", "topic", "state", "processes", "offsets done", "offsets", "done"].map(str::to_string);
    let rows = jobs.iter().map(|job| {
        let (done, all) = job::totals(&job.state);
        let percent = if all > 0 { done * 100 / all } else { 100 };
        [
            job.id.clone(),
            job.topic.clone(),
            job.word().to_string(),
            job.members.to_string(),
            done.to_string(),
            all.to_string(),
            format!("{percent}%"),
        ]
    });
    let rows: Vec<[String; 7]> = std::iter::once(header).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        // Names to the left, numbers to the right.
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0..=2 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Runs `logproc replay status`.
pub(super) fn status(named: &Named, as_json: bool) -> anyhow::Result<ExitCode> {
    let Some(job) = find(named)? else { return Ok(ExitCode::from(INVALID)) };
    let Some((definition, state)) = job.state()? else { return no_job(&job) };
    let members = job.members()?;
    let word = state_word(job::is_complete(&state), job.is_cancelled()?, members);
    let figures = Figures::of(&job::tally(&state));
    let mut out = std::io::stdout();
    if as_json {
        let partitions: Vec<_> = state.iter().map(|progress| {
            json!({"partition": progress.part.partition, "start": progress.part.start, "done_to": progress.done_to, "end": progress.part.end})
        }).collect();
        let all = json!({"job": job.id, "topic": job.topic, "state": word, "processes": members, "definition": definition,
            "partitions": partitions, "figures": figures});
        writeln!(out, "{all}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let processes = if members == 1 { "process" } else { "processes" };
    writeln!(out, "job {} on topic {}: {word}, {members} {processes}", job.id, job.topic)?;
    writeln!(out, "{:>9} {:>14} {:>14} {:>14} {:>6}", "partition", "start", "done to", "end", "done")?;
    for progress in &state {
        let part = progress.part;
        let percent =
            if part.end > part.start { (progress.done_to - part.start) * 100 / (part.end - part.start) } else { 100 };
        writeln!(
            out,
            "{:>9} {:>14} {:>14} {:>14} {percent:>5}%",
            part.partition, part.start, progress.done_to, part.end
        )?;
    }
    let (done, all) = job::totals(&state);
    let percent = if all > 0 { done * 100 / all } else { 100 };
    writeln!(out, "{:>9} {:>14} {:>14} {:>14} {percent:>5}%\n", "all", "", done, all)?;
    write!(out, "{figures}")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Tally;
    use crate::source::kafka::Part;

    #[test]
    fn a_table_has_a_row_for_each_job() {
        let job = |id: &str, done_to: i64, members: usize| Listed {
            id: id.into(),
            topic: "nginx".into(),
            definition: None,
            state: vec![job::Progress {
                part: Part { partition: 0, start: 0, end: 200 },
                done_to,
                tally: Tally::default(),
            }],
            members,
            is_cancelled: false,
        };
        let text = table(&[job("a", 50, 2), job("longer", 200, 0)]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["a", "nginx", "running", "2", "50", "200", "25%"]);
        assert_eq!(rows[2], ["longer", "nginx", "complete", "0", "200", "200", "100%"]);
        assert_eq!(table(&[]), "there are no jobs\n");
    }
}
