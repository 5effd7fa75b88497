//! Standard input, one line an event.

use std::io::Read;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::lines::{Framer, Line};
use super::{Source, SourceContext, SourceError};
use crate::config::{Args, ComponentDef, Diagnostic, Fallback, Kind, option};
use crate::delivery::{BatchBuilder, NewRecord};

/// The options of `stdin`.
pub const DEF: ComponentDef = ComponentDef {
    name: "stdin",
    summary: "Reads lines from standard input until it ends.",
    options: &[
        option("codec", Kind::Any, Fallback::None, "How a line becomes events."),
        option("max_event_bytes", Kind::Bytes, Fallback::Text("10MiB"), "A longer line is cut and goes to the dead letters."),
    ],
    example: "[source]\ntype = \"stdin\"\n",
};

const BLOCK: usize = 256 << 10;

/// The standard-input source as configured.
#[derive(Clone, Debug)]
pub struct StdinSource {
    max_event_bytes: usize,
}

impl StdinSource {
    /// Builds the source from its options.
    ///
    /// # Errors
    /// None so far; the signature is that of every component.
    pub fn from_args(args: &Args) -> Result<Self, Vec<Diagnostic>> {
        Ok(StdinSource { max_event_bytes: args.bytes("max_event_bytes").unwrap_or(10 << 20) as usize })
    }
}

impl Source for StdinSource {
    fn run(self: Box<Self>, mut context: SourceContext) -> Result<(), SourceError> {
        context.readiness().set(true);
        let (blocks, used) = blocks(std::io::stdin());
        let result = read(&context, &blocks, &used, self.max_event_bytes);
        context.end_input();
        result
    }
}

/// Reads blocks on a thread of their own: a read can't be called off, and must not hold up a shutdown. Used blocks may be given back.
fn blocks(mut input: impl Read + Send + 'static) -> (Receiver<std::io::Result<Vec<u8>>>, Sender<Vec<u8>>) {
    let (sender, receiver) = crossbeam_channel::bounded(2);
    let (used, again) = crossbeam_channel::bounded::<Vec<u8>>(4);
    std::thread::spawn(move || {
        loop {
            let mut block = again.try_recv().unwrap_or_default();
            block.resize(BLOCK, 0);
            let result = match input.read(&mut block) {
                Ok(0) => return,
                Ok(length) => {
                    block.truncate(length);
                    Ok(block)
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = result.is_err();
            if sender.send(result).is_err() || failed {
                return;
            }
        }
    });
    (receiver, used)
}

fn read(
    context: &SourceContext,
    blocks: &Receiver<std::io::Result<Vec<u8>>>,
    used: &Sender<Vec<u8>>,
    max: usize,
) -> Result<(), SourceError> {
    let origin = context.hub.ledger().assign("stdin", 0);
    let mut framer = Framer::new(0, max);
    let mut builder = context.builder();
    let push = |builder: &mut BatchBuilder, line: Line<'_>| {
        let index = builder.origin("stdin", 0, || origin.clone());
        let record =
            NewRecord { origin: index, offset: line.offset, timestamp_ms: -1, key: None, value: line.bytes, shape: line.shape };
        builder.push(record, std::iter::empty());
    };
    while !context.shutdown().is_requested() {
        match blocks.recv_timeout(Duration::from_millis(20)) {
            Ok(Ok(block)) => {
                framer.feed(&block, |line| push(&mut builder, line));
                // Where there are enough, it is freed.
                let _ = used.try_send(block);
                if context.is_full(&builder) && !context.deliver(std::mem::replace(&mut builder, context.builder())) {
                    return Ok(());
                }
            }
            Ok(Err(error)) => return Err(SourceError::File { path: "standard input".to_string(), error }),
            Err(RecvTimeoutError::Timeout) => {
                if !builder.is_empty() && !context.deliver(std::mem::replace(&mut builder, context.builder())) {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                framer.finish(|line| push(&mut builder, line));
                break;
            }
        }
    }
    context.deliver(builder);
    Ok(())
}
