//! Real passages from files: prose of Markdown and plain text, doc comments of Rust.
//!
//! A passage is 100 to 120 words under a title that says where it stands, as quire's own passages have one.
//! Without a folder the sources of the crates that built quire serve, which every machine that built it has:
//! technical English of several hundred authors. Knows neither vectors nor where passages go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A passage is closed at the first end of a sentence from here on.
const WORDS: usize = 100;
/// A passage never has more.
const MOST_WORDS: usize = 120;
/// What is shorter at the end of a file is dropped.
const FEWEST_WORDS: usize = 60;
/// So that no large generated crate is most of the corpus.
const PASSAGES_OF_PACKAGE: usize = 1_000;
/// A sentence that stands more often than this is boilerplate: badges, licences, generated notes.
const REPEATS: u32 = 8;
const FILE_BYTES: u64 = 2 << 20;

/// A piece of real text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Text {
    pub(super) title: String,
    pub(super) text: String,
}

impl Text {
    /// What is embedded and indexed.
    pub(super) fn whole(&self) -> String {
        format!("{}\n{}", self.title, self.text)
    }
}

/// All passages of a folder, each once, in an order drawn by `seed`.
///
/// Every folder directly below counts as one package; of several versions of a crate the last is read.
pub(super) fn read(folder: &Path, seed: u64) -> Result<Vec<Text>, Failure> {
    let mut repeats: HashMap<u64, u32> = HashMap::new();
    let mut seen: HashSet<u64> = HashSet::new();
    let mut found = Vec::new();
    for (package, place) in packages(folder)? {
        let mut files = Vec::new();
        walk(&place, &mut files);
        files.sort();
        let mut passages = Vec::new();
        for file in files {
            let Ok(bytes) = std::fs::read(&file) else {
                continue;
            };
            let text = String::from_utf8_lossy(&bytes);
            let within = file.strip_prefix(&place).unwrap_or(&file);
            let within = within.with_extension("").display().to_string();
            let sections = if file.extension().is_some_and(|end| end == "rs") {
                doc_comments(&text)
            } else {
                prose(&text)
            };
            passages.extend(cut(&format!("{package} {within}"), &sections, &mut repeats));
        }
        passages.retain(|passage: &Text| seen.insert(fingerprint(&passage.text)));
        // From all over the package, not from its first files.
        passages.shuffle(&mut StdRng::seed_from_u64(seed));
        passages.truncate(PASSAGES_OF_PACKAGE);
        found.append(&mut passages);
    }
    if found.is_empty() {
        return Err(Failure::Missing(format!(
            "no text in {}: name a folder of .md, .txt, .rst or .rs files with --texts",
            folder.display()
        )));
    }
    found.shuffle(&mut StdRng::seed_from_u64(seed));
    Ok(found)
}

/// Where cargo keeps the sources of crates.
pub(super) fn registry() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo = variable("CARGO_HOME").map(PathBuf::from).or_else(home);
    let folder = cargo.unwrap_or_default().join("registry/src");
    let missing = || {
        Failure::Missing(format!(
            "{} has no sources of crates: name a folder of texts with --texts",
            folder.display()
        ))
    };
    let entries = std::fs::read_dir(&folder).map_err(|_| missing())?;
    let mut indexes: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    indexes.sort();
    indexes.into_iter().next().ok_or_else(missing)
}

/// A sentence of a text to ask with: 6 to 16 words, else its first words.
pub(super) fn question(text: &str, rng: &mut StdRng) -> String {
    let sentences: Vec<&str> = sentences(text).collect();
    let fit: Vec<&&str> = sentences
        .iter()
        .filter(|sentence| (6..=16).contains(&sentence.split_whitespace().count()))
        .collect();
    if fit.is_empty() {
        let words: Vec<&str> = text.split_whitespace().take(12).collect();
        return words.join(" ");
    }
    fit[rng.random_range(0..fit.len())].trim().to_owned()
}

fn packages(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.map_err(|error| {
        Failure::Missing(format!("can't read texts in {}: {error}", folder.display()))
    })?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut packages = BTreeMap::from([("texts".to_owned(), folder.to_owned())]);
    for path in paths.into_iter().filter(|path| path.is_dir()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        packages.insert(without_version(&name).to_owned(), path);
    }
    if packages.len() > 1 {
        packages.remove("texts");
    }
    Ok(packages)
}

/// `serde_json-1.0.140` is `serde_json`.
fn without_version(name: &str) -> &str {
    let is_version = |(_, tail): &(&str, &str)| tail.starts_with(|c: char| c.is_ascii_digit());
    let cut = name
        .match_indices('-')
        .map(|(at, _)| (&name[..at], &name[at + 1..]));
    cut.into_iter()
        .find(is_version)
        .map_or(name, |(head, _)| head)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() {
            // Data of tests is lists of words and malformed things, seldom language.
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !["test", "bench", "fuzz", "."]
                .iter()
                .any(|start| name.starts_with(start))
            {
                walk(&path, files);
            }
        } else if kind.is_file()
            && path
                .extension()
                .is_some_and(|end| ["md", "txt", "rst", "rs"].iter().any(|known| end == *known))
            && entry.metadata().is_ok_and(|data| data.len() <= FILE_BYTES)
        {
            files.push(path);
        }
    }
}

