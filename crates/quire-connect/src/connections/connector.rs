//! What a connector is: the way to one product, page after page. Knows no product and no row.

use async_trait::async_trait;
use serde_json::Value;

use quire_ingest::Recording;
use quire_types::Groups;

use crate::Error;

/// Something on the other side.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its id there.
    pub id: String,
    /// What the other side calls this state of it.
    pub version: String,
    /// Its title, and the name of its source.
    pub title: String,
    /// Where a person finds it there.
    pub url: Option<String>,
    /// Who sees it there, where that is told and asked for; the connection may name more.
    pub groups: Option<Groups>,
}

impl Remote {
    /// Its address, if it is one that a person can be sent to without harm.
    pub(super) fn link(&self) -> Option<String> {
        self.url.clone().filter(|url| url.starts_with("https://"))
    }
}

/// What is in something.
#[derive(Clone, Debug)]
pub enum Content {
    /// A text that the connector made of it.
    Text(String),
    /// What was said in a meeting.
    Said {
        /// What is known about it.
        about: String,
        /// Its transcripts, or recordings.
        parts: Vec<Recording>,
    },
}

/// One page of what is on the other side.
#[derive(Clone, Debug, Default)]
pub struct RemotePage {
    /// What is there.
    pub items: Vec<Remote>,
    /// Ids of what is gone.
    pub gone: Vec<String>,
    /// Ids of what the other side tells nothing of any more, and what stays as it is.
    pub untold: Vec<String>,
    /// Where to go on.
    pub cursor: Value,
    /// Whether another page follows at once.
    pub has_more: bool,
    /// Whether this page ends a round that looked at everything: what it did not see is asked after.
    pub ends_whole_round: bool,
    /// The number of the round, which grows.
    pub round: i64,
}

/// What became of something.
#[derive(Clone, Debug)]
pub enum Found {
    /// It is there.
    Here(Remote),
    /// It was taken away, from everybody or from us.
    Gone,
    /// The other side does not tell any more; what is known of it stays.
    Untold,
}

impl From<Option<Remote>> for Found {
    fn from(found: Option<Remote>) -> Self {
        found.map_or(Self::Gone, Self::Here)
    }
}

/// The way to one product.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Asks whether the secrets work; says whose account it is.
    ///
    /// # Errors
    /// What the other side says.
    async fn test(&self) -> Result<String, Error>;

    /// What is there, or changed, after the cursor. An empty object is the beginning.
    ///
    /// # Errors
    /// What the other side says; nothing has changed then.
    async fn page(&self, cursor: &Value) -> Result<RemotePage, Error>;

    /// The same cursor, but everything is looked at next.
    fn whole(&self, cursor: &Value) -> Value;

    /// Something that a whole round did not see.
    ///
    /// # Errors
    /// What the other side says.
    async fn find(&self, id: &str) -> Result<Found, Error>;

    /// What a message hints at: something by its id, where messages tell that.
    ///
    /// # Errors
    /// What the other side says.
    async fn look(&self, hint: &str) -> Result<RemotePage, Error> {
        let mut page = RemotePage::default();
        match self.find(hint).await? {
            Found::Here(item) => page.items.push(item),
            Found::Gone => page.gone.push(hint.to_owned()),
            Found::Untold => {}
        }
        Ok(page)
    }

    /// What is in something; none when it is gone meanwhile. Fills in what a list does not tell of it: title, address,
    /// who sees it.
    ///
    /// # Errors
    /// What the other side says. What can't be used, in itself, leaves only this one out.
    async fn content(&self, item: &mut Remote) -> Result<Option<Content>, Error>;
}
