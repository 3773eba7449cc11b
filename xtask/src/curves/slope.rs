//! PURE. How fast does something grow? The slope of a straight line through points on two logarithmic axes.

/// y grows with x to the power of this, by least squares over the logarithms. What is not above 0 has no logarithm and does
/// not count (processor time comes in steps of 10 ms). None, if fewer than two different x are left.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logarithms: Vec<(f64, f64)> =
        points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logarithms.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logarithms.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = logarithms.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let together: f64 = logarithms.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (spread > 0.0).then(|| together / spread)
}

/// The same between the two points with the largest x: a cost that stands beside one that grows (an empty server's memory)
/// bends the line, and only its end says how it goes on. The points are in the order of x.
pub fn at_the_end(points: &[(f64, f64)]) -> Option<f64> {
    exponent(&points[points.len().saturating_sub(2)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_power_is_its_exponent() {
        let check = |exponent_of: f64| {
            let points: Vec<(f64, f64)> =
                [100.0, 300.0, 10_000.0].map(|x: f64| (x, 0.7 * x.powf(exponent_of))).into();
            let found = exponent(&points).unwrap();
            assert!((found - exponent_of).abs() < 1e-9, "{found}");
        };
        [0.0, 0.5, 1.0, 1.08, 2.0, -1.0].into_iter().for_each(check);
    }

    #[test]
    fn points_beside_the_line_weigh_by_their_distance() {
        // One up, one down, at the same x: the line goes between them.
        let found = exponent(&[(1.0, 1.0), (10.0, 5.0), (10.0, 20.0)]).unwrap();
        assert!((found - 1.0).abs() < 1e-9, "{found}");
    }

    #[test]
    fn a_line_needs_two_places() {
        assert_eq!(exponent(&[]), None);
        assert_eq!(exponent(&[(100.0, 1.0)]), None);
        assert_eq!(exponent(&[(100.0, 1.0), (100.0, 2.0)]), None);
        assert_eq!(exponent(&[(100.0, 1.0), (300.0, 0.0)]), None);
    }

    #[test]
    fn the_end_of_a_bent_line_is_steeper() {
        let bent = [(1.0, 10.0), (10.0, 10.0), (100.0, 1_000.0)];
        assert!((at_the_end(&bent).unwrap() - 2.0).abs() < 1e-9);
        assert!((exponent(&bent).unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(at_the_end(&bent[..1]), None);
    }
}
