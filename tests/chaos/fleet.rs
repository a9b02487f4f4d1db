//! The processes: started, hurt, and all well again in the end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::schedule::{AGENTS, Fault, Kind, Victim};
use crate::support::{PATIENCE, Process, Sandbox, example, free_port, python};

/// How long a graceful stop may take: the drain of the tasks at hand, and the rest.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const DRAIN: &str = "5s";

/// What is wrong with a process at the moment.
enum Trouble {
    /// Ended; to be started again then.
    Down { until: Instant },
    /// Asked to end; then to be down for so long.
    Ending { since: Instant, away: Duration },
    /// Stopped; to go on then.
    Stopped { until: Instant },
}

pub(crate) struct Fleet {
    running: BTreeMap<Victim, Process>,
    troubles: BTreeMap<Victim, Trouble>,
    pub(crate) faults: BTreeMap<(Kind, &'static str), u64>,
    /// What must not happen and did.
    pub(crate) complaints: Vec<String>,
    port: u16,
    pub(crate) url: String,
    pub(crate) sandbox: Sandbox,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let (sandbox, port) = (Sandbox::new(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let mut fleet = Self {
            running: BTreeMap::new(),
            troubles: BTreeMap::new(),
            faults: BTreeMap::new(),
            complaints: Vec::new(),
            port,
            url,
            sandbox,
        };
        fleet.begin(Victim::Hub);
        let all = (0..AGENTS.len()).map(Victim::Agent).chain([Victim::Foreign]);
        all.for_each(|victim| fleet.begin(victim));
        fleet
    }

    fn begin(&mut self, victim: Victim) {
        let process = match victim {
            Victim::Hub => {
                let store = format!("sqlite:{}", self.sandbox.path().join("hub.db").display());
                let mut hub = self.sandbox.start(&["hub", "--port", &self.port.to_string(), "--store", &store]);
                hub.said("ready at ", PATIENCE);
                hub
            }
            Victim::Agent(number) => {
                let (name, role) = AGENTS[number];
                let arguments =
                    ["agent", "--role", role, "--name", name, "--hub-url", &self.url, "--drain-timeout", DRAIN];
                self.sandbox.start(&arguments)
            }
            Victim::Foreign => {
                let mut command = python(&["-u", &example("providers/python_provider.py")]);
                command.env("GLEITZEIT_HUB_URL", &self.url).env_remove("GLEITZEIT_TOKEN");
                self.sandbox.start_command(command)
            }
        };
        self.running.insert(victim, process);
    }

    /// Does it, unless the victim has trouble already.
    pub(crate) fn hurt(&mut self, fault: Fault) {
        let Fault { victim, kind, away, .. } = fault;
        if self.troubles.contains_key(&victim) {
            return;
        }
        let Some(process) = self.running.get_mut(&victim) else { return };
        // A stop that takes the provider in another language away is as good as a kill: it has no shutdown of its own.
        let kind = if victim == Victim::Foreign && kind == Kind::Stop { Kind::Kill } else { kind };
        let now = Instant::now();
        let trouble = match kind {
            Kind::Kill => {
                process.kill_9();
                self.running.remove(&victim);
                Trouble::Down { until: now + away }
            }
            Kind::Stop => {
                process.signal(Signal::TERM);
                Trouble::Ending { since: now, away }
            }
            Kind::Blink | Kind::Freeze => {
                process.signal(Signal::STOP);
                Trouble::Stopped { until: now + away }
            }
        };
        self.troubles.insert(victim, trouble);
        let who = match victim {
            Victim::Hub => "hub",
            Victim::Foreign => "foreign provider",
            Victim::Agent(number) => AGENTS[number].1,
        };
        *self.faults.entry((kind, who)).or_default() += 1;
    }

    /// Heals what is due; with `all`, everything that can be healed now.
    pub(crate) fn heal(&mut self, all: bool) {
        let now = Instant::now();
        for victim in self.troubles.keys().copied().collect::<Vec<_>>() {
            match self.troubles[&victim] {
                Trouble::Down { until } if all || now >= until => {
                    self.troubles.remove(&victim);
                    self.begin(victim);
                }
                Trouble::Stopped { until } if all || now >= until => {
                    self.troubles.remove(&victim);
                    self.running[&victim].signal(Signal::CONT);
                }
                Trouble::Ending { since, away } => self.ending(victim, since, away),
                Trouble::Down { .. } | Trouble::Stopped { .. } => {}
            }
        }
        for (victim, process) in &mut self.running {
            if !self.troubles.contains_key(victim) && !process.is_running() {
                self.complaints.push(format!("{victim} ended by itself:\n{}", process.stderr()));
                self.troubles.insert(*victim, Trouble::Down { until: now });
            }
        }
    }

    fn ending(&mut self, victim: Victim, since: Instant, away: Duration) {
        let process = self.running.get_mut(&victim).expect("it is ending, not ended");
        if process.is_running() {
            if since.elapsed() > STOP_WITHIN {
                self.complaints.push(format!("{victim} does not end on SIGTERM:\n{}", process.stderr()));
                process.kill_9();
            }
            return;
        }
        let ended = self.running.remove(&victim).expect("it is there").wait(PATIENCE);
        if ended.status.code() != Some(0) {
            self.complaints.push(format!("{victim} did not end well on SIGTERM: {ended}"));
        }
        self.troubles.insert(victim, Trouble::Down { until: Instant::now() + away });
    }

    /// Whether all are as they should be.
    pub(crate) fn is_well(&self) -> bool {
        self.troubles.is_empty()
    }

    /// Open files and memory of each process, to be looked at for growth.
    pub(crate) fn usage(&self) -> BTreeMap<String, Usage> {
        self.running.iter().map(|(victim, process)| (victim.to_string(), Usage::of(process.pid()))).collect()
    }

    /// Ends all, agents first; whoever does not end well is complained of.
    pub(crate) fn finish(mut self) -> (Vec<String>, Sandbox) {
        let hub = self.running.remove(&Victim::Hub);
        drop(self.running.remove(&Victim::Foreign));
        for process in self.running.values() {
            process.signal(Signal::TERM);
        }
        let all = std::mem::take(&mut self.running).into_iter();
        let mut ended: Vec<_> = all.map(|(victim, process)| (victim, process.wait(PATIENCE))).collect();
        ended.extend(hub.map(|hub| (Victim::Hub, hub.terminate(PATIENCE))));
        for (victim, ended) in ended {
            if ended.status.code() != Some(0) {
                self.complaints.push(format!("{victim} did not end well in the end: {ended}"));
            }
        }
        (self.complaints, self.sandbox)
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) files: usize,
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
}

impl Usage {
    fn of(pid: i32) -> Self {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Self { files, resident_kib: number("VmRSS:"), threads: number("Threads:") }
    }
}
