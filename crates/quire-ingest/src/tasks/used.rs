//! What reading a source used, as it is told once. Knows no price.

use quire_queue::Attempt;
use quire_store::passages::NewPassage;
use quire_store::sources::Source;
use quire_tenancy::Admitted;
use quire_tenancy::usage::{self, Event, Quantities};

use crate::extract::Document;
use crate::texts::made_at;

/// What reading a source used, and the sound that was listened to for it. It is local work, which costs nothing, and
/// the same however often it is tried.
pub(super) fn usage_event(
    attempt: &Attempt,
    source: &Source,
    document: &Document,
    new: &[NewPassage],
    sound: Option<&Admitted>,
) -> Event {
    let task = attempt.task.uuid();
    let at = made_at(attempt);
    let chars = |text: &str| i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let sensed = document.sensed;
    let quantities = Quantities {
        pages: count(sensed.pages),
        images: count(sensed.images),
        audio_ms: sound.map_or(0, |_| count(sensed.sound_ms)),
        characters: new
            .iter()
            .map(|passage| chars(&passage.context) + chars(&passage.body))
            .sum(),
        stored_bytes: source.size_bytes,
        ..Quantities::default()
    };
    Event {
        hold: sound.and_then(Admitted::hold),
        notebook: Some(source.notebook.uuid()),
        quantities,
        ..Event::new(attempt.tenant, usage::Kind::Source, task, 1, at)
    }
}
