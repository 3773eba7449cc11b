//! PURE. One measure along one curve as a picture: SVG, a line for each step, both axes logarithmic.
//!
//! It has a background of its own, light or dark as the reader's browser likes it, so that it is readable on any page; and
//! marks of different shapes, so that nobody has to tell colours apart. By hand, because a library for charts writes
//! colours where a style would have to stand (plotters does), and is built before every `cargo xtask`.

use super::axis::{Axis, written};
use super::numbers::{self, Against, Measure, Number, Step};
use super::slope;
use std::fmt::Write as _;

/// The picture, and the rectangle in it where the lines are.
const SIZE: (u32, u32) = (640, 400);
const LEFT: f64 = 70.0;
const RIGHT: f64 = 610.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 296.0;
/// Values below the picture are written at least so far apart.
const APART: f64 = 44.0;

/// Colours of Okabe and Ito, which most eyes tell apart, darker on light and lighter on dark.
const STYLE: &str = "\
.back{fill:#ffffff}.ink{fill:#1f2328}.grid{stroke:#d1d9e0}\
.c0{stroke:#0072b2;fill:#0072b2}.c1{stroke:#c05000;fill:#c05000}.c2{stroke:#00805c;fill:#00805c}\
@media(prefers-color-scheme:dark){.back{fill:#0d1117}.ink{fill:#e6edf3}.grid{stroke:#3d444d}\
.c0{stroke:#56b4e9;fill:#56b4e9}.c1{stroke:#f0a050;fill:#f0a050}.c2{stroke:#2fc49a;fill:#2fc49a}}\
text{font:13px sans-serif}.title{font-weight:bold;font-size:15px}.line{fill:none;stroke-width:2}";

/// A line and what it stands for.
struct Line {
    step: Step,
    points: Vec<(f64, f64)>,
}

/// None, if no line has two points.
pub fn of(numbers: &[Number], against: Against, measure: Measure) -> Option<String> {
    let line = |step| Line { step, points: numbers::points(numbers, against, step, measure) };
    let lines: Vec<Line> = Step::ALL.into_iter().map(line).filter(|line| line.points.len() > 1).collect();
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let across = Axis::over(all().map(|point| point.0), LEFT, RIGHT)?;
    let upwards = Axis::over(all().map(|point| point.1), BOTTOM, TOP)?.rounded();
    let mut measured: Vec<f64> = all().map(|point| point.0).collect();
    measured.sort_by(f64::total_cmp);
    measured.dedup();

    let (title, (width, height)) = (title(measure), SIZE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>{title} against {}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{width}\" height=\"{height}\" rx=\"8\"/>\n",
        against.noun()
    );
    text(&mut svg, (LEFT, 28.0), "start", "title ", title);
    grid(&mut svg, &across, &upwards, &measured);
    text(&mut svg, ((LEFT + RIGHT) / 2.0, BOTTOM + 40.0), "middle", "", &below(against));
    for (place, line) in lines.iter().enumerate() {
        draw(&mut svg, place, line, &across, &upwards);
        legend(&mut svg, place, line, against);
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// What goes upwards.
pub fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Time => "Time, seconds",
        Measure::Cpu => "Processor time of the server, seconds",
        Measure::Memory => "Memory of the server after the step, MB",
    }
}

/// What goes across.
fn below(against: Against) -> String {
    match against {
        Against::Nodes => {
            format!("nodes, with {} DaemonSet (both axes logarithmic)", numbers::DAEMONSETS_BESIDE)
        }
        Against::Daemonsets => {
            format!("DaemonSets, on {} nodes (both axes logarithmic)", numbers::NODES_BESIDE)
        }
    }
}