/// Headings with the paragraphs below them; code is left out.
fn prose(text: &str) -> Vec<(String, String)> {
    let mut sections = vec![(String::new(), String::new())];
    let mut in_code = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") || trimmed.starts_with("~~~") {
            in_code = !in_code;
        } else if !in_code && trimmed.starts_with('#') && !line.starts_with("    ") {
            sections.push((trimmed.trim_matches(['#', ' ']).to_owned(), String::new()));
        } else if !in_code && let Some((_, body)) = sections.last_mut() {
            body.push_str(trimmed);
            body.push('\n');
        }
    }
    sections
}

/// The doc comments of a file, each under the line of the item it describes.
fn doc_comments(text: &str) -> Vec<(String, String)> {
    let mut sections = Vec::new();
    let mut comment = String::new();
    let mut in_code = false;
    for line in text.lines() {
        let trimmed = line.trim();
        let doc = trimmed
            .strip_prefix("///")
            .or_else(|| trimmed.strip_prefix("//!"));
        if let Some(doc) = doc {
            let doc = doc.trim();
            if doc.starts_with("```") {
                in_code = !in_code;
            } else if !in_code {
                comment.push_str(doc.trim_start_matches('#').trim());
                comment.push('\n');
            }
        } else if !comment.is_empty() && !trimmed.starts_with("#[") {
            in_code = false;
            sections.push((item(trimmed), std::mem::take(&mut comment)));
        }
    }
    sections
}

/// `pub fn push(&mut self, …` is `fn push`.
fn item(line: &str) -> String {
    let end = line
        .find(['(', '{', '<', '=', ';', ':'])
        .unwrap_or(line.len());
    let words: Vec<&str> = line[..end]
        .split_whitespace()
        .filter(|word| !word.starts_with("pub") && *word != "//")
        .take(4)
        .collect();
    words.join(" ")
}

/// Cuts the sections of a file into passages; short ones share a passage.
fn cut(place: &str, sections: &[(String, String)], repeats: &mut HashMap<u64, u32>) -> Vec<Text> {
    let mut passages = Vec::new();
    let mut title = String::new();
    let mut words: Vec<&str> = Vec::new();
    let mut close = |title: &str, words: &mut Vec<&str>| {
        let text = words.join(" ");
        if words.len() >= FEWEST_WORDS && is_language(&text) {
            passages.push(Text {
                title: format!("{place} {title}").trim_end().to_owned(),
                text,
            });
        }
        words.clear();
    };
    for (heading, body) in sections {
        for sentence in sentences(body) {
            let times = repeats.entry(fingerprint(sentence)).or_default();
            *times += 1;
            if *times > REPEATS {
                continue;
            }
            for word in sentence.split_whitespace() {
                if words.is_empty() {
                    title.clone_from(heading);
                }
                words.push(word);
                if words.len() == MOST_WORDS {
                    close(&title, &mut words);
                }
            }
            if words.len() >= WORDS {
                close(&title, &mut words);
            }
        }
    }
    close(&title, &mut words);
    passages
}

/// Sentences, and what an empty line separates.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n")
        .flat_map(|paragraph| paragraph.split_inclusive(". "))
        .filter(|sentence| !sentence.trim().is_empty())
}

/// Mostly letters, and words of a length that words have: no tables of numbers, no encoded data.
fn is_language(text: &str) -> bool {
    let all = text.chars().count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let words = text.split_whitespace().count();
    letters * 10 >= all * 7 && all <= words * 12
}

/// The same for texts that differ in case, space and marks only.
fn fingerprint(text: &str) -> u64 {
    let letters = text.chars().filter(|c| c.is_alphanumeric());
    let plain: String = letters.flat_map(char::to_lowercase).collect();
    BuildHasherDefault::<DefaultHasher>::default().hash_one(plain)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn passages_keep_their_size_and_stand_once() {
        let folder = tempfile::tempdir().unwrap();
        let sentence =
            |n: u32| format!("Sentence number {n} tells what the module called number {n} does. ");
        let prose: String = (0..60).map(sentence).collect();
        for package in ["one-1.0.0", "one-2.0.0", "two-1.0.0"] {
            let place = folder.path().join(package);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(
                place.join("README.md"),
                format!("# Heading\n\n{prose}\n```\ncode()\n```\n"),
            )
            .unwrap();
        }
        let found = read(folder.path(), 1).unwrap();
        // 60 sentences of 11 words: six passages of 110; the same text of another package is no new one.
        assert_eq!(found.len(), 6);
        for passage in &found {
            assert_eq!(passage.text.split_whitespace().count(), 110);
            assert_eq!(passage.title, "one README Heading");
            assert!(!passage.text.contains("code"));
        }
    }

    #[test]
    fn a_doc_comment_is_named_by_its_item() {
        let file = "//! About the module.\n\nuse x;\n/// Pushes one.\n/// ```\n/// push(1);\n/// ```\n#[inline]\npub fn push(x: u8) {}\n";
        let found = doc_comments(file);
        assert_eq!(found[1], ("fn push".to_owned(), "Pushes one.\n".to_owned()));
        assert_eq!(without_version("serde_json-1.0.140"), "serde_json");
    }
}
