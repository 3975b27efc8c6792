//! From what happened on the jobs to what arrives: in order, then late, twice and overtaken, as networks have it.

use serde_json::{Map, Value, json};

use super::dates::Day;
use super::jobs::{Job, happen};

/// A sequence of numbers that looks like chance and is the same in every run (PCG).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `many`.
    pub(super) fn below(&mut self, many: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 >> 33) ^ (self.0 >> 45);
        usize::try_from(mixed).unwrap_or_default() % many.max(1)
    }

    /// One of these.
    pub(super) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }
}

/// What happened on a job.
pub(super) struct Told {
    /// Minutes since 1970.
    at: i64,
    event: Value,
}

/// What happens on one job, while it is written down.
pub(super) struct Stream<'a> {
    pub(super) job: &'a Job,
    pub(super) dice: Dice,
    told: Vec<Told>,
}

/// A step in the life of a record: the day, and the fields that are new.
pub(super) type Step = (Day, Value);

impl<'a> Stream<'a> {
    pub(super) fn new(job: &'a Job) -> Self {
        Self {
            job,
            dice: Dice::new(job.seed),
            told: Vec::new(),
        }
    }

    /// The life of a record: it is added with the fields of the first step and changed by each that follows.
    pub(super) fn life(&mut self, kind: &str, id: &str, steps: &[Step]) {
        let mut fields = Map::new();
        let mut action = "add";
        for (day, news) in steps {
            if let Value::Object(news) = news {
                fields.extend(news.clone());
            }
            self.tell(kind, id, *day, action, Value::Object(fields.clone()));
            action = "update";
        }
    }

    /// A record is withdrawn.
    pub(super) fn delete(&mut self, kind: &str, id: &str, day: Day) {
        self.tell(kind, id, day, "delete", Value::Null);
    }

    fn tell(&mut self, kind: &str, id: &str, day: Day, action: &str, fields: Value) {
        // Steps of one record are on days of their own, so their order is that of time.
        let minute = 11 * 60 + i64::try_from(self.dice.below(9 * 60)).unwrap_or_default();
        let at = day.0 * 24 * 60 + minute;
        let time = format!("{}T{:02}:{:02}:00Z", day.text(), minute / 60, minute % 60);
        let mut event = json!({ "type": kind, "id": id, "action": action, "time": time });
        if action != "delete" {
            let job = self.job;
            event["entity"] = json!({ "type": "job", "id": job.id, "name": job.name });
            event["fields"] = fields;
        }
        self.told.push(Told { at, event });
    }
}

/// The events of all jobs in the order in which they arrive.
pub(super) fn arrivals(jobs: &[Job]) -> Vec<Value> {
    let mut told = Vec::new();
    for job in jobs {
        let mut stream = Stream::new(job);
        happen(&mut stream);
        told.append(&mut stream.told);
    }
    told.sort_by_key(|told| told.at);
    let mut dice = Dice::new(2_025);
    let mut arriving: Vec<(usize, Value)> = Vec::new();
    for (place, told) in told.into_iter().enumerate() {
        // Places have gaps between them, so that what is late falls between others.
        let own = place * 10;
        match place % 23 {
            // Late, by hours or a day.
            7 => arriving.push((own + 10 * (20 + dice.below(60)) + 5, told.event)),
            // Twice, the second time a little later.
            15 => {
                arriving.push((own, told.event.clone()));
                arriving.push((own + 10 * (1 + dice.below(30)) + 3, told.event));
            }
            _ => arriving.push((own, told.event)),
        }
    }
    arriving.sort_by_key(|(place, _)| *place);
    arriving.into_iter().map(|(_, event)| event).collect()
}
