//! Delivery of one batch, until each of its documents has completed.
//!
//! What a request leaves undone becomes smaller attempts, each with its own backoff: documents that the cluster was too
//! busy for, documents that failed, halves of a request that was too large. A permit of the concurrency limiter is held
//! only while a request is in flight, never during a backoff; waiting documents still count in the budget.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tracing::{error, warn};

use super::answer::{self, BulkAnswer, Class, ItemAnswer, outcome};
use super::client::{Client, Payload};
use super::concurrency::{Limiter, Load, Permit};
use super::suspects::Suspects;
use crate::delivery::SinkContext;
use crate::delivery::{DocumentBatch, Fate, Reason};
use crate::sink::backoff::Backoff;
use crate::telemetry::metrics as names;
use reqwest::Method;

/// A cluster that is too busy for a request as often as this may never have room for one so large.
const HALVED_AFTER: u32 = 4;
/// Size in bytes up to which a request is not halved.
const NEVER_HALVED: usize = 64 << 10;

mod conflict;
mod replace;

pub(crate) use replace::Existing;

/// The state shared by all deliveries of a sink.
pub(super) struct Delivery {
    client: Arc<Client>,
    limiter: Arc<Limiter>,
    backoff: Backoff,
    compression: Option<u32>,
    poison_timeout: Duration,
    /// Handling of documents that already exist.
    existing: Existing,
    context: SinkContext,
    suspects: Suspects,
}

/// Documents that are to be sent in one request.
struct Attempt {
    batch: DocumentBatch,
    tries: u32,
    not_before: Option<Instant>,
    /// Time since when these documents have failed with their own 5xx status.
    suspect_since: Option<Instant>,
    /// Set when the documents are known not to exist, if existing documents are looked up.
    looked_up: bool,
}

impl Attempt {
    /// Returns whether it was rejected so often that its size may be the reason. (Elasticsearch limits the bytes that
    /// are being indexed at once, and returns 429 even to a single request that exceeds this limit.)
    fn is_perhaps_too_large(&self) -> bool {
        self.tries > 0
            && self.tries.is_multiple_of(HALVED_AFTER)
            && self.batch.len() > 1
            && self.batch.body().len() > NEVER_HALVED
    }
}

/// The outcome of a request.
enum Outcome {
    /// A result for each document.
    Answered(BulkAnswer),
    /// The whole request is to be sent again; the text is the label of the cause.
    Again(&'static str),
    /// The request is to be split into two halves; status and message are kept for a dead letter.
    Split(u16, String),
}

impl Delivery {
    pub(super) fn new(
        client: Arc<Client>,
        limiter: Arc<Limiter>,
        backoff: Backoff,
        compression: Option<u32>,
        poison_timeout: Duration,
        existing: Existing,
        context: SinkContext,
    ) -> Self {
        Delivery {
            client,
            limiter,
            backoff,
            compression,
            poison_timeout,
            existing,
            context,
            suspects: Suspects::default(),
        }
    }

    /// Delivers every document of a batch.
    pub(super) async fn deliver(self: Arc<Self>, batch: DocumentBatch, permit: Permit) {
        let mut permit = Some(permit);
        let mut attempts = vec![Attempt { batch, tries: 0, not_before: None, suspect_since: None, looked_up: false }];
        while let Some(next) = (0..attempts.len()).min_by_key(|index| attempts[*index].not_before) {
            let mut attempt = attempts.swap_remove(next);
            if let Some(not_before) = attempt.not_before {
                permit = None;
                tokio::time::sleep_until(not_before.into()).await;
            }
            if self.existing != Existing::Unknown && !attempt.looked_up {
                permit = None;
                attempts.extend(self.replace(attempt).await);
                continue;
            }
            let place = match permit.take() {
                Some(permit) => permit,
                None => self.limiter.acquire().await,
            };
            // Documents of revoked partitions are delivered by the partitions' new owner.
            match attempt.batch.drop_disowned() {
                Some(batch) => attempt.batch = batch,
                None => {
                    permit = Some(place);
                    continue;
                }
            }
            let (outcome, load) = self.send(&attempt.batch).await;
            place.end(load, Instant::now());
            match outcome {
                Outcome::Answered(BulkAnswer::AllTaken { failure_store, replaced }) => {
                    self.all_taken(attempt.batch, failure_store, replaced)
                }
                Outcome::Answered(BulkAnswer::Items(items)) => attempts.extend(self.sort(attempt, &items).await),
                Outcome::Again("busy") if attempt.is_perhaps_too_large() => {
                    attempts.extend(self.halves(attempt).map(|half| self.again(half, "busy")));
                }
                Outcome::Again(cause) => attempts.push(self.again(attempt, cause)),
                Outcome::Split(status, message) => attempts.extend(self.split(attempt, status, message).await),
            }
        }
    }

