//! The standard-input source: one event per line.

use std::io::{self, Stdin};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::SourceError;
use super::lines::{Framer, read_some};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::{Source, SourceContext, SourceFailure};

/// The options of `stdin`.
pub const DEF: ComponentDef = ComponentDef {
    name: "stdin",
    summary: "Reads lines from standard input until it ends.",
    options: &[
        option("codec", Kind::Any, Fallback::None, "How a line becomes events."),
        option(
            "max_event_bytes",
            Kind::Bytes,
            Fallback::Text("10MiB"),
            "A longer line is cut and goes to the dead letters.",
        ),
    ],
    example: "[source]\ntype = \"stdin\"\n",
};

/// Topic name of the records: a path, as for other files.
const NAME: &str = "/dev/stdin";

/// Maximum time until a shutdown is noticed.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// The configured standard-input source.
#[derive(Clone, Debug)]
pub struct StdinSource {
    max_event_bytes: usize,
}

impl StdinSource {
    /// Builds the source from its options.
    ///
    /// # Errors
    /// Never fails; the signature is common to all components.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        Ok(StdinSource { max_event_bytes: args.bytes("max_event_bytes").unwrap_or(10 << 20) as usize })
    }
}

impl Source for StdinSource {
    fn reads_once(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, mut context: SourceContext) -> Result<(), SourceFailure> {
        context.readiness().set(true);
        let failed = |error| SourceError::File { path: "standard input".to_string(), error };
        let result = read(&context, self.max_event_bytes).map_err(failed);
        context.end_input();
        Ok(result?)
    }
}

/// Waits until input or its end is available. A blocking read can't be cancelled, and would delay a batch or a
/// shutdown.
fn is_ready(input: &Stdin, patience: Duration) -> io::Result<bool> {
    let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    match poll(&mut [PollFd::new(input, PollFlags::IN)], Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn read(context: &SourceContext, max: usize) -> io::Result<()> {
    let assigned = context.hub.ledger().assign(NAME, 0);
    let input = io::stdin();
    let (batch_bytes, batch_age) = (context.settings.batch_bytes, context.settings.batch_age);
    let mut framer = Framer::new(0, max);
    let mut builder = context.builder();
    let mut began = Instant::now();
    while !context.shutdown().is_requested() {
        let left = if builder.is_empty() { LONGEST_WAIT } else { batch_age.saturating_sub(began.elapsed()) };
        if is_ready(&input, left.min(LONGEST_WAIT))? {
            if builder.is_empty() {
                began = Instant::now();
            }
            let origin = builder.origin(NAME, 0, || assigned.clone());
            match framer.take(&mut builder, origin, |data| read_some(&input, data, batch_bytes)) {
                Ok(0) => {
                    framer.end(&mut builder, origin);
                    break;
                }
                Ok(_) => {}
                // Another process that shares the open file may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        context.hand_on_due();
        let is_due = !builder.is_empty() && (context.is_full(&builder) || began.elapsed() >= batch_age);
        if is_due && !context.deliver(std::mem::replace(&mut builder, context.builder())) {
            return Ok(());
        }
    }
    context.deliver(builder);
    Ok(())
}
