//! Curves over two axes, each with its name at its end.

use maud::{Markup, html};

use super::{colour, mark, px, scale::Scale, short};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;
/// About what a letter takes in the page's font and size.
const LETTER: f64 = 6.7;
/// Letters of a name beside a curve.
const LETTERS: usize = 20;
/// Names are this far from each other at least.
const LINE: f64 = 15.0;

/// A plot of curves.
#[derive(Debug, Clone)]
pub struct Lines {
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// Heights at which a line is drawn across.
    pub bounds: Vec<f64>,
    /// The curves.
    pub curves: Vec<Curve>,
    /// What it shows in a sentence or two, for those who do not see it.
    pub gist: String,
}

/// An axis and what is written along it.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it measures, with the unit.
    pub label: String,
    /// Where its values are.
    pub scale: Scale,
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Whose it is.
    pub name: String,
    /// Its place among all, which decides on its colour and sign.
    pub index: usize,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
    /// Places of it that tell their values on hover.
    pub stops: Vec<Stop>,
}

/// A place of a curve that has something to say.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Where.
    pub at: (f64, f64),
    /// What it says.
    pub says: String,
    /// Drawn as an outline: it does not count.
    pub hollow: bool,
}

struct Frame<'a> {
    plot: &'a Lines,
    right: f64,
}

/// Draws it.
pub fn lines(plot: &Lines) -> Markup {
    let letters = plot.curves.iter().map(|curve| curve.name.chars().count().min(LETTERS)).max().unwrap_or_default();
    let frame = Frame { plot, right: WIDTH - 24.0 - letters as f64 * LETTER };
    html! {
        svg class="plot" viewBox={ "0 0 " (px(WIDTH)) " " (px(HEIGHT)) } role="img" aria-label=(plot.gist) {
            (frame.axes())
            @for curve in &plot.curves { (frame.curve(curve)) }
            (frame.names())
            // Above all curves, so that none covers what another says.
            @for curve in &plot.curves { (frame.stops(curve)) }
        }
    }
}

impl Frame<'_> {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let floor = HEIGHT - BOTTOM;
        (LEFT + self.plot.x.scale.at(x) * (self.right - LEFT), floor - self.plot.y.scale.at(y) * (floor - TOP))
    }

    fn axes(&self) -> Markup {
        let floor = HEIGHT - BOTTOM;
        let middle = (TOP + floor) / 2.0;
        html! {
            @for (value, words) in self.plot.y.scale.ticks() {
                @let y = self.place((0.0, value)).1;
                path class="grid" d={ "M" (px(LEFT)) " " (px(y)) "H" (px(self.right)) } {}
                text class="tick" x=(px(LEFT - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (words) }
            }
            @for (value, words) in self.plot.x.scale.ticks() {
                @let x = self.place((value, 0.0)).0;
                path class="grid" d={ "M" (px(x)) " " (px(TOP)) "V" (px(floor)) } {}
                text class="tick" x=(px(x)) y=(px(floor + 17.0)) text-anchor="middle" { (words) }
            }
            @for value in &self.plot.bounds {
                @let y = self.place((0.0, *value)).1;
                path class="bound" d={ "M" (px(LEFT)) " " (px(y)) "H" (px(self.right)) } {}
            }
            path class="axis" d={ "M" (px(LEFT)) " " (px(TOP)) "V" (px(floor)) "H" (px(self.right)) } {}
            text class="label" x=(px((LEFT + self.right) / 2.0)) y=(px(HEIGHT - 10.0)) text-anchor="middle" {
                (self.plot.x.label)
            }
            text class="label" transform={ "translate(14 " (px(middle)) ") rotate(-90)" } text-anchor="middle" {
                (self.plot.y.label)
            }
        }
    }

    fn curve(&self, curve: &Curve) -> Markup {
        let mut path = String::new();
        for point in &curve.points {
            let (x, y) = self.place(*point);
            path += &format!("{}{} {}", if path.is_empty() { 'M' } else { 'L' }, px(x), px(y));
        }
        html! { path class={ "curve " (colour(curve.index)) } d=(path) {} }
    }

    fn stops(&self, curve: &Curve) -> Markup {
        html! {
            g class=(colour(curve.index)) {
                @for stop in &curve.stops {
                    @let (x, y) = self.place(stop.at);
                    g class="stop" {
                        title { (stop.says) }
                        path class=(if stop.hollow { "sign hollow" } else { "sign" }) d=(mark::outline(curve.index, x, y, 3.5)) {}
                        // What the pointer has to meet is larger than what is seen.
                        circle class="reach" cx=(px(x)) cy=(px(y)) r="9" {}
                    }
                }
            }
        }
    }

    /// Each curve's name beside its end, moved up or down where two would meet.
    fn names(&self) -> Markup {
        let mut ends: Vec<(&Curve, (f64, f64))> =
            self.plot.curves.iter().filter_map(|curve| Some((curve, self.place(*curve.points.last()?)))).collect();
        ends.sort_by(|(_, (_, above)), (_, (_, below))| above.total_cmp(below));
        let heights: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
        let spread = apart(&heights, LINE, TOP, HEIGHT - BOTTOM);
        html! {
            @for ((curve, (x, y)), at) in ends.into_iter().zip(spread) {
                g class=(colour(curve.index)) {
                    path class="leader" d={ "M" (px(x)) " " (px(y)) "L" (px(self.right + 12.0)) " " (px(at)) } {}
                    text class="name" x=(px(self.right + 16.0)) y=(px(at + 4.0)) {
                        title { (curve.name) }
                        (short(&curve.name, LETTERS))
                    }
                }
            }
        }
    }
}

/// Places near those that are wanted, in order, no two nearer than `least`, and all between `top` and `bottom` if they fit.
pub fn apart(wanted: &[f64], least: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut places: Vec<f64> = Vec::with_capacity(wanted.len());
    for place in wanted {
        let lowest = places.last().map_or(top, |above| above + least);
        places.push(place.max(lowest));
    }
    let mut limit = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - least;
    }
    places
}
