//! Points in time as the API writes them: RFC 3339, UTC, six fraction digits, so that text order is time order.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::slip::Slip;

/// Microseconds since 1970 in UTC. `Timestamp::ZERO` means "never" and prints as the year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(i64);

/// Text that is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an RFC 3339 time such as 2025-08-08T12:00:00.123456Z", Slip(.0))]
pub struct TimestampError(pub String);

const ZERO_TEXT: &str = "0001-01-01T00:00:00Z";

impl Timestamp {
    /// "Never": the time of things that did not happen.
    pub const ZERO: Self = Self(i64::MIN);

    /// The current time.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_microsecond())
    }

    /// Reads a time and rounds it up, so that what was before the time is before the result too.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time.
    pub fn parse_rounding_up(text: &str) -> Result<Self, TimestampError> {
        let time = parse(text)?;
        let is_finer = time.subsec_nanosecond() % 1000 > 0;
        Ok(Self(time.as_microsecond() + i64::from(is_finer)))
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)))
    }

    /// The time since an earlier one; nothing since a later one.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Whole seconds since 1970; 0 for [`Timestamp::ZERO`].
    pub const fn as_unix_seconds(self) -> i64 {
        if self.0 == i64::MIN { 0 } else { self.0.div_euclid(1_000_000) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => f.write_str(ZERO_TEXT),
        }
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        if text == ZERO_TEXT {
            return Ok(Self::ZERO);
        }
        Ok(Self(parse(text)?.as_microsecond()))
    }
}

fn parse(text: &str) -> Result<jiff::Timestamp, TimestampError> {
    text.parse().map_err(|_| TimestampError(text.to_owned()))
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_prints_with_exactly_six_fraction_digits() {
        assert_eq!(Timestamp::from_micros(1_754_654_400_123_456).to_string(), "2025-08-08T12:00:00.123456Z");
        assert_eq!(Timestamp::from_micros(1_754_654_400_000_000).to_string(), "2025-08-08T12:00:00.000000Z");
    }

    #[test]
    fn parsing_takes_up_to_nine_fraction_digits_and_any_offset() {
        let noon = Timestamp::from_micros(1_754_654_400_000_000);
        for text in ["2025-08-08T12:00:00Z", "2025-08-08T14:00:00+02:00", "2025-08-08T12:00:00.000000000Z"] {
            assert_eq!(text.parse(), Ok(noon), "{text}");
        }
        assert!("2025-08-08".parse::<Timestamp>().is_err());
        let finer = "2025-08-08T12:00:00.000000001Z";
        assert_eq!(finer.parse(), Ok(noon));
        assert_eq!(Timestamp::parse_rounding_up(finer), Ok(Timestamp::from_micros(noon.as_micros() + 1)));
    }

    #[test]
    fn never_is_the_year_one_in_both_directions() {
        assert_eq!(Timestamp::ZERO.to_string(), ZERO_TEXT);
        assert_eq!(ZERO_TEXT.parse(), Ok(Timestamp::ZERO));
        assert!(Timestamp::ZERO < Timestamp::from_micros(0));
    }
}
