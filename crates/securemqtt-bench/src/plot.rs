//! SVG plots: lines over a logarithmic axis, and bars.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::outcome::Outcome;
use crate::stats::{count, grouped, number};

const SIZE: (u32, u32) = (800, 440);
const FONT: &str = "sans-serif";
/// More would overlap on a logarithmic axis.
const X_LABELS: usize = 5;
const COLOURS: [RGBColor; 8] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xd1, 0x49, 0x2e),
    RGBColor(0x2a, 0x8c, 0x4a),
    RGBColor(0x8b, 0x5a, 0xb5),
    RGBColor(0xc2, 0x8a, 0x12),
    RGBColor(0x4f, 0x5b, 0x66),
    RGBColor(0x0f, 0x9a, 0x9a),
    RGBColor(0xb0, 0x3a, 0x73),
];

/// A line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// What a plot says around its lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels<'a> {
    /// Above.
    pub title: &'a str,
    /// Below.
    pub x: &'a str,
    /// To the left.
    pub y: &'a str,
    /// Where the names of the lines are out of their way.
    pub legend: Legend,
}

/// A place for the names of the lines.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Legend {
    UpperLeft,
    UpperRight,
    LowerMiddle,
}

impl From<Legend> for SeriesLabelPosition {
    fn from(legend: Legend) -> Self {
        match legend {
            Legend::UpperLeft => Self::UpperLeft,
            Legend::UpperRight => Self::UpperRight,
            Legend::LowerMiddle => Self::LowerMiddle,
        }
    }
}

/// Lines over a logarithmic horizontal axis; the vertical one begins at zero.
///
/// # Errors
/// If the file cannot be written, or there is no point.
pub(crate) fn lines(file: &Path, labels: Labels<'_>, lines: &[Line]) -> Outcome<()> {
    let (x, y) = bounds(lines).ok_or("a plot without a point")?;
    let area = area(file)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(labels.title, (FONT, 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d(x.log_scale(), y)
        .map_err(broken)?;
    let name = |value: &f64| short(*value);
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(labels.x).y_desc(labels.y).light_line_style(TRANSPARENT);
    mesh.x_labels(X_LABELS).x_label_formatter(&name).y_label_formatter(&name).draw().map_err(broken)?;
    for (index, line) in lines.iter().filter(|line| !line.points.is_empty()).enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))
            .map_err(broken)?
            .label(line.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        if line.points.len() < 20 {
            let dots = line.points.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(dots).map_err(broken)?;
        }
    }
    let mut legend = chart.configure_series_labels();
    legend.position(labels.legend.into()).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
    legend.draw().map_err(broken)?;
    Ok(area.present().map_err(broken)?)
}

/// Bars with their names below.
///
/// # Errors
/// If the file cannot be written, or there is no bar.
pub(crate) fn bars(file: &Path, title: &str, y: &str, bars: &[(String, f64)]) -> Outcome<()> {
    let top = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    if bars.is_empty() || top <= 0.0 {
        return Err("a plot without a bar".into());
    }
    let area = area(file)?;
    let end = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, 18))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d((0..end - 1).into_segmented(), 0.0..top * 1.1)
        .map_err(broken)?;
    let name = |place: &SegmentValue<i32>| match place {
        SegmentValue::CenterOf(index) => {
            usize::try_from(*index).ok().and_then(|index| bars.get(index)).map_or_else(String::new, |bar| bar.0.clone())
        }
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().y_desc(y).x_labels(bars.len()).x_label_formatter(&name).light_line_style(TRANSPARENT);
    mesh.y_label_formatter(&|value| short(*value)).draw().map_err(broken)?;
    let drawn = (0..end).zip(bars).enumerate().map(|(index, (place, bar))| {
        let corners = [(SegmentValue::Exact(place), 0.0), (SegmentValue::Exact(place + 1), bar.1)];
        let mut shape = Rectangle::new(corners, COLOURS[index % COLOURS.len()].filled());
        shape.set_margin(0, 0, 20, 20);
        shape
    });
    chart.draw_series(drawn).map_err(broken)?;
    Ok(area.present().map_err(broken)?)
}

fn area(file: &Path) -> Outcome<DrawingArea<SVGBackend<'_>, Shift>> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(broken)?;
    Ok(area)
}

fn bounds(lines: &[Line]) -> Option<(Range<f64>, Range<f64>)> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (first, _) = points().next()?;
    let low = points().map(|point| point.0).fold(*first, f64::min).max(f64::MIN_POSITIVE);
    let high = points().map(|point| point.0).fold(*first, f64::max).max(low * 1.01);
    let top = points().map(|point| point.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    Some((low..high, 0.0..top * 1.08))
}

/// A number at an axis: no decimals where there are none.
fn short(value: f64) -> String {
    if value.fract() == 0.0 { grouped(&format!("{value:.0}")) } else { number(value) }
}

/// The error of a plot borrows what it was drawn on.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn broken<E: std::error::Error + Send + Sync>(error: DrawingAreaErrorKind<E>) -> String {
    error.to_string()
}

/// The share of values at or below each of a thousand of them: a distribution as a line.
pub(crate) fn distribution(sorted: &[u64], scale: f64) -> Vec<(f64, f64)> {
    let steps = 1_000.min(sorted.len());
    let point = |step: usize| {
        let share = count(step) / count(steps);
        let value = crate::stats::percentile(sorted, share)?;
        Some((crate::stats::count64(value) / scale, share * 100.0))
    };
    (1..=steps).filter_map(point).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const LABELS: Labels<'_> = Labels { title: "Rate", x: "bytes", y: "readings/s", legend: Legend::UpperRight };

    #[test]
    fn plots_are_svg_with_their_labels() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.svg");
        let line = Line { name: "plain".to_owned(), points: vec![(16.0, 5.0), (64.0, 4.0)] };
        lines(&file, LABELS, &[line.clone(), Line { points: vec![(16.0, 1.0)], ..line }]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("<svg") && text.contains("Rate") && text.contains("plain"), "{text}");
        bars(&file, "Cost", "µs", &[("ours".to_owned(), 3.0), ("bare".to_owned(), 2.0)]).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("ours") && text.contains("bare") && text.contains("Cost"), "{text}");
    }

    #[test]
    fn nothing_to_show_is_an_error_and_no_panic() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.svg");
        assert!(lines(&file, LABELS, &[]).is_err());
        assert!(lines(&file, LABELS, &[Line { name: String::new(), points: Vec::new() }]).is_err());
        assert!(bars(&file, "", "", &[]).is_err());
        lines(&file, LABELS, &[Line { name: String::new(), points: vec![(1.0, 0.0)] }]).unwrap();
    }

    #[test]
    fn a_distribution_rises_to_all_of_it() {
        let values: Vec<u64> = (1..=5_000).collect();
        let points = distribution(&values, 1.0);
        assert_eq!(points.len(), 1_000);
        assert_eq!(points.last().unwrap(), &(5_000.0, 100.0));
        assert!(points.windows(2).all(|two| two[0].0 <= two[1].0 && two[0].1 < two[1].1));
        assert_eq!(distribution(&[7], 1.0), [(7.0, 100.0)]);
        assert!(distribution(&[], 1.0).is_empty());
    }
}
