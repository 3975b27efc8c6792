//! Windows-1252: the encoding of one old file in the handbook, and of text in our PDFs (WinAnsi).

use crate::Error;

/// The characters of 0x80 to 0x9F that the texts use; the rest of the code page is Latin-1.
const SPECIALS: &[(char, u8)] = &[
    ('€', 0x80),
    ('…', 0x85),
    ('Š', 0x8A),
    ('‘', 0x91),
    ('’', 0x92),
    ('“', 0x93),
    ('”', 0x94),
    ('•', 0x95),
    ('–', 0x96),
    ('—', 0x97),
    ('™', 0x99),
    ('š', 0x9A),
];

/// Encodes `text`, refusing characters outside the code page.
pub fn encode(text: &str) -> Result<Vec<u8>, Error> {
    text.chars().map(byte).collect()
}

fn byte(letter: char) -> Result<u8, Error> {
    if let Some((_, byte)) = SPECIALS.iter().find(|(special, _)| *special == letter) {
        return Ok(*byte);
    }
    match u8::try_from(u32::from(letter)) {
        Ok(byte) if !(0x80..0xA0).contains(&byte) => Ok(byte),
        _ => Err(Error::Unencodable(letter)),
    }
}
