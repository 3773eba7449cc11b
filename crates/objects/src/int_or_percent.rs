//! How many is `25%` of n, rounded which way? (RU-4)
//!
//! A number stands for itself, a text must be digits and a percent sign. Kubernetes: `util/intstr`
//! (`GetScaledValueFromIntOrPercent`), whose texts the errors carry.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A text that is no percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScaleError {
    /// There is no percent sign.
    #[error("invalid value for IntOrString: invalid type: string is not a percentage")]
    NotAPercentage,
    /// What stands before the percent sign is no number.
    #[error(
        "invalid value for IntOrString: invalid value {text:?}: strconv.Atoi: parsing {number:?}: invalid syntax"
    )]
    NotANumber {
        /// The whole text.
        text: String,
        /// The part before the sign.
        number: String,
    },
}

/// The number that is meant when there are `total`. Percentages round up or down as asked; a result beyond the range
/// of an `i32` stops at its end.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Result<i32, ScaleError> {
    match value {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => Ok(share(percent(text)?, total, round_up)),
    }
}

/// The number before the percent sign.
pub fn percent(text: &str) -> Result<i32, ScaleError> {
    let number = text.strip_suffix('%').ok_or(ScaleError::NotAPercentage)?;
    number.parse().map_err(|_| ScaleError::NotANumber { text: text.to_string(), number: number.to_string() })
}

fn share(percent: i32, total: i32, round_up: bool) -> i32 {
    let hundredths = i64::from(percent) * i64::from(total);
    let floor = hundredths.div_euclid(100);
    let up = i64::from(round_up && hundredths.rem_euclid(100) != 0);
    i32::try_from(floor + up).unwrap_or(if floor < 0 { i32::MIN } else { i32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, total: i32, up: i32, down: i32) {
        let value = IntOrString::String(text.into());
        assert_eq!(scaled(&value, total, true), Ok(up), "{text} of {total}, up");
        assert_eq!(scaled(&value, total, false), Ok(down), "{text} of {total}, down");
    }

    #[test]
    fn percentages_scale_as_in_ru_4() {
        check("50%", 2, 1, 1);
        check("50%", 3, 2, 1);
        check("25%", 10, 3, 2);
        check("100%", 2, 2, 2);
        check("1%", 100, 1, 1);
        check("1%", 101, 2, 1);
        check("0%", 9, 0, 0);
        check("2147483647%", i32::MAX, i32::MAX, i32::MAX);
        assert_eq!(scaled(&IntOrString::Int(7), 3, true), Ok(7));
    }

    #[test]
    fn a_bad_percentage_names_itself() {
        let text = |t: &str| scaled(&IntOrString::String(t.into()), 1, true).unwrap_err().to_string();
        assert_eq!(text("5"), "invalid value for IntOrString: invalid type: string is not a percentage");
        assert_eq!(
            text("x%"),
            "invalid value for IntOrString: invalid value \"x%\": strconv.Atoi: parsing \"x\": invalid syntax"
        );
    }
}
