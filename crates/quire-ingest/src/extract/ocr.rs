//! Text in pictures, by tesseract, with how sure it is of each word.
//!
//! Knows pixels and nothing of where they come from. What is probably no text at all (leaves, gravel, a
//! brick wall) is left out rather than guessed.

use std::path::Path;

use super::error::ExtractError;
use super::tool::Tool;

/// Words that tesseract is less sure of, in percent, are left out.
const WORD_CONFIDENCE: f32 = 30.0;
/// Blocks whose words are less sure on average are no text.
const BLOCK_CONFIDENCE: f32 = 50.0;
const TSV_BYTES: u64 = 32 << 20;
/// More make every page many times slower.
const MAX_LANGUAGES: usize = 4;

/// The languages that are installed, as tesseract takes them.
pub(super) fn languages() -> Result<String, ExtractError> {
    let list = Tool::new("tesseract", "tesseract-ocr")
        .arg("--list-langs")
        .run(64 << 10)?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let installed = list.lines().skip(1).map(str::trim);
    let mut installed: Vec<&str> = installed
        .filter(|name| !name.is_empty() && !matches!(*name, "osd" | "equ"))
        .collect();
    if installed.is_empty() {
        return Err(ExtractError::ToolMissing {
            tool: "a language of tesseract".into(),
            package: "tesseract-ocr-eng".into(),
        });
    }
    // The first one is asked first.
    installed.sort_by_key(|name| *name != "eng");
    installed.truncate(MAX_LANGUAGES);
    Ok(installed.join("+"))
}

/// The paragraphs of a picture from top to bottom, lines within them kept.
pub(super) fn read(image: &Path, languages: &str) -> Result<Vec<String>, ExtractError> {
    read_with(&[], image, languages)
}

/// Those of one page of a TIFF, from 0.
pub(super) fn read_page(
    image: &Path,
    languages: &str,
    page: usize,
) -> Result<Vec<String>, ExtractError> {
    let page = format!("tessedit_page_number={page}");
    read_with(&["-c", &page], image, languages)
}

fn read_with(options: &[&str], image: &Path, languages: &str) -> Result<Vec<String>, ExtractError> {
    let tsv = Tool::new("tesseract", "tesseract-ocr")
        .arg(image)
        .args(["stdout", "-l", languages, "--psm", "3"])
        .args(options)
        .arg("tsv")
        .need(TSV_BYTES, "picture")?;
    Ok(paragraphs(&String::from_utf8_lossy(&tsv)))
}

/// A row of tesseract's table that is a word.
struct Word<'t> {
    block: &'t str,
    paragraph: &'t str,
    line: &'t str,
    confidence: f32,
    text: &'t str,
}

fn word(row: &str) -> Option<Word<'_>> {
    let fields: Vec<&str> = row.splitn(12, '\t').collect();
    let [
        level,
        _,
        block,
        paragraph,
        line,
        _,
        _,
        _,
        _,
        _,
        confidence,
        text,
    ] = fields[..]
    else {
        return None;
    };
    (level == "5" && !text.trim().is_empty()).then_some(Word {
        block,
        paragraph,
        line,
        confidence: confidence.parse().ok()?,
        text: text.trim(),
    })
}

fn paragraphs(tsv: &str) -> Vec<String> {
    let words: Vec<Word<'_>> = tsv.lines().filter_map(word).collect();
    let mut paragraphs = Vec::new();
    for block in words.chunk_by(|one, two| one.block == two.block) {
        let sum: f32 = block.iter().map(|word| word.confidence).sum();
        if sum / (block.len() as f32) < BLOCK_CONFIDENCE {
            continue;
        }
        for paragraph in block.chunk_by(|one, two| one.paragraph == two.paragraph) {
            let lines = paragraph.chunk_by(|one, two| one.line == two.line);
            let lines = lines.map(|line| {
                let sure = line
                    .iter()
                    .filter(|word| word.confidence >= WORD_CONFIDENCE);
                sure.map(|word| word.text).collect::<Vec<_>>().join(" ")
            });
            let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
            let text = lines.join("\n");
            if text.contains(char::is_alphanumeric) {
                paragraphs.push(text);
            }
        }
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsure_words_and_blocks_are_left_out() {
        let tsv = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n\
            4\t1\t1\t1\t1\t0\t0\t0\t9\t9\t-1\t\n\
            5\t1\t1\t1\t1\t1\t0\t0\t9\t9\t96.1\tINVOICE\n5\t1\t1\t1\t1\t2\t0\t0\t9\t9\t12\t|~\n\
            5\t1\t1\t1\t2\t1\t0\t0\t9\t9\t91\t$950.50\n5\t1\t1\t2\t1\t1\t0\t0\t9\t9\t90\tThanks\n\
            5\t1\t2\t1\t1\t1\t0\t0\t9\t9\t35\tleaf\n5\t1\t2\t1\t1\t2\t0\t0\t9\t9\t31\tgravel\n\
            rubbish";
        assert_eq!(paragraphs(tsv), ["INVOICE\n$950.50", "Thanks"]);
    }
}
