//! A token bucket: the bound on work that strangers can cause.

/// Refills at a steady rate up to its size; every piece of work takes a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    size: u32,
    per_second: u32,
    /// Thousandths of a token.
    milli: u64,
    at_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub const fn new(size: u32, per_second: u32) -> Self {
        Self { size, per_second, milli: size as u64 * 1000, at_ms: 0 }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let full = u64::from(self.size) * 1000;
        self.milli = self.milli.saturating_add(elapsed.saturating_mul(u64::from(self.per_second))).min(full);
        self.at_ms = self.at_ms.max(now_ms);
        if self.milli < 1000 {
            return false;
        }
        self.milli -= 1000;
        true
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
}
