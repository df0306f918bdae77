//! When to learn by itself: a pure function of readings and the time, with hysteresis.
//!
//! Responsible for: starting only after everything has been quiet for a while, stopping at once when the person or the
//! machine needs the processor, and a sentence that says why.
//! Not responsible for: reading the system (`sources`), what is learned, or pausing for an answer (the trainer does).
//!
//! Tuning: `idle` is how long the person must be away, `settle` how long all conditions must hold without a break before
//! a start; `load` starts, `load_to_stop` ends (the trainer itself adds about one thread). A source that cannot be read
//! counts as busy.

use std::fmt;
use std::time::Duration;

/// Where the power comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// The mains, or a machine without a battery.
    Mains,
    /// A battery.
    Battery,
    /// It cannot be told.
    Unreadable,
}

/// What was read at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    /// Since the last answer or question; `None` when there was none since the daemon's start.
    pub own: Option<Duration>,
    /// Since the person last touched the machine; `None` cannot be told.
    pub user: Option<Duration>,
    /// One-minute load over the number of cores, without the trainer; `None` cannot be told.
    pub load_per_core: Option<f64>,
    /// Share of the last ten seconds in which some process waited for memory, 0 to 1; `None` cannot be told.
    pub memory_pressure: Option<f64>,
    /// Power.
    pub power: Power,
    /// The person's switch.
    pub paused: bool,
}

/// Thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The person is away from this on.
    pub idle: Duration,
    /// Quiet for this long before a start.
    pub settle: Duration,
    /// Load a core below which a start is possible.
    pub load: f64,
    /// Load a core from which learning stops.
    pub load_to_stop: f64,
    /// Memory pressure from which nothing starts and learning stops.
    pub memory_pressure: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            settle: Duration::from_secs(60),
            load: 0.5,
            load_to_stop: 0.9,
            memory_pressure: 0.1,
        }
    }
}

