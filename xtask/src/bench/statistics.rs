//! Medians and quantiles.

/// The value below which the share `share` of `values` lies; not a number where there are none.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    // The index lies within 0..=last, which a float holds exactly.
    let index = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

/// The median; the mean of the middle two where there is no middle one.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 {
        return upper;
    }
    middle
        .checked_sub(1)
        .and_then(|below| values.get(below))
        .map_or(f64::NAN, |lower| (lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::{median, quantile};

    #[test]
    fn medians() {
        assert!(median([]).is_nan());
        assert_eq!(median([3.0]), 3.0);
        assert_eq!(median([4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn quantiles() {
        assert!(quantile([], 0.5).is_nan());
        assert_eq!(quantile((0..=100).map(f64::from), 0.99), 99.0);
        assert_eq!(quantile([2.0, 1.0], 1.0), 2.0);
    }
}
