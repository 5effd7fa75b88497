//! Programs: filters and sinks as flat lists of steps with jumps for conditions.
//!
//! `if / else if / else` becomes tests that jump over what does not apply, so running an event is a loop over a vector
//! and nesting costs nothing at run time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::condition::Condition;
use crate::config::spec::{ComponentSpec, ConditionSpec, Statement};
use crate::delivery::bounds::Footprint;
use crate::event::Event;
use crate::filter::common::Common;
use crate::filter::{Context, Filter, Flow};

/// One step of a program whose leaves are of type `L`.
#[derive(Clone, Debug)]
pub enum Step<L> {
    /// A filter or sink.
    Leaf(L),
    /// Goes on at `target` unless the condition holds.
    Unless {
        /// The condition.
        condition: Arc<Condition>,
        /// Index of the step to go on with.
        target: usize,
    },
    /// Goes on at a step.
    Jump(usize),
}

/// Flattens statements, compiling leaves and conditions on the way. What can't be compiled is left out; the compilers
/// have reported it.
pub fn flatten<L>(
    statements: &[Statement],
    leaf: &mut dyn FnMut(&ComponentSpec) -> Option<L>,
    condition: &mut dyn FnMut(&ConditionSpec) -> Option<Condition>,
) -> Vec<Step<L>> {
    let mut steps = Vec::new();
    append(statements, leaf, condition, &mut steps);
    steps
}

fn append<L>(
    statements: &[Statement],
    leaf: &mut dyn FnMut(&ComponentSpec) -> Option<L>,
    compile_condition: &mut dyn FnMut(&ConditionSpec) -> Option<Condition>,
    steps: &mut Vec<Step<L>>,
) {
    for statement in statements {
        match statement {
            Statement::Component(component) => steps.extend(leaf(component).map(Step::Leaf)),
            Statement::If { branches, otherwise } => {
                let mut ends = Vec::new();
                for (condition, body) in branches {
                    let test = steps.len();
                    if let Some(condition) = compile_condition(condition) {
                        steps.push(Step::Unless { condition: Arc::new(condition), target: usize::MAX });
                    }
                    append(body, leaf, compile_condition, steps);
                    ends.push(steps.len());
                    steps.push(Step::Jump(usize::MAX));
                    let after = steps.len();
                    if let Some(Step::Unless { target, .. }) = steps.get_mut(test) {
                        *target = after;
                    }
                }
                append(otherwise, leaf, compile_condition, steps);
                let after = steps.len();
                for end in ends {
                    steps[end] = Step::Jump(after);
                }
            }
        }
    }
}

/// A filter in a program, with its common options and what it counted since the last batch.
pub struct FilterStep {
    /// Name in metrics and explanations.
    pub id: Arc<str>,
    /// Its type.
    pub kind: &'static str,
    filter: Box<dyn Filter>,
    approaches: bool,
    /// The common options, if any are given.
    common: Option<Arc<Common>>,
    /// Events that came in since the counts were last taken.
    pub events: u64,
    /// Of those, how many failed.
    pub failures: u64,
    /// Of those, how many were dropped.
    pub drops: u64,
    /// Time that they took, extrapolated from samples.
    pub time: Duration,
}

impl FilterStep {
    /// A filter ready to run.
    pub fn new(id: Arc<str>, kind: &'static str, filter: Box<dyn Filter>, common: Common) -> FilterStep {
        let common = (!common.is_empty()).then(|| Arc::new(common));
        FilterStep { id, kind, approaches: filter.approaches(), filter, common, events: 0, failures: 0, drops: 0, time: Duration::ZERO }
    }

    fn fork(&self) -> FilterStep {
        FilterStep {
            id: Arc::clone(&self.id),
            kind: self.kind,
            filter: self.filter.fork(),
            approaches: self.approaches,
            common: self.common.clone(),
            events: 0,
            failures: 0,
            drops: 0,
            time: Duration::ZERO,
        }
    }

    /// Tells the filter of those events of a group that a bit stands for.
    fn approach(&mut self, group: &[Traveller], mut which: u64) {
        const TOLD: usize = u64::BITS as usize;
        let (mut events, mut count) = ([&group[0].event; TOLD], 0);
        while which != 0 {
            events[count] = &group[which.trailing_zeros() as usize].event;
            count += 1;
            which &= which - 1;
        }
        self.filter.approach(&events[..count]);
    }

