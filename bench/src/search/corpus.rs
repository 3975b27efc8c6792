//! The corpus of the suite: real passages with their MiniLM vectors, grown to any size, kept for the next run.
//!
//! - `texts.jsonl`, `vectors.f32`: real passages of `texts`, embedded as quire embeds them. Embedding is the slow
//!   part (tens of passages a second), so every batch is kept and a stopped run goes on where it was.
//! - `questions.jsonl`, `questions.f32`: one sentence of each of 1,000 passages that are *not* in the corpus.
//! - `grown-<real>/`: the rows that are searched. The first `real` ones are the real passages; what is beyond is
//!   made from them by `grow` and is no real text. A corpus of n passages is always the first n rows.
//!
//! Vectors are little-endian f32, [`DIMENSION`] to a row, of length 1. The files are what the peers read too.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quire_models::Embedder;
use quire_store::passages::NewPassage;
use quire_types::Place;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::grow::Grower;
use super::texts::{self, Text};
use crate::failure::Failure;
use crate::report::note;

/// Components of a vector of all-MiniLM-L6-v2.
pub(super) const DIMENSION: usize = 384;
/// Questions that are kept; a run may use fewer.
pub(super) const QUESTIONS: usize = 1_000;
const SEED: u64 = 0x5eed_0008;
/// Texts that are embedded before they are written; about ten seconds.
const BATCH: usize = 256;

/// A question with its vector.
pub(super) struct Question {
    pub(super) text: String,
    pub(super) vector: Vec<f32>,
}

/// The first rows of the corpus in memory.
pub(super) struct Rows {
    pub(super) texts: Vec<Text>,
    /// `texts.len() × DIMENSION`.
    pub(super) vectors: Vec<f32>,
}

/// A corpus on disk.
pub(super) struct Corpus {
    folder: PathBuf,
    real: usize,
}

impl Corpus {
    /// Makes what is not there yet of `real` embedded passages. `folder` of texts: None is cargo's registry.
    pub(super) async fn prepare(
        cache: &Path,
        folder: Option<&Path>,
        real: usize,
    ) -> Result<Self, Failure> {
        let (name, source) = match folder {
            Some(folder) => {
                let path = std::path::absolute(folder).map_err(doing(folder))?;
                (path.display().to_string().replace('/', "+"), path)
            }
            None => ("registry".to_owned(), texts::registry()?),
        };
        let folder = cache.join(name);
        std::fs::create_dir_all(&folder).map_err(doing(&folder))?;
        let passages = folder.join("texts.jsonl");
        if !passages.is_file() {
            note(format!("search: reading texts in {}", source.display()));
            let all = texts::read(&source, SEED)?;
            let (asked, kept) = all.split_at(QUESTIONS.min(all.len() / 10));
            let mut rng = StdRng::seed_from_u64(SEED);
            let questions = asked.iter().map(|passage| Text {
                title: passage.title.clone(),
                text: texts::question(&passage.text, &mut rng),
            });
            write_texts(&folder.join("questions.jsonl"), questions)?;
            write_texts(&passages, kept.iter().cloned())?;
        }
        let all = read_texts(&passages, usize::MAX)?;
        let real = real.min(all.len());
        let corpus = Self { folder, real };
        let questions = read_texts(&corpus.folder.join("questions.jsonl"), QUESTIONS)?;
        let whole: Vec<String> = all[..real].iter().map(Text::whole).collect();
        let sentences: Vec<String> = questions.into_iter().map(|text| text.text).collect();
        let wanted = [("questions.f32", sentences), ("vectors.f32", whole)];
        let mut embedder = None;
        for (file, texts) in wanted {
            let path = corpus.folder.join(file);
            let done = rows_in(&path)?;
            if done < texts.len() {
                if embedder.is_none() {
                    embedder = Some(Embedder::load(&crate::model_dir()?)?);
                }
                if let Some(embedder) = &embedder {
                    embed(embedder, &path, &texts).await?;
                }
            }
        }
        Ok(corpus)
    }

    /// How many passages are real.
    pub(super) fn real(&self) -> usize {
        self.real
    }

    /// Where the rows are: `vectors.f32` and `texts.jsonl`.
    pub(super) fn rows_folder(&self) -> PathBuf {
        self.folder.join(format!("grown-{}", self.real))
    }

