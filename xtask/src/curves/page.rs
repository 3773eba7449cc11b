//! PURE. The page around the pictures, in Markdown: where the numbers come from, the slopes, the numbers themselves.

use super::axis::written;
use super::numbers::{self, Against, Measure, Number, Step};
use super::{picture, slope};
use std::collections::BTreeSet;

/// The file of a picture.
pub fn picture(against: Against, measure: Measure) -> String {
    let measure = match measure {
        Measure::Time => "time",
        Measure::Cpu => "processor-time",
        Measure::Memory => "memory",
    };
    format!("{}-{measure}.svg", against.noun().to_lowercase())
}

/// The whole page.
pub fn of(numbers: &[Number]) -> String {
    let mut page = String::from(
        "# Cost curves\n\n`cargo xtask curves` has measured and written this, and `cargo xtask curves --draw-only` writes it \
         again from [numbers.csv](numbers.csv).\nEach point is one run of `everynode bench` against an `everynode server` with \
         an empty data folder, on the same machine.\n\n",
    );
    page.push_str(&origins(numbers));
    for against in Against::ALL {
        page.push_str(&format!("\n## Against {}\n\n", against.noun()));
        for measure in Measure::ALL {
            if picture::of(numbers, against, measure).is_some() {
                let title = picture::title(measure);
                page.push_str(&format!("![{title}]({})\n", self::picture(against, measure)));
            }
        }
        page.push('\n');
        page.push_str(&slopes(numbers, against));
        page.push('\n');
        page.push_str(&table(numbers, against));
    }
    page
}

/// Which machines, commits and days; how busy the machine was.
fn origins(numbers: &[Number]) -> String {
    let known: BTreeSet<_> =
        numbers.iter().map(|Number { origin, .. }| (&origin.machine, &origin.commit, &origin.date)).collect();
    let of = |(machine, commit, date): (&String, &String, &String)| {
        let of_it = |number: &&Number| {
            (&number.origin.machine, &number.origin.commit, &number.origin.date) == (machine, commit, date)
        };
        let mut loads: Vec<f64> =
            numbers.iter().filter(of_it).filter_map(|number| number.origin.load.parse().ok()).collect();
        loads.sort_by(f64::total_cmp);
        let load = match loads[..] {
            [] => "unknown".to_string(),
            [first, ..] => format!("{first:.1} to {:.1}", loads[loads.len() - 1]),
        };
        format!("- {date}, commit {commit}, {machine}; load before the points: {load}\n")
    };
    known.into_iter().map(of).collect()
}

/// A row for each measure, a column for each step.
fn slopes(numbers: &[Number], against: Against) -> String {
    let noun = against.noun();
    let row = |measure: Measure| {
        let cell = |step: Step| {
            let points = numbers::points(numbers, against, step, measure);
            match (slope::exponent(&points), slope::at_the_end(&points)) {
                (Some(all), Some(end)) => format!("{noun}^{all:.2} ({end:.2})"),
                (Some(all), None) => format!("{noun}^{all:.2}"),
                (None, _) => "-".to_string(),
            }
        };
        let cells = Step::ALL.map(|step| format!(" {} |", cell(step))).concat();
        format!("| {} |{cells}\n", picture::title(measure))
    };
    format!(
        "Least squares over both logarithms; in brackets between the last two points.\n\n{}{}",
        head("grows with"),
        Measure::ALL.map(row).concat()
    )
}

/// A row for each point: seconds, processor seconds, megabytes.
fn table(numbers: &[Number], against: Against) -> String {
    let places: BTreeSet<u32> = numbers.iter().filter_map(|number| against.along(number)).collect();
    let row = |place: u32| {
        let cell = |step: Step| {
            let is = |number: &&Number| number.step == step && against.along(number) == Some(place);
            match numbers.iter().find(is) {
                Some(number) => format!(
                    " {:.2} s, {:.2} s, {:.0} MB |",
                    number.seconds,
                    number.cpu_seconds,
                    Measure::Memory.of(number)
                ),
                None => " - |".to_string(),
            }
        };
        format!("| {} |{}\n", written(f64::from(place)), Step::ALL.map(cell).concat())
    };
    let rows: String = places.into_iter().map(row).collect();
    format!("Time, processor time, memory after it:\n\n{}{rows}", head(against.noun()))
}

fn head(first: &str) -> String {
    let cells = Step::ALL.map(|step| format!(" {} |", step.words())).concat();
    format!("| {first} |{cells}\n|---|{}\n", "---|".repeat(Step::ALL.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curves::numbers::tests::life;

    #[test]
    fn a_page_tells_where_from_how_steep_and_how_much() {
        let mut numbers = [life(100, 1), life(1_000, 1)].concat();
        numbers[0].origin.load = "1.26".into();
        let page = of(&numbers);
        let lines: Vec<&str> = page.lines().filter(|line| !line.is_empty()).collect();
        let expected = "\
- 2026-11-21, commit abc1234, 2 cores; load before the points: 0.1 to 1.3
## Against nodes
![Time, seconds](nodes-time.svg)
![Processor time of the server, seconds](nodes-processor-time.svg)
![Memory of the server after the step, MB](nodes-memory.svg)
Least squares over both logarithms; in brackets between the last two points.
| grows with | create until Ready | roll out until Ready | delete until gone |
|---|---|---|---|
| Time, seconds | nodes^1.00 (1.00) | nodes^1.00 (1.00) | nodes^1.00 (1.00) |
| Processor time of the server, seconds | nodes^1.00 (1.00) | nodes^1.00 (1.00) | nodes^1.00 (1.00) |
| Memory of the server after the step, MB | nodes^0.13 (0.13) | nodes^0.13 (0.13) | nodes^0.13 (0.13) |
Time, processor time, memory after it:
| nodes | create until Ready | roll out until Ready | delete until gone |
|---|---|---|---|
| 100 | 0.10 s, 0.20 s, 26 MB | 0.15 s, 0.30 s, 26 MB | 0.05 s, 0.10 s, 26 MB |
| 1,000 | 1.00 s, 2.00 s, 35 MB | 1.50 s, 3.00 s, 35 MB | 0.50 s, 1.00 s, 35 MB |
## Against DaemonSets
Least squares over both logarithms; in brackets between the last two points.
| grows with | create until Ready | roll out until Ready | delete until gone |
|---|---|---|---|
| Time, seconds | - | - | - |
| Processor time of the server, seconds | - | - | - |
| Memory of the server after the step, MB | - | - | - |
Time, processor time, memory after it:
| DaemonSets | create until Ready | roll out until Ready | delete until gone |
|---|---|---|---|
| 1 | 0.10 s, 0.20 s, 26 MB | 0.15 s, 0.30 s, 26 MB | 0.05 s, 0.10 s, 26 MB |";
        assert_eq!(lines[3..].join("\n"), expected);
    }
}
