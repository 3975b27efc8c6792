//! Where a notebook belongs, from what is known of its use. Pure: takes the time, asks nobody.
//!
//! The rules of the first product quire was made for: what is under way is hot; what is over cools down with
//! its last change, slower while it is asked; after the plan's time it is archived. A recording cools down by its
//! age, slower than anything else, and takes its notebook with it. Where nobody says what state a notebook's
//! subject is in, its last use decides.

use chrono::TimeDelta;

use quire_store::tiers::NotebookTier;
use quire_types::{NotebookStatus, Tier, Timestamp};

/// A completed notebook is warm for so long after its last change.
const WARM_AFTER_CHANGE: TimeDelta = TimeDelta::days(30);
/// Any notebook is warm at least for so long after its last question.
const WARM_AFTER_QUESTION: TimeDelta = TimeDelta::days(14);

/// A notebook is hot, warm and cold at least until its newest recording is so old.
const HOT_RECORDING: TimeDelta = TimeDelta::days(30);
const WARM_RECORDING: TimeDelta = TimeDelta::days(365);
const COLD_RECORDING: TimeDelta = TimeDelta::days(3 * 365);

/// Where a notebook belongs now, and when that is to be asked again; never, where only somebody's action
/// changes it. `archive_after` is the plan's time; none where nothing is archived.
pub fn tier(
    notebook: &NotebookTier,
    archive_after: Option<TimeDelta>,
    now: Timestamp,
) -> (Tier, Option<Timestamp>) {
    if notebook.is_pinned {
        return (notebook.tier, None);
    }
    if notebook.status == Some(NotebookStatus::Active) {
        return (Tier::Hot, None);
    }
    let changed = notebook.changed_at;
    let asked = notebook.asked_at;
    let recorded = notebook.recorded_at;
    let used = asked.map_or(changed, |asked| asked.max(changed));
    // In order: as long as one of these is to come, the notebook is in its tier.
    let mut ends = Vec::new();
    if notebook.status.is_none() {
        ends.push((Tier::Hot, Some(used + WARM_AFTER_QUESTION)));
        ends.extend(recorded.map(|recorded| (Tier::Hot, Some(recorded + HOT_RECORDING))));
    }
    ends.push((Tier::Warm, Some(changed + WARM_AFTER_CHANGE)));
    ends.extend(asked.map(|asked| (Tier::Warm, Some(asked + WARM_AFTER_QUESTION))));
    ends.extend(recorded.map(|recorded| (Tier::Warm, Some(recorded + WARM_RECORDING))));
    // A time beyond the calendar is never.
    let archived = archive_after.and_then(|after| used.checked_add_signed(after));
    let kept = recorded.map(|recorded| recorded + COLD_RECORDING);
    let archived = archived.map(|archived| kept.map_or(archived, |kept| archived.max(kept)));
    ends.push((Tier::Cold, archived));
    let found = ends.iter().find(|(_, end)| end.is_none_or(|end| end > now));
    match found {
        Some((tier, _)) => {
            let next = ends
                .iter()
                .filter_map(|(_, end)| *end)
                .filter(|end| *end > now);
            (*tier, next.min())
        }
        None => (Tier::Archived, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quire_types::NotebookId;

    use super::*;

    const YEAR: Option<TimeDelta> = Some(TimeDelta::days(365));

    fn notebook(status: Option<NotebookStatus>, changed: i64, asked: Option<i64>) -> NotebookTier {
        NotebookTier {
            notebook: NotebookId::generate(),
            name: String::new(),
            tier: Tier::Hot,
            since: day(0),
            is_pinned: false,
            status,
            asked_at: asked.map(day),
            changed_at: day(changed),
            recorded_at: None,
            passages: 1,
            archived: 0,
        }
    }

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::days(day)
    }

    #[test]
    fn the_rules_hold() {
        let (active, completed) = (NotebookStatus::Active, NotebookStatus::Completed);
        for (status, changed, asked, now, expected, next) in [
            (Some(active), 0, None, 4_000, Tier::Hot, None),
            (Some(completed), 0, None, 29, Tier::Warm, Some(30)),
            (Some(completed), 0, None, 30, Tier::Cold, Some(365)),
            (Some(completed), 0, Some(40), 41, Tier::Warm, Some(54)),
            (Some(completed), 0, Some(40), 54, Tier::Cold, Some(405)),
            (Some(completed), 0, Some(40), 405, Tier::Archived, None),
            (None, 0, None, 13, Tier::Hot, Some(14)),
            (None, 0, None, 14, Tier::Warm, Some(30)),
            (None, 0, None, 365, Tier::Archived, None),
        ] {
            let found = tier(&notebook(status, changed, asked), YEAR, day(now));
            assert_eq!(
                found,
                (expected, next.map(day)),
                "{status:?} {asked:?} {now}"
            );
        }
        let old = notebook(Some(completed), 0, None);
        assert_eq!(tier(&old, None, day(100_000)), (Tier::Cold, None));
        for (status, now, expected, next) in [
            (None, 29, Tier::Hot, Some(30)),
            (None, 30, Tier::Warm, Some(365)),
            (Some(completed), 29, Tier::Warm, Some(30)),
            (Some(completed), 364, Tier::Warm, Some(365)),
            (Some(completed), 365, Tier::Cold, Some(1_095)),
            (Some(completed), 1_095, Tier::Archived, None),
        ] {
            let recording = NotebookTier {
                recorded_at: Some(day(0)),
                ..notebook(status, 0, None)
            };
            let found = tier(&recording, YEAR, day(now));
            assert_eq!(found, (expected, next.map(day)), "{status:?} {now}");
        }
        let pinned = NotebookTier {
            is_pinned: true,
            ..old
        };
        assert_eq!(tier(&pinned, YEAR, day(100_000)), (Tier::Hot, None));
    }

    proptest! {
        /// Between now and the time to ask again nothing changes, and that time comes.
        #[test]
        fn nothing_changes_before_it_is_due(
            status in prop::option::of(Just(NotebookStatus::Completed)),
            changed in 0..500_i64,
            asked in prop::option::of(0..900_i64),
            recorded in prop::option::of(0..900_i64),
            now in 0..2_500_i64,
            share in 0.0..1.0_f64,
        ) {
            let notebook = NotebookTier {
                recorded_at: recorded.map(day),
                ..notebook(status, changed, asked)
            };
            let (before, next) = tier(&notebook, YEAR, day(now));
            prop_assert_eq!(before == Tier::Archived, next.is_none());
            if let Some(next) = next {
                prop_assert!(next > day(now));
                let wait = (next - day(now)).num_seconds() - 1;
                let soon = day(now) + TimeDelta::seconds((wait as f64 * share) as i64);
                prop_assert_eq!(tier(&notebook, YEAR, soon).0, before);
            } else {
                prop_assert_eq!(tier(&notebook, YEAR, day(now + 1_000)).0, Tier::Archived);
            }
        }
    }
}
