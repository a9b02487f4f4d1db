//! The schedule of faults. Pure: a seed gives the same faults every time.

use std::fmt;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

/// The processes that can have a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Victim {
    Hub,
    /// One of the agents, by its index in [`AGENTS`].
    Agent(usize),
    Foreign,
}

/// Name and role of each agent: two of every role.
pub(crate) const AGENTS: [(&str, &str); 8] = [
    ("queue-1", "queue"),
    ("queue-2", "queue"),
    ("resolver-1", "resolver"),
    ("resolver-2", "resolver"),
    ("engine-1", "engine"),
    ("engine-2", "engine"),
    ("provider-1", "provider"),
    ("provider-2", "provider"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `kill -9`, then a restart.
    Kill,
    /// SIGTERM, then a restart after the end.
    Stop,
    /// SIGSTOP and SIGCONT, for less time than it takes to detect a loss.
    Blink,
    /// SIGSTOP and SIGCONT, for more time than any silence that is tolerated.
    Freeze,
    /// Nothing passes between its host and the control plane's.
    Partition,
    /// Packets from it are lost.
    LosesSent,
    /// Packets to it are lost.
    LosesReceived,
}

/// One fault: `pause` after the previous one, it takes `victim` away for `away`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fault {
    pub(crate) pause: Duration,
    pub(crate) victim: Victim,
    pub(crate) kind: Kind,
    pub(crate) away: Duration,
}

/// The longest time for which a process is stopped or cut off.
pub(crate) const LONGEST_FREEZE: Duration = Duration::from_secs(18);

impl Fault {
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let victim = match rng.random_range(0..12) {
            0 | 1 => Victim::Hub,
            2 => Victim::Foreign,
            _ => Victim::Agent(rng.random_range(0..AGENTS.len())),
        };
        let kind = match rng.random_range(0..14) {
            0..4 => Kind::Kill,
            4..6 => Kind::Stop,
            6..9 => Kind::Blink,
            // A long freeze of the control plane would find no errors and only make the test longer. It also cannot be
            // cut off: the others are cut off from it.
            _ if victim == Victim::Hub => Kind::Blink,
            9 => Kind::Freeze,
            10 | 11 => Kind::Partition,
            12 => Kind::LosesSent,
            _ => Kind::LosesReceived,
        };
        let away_ms = match kind {
            Kind::Kill | Kind::Stop => rng.random_range(0..4_000),
            Kind::Blink => rng.random_range(50..3_000),
            Kind::Freeze => rng.random_range(6_000..18_000),
            Kind::Partition | Kind::LosesSent | Kind::LosesReceived if rng.random_bool(0.5) => {
                rng.random_range(200..3_000)
            }
            Kind::Partition | Kind::LosesSent | Kind::LosesReceived => rng.random_range(6_000..18_000),
        };
        let pause = Duration::from_millis(rng.random_range(200..2_000));
        Self { pause, victim, kind, away: Duration::from_millis(away_ms) }
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Agent(number) => f.write_str(AGENTS[*number].0),
            Self::Foreign => f.write_str("foreign provider"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Stop => "graceful stop",
            Self::Blink => "stopped for a moment",
            Self::Freeze => "stopped for long",
            Self::Partition => "partition",
            Self::LosesSent => "not heard",
            Self::LosesReceived => "not hearing",
        })
    }
}