    /// Where the questions are: `questions.f32` and `questions.jsonl`.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn questions(&self, most: usize) -> Result<Vec<Question>, Failure> {
        let texts = read_texts(&self.folder.join("questions.jsonl"), most)?;
        let vectors = read_f32(&self.folder.join("questions.f32"), texts.len())?;
        let vectors = vectors.chunks_exact(DIMENSION).map(<[f32]>::to_vec);
        let pairs = texts.into_iter().zip(vectors);
        Ok(pairs
            .map(|(text, vector)| Question {
                text: text.text,
                vector,
            })
            .collect())
    }

    /// The first `count` rows, made if they are not there yet.
    pub(super) fn rows(&self, count: usize) -> Result<Rows, Failure> {
        self.grow(count)?;
        let folder = self.rows_folder();
        Ok(Rows {
            texts: read_texts(&folder.join("texts.jsonl"), count)?,
            vectors: read_f32(&folder.join("vectors.f32"), count)?,
        })
    }

    /// Rows as passages to store; the page of each says which row it is.
    pub(super) fn passages(&self, rows: Range<usize>) -> Result<Vec<NewPassage>, Failure> {
        let read = self.rows(rows.end)?;
        let passage = |row: usize| NewPassage {
            context: read.texts[row].title.clone(),
            body: read.texts[row].text.clone(),
            place: Place {
                page: u32::try_from(row + 1).ok(),
                ..Place::default()
            },
            embedding: read.vectors[row * DIMENSION..(row + 1) * DIMENSION].to_vec(),
        };
        Ok(rows.map(passage).collect())
    }

    /// Sees to it that the files have `count` rows.
    fn grow(&self, count: usize) -> Result<(), Failure> {
        let folder = self.rows_folder();
        let (vectors, texts) = (folder.join("vectors.f32"), folder.join("texts.jsonl"));
        let have = rows_in(&vectors)?;
        if have >= count {
            return Ok(());
        }
        note(format!("search: growing the corpus from {have} to {count}"));
        std::fs::create_dir_all(&folder).map_err(doing(&folder))?;
        let real = Rows {
            texts: read_texts(&self.folder.join("texts.jsonl"), self.real)?,
            vectors: read_f32(&self.folder.join("vectors.f32"), self.real)?,
        };
        let grower = if count > self.real {
            Some(Grower::new(&real, &folder.join("neighbours.u32"), SEED)?)
        } else {
            None
        };
        // Texts first: rows are counted by their vectors, and a stopped run writes its texts again.
        let mut lines = read_texts(&texts, have)?;
        for row in have..count {
            lines.push(match &grower {
                Some(grower) if row >= self.real => grower.text(row),
                _ => real.texts[row].clone(),
            });
        }
        write_texts(&texts, lines.into_iter())?;
        let mut out = appending(&vectors, have)?;
        for row in have..count {
            let own = || real.vectors[row * DIMENSION..][..DIMENSION].to_vec();
            let vector = match &grower {
                Some(grower) if row >= self.real => grower.vector(row),
                _ => own(),
            };
            write_f32(&mut out, &vector).map_err(doing(&vectors))?;
        }
        out.flush().map_err(doing(&vectors))
    }
}

/// Whether a passage is of the share that a filter lets through, in thousandths. Rows are drawn by number, so
/// the same rows pass at every size, and those of 5 are among those of 50.
pub(super) fn passes(row: usize, per_mille: u64) -> bool {
    // SplitMix64's finaliser (Steele, Lea, Flood 2014) over the row number.
    let mut mixed = (row as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % 1_000 < per_mille
}

/// Appends the vectors of the texts that have none yet, and says how it goes.
async fn embed(embedder: &Embedder, path: &Path, texts: &[String]) -> Result<(), Failure> {
    // Two runs that wrote at once would mix their rows; the second waits and finds the work done.
    let alone = OpenOptions::new().create(true).append(true).open(path);
    let alone = alone.map_err(doing(path))?;
    alone.lock().map_err(doing(path))?;
    let done = rows_in(path)?;
    if done >= texts.len() {
        return Ok(());
    }
    let mut out = appending(path, done)?;
    let (began, mut said) = (Instant::now(), Instant::now());
    let mut written = done;
    for batch in texts[done..].chunks(BATCH) {
        for vector in embedder.embed(batch.to_vec()).await? {
            write_f32(&mut out, &vector).map_err(doing(path))?;
        }
        out.flush().map_err(doing(path))?;
        written += batch.len();
        if said.elapsed() > Duration::from_secs(20) || written == texts.len() {
            said = Instant::now();
            let rate = (written - done) as f64 / began.elapsed().as_secs_f64();
            let left = (texts.len() - written) as f64 / rate / 60.0;
            note(format!(
                "search: embedded {written} of {} passages, {rate:.1}/s, {left:.0} min left",
                texts.len()
            ));
        }
    }
    Ok(())
}

/// Whole rows in a file of vectors; 0 if there is none.
fn rows_in(path: &Path) -> Result<usize, Failure> {
    match std::fs::metadata(path) {
        Ok(data) => Ok(usize::try_from(data.len()).unwrap_or(0) / (DIMENSION * 4)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(doing(path)(error)),
    }
}

/// A file of vectors to write on after its first `rows`; a row that was cut off goes.
fn appending(path: &Path, rows: usize) -> Result<BufWriter<File>, Failure> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(doing(path))?;
    file.set_len((rows * DIMENSION * 4) as u64)
        .map_err(doing(path))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

fn write_f32(out: &mut impl Write, vector: &[f32]) -> std::io::Result<()> {
    for number in vector {
        out.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

fn read_f32(path: &Path, rows: usize) -> Result<Vec<f32>, Failure> {
    let mut file = File::open(path).map_err(doing(path))?;
    let mut numbers = Vec::with_capacity(rows * DIMENSION);
    let mut row = [0u8; DIMENSION * 4];
    let mut buffered = BufReader::with_capacity(1 << 20, &mut file);
    for _ in 0..rows {
        buffered.read_exact(&mut row).map_err(doing(path))?;
        let (words, _) = row.as_chunks::<4>();
        numbers.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
    }
    Ok(numbers)
}

fn read_texts(path: &Path, most: usize) -> Result<Vec<Text>, Failure> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let file = File::open(path).map_err(doing(path))?;
    let lines = BufReader::new(file).lines().take(most);
    lines
        .map(|line| serde_json::from_str(&line.map_err(doing(path))?).map_err(doing(path)))
        .collect()
}

/// Writes beside and renames, so that the file is there whole or not at all.
fn write_texts(path: &Path, texts: impl Iterator<Item = Text>) -> Result<(), Failure> {
    let beside = path.with_extension("new");
    let mut out = BufWriter::new(File::create(&beside).map_err(doing(&beside))?);
    for text in texts {
        let line = serde_json::to_string(&text).map_err(doing(path))?;
        writeln!(out, "{line}").map_err(doing(&beside))?;
    }
    out.flush().map_err(doing(&beside))?;
    std::fs::rename(&beside, path).map_err(doing(path))
}

fn doing<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Failure {
    Failure::doing(path.display().to_string())
}
