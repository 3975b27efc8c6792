//! The widths of Helvetica and Helvetica-Bold in thousandths of the font size.

/// One of the two fonts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Font {
    Regular,
    Bold,
}

/// Space to tilde.
const REGULAR: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667,
    611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 278, 278, 278, 469, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500,
    222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];

const BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667,
    611, 778, 722, 278, 556, 722, 611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667,
    667, 611, 333, 278, 333, 584, 556, 333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556,
    278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

impl Font {
    /// The name the pages' resources give the font.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Regular => "F1",
            Self::Bold => "F2",
        }
    }

    /// The width of `text` in points at `size`.
    pub(super) fn width(self, text: &str, size: f64) -> f64 {
        let thousandths: u32 = text
            .chars()
            .map(|letter| u32::from(self.letter(letter)))
            .sum();
        f64::from(thousandths) * size / 1000.0
    }

    fn letter(self, letter: char) -> u16 {
        let table = match self {
            Self::Regular => &REGULAR,
            Self::Bold => &BOLD,
        };
        let index = usize::try_from(u32::from(letter).wrapping_sub(32)).unwrap_or(usize::MAX);
        if let Some(width) = table.get(index) {
            return *width;
        }
        match (letter, self) {
            ('—' | '…' | '™', _) => 1000,
            ('½' | '¼' | '¾', _) => 834,
            ('–' | '§', _) => 556,
            ('•', _) => 350,
            ('°', _) => 400,
            ('×', _) => 584,
            ('‘' | '’', Self::Regular) => 222,
            ('‘' | '’', Self::Bold) => 278,
            ('“' | '”', Self::Regular) => 333,
            ('“' | '”', Self::Bold) => 500,
            ('Å' | 'Ä' | 'Á' | 'É' | 'Ö' | 'Ø' | 'Ü', _) => 778,
            ('í', _) => 278,
            _ => 611,
        }
    }
}
