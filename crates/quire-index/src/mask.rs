//! Which rows of a part may be found: one bit each, in words of 32, as the scans read them: bit `j` of word `w` is
//! row `32 * w + j`. What is beyond the words may not.

/// How many rows the words of a mask let through.
pub(crate) fn count(words: &[u32]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// Whether the words of a mask let a row through.
pub(crate) fn has(words: &[u32], row: u32) -> bool {
    let word = words.get(row as usize / 32);
    word.is_some_and(|word| word >> (row % 32) & 1 == 1)
}

/// A set of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask(Vec<u32>);

impl Mask {
    /// No row of so many.
    pub(crate) fn none(rows: u32) -> Self {
        Self(vec![0; (rows as usize).div_ceil(32)])
    }

    pub(crate) fn words(&self) -> &[u32] {
        &self.0
    }

    /// Lets rows through, from `first` on.
    pub(crate) fn open(&mut self, first: u32, rows: u32) {
        let (mut at, end) = (first as usize, first as usize + rows as usize);
        while at < end {
            let (word, bit) = (at / 32, at % 32);
            let bits = (end - at).min(32 - bit);
            if let Some(word) = self.0.get_mut(word) {
                *word |= (u32::MAX >> (32 - bits)) << bit;
            }
            at += bits;
        }
    }

    pub(crate) fn has(&self, row: u32) -> bool {
        has(&self.0, row)
    }

    /// How many rows it lets through.
    pub(crate) fn count(&self) -> u32 {
        count(&self.0) as u32
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_open_exactly_their_rows() {
        for (first, rows) in [(0, 0), (0, 1), (3, 29), (31, 2), (32, 32), (5, 90), (99, 1)] {
            let mut mask = Mask::none(100);
            mask.open(first, rows);
            for row in 0..100 {
                assert_eq!(mask.has(row), (first..first + rows).contains(&row), "{row}");
            }
            assert_eq!(mask.count(), rows);
        }
        // What lies outside is nobody's.
        let mut mask = Mask::none(10);
        mask.open(90, 20);
        assert_eq!(mask.count(), 0);
    }
}
