//! A wrong word of a caller's, as the caller and the log are shown it. One that is too long for a slip may be a key in the wrong
//! place.

use std::fmt;

/// As long as the longest word that is known in any such place, and then some.
const LONGEST_SLIP: usize = 24;

/// The word in quotation marks, or how long it is.
pub struct Slip<'a>(pub &'a str);

impl fmt::Display for Slip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.chars().count() {
            ..=LONGEST_SLIP => write!(f, "'{}'", self.0),
            count => write!(f, "a text of {count} characters"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_shown_and_what_may_be_a_key_is_not() {
        assert_eq!(Slip("gemin").to_string(), "'gemin'");
        assert_eq!(Slip("").to_string(), "''");
        assert_eq!(Slip("sk-0123456789-0123456789-abcd").to_string(), "a text of 29 characters");
    }
}
