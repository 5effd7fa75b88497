//! Making the plan of a replay.

use std::sync::atomic::Ordering;

use super::job::Definition;
use super::plan::{self, Compared};
use super::stage::{Stage, only_client};
use super::target::{self, Target};
use super::{OF_RECORDS, Request, SAMPLES, TRIED, alias, block_on, index};
use crate::testing::report::Style;

impl Request<'_> {
    /// Looks at everything and writes nothing.
    ///
    /// # Errors
    /// The request makes no sense, or brokers or cluster don't answer.
    pub fn plan(&self, command: &[String], style: Style) -> anyhow::Result<plan::Plan> {
        let stage = self.redirected()?;
        if !self.definition.files.is_empty() {
            let mut words = command.to_vec();
            words.push("--execute".to_string());
            let mut plan = plan::Plan {
                pipeline: stage.pipeline.name.clone(),
                files: plan::files(&self.definition.files)?,
                destinations: target::describe(
                    &stage.pipeline,
                    self.definition.mode,
                    if self.definition.records {
                        OF_RECORDS
                    } else {
                        "the file's path, as it is given here, and the place in it"
                    },
                ),
                condition: self.definition.condition.clone(),
                live_group: stage.source.group_id().to_string(),
                command: plan::shell_line(&words),
                ..plan::Plan::default()
            };
            self.look_at_index(&stage, &mut plan)?;
            return Ok(plan);
        }
        let job = self.job_of(&stage)?;
        let found = self.resolve(&job, None)?;
        let partitions = plan::partitions(stage.source.client_config(&job.group), &job.topic, &found)?;
        let mut plan = plan::Plan {
            pipeline: stage.pipeline.name.clone(),
            topic: job.topic.clone(),
            job: job.id.clone(),
            destinations: target::describe(&stage.pipeline, self.definition.mode, OF_RECORDS),
            condition: self.definition.condition.clone(),
            live_group: stage.source.group_id().to_string(),
            partitions,
            ..plan::Plan::default()
        };
        self.look_at_index(&stage, &mut plan)?;
        let workers = stage.pipeline.settings.workers.max(1) as f64;
        if plan.count() > 0 {
            let (dry, gauges) = self.try_out(Some(TRIED), Some(SAMPLES), style)?;
            let busy = gauges.busy_ns.load(Ordering::Relaxed) as f64 / 1e9;
            let records = dry.figures.records;
            let per_second = records as f64 / busy.max(1e-9) * workers;
            let size = gauges.bytes.load(Ordering::Relaxed) as f64 / records.max(1) as f64;
            let by_bytes = self.rate.bytes.map(|limit| f64::from(limit.get()) / size.max(1.0));
            let limit =
                self.rate.events.map(|limit| f64::from(limit.get())).into_iter().chain(by_bytes).reduce(f64::min);
            let (per_second, basis) = match limit {
                Some(limit) if limit < per_second => {
                    (limit, "at the rate that was asked for, by one process".to_string())
                }
                _ => (
                    per_second,
                    format!("at the pipeline's own speed on {records} records; what takes the documents may be slower"),
                ),
            };
            plan.duration = Some(((plan.count() as f64 / per_second.max(1.0)).ceil() as u64, basis));
            plan.tried = records;
            plan.failures = dry.failures.iter().map(|(kind, failure)| (kind.clone(), failure.records)).collect();
            if let Some(found) = dry.findings {
                plan.samples = found.samples();
                let found = found.findings();
                plan.compared = Some(Compared { same: found.same, changed: found.changed, absent: found.absent });
            }
        }
        let mut words = with_absolute_bounds(command, &self.definition);
        if self.job.is_none() {
            words.extend(["--job".to_string(), job.id.clone()]);
        }
        words.push("--execute".to_string());
        plan.command = plan::shell_line(&words);
        Ok(plan)
    }

    /// Adds to a plan what is to be known of the index that it writes to, and of the alias that is swapped.
    fn look_at_index(&self, stage: &Stage, plan: &mut plan::Plan) -> anyhow::Result<()> {
        let Some(Target::Index(name) | Target::DataStream(name)) = &self.definition.target else { return Ok(()) };
        let client = only_client(stage)?;
        block_on(async {
            let outlook =
                index::look_at(client, name, stage.writes_to.as_deref(), self.definition.like.as_deref()).await?;
            (plan.notes, plan.warnings) = (outlook.notes, outlook.warnings);
            if let Some(alias) = &self.definition.swap_alias {
                let from = alias::indices_of(client, alias).await?;
                plan.swap_back = Some(alias::swap_back(client, alias, &from, name)?);
            }
            Ok(())
        })
    }
}

/// Returns the words of a command with times in place of bounds that are relative to now: it is the same job when it is repeated.
fn with_absolute_bounds(command: &[String], definition: &Definition) -> Vec<String> {
    let mut words = command.to_vec();
    let Some((from, to)) = &definition.relative else { return words };
    for (option, written, absolute) in [("--from", from, &definition.from), ("--to", to, &definition.to)] {
        for at in 0..words.len() {
            let follows_option = at.checked_sub(1).is_some_and(|before| words[before] == option);
            if follows_option && words[at] == *written {
                words[at].clone_from(absolute);
            } else if words[at] == format!("{option}={written}") {
                words[at] = format!("{option}={absolute}");
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_of_a_plan_names_times_and_not_how_long_ago_they_are() {
        let definition = Definition { from: "-10m".into(), to: "end".into(), ..Definition::default() }
            .made_absolute(1_700_000_600_000);
        for (written, expected) in [
            ("logproc replay --from -10m --to end", "logproc replay --from 2023-11-14T22:13:20.000Z --to end"),
            ("logproc replay --from=-10m --where -10m", "logproc replay --from=2023-11-14T22:13:20.000Z --where -10m"),
        ] {
            let words: Vec<String> = written.split(' ').map(str::to_string).collect();
            assert_eq!(with_absolute_bounds(&words, &definition).join(" "), expected);
        }
    }
}
