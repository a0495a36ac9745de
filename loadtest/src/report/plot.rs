//! Plots as SVG for the page.
//!
//! Our own, and small: libraries that draw SVG write each colour into each element, so a plot has either a light face or a
//! dark one; here an element has a class and the page's style decides. They also know nothing of what is told on hover, or to
//! those who do not see.
//!
//! - [`scale`]: from values to places; [`lines`]: curves over two axes; [`bars`]: bars with what they mean beside them;
//!   [`mark`]: signs that tell curves apart without colours

pub mod bars;
pub mod lines;
pub mod mark;
pub mod scale;

/// Colours that the page's style has; with more curves they come again, and with another sign.
pub const COLOURS: usize = 8;

/// The class of a curve's colour.
pub fn colour(index: usize) -> String {
    format!("c{}", index % COLOURS)
}

/// A place as it is written; a tenth of a pixel is as good as any.
fn px(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A name that fits beside a curve.
fn short(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        return name.to_owned();
    }
    let mut text: String = name.chars().take(letters - 1).collect();
    text.push('…');
    text
}
