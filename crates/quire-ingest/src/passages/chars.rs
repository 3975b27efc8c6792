//! Finds the byte where a character starts, without walking the text from its beginning each time.

const STEP: usize = 256;

/// Byte offsets of every 256th character.
pub(super) struct CharIndex {
    steps: Vec<usize>,
    chars: u32,
}

impl CharIndex {
    pub(super) fn new(text: &str) -> Self {
        let mut steps = Vec::with_capacity(text.len() / STEP + 1);
        let mut chars = 0_usize;
        for (byte, _) in text.char_indices() {
            if chars.is_multiple_of(STEP) {
                steps.push(byte);
            }
            chars += 1;
        }
        Self {
            steps,
            chars: u32::try_from(chars).unwrap_or(u32::MAX),
        }
    }

    pub(super) fn chars(&self) -> u32 {
        self.chars
    }

    /// The text between two characters; places outside the text are cut off.
    pub(super) fn slice<'t>(&self, text: &'t str, start: u32, end: u32) -> &'t str {
        let (start, end) = (self.byte(text, start), self.byte(text, end));
        text.get(start..end).unwrap_or("")
    }

    fn byte(&self, text: &str, at: u32) -> usize {
        let at = at as usize;
        let Some(step) = self.steps.get(at / STEP) else {
            return text.len();
        };
        let rest = text[*step..].char_indices().nth(at % STEP);
        rest.map_or(text.len(), |(offset, _)| step + offset)
    }
}