/// Why not now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// The person's switch.
    Paused,
    /// Something cannot be read.
    Unreadable(&'static str),
    /// On battery.
    Battery,
    /// Memory is short.
    Memory,
    /// A chat was going on.
    Chatting,
    /// The person is there.
    Present,
    /// Others need the processor.
    Busy(f64),
    /// Quiet, but not for long enough.
    Settling(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("paused by you"),
            Self::Unreadable(what) => write!(f, "it cannot be told {what}, so the machine counts as busy"),
            Self::Battery => f.write_str("the machine runs on battery"),
            Self::Memory => f.write_str("memory is short"),
            Self::Chatting => f.write_str("a chat was going on just now"),
            Self::Present => f.write_str("you are at the machine"),
            Self::Busy(load) => write!(f, "the machine is busy: load {load:.1} a core"),
            Self::Settling(_) => f.write_str("the machine is idle; it starts within a minute"),
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// Learn.
    Learn,
    /// Do not, or stop.
    Wait(Reason),
}

/// The policy with its memory: since when all is quiet.
#[derive(Debug, Clone)]
pub struct Policy {
    limits: Limits,
    quiet_since: Option<Duration>,
    learning: bool,
}

impl Policy {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, quiet_since: None, learning: false }
    }

    /// The verdict at `now`, on a clock that only moves forward.
    pub fn decide(&mut self, snapshot: &Snapshot, now: Duration) -> Verdict {
        if let Some(reason) = self.against(snapshot) {
            self.quiet_since = None;
            self.learning = false;
            return Verdict::Wait(reason);
        }
        let quiet = now.saturating_sub(*self.quiet_since.get_or_insert(now));
        if !self.learning && quiet < self.limits.settle {
            return Verdict::Wait(Reason::Settling(self.limits.settle - quiet));
        }
        self.learning = true;
        Verdict::Learn
    }

    fn against(&self, s: &Snapshot) -> Option<Reason> {
        let Limits { idle, load, load_to_stop, memory_pressure, .. } = self.limits;
        let load_limit = if self.learning { load_to_stop } else { load };
        if s.paused {
            return Some(Reason::Paused);
        }
        match s.power {
            Power::Mains => {}
            Power::Battery => return Some(Reason::Battery),
            Power::Unreadable => return Some(Reason::Unreadable("whether there is mains power")),
        }
        if s.own.is_some_and(|own| own < idle) {
            return Some(Reason::Chatting);
        }
        match s.user {
            None => return Some(Reason::Unreadable("whether you are there")),
            Some(user) if user < idle => return Some(Reason::Present),
            Some(_) => {}
        }
        match s.memory_pressure {
            None => return Some(Reason::Unreadable("how much memory is free")),
            Some(pressure) if pressure >= memory_pressure => return Some(Reason::Memory),
            Some(_) => {}
        }
        match s.load_per_core {
            None => Some(Reason::Unreadable("how busy the processor is")),
            Some(found) if found >= load_limit => Some(Reason::Busy(found)),
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUIET: Snapshot = Snapshot {
        own: None,
        user: Some(Duration::from_secs(3600)),
        load_per_core: Some(0.1),
        memory_pressure: Some(0.0),
        power: Power::Mains,
        paused: false,
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn starts_after_a_quiet_while_and_stops_at_once() {
        let mut policy = Policy::new(Limits::default());
        assert_eq!(policy.decide(&QUIET, at(0)), Verdict::Wait(Reason::Settling(at(60))));
        assert_eq!(policy.decide(&QUIET, at(59)), Verdict::Wait(Reason::Settling(at(1))));
        assert_eq!(policy.decide(&QUIET, at(60)), Verdict::Learn);
        let back = Snapshot { user: Some(at(0)), ..QUIET };
        assert_eq!(policy.decide(&back, at(61)), Verdict::Wait(Reason::Present));
        assert_eq!(policy.decide(&QUIET, at(62)), Verdict::Wait(Reason::Settling(at(60))));
    }

    #[test]
    fn every_hindrance_is_told() {
        let cases = [
            (Snapshot { paused: true, ..QUIET }, "paused by you"),
            (Snapshot { power: Power::Battery, ..QUIET }, "battery"),
            (Snapshot { power: Power::Unreadable, ..QUIET }, "cannot be told"),
            (Snapshot { own: Some(at(10)), ..QUIET }, "chat"),
            (Snapshot { user: None, ..QUIET }, "cannot be told"),
            (Snapshot { user: Some(at(10)), ..QUIET }, "you are at"),
            (Snapshot { memory_pressure: None, ..QUIET }, "cannot be told"),
            (Snapshot { memory_pressure: Some(0.5), ..QUIET }, "memory is short"),
            (Snapshot { load_per_core: None, ..QUIET }, "cannot be told"),
            (Snapshot { load_per_core: Some(2.0), ..QUIET }, "load 2.0"),
        ];
        for (snapshot, words) in cases {
            let mut policy = Policy::new(Limits { settle: Duration::ZERO, ..Limits::default() });
            let Verdict::Wait(reason) = policy.decide(&snapshot, at(9)) else {
                panic!("{snapshot:?} should wait");
            };
            assert!(reason.to_string().contains(words), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn load_that_wavers_between_the_limits_does_not_flap(loads in proptest::collection::vec(0.5f64..0.89, 1..60)) {
            let mut policy = Policy::new(Limits::default());
            policy.decide(&QUIET, at(0));
            prop_assert_eq!(policy.decide(&QUIET, at(60)), Verdict::Learn);
            for (second, load) in (61..).zip(loads) {
                let snapshot = Snapshot { load_per_core: Some(load), ..QUIET };
                prop_assert_eq!(policy.decide(&snapshot, at(second)), Verdict::Learn);
            }
        }

        #[test]
        fn never_learns_before_all_was_quiet_for_the_whole_while(
            steps in proptest::collection::vec((1u64..40, any::<bool>()), 1..40)
        ) {
            let mut policy = Policy::new(Limits::default());
            let (mut now, mut quiet_from) = (0, None);
            for (step, quiet) in steps {
                now += step;
                let snapshot = if quiet { QUIET } else { Snapshot { load_per_core: Some(3.0), ..QUIET } };
                quiet_from = quiet.then(|| quiet_from.unwrap_or(now));
                let learns = policy.decide(&snapshot, at(now)) == Verdict::Learn;
                prop_assert_eq!(learns, quiet_from.is_some_and(|from| now - from >= 60));
            }
        }
    }
}
