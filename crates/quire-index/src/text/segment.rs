//! An immutable inverted index of many rows, through tantivy.
//!
//! Built on the caller's thread in one piece, packed into one bundle, searched in place: no thread, no file
//! and no cache of its own. Rows are tantivy's document ids, in the order they were given; frequencies and
//! lengths are kept, positions and text are not.

use bytes::Bytes;
use quire_types::Language;
use tantivy::directory::{Directory, OwnedBytes, RamDirectory};
use tantivy::query::{
    Bm25StatisticsProvider, BooleanQuery, BoostQuery, EnableScoring, Occur, Query, Scorer,
    TermQuery,
};
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{
    Index, ReloadPolicy, Searcher, SegmentReader, SingleSegmentIndexWriter, TERMINATED,
    TantivyDocument, TantivyError, Term,
};

use super::analysis::Analyzer;
use super::best::{Best, passes};
use super::bundle::{self, Bundle};
use super::query::{LexicalQuery, QueryTerm, Statistics};
use crate::Error;

const ANALYZER: &str = "words";
const FIELD: &str = "text";
/// Sizes tantivy's first hash table of terms, which grows with the vocabulary.
const TABLE_BYTES: usize = 1 << 20;
/// With more terms than this, scoring every row that holds one is faster than skipping blocks: for the best
/// 400 of 400,000 rows, 1 term takes 0.26 ms with skipping and 0.33 without, 3 terms 0.8 and 0.5, 20 terms 22
/// and 2.9.
const MAX_PRUNED_TERMS: usize = 2;
/// With fewer open rows than one in this many, looking each up is faster than pruning.
const SPARSE: usize = 16;

/// The bundle of a segment in the making; row numbers count from 0 in the order of the rows. Memory grows
/// with them, to about what the bundle takes times three: the caller decides how many make a segment.
pub(crate) struct LexicalBuilder {
    language: Language,
    field: Field,
    directory: RamDirectory,
    writer: SingleSegmentIndexWriter,
}

impl LexicalBuilder {
    pub(crate) fn new(language: Language) -> Result<Self, Error> {
        let mut schema = Schema::builder();
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(ANALYZER)
            .set_index_option(IndexRecordOption::WithFreqs);
        let options = TextOptions::default().set_indexing_options(indexing);
        let field = schema.add_text_field(FIELD, options);

        let tokenizers = TokenizerManager::new();
        tokenizers.register(ANALYZER, TextAnalyzer::from(Analyzer::new(language)));
        let directory = RamDirectory::create();
        let writer = Index::builder()
            .schema(schema.build())
            .tokenizers(tokenizers)
            .single_segment_index_writer(directory.clone(), TABLE_BYTES)?;
        Ok(Self {
            language,
            field,
            directory,
            writer,
        })
    }

    /// Adds the next row.
    pub(crate) fn push(&mut self, context: &str, body: &str) -> Result<(), Error> {
        let mut document = TantivyDocument::default();
        document.add_text(self.field, context);
        document.add_text(self.field, body);
        Ok(self.writer.add_document(document)?)
    }

    /// The bundle.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        let index = self.writer.finalize()?;
        let mut files = Vec::new();
        let meta = std::path::PathBuf::from("meta.json");
        let names = index.load_metas()?.list_segment_files();
        for path in names.into_iter().chain([meta]) {
            if self.directory.exists(&path).map_err(TantivyError::from)? {
                let file = self
                    .directory
                    .open_read(&path)
                    .map_err(TantivyError::from)?;
                let bytes = file.read_bytes().map_err(TantivyError::from)?;
                files.push((path.to_string_lossy().into_owned(), bytes));
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(bundle::pack(self.language, &files))
    }
}

/// A segment that can be searched. Cloning shares it.
#[derive(Clone)]
pub(crate) struct LexicalSegment {
    language: Language,
    field: Field,
    searcher: Searcher,
    bytes: usize,
}

impl LexicalSegment {
    /// Opens a bundle. Its bytes are used in place where the caller holds no other handle to them, and
    /// copied otherwise.
    pub(crate) fn open(bytes: Bytes) -> Result<Self, Error> {
        let length = bytes.len();
        let (language, bundle) = Bundle::open(OwnedBytes::new(Vec::from(bytes)))?;
        let index = Index::open(bundle)?;
        let field = index.schema().get_field(FIELD)?;
        let searcher = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(0)
            .try_into()?
            .searcher();
        let segment = Self {
            language,
            field,
            searcher,
            bytes: length,
        };
        segment.reader()?;
        Ok(segment)
    }

    /// The language its text was cut by; a query must be parsed in the same.
    pub(crate) fn language(&self) -> Language {
        self.language
    }

    /// Rows, removed ones among them.
    pub(crate) fn rows(&self) -> u32 {
        self.searcher
            .segment_readers()
            .iter()
            .map(SegmentReader::max_doc)
            .sum()
    }

    /// The size of the bundle.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds this segment's share to the tenant's statistics.
    pub(crate) fn count(&self, query: &LexicalQuery, into: &mut Statistics) -> Result<(), Error> {
        let reader = self.reader()?;
        let index = reader.inverted_index(self.field)?;
        into.rows += u64::from(reader.max_doc());
        into.tokens += index.total_num_tokens();
        for (term, doc_freq) in query.terms().iter().zip(&mut into.doc_freq) {
            let found = index.doc_freq(&self.term(term));
            *doc_freq += u64::from(found.map_err(TantivyError::from)?);
        }
        Ok(())
    }