    async fn send(&self, batch: &DocumentBatch) -> (Outcome, Load) {
        let payload = match self.compression {
            None => Payload::Lines(batch.body().clone()),
            Some(level) => Payload::GzippedLines(gzip(batch.body().clone(), level).await),
        };
        let began = Instant::now();
        let answer = self.client.request(Method::POST, "_bulk", &[("filter_path", answer::FILTER_PATH)], payload).await;
        let took = began.elapsed();
        if answer.is_ok() {
            metrics::histogram!(names::BULK_SECONDS, "sink" => self.context.name.clone()).record(took.as_secs_f64());
        }
        metrics::histogram!(names::BULK_BYTES, "sink" => self.context.name.clone()).record(batch.body().len() as f64);
        metrics::gauge!(names::BULK_CONCURRENCY, "sink" => self.context.name.clone()).set(self.limiter.places() as f64);
        let (label, outcome) = match answer {
            Err(problem) => {
                if let Some(repeated) = self.context.failed("unreachable") {
                    error!(sink = &*self.context.name, error = %problem, repeated, "failed to reach elasticsearch; retrying");
                }
                self.context.set_ready(false);
                ("unreachable", Outcome::Again("unreachable"))
            }
            Ok(answer) => self.judge(answer.status, &answer.body, batch),
        };
        metrics::counter!(names::BULK_REQUESTS, "sink" => self.context.name.clone(), "outcome" => label).increment(1);
        let refused = match &outcome {
            Outcome::Answered(BulkAnswer::Items(items)) => items.iter().any(|item| item.class() == Class::Busy),
            Outcome::Again(_) => true,
            _ => false,
        };
        (outcome, if refused { Load::Refused } else { Load::Answered(took) })
    }

    /// Evaluates the status of the whole response.
    fn judge(&self, status: u16, body: &Bytes, batch: &DocumentBatch) -> (&'static str, Outcome) {
        let sink = &*self.context.name;
        let excerpt = || String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let item = || {
            let error = serde_json::from_slice::<WholeError>(body).ok().map(|answer| answer.error);
            ItemAnswer { status, error, ..ItemAnswer::default() }
        };
        match status {
            200..=299 => match answer::read(body, batch.len(), batch.keeps_tallies()) {
                Ok(answer) => {
                    self.context.set_ready(true);
                    ("ok", Outcome::Answered(answer))
                }
                Err(problem) => {
                    if let Some(repeated) = self.context.failed("bad_answer") {
                        error!(sink, error = %problem, body = excerpt(), repeated, "failed to read the response to a bulk request; retrying");
                    }
                    ("bad_answer", Outcome::Again("bad_answer"))
                }
            },
            413 => ("too_large", Outcome::Split(status, "the request is too large for the cluster".to_string())),
            400 => ("bad_request", Outcome::Split(status, excerpt())),
            408 | 429 => {
                if let Some(repeated) = self.context.failed("busy") {
                    warn!(
                        sink,
                        status, repeated, "elasticsearch is too busy for a bulk request; retrying with fewer at once"
                    );
                }
                ("busy", Outcome::Again("busy"))
            }
            500.. => {
                if let Some(repeated) = self.context.failed("failing") {
                    error!(sink, status, body = excerpt(), repeated, "elasticsearch failed a bulk request; retrying");
                }
                ("failing", Outcome::Again("failing"))
            }
            _ => {
                // Credentials, privileges, addresses: not caused by a document.
                let class = match item().class() {
                    class @ (Class::Blocked | Class::Denied | Class::MissingIndex) => class,
                    _ => Class::Denied,
                };
                let label = class.label();
                if let Some(repeated) = self.context.failed(label) {
                    error!(
                        sink,
                        status,
                        body = excerpt(),
                        repeated,
                        "elasticsearch refuses all bulk requests; retrying"
                    );
                }
                self.context.set_ready(false);
                (label, Outcome::Again(label))
            }
        }
    }

