//! Two usual ways to cut a text that know nothing of what it says, to compare with.

use std::ops::Range;

/// What separates pieces, the coarsest first; when none is left, a piece is cut anywhere.
const SEPARATORS: [&str; 3] = ["\n\n", "\n", " "];

/// A way to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Baseline {
    /// Every so many characters.
    Fixed,
    /// At paragraphs; where one is too long at its lines; where one is too long at its words. As
    /// `RecursiveCharacterTextSplitter` of LangChain does without overlap.
    Recursive,
}

impl Baseline {
    pub(super) const ALL: [Self; 2] = [Self::Recursive, Self::Fixed];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Recursive => "recursive",
        }
    }

    /// Pieces of at most so many characters, without the blanks around them.
    pub(super) fn cut(self, text: &[char], most: usize) -> Vec<Range<usize>> {
        let pieces = match self {
            Self::Fixed => (0..text.len())
                .step_by(most)
                .map(|start| start..text.len().min(start + most))
                .collect(),
            Self::Recursive => recursive(text, 0..text.len(), most, &SEPARATORS),
        };
        let pieces = pieces.into_iter().map(|piece| trimmed(text, piece));
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    /// The pieces of all texts whose mean length is nearest to `mean`.
    pub(super) fn cut_like(self, texts: &[Vec<char>], mean: f64) -> Vec<Vec<Range<usize>>> {
        let cut = |most: usize| -> Vec<Vec<Range<usize>>> {
            texts.iter().map(|text| self.cut(text, most)).collect()
        };
        // Pieces become longer with their bound.
        let (mut low, mut high) = (1, 1 << 14);
        while low < high {
            let middle = usize::midpoint(low, high);
            match mean_length(&cut(middle)) < mean {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let off = |most: usize| (mean_length(&cut(most)) - mean).abs();
        match low > 1 && off(low - 1) < off(low) {
            true => cut(low - 1),
            false => cut(low),
        }
    }
}

/// Characters of a piece on average.
pub(super) fn mean_length(pieces: &[Vec<Range<usize>>]) -> f64 {
    let lengths = pieces.iter().flatten().map(ExactSizeIterator::len);
    let count = pieces.iter().map(Vec::len).sum::<usize>().max(1);
    lengths.sum::<usize>() as f64 / count as f64
}

fn recursive(
    text: &[char],
    span: Range<usize>,
    most: usize,
    separators: &[&str],
) -> Vec<Range<usize>> {
    if span.len() <= most {
        return vec![span];
    }
    let Some((separator, finer)) = separators.split_first() else {
        let starts = span.clone().step_by(most);
        return starts
            .map(|start| start..span.end.min(start + most))
            .collect();
    };
    let mut pieces = Vec::new();
    let mut open = span.start..span.start;
    for part in parts(text, span, separator) {
        if part.end - open.start <= most {
            open.end = part.end;
            continue;
        }
        pieces.push(open);
        open = part.clone();
        if part.len() > most {
            pieces.extend(recursive(text, part.clone(), most, finer));
            open = part.end..part.end;
        }
    }
    pieces.push(open);
    pieces
}

/// A text cut at a separator, which stays at the end of each part.
fn parts(text: &[char], span: Range<usize>, separator: &str) -> Vec<Range<usize>> {
    let separator: Vec<char> = separator.chars().collect();
    let mut parts = Vec::new();
    let (mut start, mut at) = (span.start, span.start);
    while at < span.end {
        let rest = &text[at..span.end];
        if rest.starts_with(&separator) {
            at += separator.len();
            parts.push(start..at);
            start = at;
        } else {
            at += 1;
        }
    }
    parts.push(start..span.end);
    parts
}

fn trimmed(text: &[char], span: Range<usize>) -> Range<usize> {
    let is_ink = |at: &usize| !text[*at].is_whitespace();
    let first = span.clone().find(is_ink);
    let last = span.clone().rev().find(is_ink);
    match (first, last) {
        (Some(first), Some(last)) => first..last + 1,
        _ => span.start..span.start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_no_longer_than_allowed_and_hold_everything_but_blanks() {
        let text = "One two three.\nFour five.\n\nSix seven eight nine ten.\n\nEleven, and a_very_long_word.";
        let text: Vec<char> = text.repeat(7).chars().collect();
        let ink = |span: Range<usize>| text[span].iter().filter(|c| !c.is_whitespace()).count();
        for baseline in Baseline::ALL {
            for most in 1..90 {
                let pieces = baseline.cut(&text, most);
                assert!(pieces.iter().all(|piece| piece.len() <= most));
                assert!(pieces.windows(2).all(|pair| pair[0].end <= pair[1].start));
                let kept: usize = pieces.into_iter().map(ink).sum();
                assert_eq!(kept, ink(0..text.len()), "{baseline:?} {most}");
            }
        }
        let cut = |most| -> Vec<String> {
            let pieces = Baseline::Recursive.cut(&text[..53], most);
            let text = |piece: Range<usize>| text[piece].iter().collect();
            pieces.into_iter().map(text).collect()
        };
        assert_eq!(
            cut(30),
            ["One two three.\nFour five.", "Six seven eight nine ten."]
        );
        assert_eq!(
            cut(16),
            [
                "One two three.",
                "Four five.",
                "Six seven eight",
                "nine ten."
            ]
        );
        let like = Baseline::Recursive.cut_like(std::slice::from_ref(&text), 20.0);
        assert!((mean_length(&like) - 20.0).abs() < 3.0);
    }
}
