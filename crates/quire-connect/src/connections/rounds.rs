//! Rounds over people and days: what is new is looked for in the last days, and once a day everything is looked at.

use chrono::{Days, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use quire_types::Timestamp;

use super::{Remote, RemotePage};

/// Transcripts come late, and days begin at different hours.
const LOOKBACK: Days = Days::new(3);
/// How often everything is looked at.
const WHOLE_EVERY: TimeDelta = TimeDelta::days(1);
/// How often the meetings of many people are listed; one's own are at every reading.
const MANY_EVERY: TimeDelta = TimeDelta::hours(1);

/// How far meetings have been read.
#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Cursor {
    pub(super) round: i64,
    /// Whether this round looks at everything.
    pub(super) is_whole: bool,
    /// The days that the round reads; none between rounds.
    pub(super) days: Option<(NaiveDate, NaiveDate)>,
    /// Whose meetings are still to be read, the last one's now.
    pub(super) people: Vec<String>,
    /// Where the list of people goes on; none at its end.
    pub(super) more_people: Option<String>,
    /// The first day of the window that is being read.
    pub(super) from: Option<NaiveDate>,
    /// Where the window goes on.
    pub(super) start: Option<String>,
    /// Whether somebody's meetings were kept from us in this round, and whether somebody's were shown.
    pub(super) is_refused: bool,
    pub(super) is_shown: bool,
    /// The day on which the last round ended.
    watermark: Option<NaiveDate>,
    ended_at: Option<Timestamp>,
    /// When everything was looked at.
    whole_at: Option<Timestamp>,
}

impl Cursor {
    pub(super) fn parse(cursor: &Value) -> Self {
        serde_json::from_value(cursor.clone()).unwrap_or_default()
    }

    /// The same, but everything is looked at next.
    pub(super) fn whole(cursor: &Value) -> Value {
        json!(Self {
            days: None,
            ended_at: None,
            whole_at: None,
            ..Self::parse(cursor)
        })
    }

    /// Whether the meetings of many people were listed a short while ago.
    pub(super) fn was_lately(&self, now: Timestamp) -> bool {
        let is_between = self.days.is_none();
        is_between && self.ended_at.is_some_and(|at| now - at < MANY_EVERY)
    }

    /// Nothing, and on from here.
    pub(super) fn nothing(&self) -> RemotePage {
        RemotePage {
            round: self.round,
            cursor: json!(self),
            ..RemotePage::default()
        }
    }

    /// A round over these people, and those whom a list names.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        since_days: u16,
        people: Vec<String>,
        more_people: Option<String>,
    ) {
        let today = now.date_naive();
        let back = |days: Days| today.checked_sub_days(days).unwrap_or(today);
        self.round += 1;
        self.is_whole = self.whole_at.is_none_or(|at| now - at > WHOLE_EVERY);
        let since = match self.watermark.filter(|_| !self.is_whole) {
            Some(day) => day.checked_sub_days(LOOKBACK).unwrap_or(day),
            None => back(Days::new(since_days.into())),
        };
        let until = today.succ_opt().unwrap_or(today);
        self.days = Some((since, until));
        self.from = Some(since);
        self.start = None;
        (self.is_refused, self.is_shown) = (false, false);
        (self.people, self.more_people) = (people, more_people);
    }

    /// The same round from its beginning.
    pub(super) fn again(self) -> RemotePage {
        let round = self.round - 1;
        let cursor = Self {
            round,
            days: None,
            ended_at: None,
            ..self
        };
        RemotePage {
            round,
            cursor: json!(cursor),
            has_more: true,
            ..RemotePage::default()
        }
    }

    /// The page is read: the next one of the window, the next window of this length, the next person.
    pub(super) fn step(&mut self, next: Option<String>, window: Option<Days>) {
        self.start = next;
        if self.start.is_some() {
            return;
        }
        let Some((since, until)) = self.days else {
            return;
        };
        let end = self.from.zip(window);
        let end = end.and_then(|(from, window)| from.checked_add_days(window));
        match end.filter(|end| *end < until) {
            Some(end) => self.from = Some(end),
            None => {
                self.people.pop();
                self.from = Some(since);
            }
        }
    }

    /// Whether nobody is left.
    pub(super) fn is_end(&self) -> bool {
        self.people.is_empty() && self.more_people.is_none()
    }

    /// This page of the round, which ends here when nobody is left.
    pub(super) fn page(mut self, items: Vec<Remote>, now: Timestamp) -> RemotePage {
        let is_end = self.is_end();
        if is_end {
            self.days = None;
            self.watermark = Some(now.date_naive());
            self.ended_at = Some(now);
            if self.is_whole {
                self.whole_at = Some(now);
            }
        }
        RemotePage {
            items,
            has_more: !is_end,
            ends_whole_round: is_end && self.is_whole,
            round: self.round,
            cursor: json!(self),
            ..RemotePage::default()
        }
    }
}
