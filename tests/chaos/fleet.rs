//! The processes under test: starts them, injects faults, and repairs everything in the end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::hosts::{Cut, Hosts, near};
use crate::schedule::{AGENTS, Fault, Kind, Victim};
use crate::support::{PATIENCE, Process, Sandbox, example, free_port, python};

/// How long a graceful stop may take, including the drain of running tasks.
const STOP_WITHIN: Duration = Duration::from_secs(20);
const DRAIN: &str = "5s";
/// The host after those of the agents.
const FOREIGN_HOST: usize = AGENTS.len();
pub(crate) const HOSTS: usize = AGENTS.len() + 1;

/// The host of a victim; the control plane runs on the tests' own host.
fn host_of(victim: Victim) -> Option<usize> {
    match victim {
        Victim::Hub => None,
        Victim::Agent(number) => Some(number),
        Victim::Foreign => Some(FOREIGN_HOST),
    }
}

/// The current fault of a process.
enum Trouble {
    /// Ended; restarted at `until`.
    Down { until: Instant },
    /// Asked to end; then down for `away`.
    Ending { since: Instant, away: Duration },
    /// Stopped by a signal; continued at `until`.
    Stopped { until: Instant },
    /// Its network cable is cut; repaired at `until`.
    CutOff { until: Instant, cut: Cut },
}

pub(crate) struct Fleet {
    /// One host for each agent and the provider in another language. Without them everything runs on this host, and
    /// processes that would be cut off are stopped for a moment instead.
    hosts: Option<Hosts>,
    running: BTreeMap<Victim, Process>,
    troubles: BTreeMap<Victim, Trouble>,
    pub(crate) faults: BTreeMap<(Kind, &'static str), u64>,
    /// Violations that were observed.
    pub(crate) complaints: Vec<String>,
    port: u16,
    pub(crate) url: String,
    pub(crate) sandbox: Sandbox,
}

impl Fleet {
    pub(crate) fn start(hosts: Option<Hosts>) -> Self {
        let (sandbox, port) = (Sandbox::new(), free_port());
        let url = format!("http://127.0.0.1:{port}");
        let mut fleet = Self {
            hosts,
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
                let port = self.port.to_string();
                let mut arguments = vec!["hub", "--port", &port, "--store", &store];
                if self.hosts.is_some() {
                    arguments.extend(["--host", "0.0.0.0", "--insecure"]);
                }
                let mut hub = self.sandbox.start(&arguments);
                hub.said("ready at ", PATIENCE);
                hub
            }
            Victim::Agent(number) => {
                let (name, role) = AGENTS[number];
                let url = self.url_for(number);
                let arguments = ["agent", "--role", role, "--name", name, "--hub-url", &url, "--drain-timeout", DRAIN];
                self.on_host(number, || self.sandbox.start(&arguments))
            }
            Victim::Foreign => {
                let mut command = python(&["-u", &example("providers/python_provider.py")]);
                command.env("GLEITZEIT_HUB_URL", self.url_for(FOREIGN_HOST)).env_remove("GLEITZEIT_TOKEN");
                self.on_host(FOREIGN_HOST, || self.sandbox.start_command(command))
            }
        };
        self.running.insert(victim, process);
    }

    fn on_host(&self, host: usize, start: impl FnOnce() -> Process + Send) -> Process {
        match &self.hosts {
            Some(hosts) => hosts.on(host, start),
            None => start(),
        }
    }

    /// The control plane's URL as seen from a host.
    fn url_for(&self, host: usize) -> String {
        if self.hosts.is_some() { format!("http://{}:{}", near(host), self.port) } else { self.url.clone() }
    }

    /// Injects a fault, unless the victim already has one.
    pub(crate) fn hurt(&mut self, fault: Fault) {
        let Fault { victim, kind, away, .. } = fault;
        if self.troubles.contains_key(&victim) {
            return;
        }
        let Some(process) = self.running.get_mut(&victim) else { return };
        // Stopping the provider in another language counts as a kill: it has no shutdown of its own.
        let kind = if victim == Victim::Foreign && kind == Kind::Stop { Kind::Kill } else { kind };
        let cable = self.hosts.as_ref().zip(host_of(victim));
        let kind = if cable.is_none() && kind.cut().is_some() { Kind::Blink } else { kind };
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
            Kind::Partition | Kind::LosesSent | Kind::LosesReceived => {
                let (Some((hosts, host)), Some(cut)) = (cable, kind.cut()) else { return };
                hosts.cut(host, cut);
                Trouble::CutOff { until: now + away, cut }
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

    /// Repairs every fault whose time is over; with `all`, everything that can be repaired now.
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
                Trouble::CutOff { until, cut } if all || now >= until => {
                    self.troubles.remove(&victim);
                    if let (Some(hosts), Some(host)) = (&self.hosts, host_of(victim)) {
                        hosts.heal(host, cut);
                    }
                }
                Trouble::Ending { since, away } => self.ending(victim, since, away),
                Trouble::Down { .. } | Trouble::Stopped { .. } | Trouble::CutOff { .. } => {}
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
        // A process that was only just started, and had written nothing yet, may end by the signal like any other.
        let had_not_begun = ended.status.signal() == Some(Signal::TERM.as_raw()) && ended.stderr.is_empty();
        if ended.status.code() != Some(0) && !had_not_begun {
            self.complaints.push(format!("{victim} did not end well on SIGTERM: {ended}"));
        }
        self.troubles.insert(victim, Trouble::Down { until: Instant::now() + away });
    }

    /// Whether no process has a fault.
    pub(crate) fn is_well(&self) -> bool {
        self.troubles.is_empty()
    }

    /// Open files and memory of each process, to detect growth.
    pub(crate) fn usage(&self) -> BTreeMap<String, Usage> {
        self.running.iter().map(|(victim, process)| (victim.to_string(), Usage::of(process.pid()))).collect()
    }

    /// Ends all processes, agents first; complains of those that do not end well.
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

impl Kind {
    /// The effect of this fault on its victim's cable.
    fn cut(self) -> Option<Cut> {
        match self {
            Self::Partition => Some(Cut::Both),
            Self::LosesSent => Some(Cut::Up),
            Self::LosesReceived => Some(Cut::Down),
            Self::Kill | Self::Stop | Self::Blink | Self::Freeze => None,
        }
    }
}

/// More than any of these processes needs once all runs have ended.
const MOST: Usage = Usage { files: 100, resident_kib: 200 * 1024, threads: 40, children: 10 };

/// The resources of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) files: usize,
    pub(crate) resident_kib: u64,
    pub(crate) threads: u64,
    pub(crate) children: usize,
}

impl Usage {
    /// Whether it looks like a leak.
    pub(crate) fn is_too_much(&self) -> bool {
        let Self { files, resident_kib, threads, children } = *self;
        files > MOST.files || resident_kib > MOST.resident_kib || threads > MOST.threads || children > MOST.children
    }

    fn of(pid: i32) -> Self {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let of_thread = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).ok();
        let children = threads.filter_map(of_thread).map(|children| children.split_whitespace().count()).sum();
        Self { files, resident_kib: number("VmRSS:"), threads: number("Threads:"), children }
    }
}
