//! Bars from the left, each with its name before it and what it means behind it.

use maud::{Markup, html};

use super::{colour, px, short};

const WIDTH: f64 = 560.0;
const BAR: f64 = 18.0;
const LINE: f64 = 28.0;
const LETTER: f64 = 6.7;
const LETTERS: usize = 22;

/// One bar.
#[derive(Debug, Clone)]
pub struct Bar {
    /// Whose it is.
    pub name: String,
    /// Its place among all, which decides on its colour.
    pub index: usize,
    /// How long it is.
    pub value: f64,
    /// What is written behind it.
    pub says: String,
    /// Drawn paler: others are compared with it.
    pub pale: bool,
}

/// Draws them, all by the same measure.
pub fn bars(bars: &[Bar], gist: &str) -> Markup {
    let letters = |text: &str| text.chars().count() as f64 * LETTER;
    let names = bars.iter().map(|bar| letters(&short(&bar.name, LETTERS))).fold(0.0, f64::max);
    let behind = bars.iter().map(|bar| letters(&bar.says)).fold(0.0, f64::max);
    let left = names + 12.0;
    let room = (WIDTH - left - behind - 12.0).max(40.0);
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let height = LINE * bars.len() as f64 + 4.0;
    html! {
        svg class="plot bars" viewBox={ "0 0 " (px(WIDTH)) " " (px(height)) } role="img" aria-label=(gist) {
            @for (line, bar) in bars.iter().enumerate() {
                @let y = 2.0 + LINE * line as f64 + (LINE - BAR) / 2.0;
                @let long = (bar.value / most * room).max(1.0);
                g class=(colour(bar.index)) {
                    title { (bar.name) ": " (bar.says) }
                    text class="name" x=(px(left - 8.0)) y=(px(y + 13.5)) text-anchor="end" { (short(&bar.name, LETTERS)) }
                    rect class=(if bar.pale { "bar pale" } else { "bar" }) x=(px(left)) y=(px(y)) width=(px(long)) height=(px(BAR)) rx="2" {}
                    text class="value" x=(px(left + long + 8.0)) y=(px(y + 13.5)) { (bar.says) }
                }
            }
            path class="axis" d={ "M" (px(left)) " 0V" (px(height)) } {}
        }
    }
}
