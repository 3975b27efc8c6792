//! What connectors to meetings have in common: what a tenant may choose, which of the files of a meeting tell what
//! was said, and how a meeting introduces itself. Knows no product.

use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use serde::Deserialize;
use serde_json::Value;

use quire_types::{Groups, Secret, Timestamp};

use crate::Error;
use crate::egress::Egress;

/// After this time without a transcript quire listens itself.
const PATIENCE: TimeDelta = TimeDelta::hours(6);
/// The largest file that is fetched, and how long that may take.
const MOST_BYTES: usize = 200 << 20;
const DOWNLOAD: Duration = Duration::from_mins(10);
/// People who are named in a source.
const MOST_PEOPLE: usize = 200;

/// What a tenant may choose, and which account it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Whether meetings of all people of the account are read; it takes an administrator.
    pub(super) everybody: bool,
    /// Whose meetings are read, where a product lets an administrator say so.
    pub(super) organizers: Vec<String>,
    /// Whether only those who took part see a meeting, by their addresses, and who invited.
    pub(super) participants_only: bool,
    /// How far back.
    pub(super) since_days: u16,
    /// The account that was opened.
    pub(super) account: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            everybody: false,
            organizers: Vec::new(),
            participants_only: false,
            since_days: 180,
            account: None,
        }
    }
}

impl Settings {
    pub(super) fn parse(settings: &Value) -> Result<Self, Error> {
        let settings: Self = serde_json::from_value(settings.clone())
            .map_err(|error| Error::Invalid(format!("settings: {error}")))?;
        match settings.since_days {
            1..=3_650 => Ok(settings),
            _ => Err(Error::Invalid(
                "settings: since_days is 1 to 3650".to_owned(),
            )),
        }
    }

    /// Who sees a meeting; nothing when that is not a matter of who was there. Whose address is not told does not see
    /// it.
    pub(super) fn groups(&self, host: &str, people: &People) -> Option<Groups> {
        let addresses = people.addresses.iter().map(String::as_str);
        self.participants_only
            .then(|| Groups::usable(std::iter::once(host).chain(addresses)))
    }

    /// The same for a new connection, of which nobody knows the account yet.
    pub(super) fn parse_new(settings: &Value) -> Result<Self, Error> {
        let settings = Self::parse(settings)?;
        match settings.account {
            None => Ok(settings),
            Some(_) => Err(Error::Invalid(
                "settings: the account is that of whoever follows the link".to_owned(),
            )),
        }
    }
}

/// The files that tell what was said: the first kind of `words` of which there are any, or of `sound` once no words
/// are to be expected.
pub(super) fn said<T>(
    words: impl IntoIterator<Item = Vec<T>>,
    sound: impl IntoIterator<Item = Vec<T>>,
    ended: Timestamp,
    now: Timestamp,
) -> Vec<T> {
    let is_overdue = now - ended > PATIENCE;
    let sound = sound.into_iter().filter(|_| is_overdue);
    let mut kinds = words.into_iter().chain(sound);
    kinds.find(|files| !files.is_empty()).unwrap_or_default()
}

/// What is known about a meeting.
#[derive(Clone, Debug)]
pub(super) struct About<'a> {
    /// What it was called.
    pub(super) topic: &'a str,
    /// When it began.
    pub(super) start: Timestamp,
    /// How long it was; zero when nobody says.
    pub(super) minutes: i64,
    /// Who invited.
    pub(super) host: &'a str,
}

impl About<'_> {
    /// The name of its source.
    pub(super) fn title(&self) -> String {
        let topic = Some(self.topic.trim()).filter(|topic| !topic.is_empty());
        let day = self.start.format("%Y-%m-%d %H:%M");
        format!("{} {day}", topic.unwrap_or("Meeting"))
    }

    /// The same in a few sentences.
    pub(super) fn text(&self, people: &People) -> String {
        let start = self.start.format("%A, %-d %B %Y, %H:%M UTC");
        let mut about = format!("Meeting \"{}\" on {start}", self.topic.trim());
        if self.minutes > 0 {
            about.push_str(&format!(", {} minutes", self.minutes));
        }
        about.push('.');
        if !self.host.is_empty() {
            about.push_str(&format!(" Host: {}.", self.host));
        }
        if !people.is_empty() {
            about.push_str(&format!(" Participants: {}.", people.names.join(", ")));
        }
        about
    }
}

/// Those who took part: their names and addresses, each once, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct People {
    names: Vec<String>,
    addresses: Vec<String>,
}

impl People {
    /// Somebody, of whom nobody may know the name or the address.
    pub(super) fn add(&mut self, name: &str, address: &str) {
        for (list, text) in [(&mut self.names, name), (&mut self.addresses, address)] {
            let text = text.trim();
            let is_news = !text.is_empty() && !list.iter().any(|known| known == text);
            if is_news && list.len() < MOST_PEOPLE {
                list.push(text.to_owned());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.names.len() >= MOST_PEOPLE
    }
}

/// Fetches a transcript or recording; the token stays with the host that it is for.
pub(super) async fn fetch(egress: &Egress, url: &str, token: &Secret) -> Result<Bytes, Error> {
    let fetched = egress
        .get(url, DOWNLOAD, MOST_BYTES, |request| {
            request.bearer_auth(token.expose())
        })
        .await?;
    Ok(Bytes::from(fetched.bytes))
}

/// How long after the first part another one begins.
pub(super) fn offset_ms(first: Option<Timestamp>, start: Option<Timestamp>) -> u64 {
    let between = start.zip(first).map(|(start, first)| start - first);
    let ms = between.map_or(0, |between| between.num_milliseconds());
    u64::try_from(ms).unwrap_or(0)
}