    /// Applies the common options to an event for which the filter did its work.
    fn succeed(&self, event: &mut Event, context: &mut Context) {
        if let Some(common) = &self.common
            && common.apply(event).is_err()
        {
            context.failures += 1;
            event.tag(&format!("_{}_error", self.kind));
        }
    }

    fn run(&mut self, event: &mut Event, context: &mut Context) -> Flow {
        self.events += 1;
        context.failures = 0;
        let flow = self.filter.run(event, context);
        if flow == Flow::Matched {
            self.succeed(event, context);
        }
        if !context.spawned.is_empty() {
            let mut spawned = std::mem::take(&mut context.spawned);
            spawned.iter_mut().for_each(|made| self.succeed(made, context));
            context.spawned = spawned;
        }
        self.failures += context.failures;
        self.drops += u64::from(flow == Flow::Drop);
        flow
    }
}

/// The filters of a pipeline as one worker runs them.
pub struct Program {
    steps: Vec<Step<FilterStep>>,
    makes_events: bool,
    /// For each step and the end, a bit for each event beside others that comes to it next.
    waiting: Vec<u64>,
    /// Runs until the next one that is timed.
    untimed: u32,
}

/// Of this many runs (an event, or a group of events beside each other) one is timed: two looks at the clock for each filter in it cost
/// less than a thousandth of what the other runs cost.
const TIMED: u32 = 64;

/// An event that goes through a program beside others.
pub struct Traveller {
    /// The event.
    pub event: Event,
    /// Whether it goes on: not all set out, and a filter may drop it.
    pub remains: bool,
}

/// What is left of an event after the filters: the event itself and those made of it, none where all were dropped.
#[derive(Debug, Default)]
pub struct Survivors {
    /// Whether the event that went in came out.
    pub original: bool,
    /// Events that filters made.
    pub made: Vec<Event>,
}

