//! When people are there to answer.

use std::collections::BTreeMap;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{DomainError, Timestamp};

/// Most openings of one day.
const MAX_OPENINGS: usize = 10;

/// The days of the week as settings name them.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A week of openings in a time zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BusinessHours {
    /// IANA name: `America/Santiago`.
    pub time_zone: String,
    /// Openings by day: `{"mon": ["09:00-13:00", "15:00-18:30"]}`. A day that is not there is closed.
    pub days: BTreeMap<String, Vec<String>>,
}

/// From when to when on a day, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    from: Time,
    /// `None` is midnight at the end of the day.
    until: Option<Time>,
}

impl BusinessHours {
    /// Whether people are there. Hours that do not read, which cannot be stored, are open.
    pub fn open_at(&self, now: Timestamp) -> bool {
        let Ok(zone) = TimeZone::get(&self.time_zone) else { return true };
        let Ok(instant) = jiff::Timestamp::from_microsecond(now.micros()) else { return true };
        let local = instant.to_zoned(zone);
        let name =
            DAYS.iter().find(|(_, day)| *day == local.weekday()).map_or("", |(name, _)| name);
        let openings = self.days.get(name).map_or(&[][..], Vec::as_slice);
        openings
            .iter()
            .filter_map(|text| Opening::parse(text))
            .any(|opening| opening.holds(local.time()))
    }

    /// Whether they read; 400 that names the part of `field` that does not.
    pub fn check(&self, field: &str) -> Result<(), DomainError> {
        if TimeZone::get(&self.time_zone).is_err() {
            let field = format!("{field}.timeZone");
            let message = format!("`{field}` is not a time zone; use a name like America/Santiago");
            return Err(DomainError::invalid(field, message));
        }
        for (day, openings) in &self.days {
            let field = format!("{field}.days.{day}");
            if !DAYS.iter().any(|(name, _)| name == day) {
                let message = format!("`{field}`: use mon, tue, wed, thu, fri, sat or sun");
                return Err(DomainError::invalid(field, message));
            }
            if openings.len() > MAX_OPENINGS {
                let message = format!("`{field}` has more than {MAX_OPENINGS} entries");
                return Err(DomainError::invalid(field, message));
            }
            for (at, text) in openings.iter().enumerate() {
                if Opening::parse(text).is_none() {
                    let field = format!("{field}[{at}]");
                    let message = format!(
                        "`{field}` must be like 09:00-18:00, the end after the start; what goes past midnight is two entries"
                    );
                    return Err(DomainError::invalid(field, message));
                }
            }
        }
        Ok(())
    }
}

impl Opening {
    /// Reads `09:00-18:00`; `24:00` ends the day.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once(['-', '–'])?;
        let from = clock(from)?;
        let until = if until.trim() == "24:00" { None } else { Some(clock(until)?) };
        until.is_none_or(|until| until > from).then_some(Self { from, until })
    }

    /// Whether `time` is within.
    pub fn holds(self, time: Time) -> bool {
        time >= self.from && self.until.is_none_or(|until| time < until)
    }
}

fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours() -> BusinessHours {
        let days = [("mon", vec!["09:00-13:00", "15:00-24:00"]), ("tue", vec!["00:00-01:00"])];
        let days = days.map(|(day, openings)| {
            (day.to_owned(), openings.into_iter().map(ToOwned::to_owned).collect())
        });
        BusinessHours { time_zone: "America/Santiago".to_owned(), days: days.into() }
    }

    #[test]
    fn people_are_there_by_the_clock_of_their_zone() {
        // 2026-07-06 is a Monday; Santiago is four hours behind UTC then.
        for (at, open) in [
            ("2026-07-06T12:59:59Z", false),
            ("2026-07-06T13:00:00Z", true),
            ("2026-07-06T17:00:00Z", false),
            ("2026-07-06T19:00:00Z", true),
            ("2026-07-07T03:59:59Z", true),
            ("2026-07-07T04:30:00Z", true),
            ("2026-07-07T05:00:00Z", false),
            ("2026-07-08T14:00:00Z", false),
            // In January it is three hours behind.
            ("2026-01-05T12:00:00Z", true),
        ] {
            let at_time = Timestamp::parse_rfc3339(at).unwrap();
            assert_eq!(hours().open_at(at_time), open, "{at}");
        }
    }

    #[test]
    fn openings_are_read_strictly() {
        for bad in [
            "",
            "9-18",
            "09:00",
            "18:00-09:00",
            "09:00-09:00",
            "09:60-10:00",
            "25:00-26:00",
            "+9:00-10:00",
        ] {
            assert!(Opening::parse(bad).is_none(), "{bad}");
        }
        let mut hours = hours();
        hours.days.insert("lun".to_owned(), Vec::new());
        assert_eq!(hours.check("h").unwrap_err().field.as_deref(), Some("h.days.lun"));
    }
}
