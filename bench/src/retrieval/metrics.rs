//! Measures of ranked lists and of character spans. Knows neither data sets nor search.

use std::collections::HashMap;
use std::ops::Range;

/// Normalised discounted cumulative gain of the first `depth` items; the gain of an item is its grade.
/// Source: K. Järvelin and J. Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM TOIS
/// 20(4), 2002.
pub(super) fn ndcg(ranked: &[u32], grades: &HashMap<u32, u8>, depth: usize) -> f64 {
    let discounted = |gains: &mut dyn Iterator<Item = u8>| -> f64 {
        let gains = gains.take(depth).enumerate();
        gains
            .map(|(rank, gain)| f64::from(gain) / ((rank + 2) as f64).log2())
            .sum()
    };
    let mut best: Vec<u8> = grades.values().copied().collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = discounted(&mut best.into_iter());
    if ideal <= 0.0 {
        return 0.0;
    }
    let gain = |item: &u32| grades.get(item).copied().unwrap_or(0);
    discounted(&mut ranked.iter().map(gain)) / ideal
}

/// The share of the relevant items among the first `depth`.
pub(super) fn recall(ranked: &[u32], grades: &HashMap<u32, u8>, depth: usize) -> f64 {
    let found = ranked.iter().take(depth);
    let found = found.filter(|item| grades.contains_key(item)).count();
    found as f64 / grades.len().max(1) as f64
}

pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1);
    values.sum::<f64>() / count as f64
}

/// How retrieved spans cover wanted spans, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spans {
    /// The share of the wanted characters that were retrieved.
    pub(super) recall: f64,
    /// The share of the retrieved characters that were wanted.
    pub(super) precision: f64,
    /// Wanted and retrieved, by wanted or retrieved.
    pub(super) iou: f64,
}

impl Spans {
    /// As brandonstarxel/chunking_evaluation: what is retrieved twice counts twice as retrieved and once
    /// as found.
    pub(super) fn of(wanted: &[Range<usize>], retrieved: &[Range<usize>]) -> Self {
        let wanted = union(wanted.to_vec());
        let both: Vec<Range<usize>> = wanted
            .iter()
            .flat_map(|want| retrieved.iter().map(move |span| common(want, span)))
            .filter(|span| !span.is_empty())
            .collect();
        let found = total(&union(both));
        let wanted = total(&wanted);
        let read = total(retrieved);
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        Self {
            recall: share(found, wanted),
            precision: share(found, read),
            iou: share(found, read + wanted - found),
        }
    }

    pub(super) fn mean(all: &[Self]) -> Self {
        let of = |value: fn(&Self) -> f64| mean(all.iter().map(value));
        Self {
            recall: of(|spans| spans.recall),
            precision: of(|spans| spans.precision),
            iou: of(|spans| spans.iou),
        }
    }
}

fn common(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    a.start.max(b.start)..a.end.min(b.end)
}

fn total(spans: &[Range<usize>]) -> usize {
    spans.iter().map(ExactSizeIterator::len).sum()
}

/// The same characters as spans that do not touch each other, in order.
fn union(mut spans: Vec<Range<usize>>) -> Vec<Range<usize>> {
    spans.sort_unstable_by_key(|span| span.start);
    let mut joined: Vec<Range<usize>> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => joined.push(span),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_perfect_list_scores_one_and_a_late_hit_less() {
        let relevant = HashMap::from([(1, 1), (2, 1)]);
        assert!(near(ndcg(&[1, 2, 3], &relevant, 10), 1.0));
        let late = ndcg(&[3, 1], &relevant, 10);
        let expected = (1.0 / 3.0_f64.log2()) / (1.0 + 1.0 / 3.0_f64.log2());
        assert!(near(late, expected));
        assert!(near(ndcg(&[3, 1], &relevant, 1), 0.0));
        assert!(near(recall(&[3, 1], &relevant, 2), 0.5));
    }

    #[test]
    fn a_better_answer_counts_more() {
        let grades = HashMap::from([(1, 3), (2, 1)]);
        assert!(near(ndcg(&[1, 2], &grades, 10), 1.0));
        let swapped = (1.0 + 3.0 / 3.0_f64.log2()) / (3.0 + 1.0 / 3.0_f64.log2());
        assert!(near(ndcg(&[2, 1], &grades, 10), swapped));
        assert!(near(ndcg(&[1], &HashMap::new(), 10), 0.0));
    }

    #[test]
    fn what_is_read_twice_costs_precision_and_finds_once() {
        let spans = Spans::of(&[10..20, 15..30], &[0..20, 0..20]);
        assert!(near(spans.recall, 0.5));
        assert!(near(spans.precision, 10.0 / 40.0));
        assert!(near(spans.iou, 10.0 / 50.0));
        assert_eq!(Spans::of(&[1..5, 7..9], &[]), Spans::default());
    }
}
