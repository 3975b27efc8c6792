//! What is asked of the seats, on which terms, and what they answer. Only data.

use uuid::Uuid;

/// What a request is for, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Somebody waits for an answer.
    Interactive,
    /// A search without an answer in words.
    Retrieval,
    /// A step of an agent.
    Agent,
    /// Many requests at once, wanted today.
    Batch,
    /// Upkeep that nobody waits for.
    Background,
}

impl Class {
    /// Every class, the highest first.
    pub const ALL: [Self; 5] = [
        Self::Interactive,
        Self::Retrieval,
        Self::Agent,
        Self::Batch,
        Self::Background,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Retrieval => "retrieval",
            Self::Agent => "agent",
            Self::Batch => "batch",
            Self::Background => "background",
        }
    }

    /// The place in [`Class::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The size of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeatPlan {
    /// Requests that run at once.
    pub(crate) seats: u32,
    /// Of the seats that are not dedicated, those a class gets before any other may borrow. While they
    /// are more than there are seats, the classes share the seats in this proportion. A class without a
    /// guarantee gets only what the others leave.
    pub(crate) guaranteed: [u32; Class::COUNT],
    /// Requests that wait at once. Every class leaves a fifth of this room to each class above it.
    pub(crate) most_waiting: u32,
}

/// What a tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Its share against other tenants of a class, from 1.
    pub(crate) weight: u32,
    /// Requests that may run at once, over all classes; 0 suspends the tenant.
    pub(crate) most_running: u32,
    /// Requests that may wait at once, over all classes, from 1.
    pub(crate) most_waiting: u32,
    /// Seats kept free for this tenant alone. All tenants together get at most half of the seats, those
    /// that came first before the others.
    pub(crate) dedicated: u32,
}

/// A request that wants a seat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) class: Class,
    pub(crate) tenant: Uuid,
    pub(crate) user: u64,
    /// The newest terms of the tenant.
    pub(crate) share: Share,
    /// How long it will hold the seat, as far as one can tell.
    pub(crate) estimate_us: u64,
    /// When the answer is worth nothing any more.
    pub(crate) deadline_us: u64,
}

/// Why a request does not even wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many requests wait as may, for this class.
    Full,
    /// As many of the tenant's requests wait as may.
    TenantFull,
    /// The tenant may run nothing.
    Suspended,
    /// The deadline has passed.
    Late,
}

/// A request that was admitted. Numbers are never used twice, so one that ended is merely unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(super) u64);

/// The requests of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) waiting: u32,
    pub(crate) running: u32,
}
