//! Medians, spreads and percentiles: the only statistics that a handful of noisy runs carries.

use std::fmt;

/// The runs of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Summary {
    /// Of all values that are numbers; `None` where there is none.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// Of many: the quartiles stand for the lowest and the highest, which would say little.
    pub(crate) fn quartiles(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let [min, max] = [0.25, 0.75].map(|share| percentile(&sorted, share));
        Some(Self { min: min?, max: max?, ..Self::of(sorted)? })
    }
}

impl Summary {
    /// As a number of things: without decimals.
    pub(crate) fn whole(&self) -> String {
        let [median, min, max] = [self.median, self.min, self.max].map(|value| grouped(&format!("{value:.0}")));
        spread(&median, &min, &max)
    }
}

impl fmt::Display for Summary {
    /// `median (min–max)`, or the median alone where they agree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, min, max] = [self.median, self.min, self.max].map(number);
        f.write_str(&spread(&median, &min, &max))
    }
}

fn spread(median: &str, min: &str, max: &str) -> String {
    if min == max { median.to_owned() } else { format!("{median} ({min}–{max})") }
}

/// A cell of a table: the summary, or a dash where there is none.
pub(crate) fn cell(summary: Option<Summary>) -> String {
    summary.map_or_else(|| "–".to_owned(), |summary| summary.to_string())
}

/// A number of things, thousands with commas.
pub(crate) fn whole(count: usize) -> String {
    grouped(&count.to_string())
}

/// The value below which a share of the sorted values lies (nearest rank); `None` where there is none.
pub(crate) fn percentile<T: Copy>(sorted: &[T], share: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank, capped by the length")]
    let rank = (share.clamp(0.0, 1.0) * count(sorted.len())).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(last)).copied()
}

/// A count as a floating-point number. Exact below 2^53.
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub(crate) fn count(count: usize) -> f64 {
    count as f64
}

/// See [`count`].
#[expect(clippy::cast_precision_loss, reason = "no count here comes near 2^53")]
pub(crate) fn count64(count: u64) -> f64 {
    count as f64
}

/// Three significant digits, thousands with commas: `52,100`, `16.4`, `0.973`.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size >= 99.95 {
        return grouped(&format!("{value:.0}"));
    }
    let decimals = if size >= 9.995 {
        1
    } else if size >= 0.9995 {
        2
    } else {
        3
    };
    format!("{value:.decimals$}")
}

/// Commas between thousands.
pub(crate) fn grouped(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_an_outlier_moves_only_the_spread() {
        let odd = Summary::of([3.0, 1.0, 1000.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 1000.0));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]), Some(Summary { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Summary::of([7.0]).unwrap(), Summary { median: 7.0, min: 7.0, max: 7.0 });
    }

    #[test]
    fn of_many_the_quartiles_are_the_spread() {
        let many = (1..=99).map(f64::from).chain([1e6]);
        assert_eq!(Summary::quartiles(many), Some(Summary { median: 50.5, min: 25.0, max: 75.0 }));
        assert_eq!(Summary::quartiles([f64::NAN]), None);
    }

    #[test]
    fn what_is_no_number_does_not_count() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Summary::of([f64::NAN, 2.0]), Summary::of([2.0]));
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50));
        assert_eq!(percentile(&hundred, 0.99), Some(99));
        assert_eq!(percentile(&hundred, 0.999), Some(100));
        assert_eq!(percentile(&hundred, 0.0), Some(1));
        assert_eq!(percentile(&hundred, 7.0), Some(100));
        assert_eq!(percentile(&[5], 0.5), Some(5));
        assert_eq!(percentile::<u32>(&[], 0.5), None);
    }

    #[test]
    fn numbers_have_three_digits_and_thousands_commas() {
        assert_eq!(number(52_123.4), "52,123");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(-1_234.0), "-1,234");
        assert_eq!(number(999.0), "999");
        assert_eq!(number(99.96), "100");
        assert_eq!(number(16.44), "16.4");
        assert_eq!(number(1.0), "1.00");
        assert_eq!(number(0.9734), "0.973");
        assert_eq!(number(f64::NAN), "–");
    }

    #[test]
    fn a_spread_is_shown_where_there_is_one() {
        assert_eq!(Summary::of([10.0, 11.0, 12.0]).unwrap().to_string(), "11.0 (10.0–12.0)");
        assert_eq!(Summary::of([10.0, 10.01]).unwrap().to_string(), "10.0");
        assert_eq!(Summary::of([9.0, 10_000.0]).unwrap().whole(), "5,004 (9–10,000)");
        assert_eq!(
            (cell(Summary::of([5.0])), cell(None), whole(10_000)),
            ("5.00".to_owned(), "–".to_owned(), "10,000".to_owned())
        );
    }
}