    fn all_taken(&self, batch: DocumentBatch, failure_store: usize, replaced: usize) {
        self.count_items(Class::Created.label(), batch.len() - failure_store - replaced);
        self.count_items("replaced", replaced);
        self.count_items("failure_store", failure_store);
        self.suspects.taken(&batch, |_| true, Instant::now());
        self.context.works();
        // Where tallies are kept, documents with different outcomes come one by one.
        self.context.finish_as(batch, if replaced > 0 { outcome::REPLACED } else { outcome::CREATED });
    }

    /// Completes the documents with a final result, and returns attempts for the others.
    async fn sort(&self, attempt: Attempt, items: &[ItemAnswer]) -> Vec<Attempt> {
        let now = Instant::now();
        let classes: Vec<Class> = items.iter().map(ItemAnswer::class).collect();
        let is_done =
            |class: Class| class == Class::Created || (class == Class::Duplicate && self.existing != Existing::Replace);
        self.suspects.taken(&attempt.batch, |index| is_done(classes[index]), now);
        let poisoned = self.poisoned(&attempt, &classes, now);
        let conflicts = self.conflicts(&attempt.batch, &classes).await;
        let mut delivered = (0, 0);
        let sizes: Vec<usize> = attempt.batch.items().iter().map(|item| item.len()).collect();
        let is_delivered = |index: usize| {
            is_done(classes[index]) && !conflicts.others.contains(&index) && !conflicts.unknown.contains(&index)
        };
        attempt.batch.note(|index| is_delivered(index).then(|| items[index].outcome()));
        let (groups, rejected) = attempt.batch.sort_out(|index| {
            let answer = &items[index];
            match classes[index] {
                Class::Duplicate if conflicts.others.contains(&index) => {
                    Fate::Rejected(conflict::reason(&self.context.name))
                }
                Class::Duplicate if conflicts.unknown.contains(&index) => Fate::GoesOn(Class::Unavailable),
                class if is_done(class) => {
                    delivered = (delivered.0 + 1, delivered.1 + sizes[index]);
                    Fate::Done
                }
                Class::Rejected => Fate::Rejected(self.reason("rejected", answer)),
                Class::Failing if poisoned.contains(&index) => Fate::Rejected(self.reason("poison", answer)),
                class => Fate::GoesOn(class),
            }
        });
        self.context.count_delivered(delivered.0, delivered.1);
        self.count_classes(&classes, items);
        self.context.reject(rejected).await;
        if groups.is_empty() {
            self.context.works();
        }
        let mut attempts = Vec::with_capacity(groups.len());
        for (class, batch) in groups {
            if class == Class::Duplicate {
                attempts.extend(
                    self.replace(Attempt {
                        batch,
                        tries: attempt.tries,
                        not_before: None,
                        suspect_since: None,
                        looked_up: false,
                    })
                    .await,
                );
                continue;
            }
            let example = items.iter().find(|item| item.class() == class).and_then(|item| item.error.as_ref());
            let example = example.map(ToString::to_string).unwrap_or_default();
            if let Some(repeated) = self.context.failed(class.label()) {
                let (sink, class, documents) = (&*self.context.name, class.label(), batch.len());
                warn!(
                    sink,
                    class, documents, example, repeated, "elasticsearch has not taken some documents; retrying these"
                );
            }
            let suspect_since = (class == Class::Failing).then(|| attempt.suspect_since.unwrap_or(now));
            attempts.push(self.again(
                Attempt { batch, tries: attempt.tries, not_before: None, suspect_since, looked_up: attempt.looked_up },
                class.label(),
            ));
        }
        attempts
    }