    /// The best rows that hold any term of the query and all that it requires, among those that the mask
    /// lets through (bit `j` of word `w` is row `32 * w + j`), best first.
    pub(crate) fn search(
        &self,
        query: &LexicalQuery,
        statistics: &Statistics,
        mask: Option<&[u32]>,
        limit: usize,
    ) -> Result<Vec<(u32, f32)>, Error> {
        let open = match mask {
            None => self.rows() as usize,
            Some(mask) => mask.iter().map(|word| word.count_ones() as usize).sum(),
        };
        if query.is_empty() || limit == 0 || open == 0 || statistics.rows == 0 {
            return Ok(Vec::new());
        }
        let mut best = Best::new(limit);
        match mask {
            Some(mask) if open.saturating_mul(SPARSE) < self.rows() as usize => {
                self.look_up(query, statistics, mask, &mut best)?;
            }
            _ => self.scan(query, statistics, mask, &mut best)?,
        }
        Ok(best.into_sorted())
    }

    /// Walks the postings; for few terms, skips blocks that cannot reach the best.
    ///
    /// Each block states its best row as judged by the segment's own average length, and the tenant's differs
    /// by a factor `r`. A score changes by at most `max(r, 1/r)` between the two, so blocks are skipped only
    /// below the threshold divided by that, and the result is exact.
    fn scan(
        &self,
        query: &LexicalQuery,
        statistics: &Statistics,
        mask: Option<&[u32]>,
        best: &mut Best,
    ) -> Result<(), Error> {
        let reader = self.reader()?;
        let own = reader.inverted_index(self.field)?.total_num_tokens() as f32
            / reader.max_doc().max(1) as f32;
        let ratio = own / statistics.average_length();
        let slack = ratio.max(ratio.recip()).max(1.0);
        let clauses = query
            .terms()
            .iter()
            .map(|term| {
                let occur = if term.is_required {
                    Occur::Must
                } else {
                    Occur::Should
                };
                (occur, self.clause(term))
            })
            .collect();
        let provider = Provider { query, statistics };
        let scoring = EnableScoring::enabled_from_statistics_provider(&provider, &self.searcher);
        let weight = BooleanQuery::new(clauses).weight(scoring)?;
        let is_open = |row| mask.is_none_or(|mask| passes(mask, row));
        if query.terms().len() > MAX_PRUNED_TERMS {
            weight.for_each(reader, &mut |row, score| {
                if is_open(row) {
                    best.push(row, score);
                }
            })?;
            return Ok(());
        }
        weight.for_each_pruning(f32::MIN, reader, &mut |row, score| {
            if is_open(row) {
                best.push(row, score);
            }
            best.threshold() / slack
        })?;
        Ok(())
    }

    /// Seeks each of few open rows in the postings of each term.
    fn look_up(
        &self,
        query: &LexicalQuery,
        statistics: &Statistics,
        mask: &[u32],
        best: &mut Best,
    ) -> Result<(), Error> {
        let reader = self.reader()?;
        let provider = Provider { query, statistics };
        let mut scorers: Vec<(Box<dyn Scorer>, bool)> = Vec::new();
        for term in query.terms() {
            let scoring =
                EnableScoring::enabled_from_statistics_provider(&provider, &self.searcher);
            let weight = self.clause(term).weight(scoring)?;
            scorers.push((weight.scorer(reader, 1.0)?, term.is_required));
        }
        for row in open_rows(mask, reader.max_doc()) {
            let mut score = 0.0;
            let mut is_complete = true;
            for (scorer, is_required) in &mut scorers {
                if scorer.doc() < row {
                    scorer.seek(row);
                }
                if scorer.doc() == row {
                    score += scorer.score();
                } else if *is_required {
                    is_complete = false;
                    break;
                }
            }
            if is_complete && score > 0.0 {
                best.push(row, score);
            }
        }
        Ok(())
    }

    fn clause(&self, term: &QueryTerm) -> Box<dyn Query> {
        let query = Box::new(TermQuery::new(
            self.term(term),
            IndexRecordOption::WithFreqs,
        ));
        if term.weight == 1.0 {
            query
        } else {
            Box::new(BoostQuery::new(query, term.weight))
        }
    }

    fn term(&self, term: &QueryTerm) -> Term {
        Term::from_field_text(self.field, &term.text)
    }

    fn reader(&self) -> Result<&SegmentReader, Error> {
        match self.searcher.segment_readers() {
            [reader] => Ok(reader),
            _ => Err(Error::Damaged("not one segment")),
        }
    }
}

/// The rows whose bits are set, ascending.
fn open_rows(mask: &[u32], rows: u32) -> impl Iterator<Item = u32> {
    (0..)
        .step_by(32)
        .zip(mask)
        .flat_map(|(first, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 32).then_some(first + bit)
            })
        })
        .take_while(move |row| *row < rows && *row != TERMINATED)
}

/// The tenant's statistics as tantivy asks for them.
struct Provider<'a> {
    query: &'a LexicalQuery,
    statistics: &'a Statistics,
}

impl Bm25StatisticsProvider for Provider<'_> {
    fn total_num_tokens(&self, _field: Field) -> tantivy::Result<u64> {
        Ok(self.statistics.tokens)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        Ok(self.statistics.rows)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let rows = self
            .query
            .terms()
            .iter()
            .zip(&self.statistics.doc_freq)
            .find(|(known, _)| known.text.as_bytes() == term.serialized_value_bytes())
            .map_or(0, |(_, rows)| *rows);
        // tantivy panics on a term that more rows hold than there are.
        Ok(rows.min(self.statistics.rows))
    }
}
