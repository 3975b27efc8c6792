//! One answer for everybody who asks the same at the same time: the first works it out, the others hear every part of
//! it from the beginning.
//!
//! The work runs in a task of its own, which ends when nobody listens any more, so a leader that goes away
//! takes nothing from those who follow. An error is told to the leader alone: a follower whose flight ends
//! without an answer boards the next, and may lead it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Key;
use crate::answer::{Answer, Event};

/// What is being worked out right now in this process.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    flights: Arc<Mutex<HashMap<Key, Weak<Flight>>>>,
}

/// What a request finds.
pub(crate) enum Place {
    /// Nobody works on it: this request does, and hears itself from its own place.
    Lead(Leading, Passenger),
    /// Somebody does.
    Follow(Passenger),
}

struct Flight {
    state: Mutex<State>,
    /// Tells that the state is another one.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    end: Option<End>,
    work: Option<AbortHandle>,
}

/// How a flight ended: with an answer, or without one.
type End = Option<Arc<Answer>>;

/// Somebody who waits for the answer. The last one that goes ends the work.
pub(crate) struct Passenger {
    flight: Arc<Flight>,
    heard: usize,
}

/// The right and the duty to work it out. Dropped without an answer, the flight ends without one.
pub(crate) struct Leading {
    key: Key,
    flights: Flights,
    flight: Weak<Flight>,
}

impl Flights {
    /// A place for whoever asks this.
    pub(crate) fn board(&self, key: Key) -> Place {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade)
            && lock(&flight.state).end.is_none()
        {
            return Place::Follow(Passenger { flight, heard: 0 });
        }
        let flight = Arc::new(Flight {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        flights.insert(key, Arc::downgrade(&flight));
        let leading = Leading {
            key,
            flights: self.clone(),
            flight: Arc::downgrade(&flight),
        };
        Place::Lead(leading, Passenger { flight, heard: 0 })
    }
}

impl Leading {
    /// Tells a part of the answer to everybody.
    pub(crate) fn tell(&self, event: Event) {
        self.change(|state| state.events.push(event));
    }

    /// The answer is complete.
    pub(crate) fn land(self, answer: Arc<Answer>) {
        self.change(|state| state.end = Some(Some(answer)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        if let Some(flight) = self.flight.upgrade() {
            change(&mut lock(&flight.state));
            flight.changed.send_replace(());
        }
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        self.change(|state| {
            state.end.get_or_insert(None);
        });
        let mut flights = lock(&self.flights.flights);
        // Another flight for the same may be under way already.
        if flights
            .get(&self.key)
            .is_some_and(|flight| flight.ptr_eq(&self.flight))
        {
            flights.remove(&self.key);
        }
    }
}

impl Passenger {
    /// Hears what is told, from the beginning, until the end; none when it ended without an answer.
    pub(crate) async fn hear(mut self, emit: &mut (dyn FnMut(Event) + Send)) -> End {
        let mut changes = self.flight.changed.subscribe();
        loop {
            let (new, end) = {
                let state = lock(&self.flight.state);
                let new: Vec<Event> = state.events.get(self.heard..).unwrap_or_default().to_vec();
                (new, state.end.clone())
            };
            self.heard += new.len();
            new.into_iter().for_each(&mut *emit);
            if let Some(end) = end {
                return end;
            }
            // The sender lives as long as the flight, which this passenger holds.
            let _ = changes.changed().await;
        }
    }

    /// Names the work, which ends with its last passenger.
    pub(crate) fn carries(&self, work: AbortHandle) {
        lock(&self.flight.state).work = Some(work);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(work) = &lock(&self.state).work {
            work.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its value whole, even if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
