//! Days as numbers: enough of a calendar for one season.

/// A day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) i64);

impl Day {
    /// The day of a date in the Gregorian calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
    pub(super) const fn of(year: i64, month: i64, day: i64) -> Self {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let year_of_era = year - era * 400;
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Self(era * 146_097 + day_of_era - 719_468)
    }

    /// The date as `2025-04-07`.
    pub(super) fn text(self) -> String {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted - era * 146_097;
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let moved = (5 * of_year + 2) / 153;
        let day = of_year - (153 * moved + 2) / 5 + 1;
        let month = if moved < 10 { moved + 3 } else { moved - 9 };
        let year = year + era * 400 + i64::from(month <= 2);
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// Whether nobody works.
    pub(super) fn is_weekend(self) -> bool {
        // 1970-01-01 was a Thursday.
        (self.0 + 3).rem_euclid(7) >= 5
    }

    /// So many days later.
    pub(super) fn after(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// The same, or the Monday after where that is a weekend.
    pub(super) fn workday(self) -> Self {
        match self.is_weekend() {
            true => self.after(1).workday(),
            false => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (date, number, is_weekend) in [
            ((1970, 1, 1), 0, false),
            ((2024, 2, 29), 19_782, false),
            ((2025, 4, 5), 20_183, true),
            ((2025, 12, 31), 20_453, false),
        ] {
            let day = Day::of(date.0, date.1, date.2);
            assert_eq!((day.0, day.is_weekend()), (number, is_weekend));
            let text = format!("{:04}-{:02}-{:02}", date.0, date.1, date.2);
            assert_eq!(day.text(), text);
        }
        assert_eq!(Day::of(2025, 4, 5).workday().text(), "2025-04-07");
    }
}
