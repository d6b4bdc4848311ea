//! The windows of limits: fixed, aligned to the Unix epoch, as the stock service cuts them.

use std::fmt;

/// Seconds since the Unix epoch. Whoever asks says what time it is; nothing in this crate but the server has a clock.
pub type Seconds = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    /// Begins on a Thursday: the epoch was one.
    Week,
    /// Thirty days, not the calendar's.
    Month,
    /// 365 days, not the calendar's.
    Year,
}

impl Unit {
    const ALL: [Self; 7] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// By its number, which is the same in the configuration, in a request's override and in a response. `None` for
    /// UNKNOWN and for a number that is none.
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.number() == number)
    }

    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Second => 1,
            Self::Minute => 2,
            Self::Hour => 3,
            Self::Day => 4,
            Self::Week => 7,
            Self::Month => 5,
            Self::Year => 6,
        }
    }

    #[must_use]
    pub const fn seconds(self) -> Seconds {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 604_800,
            Self::Month => 2_592_000,
            Self::Year => 31_536_000,
        }
    }

    /// When the window that `now` lies in began.
    #[must_use]
    pub const fn window(self, now: Seconds) -> Seconds {
        now - now % self.seconds()
    }

    /// Whole seconds until that window ends; never 0.
    #[must_use]
    pub const fn until_reset(self, now: Seconds) -> Seconds {
        self.seconds() - now % self.seconds()
    }
}

impl Unit {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|unit| unit.name() == name)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
