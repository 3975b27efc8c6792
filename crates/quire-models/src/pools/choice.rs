//! Which of several pools a call goes to. Pure.
//!
//! A tenant stays in its own pool, where the provider remembers what it was given before, while the call fits
//! there. What does not fit goes where there is most room, of two that are drawn, so that many processes don't
//! all run to the same one.

/// A pool that a call may go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// How often the call fits; below 1 it does not.
    pub(super) headroom: f64,
    /// How much this tenant likes this pool, the same in every process. Its own pool is liked most.
    pub(super) liking: u64,
}

/// The place of the pool to take; none when the call fits nowhere.
pub(super) fn choose(candidates: &[Candidate], random: u64) -> Option<usize> {
    let favourite = (0..candidates.len()).max_by_key(|at| candidates[*at].liking)?;
    if candidates[favourite].headroom >= 1.0 {
        return Some(favourite);
    }
    let fitting: Vec<usize> = (0..candidates.len())
        .filter(|at| candidates[*at].headroom >= 1.0)
        .collect();
    let count = fitting.len() as u64;
    if count == 0 {
        return None;
    }
    let drawn = [random % count, random / count % count];
    drawn
        .into_iter()
        .map(|at| fitting[at as usize])
        .max_by(|a, b| candidates[*a].headroom.total_cmp(&candidates[*b].headroom))
}
