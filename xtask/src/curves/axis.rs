//! PURE. A logarithmic axis: which value lies where, and which values are written beside it.

/// Most values beside an axis; with more of them, only powers of ten.
const TICKS: usize = 8;
/// A hair: what is only not 1, 2 or 5 because it was computed.
const HAIR: f64 = 1e-9;

/// From a low value at one end to a high one at the other, in the units of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Exactly over these values, which are above 0. None of no values.
    pub fn over(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Option<Self> {
        let ends = |ends: Option<(f64, f64)>, value: f64| match ends {
            Some((low, high)) => Some((low.min(value), high.max(value))),
            None => Some((value, value)),
        };
        let (low, high) = values.into_iter().fold(None, ends)?;
        Some(Self { low, high, from, to })
    }

    /// The same, wider: both ends are 1, 2 or 5 and zeros.
    pub fn rounded(self) -> Self {
        let up = round_values(self.high).find(|value| *value >= self.high * (1.0 - HAIR));
        let down = round_values(self.low).filter(|value| *value <= self.low * (1.0 + HAIR)).last();
        Self { low: down.unwrap_or(self.low), high: up.unwrap_or(self.high), ..self }
    }

    /// Where a value lies. In the middle, if the axis has only one.
    pub fn at(&self, value: f64) -> f64 {
        let length = (self.high / self.low).ln();
        let share = if length > 0.0 { (value / self.low).ln() / length } else { 0.5 };
        self.from + share * (self.to - self.from)
    }

    /// 1, 2, 5, 10 and so on, as far as the axis goes.
    pub fn ticks(&self) -> Vec<f64> {
        let (from, to) = (exponent(self.low), exponent(self.high) + 1);
        let all =
            (from..=to).flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * power_of_ten(exponent)));
        let within = |value: &f64| *value >= self.low * (1.0 - HAIR) && *value <= self.high * (1.0 + HAIR);
        let ticks: Vec<f64> = all.filter(within).collect();
        if ticks.len() <= TICKS {
            return ticks;
        }
        let is_power = |value: &f64| (value / power_of_ten(exponent(*value)) - 1.0).abs() < HAIR;
        ticks.into_iter().filter(is_power).collect()
    }
}

/// Round values around this one, rising.
fn round_values(value: f64) -> impl Iterator<Item = f64> {
    let exponent = exponent(value);
    (exponent - 1..=exponent + 1)
        .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * power_of_ten(exponent)))
}

fn exponent(value: f64) -> i32 {
    (value.log10() + HAIR).floor() as i32
}

/// Divided rather than multiplied below 1: 0.05 is then the one that is printed as 0.05.
fn power_of_ten(exponent: i32) -> f64 {
    if exponent < 0 { 1.0 / 10f64.powi(-exponent) } else { 10f64.powi(exponent) }
}

/// A value as it is written: thousands apart, and no more digits than it has.
pub fn written(value: f64) -> String {
    if value < 1_000.0 {
        let text = format!("{value:.6}");
        return text.trim_end_matches('0').trim_end_matches('.').to_string();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decade_is_as_long_as_the_next() {
        let axis = Axis::over([1.0, 100.0, 10.0], 50.0, 250.0).unwrap();
        assert_eq!([1.0, 10.0, 100.0].map(|value| axis.at(value).round()), [50.0, 150.0, 250.0]);
        let downwards = Axis::over([1.0, 100.0], 250.0, 50.0).unwrap();
        assert_eq!(downwards.at(100.0).round(), 50.0);
        assert_eq!(Axis::over([7.0], 0.0, 10.0).unwrap().at(7.0), 5.0);
        assert_eq!(Axis::over([], 0.0, 10.0), None);
    }

    #[test]
    fn a_rounded_axis_ends_where_people_count() {
        let check = |low: f64, high: f64, expected: &[&str]| {
            let axis = Axis::over([low, high], 0.0, 1.0).unwrap().rounded();
            let ticks: Vec<String> = axis.ticks().into_iter().map(written).collect();
            assert_eq!(ticks, expected, "{low} to {high}");
        };
        check(0.07, 0.3, &["0.05", "0.1", "0.2", "0.5"]);
        check(1.0, 10.0, &["1", "2", "5", "10"]);
        check(0.04, 61.0, &["0.1", "1", "10", "100"]);
        check(26.0, 1_450.0, &["20", "50", "100", "200", "500", "1,000", "2,000"]);
        check(3.0, 3.0, &["2", "5"]);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0.05, 2.5, 100.0].map(written), ["0.05", "2.5", "100"]);
        assert_eq!([1_000.0, 25_000.0, 1_234_567.0].map(written), ["1,000", "25,000", "1,234,567"]);
    }
}
