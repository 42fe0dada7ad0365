//! Medians, and ratios of rounds that were measured in turns.

/// The middle one, or between the two in the middle. NaN of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.get(middle) {
        None => f64::NAN,
        Some(&upper) if sorted.len() % 2 == 1 => upper,
        Some(&upper) => f64::midpoint(sorted[middle - 1], upper),
    }
}

/// The median of each round's ratio; none when one of them has no rounds. The two of a round were measured one after the
/// other: a machine that gets slower between rounds does not show in it.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// In three digits or so, as a person reads it.
pub(crate) fn short(number: f64) -> String {
    match number.abs() {
        size if !size.is_finite() => "-".into(),
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() {
        // The machine was half as fast in the first round, and slower still in the second.
        let (ours, theirs) = ([20.0, 40.0, 10.0], [10.0, 20.0, 10.0]);
        assert_eq!(ratio(&ours, &theirs), Some(2.0));
        assert_eq!(median(&ours) / median(&theirs), 2.0);
        let (ours, theirs) = ([10.0, 40.0, 90.0], [10.0, 10.0, 100.0]);
        assert_eq!(ratio(&ours, &theirs), Some(1.0));
        assert_eq!(median(&ours) / median(&theirs), 4.0);
        assert_eq!(ratio(&ours, &[]), None);
    }

    #[test]
    fn numbers_have_about_three_digits() {
        assert_eq!([0.5, 12.34, 123.4].map(short), ["0.50", "12.3", "123"]);
        assert_eq!(short(f64::NAN), "-");
    }
}