/// Upwards round values, across those that were measured.
fn grid(svg: &mut String, across: &Axis, upwards: &Axis, measured: &[f64]) {
    for value in upwards.ticks() {
        let y = upwards.at(value);
        rule(svg, (LEFT, y), (RIGHT, y));
        text(svg, (LEFT - 8.0, y + 4.0), "end", "", &written(value));
    }
    let mut last = f64::NEG_INFINITY;
    for value in measured {
        let x = across.at(*value);
        rule(svg, (x, TOP), (x, BOTTOM));
        if x - last >= APART {
            text(svg, (x, BOTTOM + 18.0), "middle", "", &written(*value));
            last = x;
        }
    }
}

fn draw(svg: &mut String, place: usize, line: &Line, across: &Axis, upwards: &Axis) {
    let at = |(x, y): &(f64, f64)| (across.at(*x), upwards.at(*y));
    let corners: Vec<String> = line.points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class=\"c{place} line\" points=\"{}\"/>", corners.join(" "));
    line.points.iter().map(at).for_each(|point| mark(svg, place, point));
}

/// Two lines of text below: the step, and how it grows.
fn legend(svg: &mut String, place: usize, line: &Line, against: Against) {
    let (x, y) = (LEFT + place as f64 * (RIGHT - LEFT) / 3.0, f64::from(SIZE.1) - 36.0);
    mark(svg, place, (x, y - 4.0));
    text(svg, (x + 12.0, y), "start", "", line.step.words());
    if let Some(exponent) = slope::exponent(&line.points) {
        text(svg, (x + 12.0, y + 18.0), "start", "", &format!("like {}^{exponent:.2}", against.noun()));
    }
}

/// A circle, a square, a triangle.
fn mark(svg: &mut String, place: usize, (x, y): (f64, f64)) {
    let _ = match place {
        0 => writeln!(svg, "<circle class=\"c{place}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
        1 => writeln!(
            svg,
            "<rect class=\"c{place}\" x=\"{:.1}\" y=\"{:.1}\" width=\"7\" height=\"7\"/>",
            x - 3.5,
            y - 3.5
        ),
        _ => writeln!(svg, "<path class=\"c{place}\" d=\"M{x:.1} {:.1}l4.5 8h-9z\"/>", y - 5.0),
    };
}

fn rule(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ =
        writeln!(svg, "<line class=\"grid\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>");
}

/// Words of ours only: nothing in them means anything to XML.
fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, class: &str, words: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}ink\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::numbers::tests::life;

    fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
        text.split(from).skip(1).filter_map(|rest| rest.split(to).next()).collect()
    }

    #[test]
    fn costs_in_proportion_are_straight_lines_and_said_to_be() {
        let numbers = [life(100, 1), life(1_000, 1), life(10_000, 1)].concat();
        let svg = of(&numbers, Against::Nodes, Measure::Time).unwrap();
        // From 0.05 s to 15 s on an axis from 0.05 to 20; one corner each, in the middle.
        let lines = between(&svg, "points=\"", "\"");
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2], "70.0,296.0 340.0,200.7 610.0,105.4");
        let words = between(&svg, "text-anchor=", "</text>").join("\n");
        for expected in [
            ">Time, seconds",
            ">nodes, with 1 DaemonSet",
            ">10,000",
            ">create until Ready",
            ">like nodes^1.00",
        ] {
            assert!(words.contains(expected), "{expected}: {words}");
        }
        assert_eq!(words.matches("like nodes^1.00").count(), 3);
    }

    #[test]
    fn every_element_that_is_opened_is_closed() {
        let numbers = [life(100, 1), life(100, 10)].concat();
        for measure in Measure::ALL {
            let svg = of(&numbers, Against::Daemonsets, measure).unwrap();
            let (opened, closed) = (svg.matches('<').count(), svg.matches("/>").count());
            assert_eq!(opened, closed + 2 * svg.matches("</").count(), "{svg}");
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn one_point_is_no_curve() {
        assert_eq!(of(&life(100, 1), Against::Nodes, Measure::Time), None);
        assert_eq!(of(&[], Against::Nodes, Measure::Time), None);
    }
}
