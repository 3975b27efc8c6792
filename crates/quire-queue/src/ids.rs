//! Ids of tasks that say where their rows are. The transaction that adds a task and the number of the task among others
//! are part of the id, and so is the token of its row: a single task is found among millions without an index over ids,
//! which would be a third more to write. Only what has moved since, after a failure or a delay, needs one.

use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// Bits of a token below the transaction.
const NUMBER: u32 = 16;
/// A version 7 UUID has 62 bits behind the variant, and 12 between the version and the variant.
const LOW: u128 = (1 << 62) - 1;

/// The id of the next task that this process adds, in a transaction of the database. In the order of time like every
/// version 7 UUID; none is given twice, since a process would have to add 268 million tasks within a millisecond.
pub(crate) fn next(transaction: i64) -> Uuid {
    static ADDED: AtomicU64 = AtomicU64::new(0);
    let number = u128::from(ADDED.fetch_add(1, Ordering::Relaxed));
    let time = Uuid::now_v7().as_u128() >> 80;
    let token = (u128::from(transaction.unsigned_abs()) << NUMBER) | (number & 0xffff);
    let high = (time << 80) | (7 << 76) | (((number >> NUMBER) & 0xfff) << 64);
    Uuid::from_u128(high | (2 << 62) | (token & LOW))
}

/// The token of the task's row, if the task was added by [`next`] and has not moved.
pub(crate) fn token(task: Uuid) -> i64 {
    i64::try_from(task.as_u128() & LOW).unwrap_or(0)
}

/// What tells apart the rows of one transaction that had to share a token. [`crate::rows::RUNNING`] computes the same.
pub(crate) fn tail(task: Uuid) -> i32 {
    let [_, _, _, _, a, b, c, d, ..] = *task.as_bytes();
    i32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_holds_the_token_and_is_in_order_and_like_no_other() {
        let ids: Vec<Uuid> = (0..200_000).map(|_| next(790)).collect();
        assert!(
            ids.iter()
                .all(|id| id.get_version_num() == 7 && token(*id) >> NUMBER == 790)
        );
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        let told_apart: HashSet<(i64, i32)> =
            ids.iter().map(|id| (token(*id), tail(*id))).collect();
        assert_eq!(told_apart.len(), ids.len());
        let late = next((1 << 46) - 1);
        assert_eq!(token(late) >> NUMBER, (1 << 46) - 1);
        assert_eq!(late.get_variant(), uuid::Variant::RFC4122);
    }
}
