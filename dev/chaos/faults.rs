//! The faults, and how each is done to the world.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use super::proxy::Weather;
use super::world::{World, signal};

/// How long the index may stay blocked because the cluster is away.
const PATIENCE: Duration = Duration::from_secs(180);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    KillProcess,
    FreezeProcess,
    RestartProcess,
    CutElasticsearch,
    RefuseElasticsearch,
    SilentElasticsearch,
    HalfAnswers,
    SlowElasticsearch,
    CutKafka,
    RefuseKafka,
    SilentKafka,
    /// One leaves, and while its partitions are shared out another is killed.
    KillInRebalance,
    /// Brokers stand still while the cluster takes nothing.
    FreezeKafkaWhileBlocked,
    /// The index takes no writes.
    BlockIndex,
    /// All cores are busy with something else while other faults strike.
    BusyCores,
    KillElasticsearch,
    KillKafka,
}

/// The faults that take seconds, of which many fit into a round.
const QUICK: [Fault; 15] = [
    Fault::KillProcess,
    Fault::FreezeProcess,
    Fault::RestartProcess,
    Fault::CutElasticsearch,
    Fault::RefuseElasticsearch,
    Fault::SilentElasticsearch,
    Fault::HalfAnswers,
    Fault::SlowElasticsearch,
    Fault::CutKafka,
    Fault::RefuseKafka,
    Fault::SilentKafka,
    Fault::KillInRebalance,
    Fault::FreezeKafkaWhileBlocked,
    Fault::BlockIndex,
    Fault::BusyCores,
];

impl World<'_> {
    /// One fault after the other until the time is over; servers are hit once each in the middle of the round.
    pub fn torment(&mut self, length: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut servers = vec![(length / 3, Fault::KillElasticsearch), (length * 2 / 3, Fault::KillKafka)];
        servers.retain(|(_, fault)| self.conditions.allows(*fault));
        let allowed: Vec<Fault> = QUICK.into_iter().filter(|fault| self.conditions.allows(*fault)).collect();
        if allowed.is_empty() && servers.is_empty() {
            bail!("no fault is left");
        }
        // Each quick fault comes once before any comes again.
        let mut deck: Vec<Fault> = Vec::new();
        self.pause(3_000, 5_000);
        while began.elapsed() < length {
            if let Some(at) = servers.iter().position(|(due, _)| began.elapsed() >= *due) {
                let (_, fault) = servers.remove(at);
                self.strike(fault)?;
            } else {
                if deck.is_empty() {
                    deck = allowed.clone();
                }
                if !deck.is_empty() {
                    let fault = deck.swap_remove(self.numbers.below(deck.len()));
                    self.strike(fault)?;
                }
            }
            self.pause(300, 1_500);
            self.check_processes()?;
        }
        Ok(())
    }

    fn strike(&mut self, fault: Fault) -> anyhow::Result<()> {
        let victim = self.numbers.below(self.processes.len());
        match fault {
            Fault::KillProcess => {
                self.processes[victim].kill()?;
                self.processes[victim].wait()?;
                self.pause(0, 8_000);
                self.processes[victim] = self.start()?;
            }
            Fault::FreezeProcess => {
                signal(&self.processes[victim], "STOP")?;
                // Longer than the session now and then: its partitions go to others while it sleeps.
                self.pause(1_000, 14_000);
                signal(&self.processes[victim], "CONT")?;
            }
            Fault::RestartProcess => {
                signal(&self.processes[victim], "TERM")?;
                self.processes[victim].wait()?;
                self.processes[victim] = self.start()?;
            }
            Fault::CutElasticsearch => self.before_elasticsearch.cut(),
            Fault::RefuseElasticsearch => self.under(false, Weather::Refusing),
            Fault::SilentElasticsearch => self.under(false, Weather::Silent),
            Fault::HalfAnswers => self.under(false, Weather::Cutting),
            Fault::SlowElasticsearch => self.under(false, Weather::Slow),
            Fault::CutKafka => self.before_kafka.cut(),
            Fault::RefuseKafka => self.under(true, Weather::Refusing),
            Fault::SilentKafka => self.under(true, Weather::Silent),
            Fault::KillInRebalance => {
                let other = (victim + 1) % self.processes.len();
                signal(&self.processes[victim], "TERM")?;
                self.pause(0, 600);
                self.processes[other].kill()?;
                for index in [victim, other] {
                    self.processes[index].wait()?;
                    self.processes[index] = self.start()?;
                }
            }
            Fault::FreezeKafkaWhileBlocked => {
                // The server may be on its way up after having been killed: then there is nothing to freeze or to block.
                let blocked = self.cluster.block(self.index(), true).is_ok();
                let frozen = self.signal_server("kafka", "STOP");
                self.pause(1_000, 8_000);
                if frozen {
                    self.signal_server("kafka", "CONT");
                }
                self.pause(0, 2_000);
                if blocked {
                    self.unblock()?;
                }
            }
            Fault::BlockIndex => {
                let blocked = self.cluster.block(self.index(), true).is_ok();
                self.pause(1_000, 8_000);
                if blocked {
                    self.unblock()?;
                }
            }
            Fault::BusyCores => {
                let length = self.numbers.below(20_000) as u64 + 5_000;
                self.busy.keep_busy(Duration::from_millis(length));
            }
            Fault::KillElasticsearch => self.kill_server("elasticsearch"),
            Fault::KillKafka => self.kill_server("kafka"),
        }
        *self.survived.entry(fault).or_default() += 1;
        Ok(())
    }

    fn under(&mut self, kafka: bool, weather: Weather) {
        let pause = self.numbers.below(7_000) as u64 + 1_000;
        let proxy = if kafka { &self.before_kafka } else { &self.before_elasticsearch };
        proxy.set(weather);
        std::thread::sleep(Duration::from_millis(pause));
        proxy.set(Weather::Fair);
    }

    fn signal_server(&self, name: &str, signal: &str) -> bool {
        let mut command = Command::new(&self.options.services);
        command
            .args(["signal", name, signal])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Lets the index be written to again, waiting for a server that is away.
    fn unblock(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while let Err(problem) = self.cluster.block(self.index(), false) {
            if Instant::now() > until {
                return Err(problem);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    fn kill_server(&mut self, name: &'static str) {
        let services = self.options.services.clone();
        self.servers.push(std::thread::spawn(move || {
            for args in [["kill", name], ["up", name]] {
                let done = Command::new(&services).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
                if !done.success() {
                    bail!("{} {args:?} failed", services.display());
                }
            }
            Ok(())
        }));
    }
}
