//! The key of everything that is cached: BLAKE3 (256 bits) over all that the entry rests on. Made here and nowhere
//! else, so that nothing can be cached without naming whose it is.

use std::fmt;

use quire_index::Filter;
use quire_store::Placement;
use quire_tenancy::catalogue::QuestionType;

use crate::conversation::Said;
use crate::router::Route;

/// The name of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key([u8; 32]);

/// What an answer rests on, beside whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Asks<'a> {
    /// The version of the corpus, and how often the tenant's cache was emptied.
    pub(crate) corpus: (i64, i64),
    /// What the caller may see of it.
    pub(crate) filter: &'a Filter,
    pub(crate) question: &'a str,
    /// What was said before it.
    pub(crate) history: &'a [Said],
    /// Whether it says how its passages were found.
    pub(crate) explain: bool,
    /// The way that the caller named.
    pub(crate) route: Option<Route>,
    /// The ways that the plan has.
    pub(crate) in_plan: &'a [QuestionType],
    /// The models that may write, and how much they may read.
    pub(crate) settings: &'a str,
}

impl Key {
    /// The key of an answer.
    pub(crate) fn answer(placement: Placement, asks: Asks<'_>) -> Self {
        let mut hash = Hash::new("answer", placement);
        hash.add(normal(asks.question).as_bytes());
        hash.add_rest(asks);
        hash.finish()
    }

    /// The key of all questions that differ in their words alone and go the same way.
    pub(crate) fn space(placement: Placement, asks: Asks<'_>, way: Route) -> Self {
        let mut hash = Hash::new("space", placement);
        hash.add(format!("{way:?}").as_bytes());
        hash.add_rest(asks);
        hash.finish()
    }

    /// The key of a question's vector.
    pub(crate) fn vector(placement: Placement, model: &str, question: &str) -> Self {
        let mut hash = Hash::new("vector", placement);
        hash.add(model.as_bytes());
        hash.add(question.as_bytes());
        hash.finish()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Parts, one after another; the length of each keeps them from running into each other.
struct Hash(blake3::Hasher);

impl Hash {
    fn new(kind: &str, placement: Placement) -> Self {
        let mut hash = Self(blake3::Hasher::new());
        hash.add(kind.as_bytes());
        hash.add(placement.tenant.uuid().as_bytes());
        hash.add(placement.incarnation.as_bytes());
        hash.add(&placement.shard.to_le_bytes());
        hash
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// Everything that an answer rests on but the words of its question.
    fn add_rest(&mut self, asks: Asks<'_>) {
        let Asks {
            corpus: (version, purges),
            filter,
            question: _,
            history,
            explain,
            route,
            in_plan,
            settings,
        } = asks;
        let Filter {
            notebooks,
            media_types,
            added_from,
            added_before,
            groups,
        } = filter;
        // The order in which somebody names them says nothing.
        let mut notebooks = notebooks.clone();
        notebooks.iter_mut().for_each(|named| named.sort_unstable());
        let media_types = media_types.as_ref().map(|types| {
            let mut names: Vec<String> = types.iter().map(ToString::to_string).collect();
            names.sort_unstable();
            names
        });
        self.add(&version.to_le_bytes());
        self.add(&purges.to_le_bytes());
        self.add(
            format!("{notebooks:?} {media_types:?} {added_from:?} {added_before:?} {groups:?}")
                .as_bytes(),
        );
        for said in history {
            self.add(&[u8::from(said.by_asker)]);
            self.add(said.text.as_bytes());
        }
        self.add(format!("{explain} {route:?} {in_plan:?}").as_bytes());
        self.add(settings.as_bytes());
    }

    fn finish(self) -> Key {
        Key(*self.0.finalize().as_bytes())
    }
}

/// What is the same question: white space and the marks at its end say nothing.
fn normal(question: &str) -> String {
    let words: Vec<&str> = question.split_whitespace().collect();
    let text = words.join(" ");
    let bare = text.trim_end_matches(['?', '.', '!', ' ']);
    // A question of nothing but marks is itself.
    if bare.is_empty() {
        text
    } else {
        bare.to_owned()
    }
}