/// What happened to an event that is watched on its way.
pub enum Seen<'a> {
    /// The event is decoded; nothing has happened yet.
    Start,
    /// A filter has run.
    Filter(&'a FilterStep, Flow),
    /// A condition held, or did not.
    Condition(&'a Condition, bool),
}

impl Program {
    /// A program of these steps.
    pub fn new(steps: Vec<Step<FilterStep>>) -> Program {
        let makes_events = steps.iter().any(|step| matches!(step, Step::Leaf(filter) if filter.filter.makes_events()));
        Program { waiting: vec![0; steps.len() + 1], steps, makes_events, untimed: TIMED }
    }

    /// The same program for another worker.
    pub fn fork(&self) -> Program {
        let steps = self.steps.iter().map(|step| match step {
            Step::Leaf(filter) => Step::Leaf(filter.fork()),
            Step::Unless { condition, target } => Step::Unless { condition: Arc::clone(condition), target: *target },
            Step::Jump(target) => Step::Jump(*target),
        });
        Program { steps: steps.collect(), makes_events: self.makes_events, waiting: vec![0; self.waiting.len()], untimed: TIMED }
    }

    /// The filters, in order.
    pub fn filters(&mut self) -> impl Iterator<Item = &mut FilterStep> {
        self.steps.iter_mut().filter_map(|step| match step {
            Step::Leaf(filter) => Some(filter),
            _ => None,
        })
    }

    /// Returns the memory of all filters.
    pub fn footprint(&self) -> Footprint {
        let filters = self.steps.iter().filter_map(|step| match step {
            Step::Leaf(filter) => Some(filter.filter.footprint()),
            _ => None,
        });
        filters.sum()
    }

    /// Runs an event through all filters.
    pub fn run(&mut self, event: &mut Event, context: &mut Context, survivors: &mut Survivors) {
        survivors.made.clear();
        let mut clock = self.is_timed().then(Instant::now);
        survivors.original = self.run_from(0, event, context, survivors, &mut |_, _| {}, &mut clock);
    }

    /// The same, telling `watch` of the event after each filter that ran and each condition that was looked at.
    pub fn run_watched(
        &mut self,
        event: &mut Event,
        context: &mut Context,
        survivors: &mut Survivors,
        watch: &mut impl FnMut(Seen<'_>, &mut Event),
    ) {
        survivors.made.clear();
        watch(Seen::Start, event);
        survivors.original = self.run_from(0, event, context, survivors, watch, &mut None);
    }

    fn run_from(
        &mut self,
        start: usize,
        event: &mut Event,
        context: &mut Context,
        survivors: &mut Survivors,
        watch: &mut impl FnMut(Seen<'_>, &mut Event),
        clock: &mut Option<Instant>,
    ) -> bool {
        let mut at = start;
        while let Some(step) = self.steps.get_mut(at) {
            at = match step {
                Step::Jump(target) => *target,
                Step::Unless { condition, target } => {
                    let holds = condition.holds(event);
                    watch(Seen::Condition(condition, holds), event);
                    if holds { at + 1 } else { *target }
                }
                Step::Leaf(filter) => {
                    if let Some(clock) = clock {
                        *clock = Instant::now();
                    }
                    let flow = filter.run(event, context);
                    if let Some(clock) = clock {
                        filter.time += clock.elapsed() * TIMED;
                    }
                    watch(Seen::Filter(filter, flow), event);
                    if !context.spawned.is_empty() {
                        for mut made in std::mem::take(&mut context.spawned) {
                            if self.run_from(at + 1, &mut made, context, survivors, watch, clock) {
                                survivors.made.push(made);
                            }
                        }
                    }
                    if flow == Flow::Drop {
                        return false;
                    }
                    at + 1
                }
            };
        }
        true
    }

    /// Whether events may be made on the way, which come before the event that they were made of.
    pub fn makes_events(&self) -> bool {
        self.makes_events
    }

    /// Runs a few events side by side through a program that makes no events: each step is done for all of them that come to it before
    /// the next one, so that its instructions are fetched once for them all. A filter sees them in the order in which they stand here.
    pub fn run_together(&mut self, group: &mut [Traveller], context: &mut Context) {
        for group in group.chunks_mut(u64::BITS as usize) {
            self.run_side_by_side(group, context);
        }
    }

    /// Whether the next run is timed.
    fn is_timed(&mut self) -> bool {
        self.untimed -= 1;
        if self.untimed == 0 {
            self.untimed = TIMED;
        }
        self.untimed == TIMED
    }

    fn run_side_by_side(&mut self, group: &mut [Traveller], context: &mut Context) {
        let is_timed = self.is_timed();
        let Program { steps, waiting, .. } = self;
        // Whatever a run that panicked has left.
        waiting.fill(0);
        waiting[0] = group.iter().enumerate().fold(0, |bits, (number, one)| bits | u64::from(one.remains) << number);
        // Jumps lead forward.
        for (at, step) in steps.iter_mut().enumerate() {
            let mut here = waiting[at];
            if here == 0 {
                continue;
            }
            match step {
                Step::Jump(target) => waiting[*target] |= here,
                Step::Unless { condition, target } => {
                    let mut held = 0;
                    let all = here;
                    while here != 0 {
                        let bit = here & here.wrapping_neg();
                        here ^= bit;
                        if condition.holds(&mut group[bit.trailing_zeros() as usize].event) {
                            held |= bit;
                        }
                    }
                    waiting[at + 1] |= held;
                    waiting[*target] |= all ^ held;
                }
                Step::Leaf(filter) => {
                    let start = is_timed.then(Instant::now);
                    if filter.approaches && here.count_ones() > 1 {
                        filter.approach(group, here);
                    }
                    while here != 0 {
                        let bit = here & here.wrapping_neg();
                        here ^= bit;
                        let one = &mut group[bit.trailing_zeros() as usize];
                        match filter.run(&mut one.event, context) {
                            Flow::Drop => one.remains = false,
                            _ => waiting[at + 1] |= bit,
                        }
                    }
                    if let Some(start) = start {
                        filter.time += start.elapsed() * TIMED;
                    }
                }
            }
        }
    }

    /// Lets filters look after files that changed; called between batches.
    pub fn between_batches(&mut self) {
        for step in &mut self.steps {
            if let Step::Leaf(filter) = step {
                filter.filter.between_batches();
            }
        }
    }
}

/// Calls `act` with each leaf that an event reaches.
pub fn reach<L>(steps: &[Step<L>], event: &mut Event, act: impl FnMut(&L, &mut Event)) {
    reach_watched(steps, event, |_, _| {}, act);
}

/// The same, calling `watch` with each condition that was looked at and whether it held.
pub fn reach_watched<L>(
    steps: &[Step<L>],
    event: &mut Event,
    mut watch: impl FnMut(&Condition, bool),
    mut act: impl FnMut(&L, &mut Event),
) {
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at = match step {
            Step::Leaf(leaf) => {
                act(leaf, event);
                at + 1
            }
            Step::Unless { condition, target } => {
                let holds = condition.holds(event);
                watch(condition, holds);
                if holds { at + 1 } else { *target }
            }
            Step::Jump(target) => *target,
        };
    }
}
