//! Pages of text that are made here, and how far a text is from what stands on them.

/// Words of a building site, so that no two pages are the same and none is easier than real ones.
const WORDS: [&str; 32] = [
    "concrete",
    "invoice",
    "retainage",
    "crane",
    "Tuesday",
    "percent",
    "delivery",
    "inspection",
    "scaffold",
    "approved",
    "drawing",
    "revision",
    "contractor",
    "schedule",
    "overtime",
    "concealed",
    "membrane",
    "between",
    "grid",
    "elevator",
    "shutdown",
    "quantity",
    "allowance",
    "warranty",
    "temporary",
    "heating",
    "fireproofing",
    "submittal",
    "clearance",
    "northeast",
    "corner",
    "before",
];
const LINES: usize = 44;

/// The lines of a page.
pub(super) fn lines(page: usize) -> Vec<String> {
    let mut state = page as u64 + 1;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    (0..LINES)
        .map(|_| {
            let mut words: Vec<String> = (0..8)
                .map(|_| WORDS[next() % WORDS.len()].to_owned())
                .collect();
            words.push(format!("{}.{:02}", next() % 9_000 + 100, next() % 100));
            words.join(" ")
        })
        .collect()
}

/// A text with single blanks.
pub(super) fn normal(text: &str) -> Vec<char> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().collect()
}

/// How many characters or words have to be put in, taken out or replaced (Levenshtein).
pub(super) fn distance<T: PartialEq>(one: &[T], two: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, left) in one.iter().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (column, right) in two.iter().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_characters() {
        for (one, two, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("a  b\nc", "a b c", 0),
        ] {
            let (one, two) = (normal(one), normal(two));
            assert_eq!(distance(&one, &two), expected, "{one:?} {two:?}");
        }
        assert_ne!(lines(0), lines(1));
    }
}
