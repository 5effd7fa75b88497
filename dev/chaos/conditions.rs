//! The conditions of a round: settings of the pipeline and of the traffic, drawn from the seed, each of which a flag fixes.

use clap::{Args, ValueEnum};

use super::faults::Fault;

/// The smallest `memory_limit` that is drawn.
const LEAST_MEMORY_LIMIT: &str = "48MiB";
/// The smallest `in_flight_limit` that has an effect: the size of one batch of records.
const LEAST_IN_FLIGHT_LIMIT: &str = "512KiB";
/// Makes conditions and faults follow from different numbers. Chosen so that seed 6, which `make test` uses, draws every condition.
const CONDITIONS_STREAM: u64 = 0x10C0_A0D1_710A_0050;

/// Conditions that are fixed by flags.
#[derive(Args)]
pub struct FixedConditions {
    /// `memory_limit` of the pipeline
    #[arg(long)]
    memory_limit: Option<String>,
    /// `in_flight_limit` of the pipeline; `auto` leaves it out
    #[arg(long)]
    in_flight_limit: Option<String>,
    /// `bulk_max_items` of the sink
    #[arg(long)]
    bulk_max_items: Option<u32>,
    /// How partitions are assigned
    #[arg(long, value_enum)]
    assignment: Option<Assignment>,
    /// Records per second
    #[arg(long)]
    rate: Option<u64>,
    /// Largest number of bytes that a record is padded with
    #[arg(long)]
    padding: Option<usize>,
    /// Transactional producers beside the plain one
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=6))]
    transactional: Option<u8>,
    /// Percentage of transactions that are aborted
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=100))]
    aborted: Option<u8>,
    /// Whether a producer dies again and again and leaves a transaction open
    #[arg(long)]
    dying: Option<bool>,
    /// Whether there is a compacted topic
    #[arg(long)]
    compaction: Option<bool>,
    /// Whether all cores are busy with something else in parts of the round
    #[arg(long)]
    busy: Option<bool>,
    /// Only these faults, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Vec<Fault>,
}

/// The protocol and the strategy by which the group assigns partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Assignment {
    CooperativeSticky,
    Range,
    /// The protocol of Kafka 4, in which the broker assigns.
    Consumer,
}

/// The conditions of a round.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub memory_limit: String,
    pub in_flight_limit: String,
    pub bulk_max_items: u32,
    pub assignment: Assignment,
    pub rate: u64,
    pub padding: usize,
    pub transactional: u8,
    pub aborted: u8,
    pub dying: bool,
    pub compaction: bool,
    pub busy: bool,
    /// The only faults that strike; all where it is empty.
    pub faults: Vec<Fault>,
}

impl Conditions {
    /// Draws every condition from the seed and replaces those that are fixed, so that a flag changes no other condition.
    pub fn draw(seed: u64, fixed: &FixedConditions) -> Conditions {
        let mut numbers = Numbers(seed ^ CONDITIONS_STREAM);
        let memory_limit = numbers.one_of(&[LEAST_MEMORY_LIMIT, LEAST_MEMORY_LIMIT, "96MiB", "256MiB"]);
        let in_flight_limit = numbers.one_of(&[LEAST_IN_FLIGHT_LIMIT, LEAST_IN_FLIGHT_LIMIT, "1MiB", "auto"]);
        let bulk_max_items = numbers.one_of(&[1, 1, 7, 500, 10_000]);
        let assignment = numbers.one_of(&[
            Assignment::CooperativeSticky,
            Assignment::CooperativeSticky,
            Assignment::Range,
            Assignment::Consumer,
        ]);
        let padding = numbers.one_of(&[200, 4_000, 8_000]);
        let rate = numbers.one_of(&[200, 400, 600]);
        let transactional = numbers.one_of(&[0, 2, 3, 4]);
        let aborted = numbers.one_of(&[0, 20, 40, 40, 70]);
        let dying = numbers.below(3) > 0;
        let compaction = numbers.below(3) > 0;
        let busy = numbers.below(3) > 0;
        Conditions {
            memory_limit: fixed.memory_limit.clone().unwrap_or_else(|| memory_limit.to_string()),
            in_flight_limit: fixed.in_flight_limit.clone().unwrap_or_else(|| in_flight_limit.to_string()),
            bulk_max_items: fixed.bulk_max_items.unwrap_or(bulk_max_items),
            assignment: fixed.assignment.unwrap_or(assignment),
            rate: fixed.rate.unwrap_or(rate),
            padding: fixed.padding.unwrap_or(padding),
            transactional: fixed.transactional.unwrap_or(transactional),
            aborted: fixed.aborted.unwrap_or(aborted),
            dying: fixed.dying.unwrap_or(dying),
            compaction: fixed.compaction.unwrap_or(compaction),
            busy: fixed.busy.unwrap_or(busy),
            faults: fixed.faults.clone(),
        }
    }

    /// Whether this fault may strike.
    pub fn allows(&self, fault: Fault) -> bool {
        (self.faults.is_empty() || self.faults.contains(&fault)) && (self.busy || fault != Fault::BusyCores)
    }
}

impl std::fmt::Display for Conditions {
    /// Prints the conditions as the flags that fix them.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let assignment = self.assignment.to_possible_value();
        write!(
            out,
            "--memory-limit {} --in-flight-limit {} --bulk-max-items {} --assignment {} --rate {} --padding {} --transactional {} \
             --aborted {} --dying {} --compaction {} --busy {}",
            self.memory_limit,
            self.in_flight_limit,
            self.bulk_max_items,
            assignment.as_ref().map_or("", |value| value.get_name()),
            self.rate,
            self.padding,
            self.transactional,
            self.aborted,
            self.dying,
            self.compaction,
            self.busy,
        )?;
        let names: Vec<String> = self
            .faults
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_string())
            .collect();
        if names.is_empty() { Ok(()) } else { write!(out, " --faults {}", names.join(",")) }
    }
}

/// Pseudo-random numbers that follow from a seed (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound
    }

    /// Returns one of the values.
    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        fixed: FixedConditions,
    }

    fn draw(seed: u64, flags: &str) -> Conditions {
        Conditions::draw(seed, &Flags::parse_from(["chaos"].into_iter().chain(flags.split_whitespace())).fixed)
    }

    #[test]
    fn the_seed_of_the_test_run_draws_every_condition() {
        let Conditions {
            memory_limit,
            in_flight_limit,
            bulk_max_items,
            transactional,
            aborted,
            dying,
            compaction,
            busy,
            ..
        } = draw(6, "");
        assert_eq!(
            (memory_limit.as_str(), in_flight_limit.as_str(), bulk_max_items),
            (LEAST_MEMORY_LIMIT, LEAST_IN_FLIGHT_LIMIT, 1)
        );
        assert!(transactional > 1 && aborted > 0 && dying && compaction && busy);
    }

    #[test]
    fn a_flag_fixes_its_condition_and_changes_no_other() {
        let mut fixed = draw(6, "--aborted 99");
        assert_eq!(fixed.aborted, 99);
        fixed.aborted = draw(6, "").aborted;
        assert_eq!(fixed.to_string(), draw(6, "").to_string());
    }

    #[test]
    fn printed_conditions_are_flags_that_draw_the_same_with_any_seed() {
        for seed in 0..50 {
            let printed = draw(seed, "--faults kill-process,silent-kafka").to_string();
            assert_eq!(draw(seed + 1, &printed).to_string(), printed);
        }
    }
}
