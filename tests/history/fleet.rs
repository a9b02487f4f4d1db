//! The processes that are killed and frozen: a control plane and two agents with all roles.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::support::{PATIENCE, Process, Sandbox, free_port};

const HUB: &str = "control plane";
const ALL: [&str; 3] = [HUB, "agent-1", "agent-2"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, then a restart.
    Killed,
    /// SIGSTOP and SIGCONT.
    Frozen,
}

pub(crate) struct Fleet {
    running: BTreeMap<&'static str, Process>,
    troubles: BTreeMap<&'static str, (Fault, Instant)>,
    pub(crate) faults: BTreeMap<(&'static str, Fault), u32>,
    /// Violations that were observed.
    pub(crate) complaints: Vec<String>,
    port: u16,
    pub(crate) url: String,
    pub(crate) sandbox: Sandbox,
}

impl Fleet {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let mut fleet = Self {
            running: BTreeMap::new(),
            troubles: BTreeMap::new(),
            faults: BTreeMap::new(),
            complaints: Vec::new(),
            port,
            url: format!("http://127.0.0.1:{port}"),
            sandbox: Sandbox::new(),
        };
        ALL.into_iter().for_each(|name| fleet.begin(name));
        fleet
    }

    fn begin(&mut self, name: &'static str) {
        let process = if name == HUB {
            let (port, store) = (self.port.to_string(), self.sandbox.path().join("hub.db"));
            let store = format!("sqlite:{}", store.display());
            let mut hub = self.sandbox.start(&["hub", "--port", &port, "--store", &store, "--no-auth"]);
            hub.said("ready at ", PATIENCE);
            hub
        } else {
            self.sandbox.start(&["agent", "--role", "all", "--name", name, "--hub-url", &self.url])
        };
        self.running.insert(name, process);
    }

    /// Kills or freezes one process for a while, unless it already has a fault.
    pub(crate) fn hurt(&mut self, rng: &mut StdRng) {
        let name = ALL[rng.random_range(0..ALL.len())];
        let fault = if rng.random_bool(0.6) { Fault::Killed } else { Fault::Frozen };
        let away = match fault {
            Fault::Killed => rng.random_range(0..2_000),
            // Sometimes for longer than the timeouts of owners and providers.
            Fault::Frozen if rng.random_bool(0.2) => rng.random_range(5_500..7_000),
            Fault::Frozen => rng.random_range(50..2_500),
        };
        if self.troubles.contains_key(name) {
            return;
        }
        let Some(process) = self.running.get_mut(name) else { return };
        match fault {
            Fault::Killed => process.kill_9(),
            Fault::Frozen => process.signal(Signal::STOP),
        }
        if fault == Fault::Killed {
            self.running.remove(name);
        }
        self.troubles.insert(name, (fault, Instant::now() + Duration::from_millis(away)));
        *self.faults.entry((name, fault)).or_default() += 1;
    }

    /// Ends the faults whose time is over; with `all`, every one.
    pub(crate) fn heal(&mut self, all: bool) {
        let now = Instant::now();
        for (name, (fault, until)) in self.troubles.clone() {
            if !all && now < until {
                continue;
            }
            self.troubles.remove(name);
            match fault {
                Fault::Killed => self.begin(name),
                Fault::Frozen => self.running[name].signal(Signal::CONT),
            }
        }
        for name in ALL {
            let Some(process) = self.running.get_mut(name).filter(|_| !self.troubles.contains_key(name)) else {
                continue;
            };
            if !process.is_running() {
                let log = process.stderr();
                self.complaints.push(format!("{name} ended by itself:\n{log}"));
                self.running.remove(name);
                self.begin(name);
            }
        }
    }

    /// Ends all processes; complains of those that do not end well.
    pub(crate) fn finish(mut self) -> Vec<String> {
        let hub = self.running.remove(HUB);
        for (name, process) in std::mem::take(&mut self.running).into_iter().chain(hub.map(|hub| (HUB, hub))) {
            let ended = process.terminate(PATIENCE);
            if ended.status.code() != Some(0) {
                self.complaints.push(format!("{name} did not end well: {ended}"));
            }
        }
        self.complaints
    }
}
