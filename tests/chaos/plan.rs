//! What happens when and to whom: everything that the seed decides.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood 2014): the same seed gives the same plan on every machine.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Some of these.
    pub(super) fn among<T: Copy>(&mut self, all: &[T]) -> T {
        let count = u64::try_from(all.len()).unwrap();
        all[usize::try_from(self.roll() % count).unwrap()]
    }

    /// A pause of so many milliseconds.
    pub(super) fn pause(&mut self, milliseconds: Range<u64>) -> Duration {
        let width = milliseconds.end - milliseconds.start;
        Duration::from_millis(milliseconds.start + self.roll() % width)
    }
}

/// To whom it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Broker,
    Publisher(usize),
    Subscriber(usize),
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blow {
    /// kill -9, and a new start.
    Kill,
    /// TERM, and a new start.
    Restart,
    /// SIGSTOP, and SIGCONT after a while.
    Stop,
    /// Its connections end.
    Cut,
    /// Its network carries nothing for a while.
    Stall,
}

/// All that may happen, each as likely as its share in the list.
pub(super) fn possible(victims: &str, publishers: usize, subscribers: usize) -> Vec<(Victim, Blow)> {
    let all = victims == "all";
    let of = |name: &str| all || victims.split(',').any(|victim| victim == name);
    let mut possible = Vec::new();
    let clients = [("publisher", publishers), ("subscriber", subscribers)];
    for (name, count) in clients {
        for number in 0..count {
            let victim = if name == "publisher" { Victim::Publisher(number) } else { Victim::Subscriber(number) };
            if of(name) {
                // Twice: kills are what the long form counts.
                possible.extend([Blow::Kill, Blow::Kill, Blow::Restart].map(|blow| (victim, blow)));
            }
            if of("network") {
                possible.extend([Blow::Stop, Blow::Cut, Blow::Stall].map(|blow| (victim, blow)));
            }
        }
    }
    if of("broker") {
        possible.extend([Blow::Kill, Blow::Restart].map(|blow| (Victim::Broker, blow)));
    }
    assert!(!possible.is_empty(), "SECUREMQTT_CHAOS_VICTIMS: {victims} names nobody");
    possible
}

/// How often what happened to whom.
pub(super) type Tally = BTreeMap<(&'static str, Blow), usize>;

impl Victim {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Publisher(_) => "publisher",
            Self::Subscriber(_) => "subscriber",
        }
    }
}

/// What the environment asks for.
pub(super) struct Wishes {
    pub(super) seed: u64,
    pub(super) kills: usize,
    pub(super) time: Duration,
    pub(super) victims: Option<String>,
}

impl Wishes {
    pub(super) fn from_environment() -> Self {
        let kills = number("SECUREMQTT_CHAOS_KILLS");
        let seconds = number("SECUREMQTT_CHAOS_SECONDS").unwrap_or(if kills.is_some() { 3_600 } else { 20 });
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self {
            seed: number("SECUREMQTT_CHAOS_SEED").unwrap_or_else(clock),
            kills: kills.map_or(usize::MAX, |kills| usize::try_from(kills).unwrap()),
            time: Duration::from_secs(seconds),
            victims: std::env::var("SECUREMQTT_CHAOS_VICTIMS").ok(),
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

mod tests {
    use super::{Blow, Dice, Victim, possible};

    #[test]
    fn a_seed_decides_everything() {
        let possible = possible("all", 2, 2);
        let plan = |seed| {
            let mut dice = Dice::new(seed);
            let blows: Vec<_> = (0..100).map(|_| (dice.among(&possible), dice.pause(10..500))).collect();
            blows
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn only_those_named_are_hit() {
        let some = possible("subscriber,broker", 1, 1);
        assert!(some.contains(&(Victim::Broker, Blow::Kill)) && some.contains(&(Victim::Subscriber(0), Blow::Kill)));
        assert!(some.iter().all(|(victim, blow)| *victim != Victim::Publisher(0) && *blow != Blow::Cut));
    }
}
