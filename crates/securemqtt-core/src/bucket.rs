//! A token bucket: the bound on work that strangers can cause.

/// Refills at a steady rate up to its size; every piece of work takes a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    size: u32,
    per_minute: u32,
    /// In parts of a token: [`TOKEN`] make one.
    level: u64,
    at_ms: u64,
}

/// So fine that a bucket of one token a minute fills by one part a millisecond.
const TOKEN: u64 = 60_000;

impl TokenBucket {
    /// A full bucket that refills by so many tokens a second.
    pub const fn new(size: u32, per_second: u32) -> Self {
        Self::per_minute(size, per_second * 60)
    }

    /// A full bucket that refills by so many tokens a minute.
    pub const fn per_minute(size: u32, per_minute: u32) -> Self {
        Self { size, per_minute, level: size as u64 * TOKEN, at_ms: 0 }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now_ms: u64) -> bool {
        self.take_up_to(1, now_ms) == 1
    }

    /// Takes so many tokens, or as many as there are; returns how many.
    pub fn take_up_to(&mut self, count: u32, now_ms: u64) -> u32 {
        let taken = count.min(self.level(now_ms));
        self.level -= u64::from(taken) * TOKEN;
        taken
    }

    /// How many tokens there are.
    pub fn level(&mut self, now_ms: u64) -> u32 {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let full = u64::from(self.size) * TOKEN;
        self.level = self.level.saturating_add(elapsed.saturating_mul(u64::from(self.per_minute))).min(full);
        self.at_ms = self.at_ms.max(now_ms);
        u32::try_from(self.level / TOKEN).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_bounded_and_the_rate_holds() {
        let mut bucket = TokenBucket::new(3, 2);
        let burst = (0..10).filter(|_| bucket.take(1000)).count();
        assert_eq!(burst, 3);
        let later = (1..=40).filter(|n| bucket.take(1000 + n * 100)).count();
        assert_eq!(later, 8, "2 a second for 4 seconds");
    }

    #[test]
    fn many_are_taken_as_far_as_there_are_some() {
        let mut bucket = TokenBucket::new(500, 250);
        assert_eq!((bucket.take_up_to(300, 0), bucket.level(0)), (300, 200));
        assert_eq!((bucket.take_up_to(300, 0), bucket.take_up_to(1, 0)), (200, 0));
        assert_eq!((bucket.level(100), bucket.take_up_to(300, 1_000), bucket.level(1_000)), (25, 250, 0));
    }

    #[test]
    fn a_slow_rate_holds_however_often_it_is_asked() {
        let mut bucket = TokenBucket::per_minute(1, 6);
        assert!(bucket.take(0));
        assert_eq!((1..=60_000).filter(|ms| bucket.take(*ms)).count(), 6);
    }
}