    /// Returns the failing documents that are themselves the cause: they have failed for `poison_timeout`, and their
    /// own index has accepted others meanwhile.
    fn poisoned(&self, attempt: &Attempt, classes: &[Class], now: Instant) -> HashSet<usize> {
        let failing = (0..classes.len()).filter(|index| classes[*index] == Class::Failing);
        let Some(since) =
            attempt.suspect_since.filter(|since| now.saturating_duration_since(*since) >= self.poison_timeout)
        else {
            failing.for_each(|index| self.suspects.failed(attempt.batch.document(index), now));
            return HashSet::new();
        };
        failing
            .filter(|index| {
                let document = attempt.batch.document(*index);
                self.suspects.failed(document, now);
                self.suspects.others_taken_since(document, since)
            })
            .collect()
    }

    fn again(&self, attempt: Attempt, cause: &'static str) -> Attempt {
        metrics::counter!(names::BULK_RETRIES, "sink" => self.context.name.clone(), "cause" => cause).increment(1);
        let pause = self.backoff.pause(attempt.tries);
        Attempt { tries: attempt.tries + 1, not_before: Some(Instant::now() + pause), ..attempt }
    }

    /// Halves a request that was rejected as a whole, until the offending document is alone and can be rejected.
    async fn split(&self, attempt: Attempt, status: u16, message: String) -> Vec<Attempt> {
        if attempt.batch.len() <= 1 {
            let kind = if status == 413 { "too_large" } else { "rejected" };
            let reason = Reason {
                status: Some(status),
                ..Reason::new(kind, Some(self.context.name.to_string().into()), message)
            };
            let (_, rejected) = attempt.batch.sort_out(|_| Fate::<()>::Rejected(reason.clone()));
            self.count_items(Class::Rejected.label(), rejected.len());
            self.context.reject(rejected).await;
            return Vec::new();
        }
        self.halves(attempt).into()
    }

    fn halves(&self, attempt: Attempt) -> [Attempt; 2] {
        metrics::counter!(names::BULK_RETRIES, "sink" => self.context.name.clone(), "cause" => "split").increment(1);
        let Attempt { batch, tries, suspect_since, looked_up, .. } = attempt;
        let (first, second) = batch.split();
        [first, second].map(|batch| Attempt { batch, tries, not_before: None, suspect_since, looked_up })
    }

    fn reason(&self, kind: &'static str, answer: &ItemAnswer) -> Reason {
        let message = answer.error.as_ref().map(ToString::to_string).unwrap_or_default();
        Reason { status: Some(answer.status), ..Reason::new(kind, Some(self.context.name.to_string().into()), message) }
    }

    fn count_items(&self, class: &'static str, items: usize) {
        if items > 0 {
            metrics::counter!(names::BULK_ITEMS, "sink" => self.context.name.clone(), "class" => class)
                .increment(items as u64);
        }
    }

    fn count_classes(&self, classes: &[Class], items: &[ItemAnswer]) {
        let in_failure_store = items.iter().filter(|item| item.in_failure_store).count();
        let replaced = items.iter().filter(|item| item.is_replaced()).count();
        self.count_items("failure_store", in_failure_store);
        self.count_items("replaced", replaced);
        for class in [
            Class::Created,
            Class::Duplicate,
            Class::Busy,
            Class::Unavailable,
            Class::Failing,
            Class::Blocked,
            Class::Denied,
            Class::MissingIndex,
            Class::Rejected,
        ] {
            if class == Class::Duplicate && self.existing == Existing::Replace {
                continue;
            }
            let count = classes.iter().filter(|of| **of == class).count();
            self.count_items(
                class.label(),
                if class == Class::Created { count.saturating_sub(in_failure_store + replaced) } else { count },
            );
        }
    }
}

/// The error of a request that was rejected as a whole.
#[derive(serde::Deserialize)]
struct WholeError {
    error: answer::ItemError,
}

/// Compresses on a blocking thread, because it takes milliseconds.
async fn gzip(body: Bytes, level: u32) -> Bytes {
    let compress = move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::new(level));
        // Writing to memory can't fail.
        let _ = encoder.write_all(&body);
        Bytes::from(encoder.finish().unwrap_or_default())
    };
    tokio::task::spawn_blocking(compress).await.unwrap_or_default()
}
