//! Signs on curves: five shapes, so that curves are told apart without their colours, and those of the same colour too.

use maud::{Markup, html};

use super::px;

/// The outline of a curve's sign around a place.
pub fn outline(index: usize, x: f64, y: f64, radius: f64) -> String {
    let (left, right, top, bottom) = (px(x - radius), px(x + radius), px(y - radius), px(y + radius));
    let (x, y, r) = (px(x), px(y), px(radius));
    match index % 5 {
        0 => format!("M{left} {y}a{r} {r} 0 1 1 {d} 0a{r} {r} 0 1 1 -{d} 0z", d = px(2.0 * radius)),
        1 => format!("M{left} {top}H{right}V{bottom}H{left}z"),
        2 => format!("M{x} {top}L{right} {y}L{x} {bottom}L{left} {y}z"),
        3 => format!("M{x} {top}L{right} {bottom}H{left}z"),
        _ => format!("M{left} {top}H{right}L{x} {bottom}z"),
    }
}

/// A piece of a curve with its sign, for a legend.
pub fn swatch(index: usize) -> Markup {
    html! {
        svg class={ "swatch " (super::colour(index)) } viewBox="0 0 26 12" width="26" height="12" aria-hidden="true" {
            path class="curve" d="M0 6H26" {}
            path class="sign" d=(outline(index, 13.0, 6.0, 4.0)) {}
        }
    }
}
