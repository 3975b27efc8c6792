//! An immutable inverted index of many rows, through tantivy.
//!
//! Built on the caller's thread in one piece, packed into one bundle, searched in place: no thread, no file
//! and no cache of its own. Rows are tantivy's document ids, in the order they were given; frequencies and
//! lengths are kept, positions and text are not.

use bytes::Bytes;
use quire_types::Language;
use tantivy::directory::{Directory, OwnedBytes, RamDirectory};
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::{Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{
    Index, ReloadPolicy, Searcher, SegmentReader, SingleSegmentIndexWriter, TERMINATED,
    TantivyDocument, TantivyError, Term,
};

use super::analysis::Analyzer;
use super::best::Best;
use super::bm25::Bm25;
use super::bundle::{self, Bundle};
use super::query::{LexicalQuery, QueryTerm, Statistics};
use super::scan::{List, look_up, rows, scan};
use crate::{Error, mask};

const ANALYZER: &str = "words";
const FIELD: &str = "text";
/// Sizes tantivy's first hash table of terms, which grows with the vocabulary.
const TABLE_BYTES: usize = 1 << 20;
/// With fewer open rows than one in this many, looking each up is faster than a scan.
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
    /// Of each row, the number of its terms, quantised to a byte.
    lengths: OwnedBytes,
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
        let lengths = match searcher.segment_readers() {
            [reader] => lengths(reader, field)?,
            _ => return Err(Error::Damaged("not one segment")),
        };
        Ok(Self {
            language,
            field,
            searcher,
            lengths,
            bytes: length,
        })
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
    /// lets through, best first.
    pub(crate) fn search(
        &self,
        query: &LexicalQuery,
        bm25: &Bm25,
        mask: Option<&[u32]>,
        limit: usize,
    ) -> Result<Vec<(u32, f32)>, Error> {
        let open = match mask {
            None => self.rows() as usize,
            Some(mask) => mask::count(mask),
        };
        if query.is_empty() || limit == 0 || open == 0 {
            return Ok(Vec::new());
        }
        let Some(lists) = self.lists(query, bm25)? else {
            return Ok(Vec::new());
        };
        let mut best = Best::new(limit);
        let lengths = self.lengths.as_slice();
        match (mask, self.rarest_required(query)?) {
            (Some(mask), _) if open.saturating_mul(SPARSE) < self.rows() as usize => {
                look_up(open_rows(mask, self.rows()), lists, lengths, &mut best);
            }
            (mask, Some(postings)) => {
                let is_open = |row: &u32| mask.is_none_or(|mask| mask::has(mask, *row));
                look_up(rows(postings).filter(is_open), lists, lengths, &mut best);
            }
            (mask, None) => scan(lists, lengths, mask, &mut best),
        }
        let scored = |(row, sum)| (row, bm25.score(sum));
        Ok(best.into_sorted().map(scored).collect())
    }

    /// The postings of the terms that occur; nothing if one is required and does not.
    fn lists<'a>(
        &self,
        query: &LexicalQuery,
        bm25: &'a Bm25,
    ) -> Result<Option<Vec<List<'a>>>, Error> {
        let mut lists = Vec::new();
        for (number, term) in query.terms().iter().enumerate() {
            match (self.postings(term)?, bm25.term(number)) {
                (Some(postings), Some(score)) => {
                    lists.push(List::new(postings, score, term.is_required));
                }
                _ if term.is_required => return Ok(None),
                _ => {}
            }
        }
        Ok(Some(lists))
    }

    /// The postings of the required term that fewest rows hold.
    fn rarest_required(&self, query: &LexicalQuery) -> Result<Option<BlockSegmentPostings>, Error> {
        let mut rarest: Option<BlockSegmentPostings> = None;
        for term in query.terms().iter().filter(|term| term.is_required) {
            if let Some(postings) = self.postings(term)?
                && rarest
                    .as_ref()
                    .is_none_or(|rarest| postings.doc_freq() < rarest.doc_freq())
            {
                rarest = Some(postings);
            }
        }
        Ok(rarest)
    }

    fn postings(&self, term: &QueryTerm) -> Result<Option<BlockSegmentPostings>, Error> {
        let index = self.reader()?.inverted_index(self.field)?;
        let found = index.read_block_postings(&self.term(term), IndexRecordOption::WithFreqs);
        Ok(found.map_err(TantivyError::from)?)
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

/// The lengths of all rows, in place.
fn lengths(reader: &SegmentReader, field: Field) -> Result<OwnedBytes, Error> {
    let file = reader
        .fieldnorms_readers()
        .get_inner_file()
        .open_read(field);
    let lengths = match file {
        Some(file) => file.read_bytes().map_err(TantivyError::from)?,
        None => OwnedBytes::empty(),
    };
    if lengths.len() != reader.max_doc() as usize {
        return Err(Error::Damaged("lengths of rows"));
    }
    Ok(lengths)
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
