//! Text to terms: words in lower case, stemmed, and exact identifiers.
//!
//! A word is a run of letters and digits. Words joined by single signs such as `-` or `/`, with a digit
//! among them, are also one identifier: `INV-2024-0117` gives `inv`, `2024`, `117` and, as one more term,
//! `inv-2024-117`. Identifiers hold a joint and words don't, so one field keeps both apart. Stop words
//! are indexed under a mark of their own: an ordinary query leaves them out, a query of nothing else finds
//! them. Knows languages, but neither rows nor queries.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use quire_types::Language;
use tantivy::tokenizer::{
    Language as Snowball, RawTokenizer, Stemmer, StopWordFilter, TextAnalyzer, Token, TokenStream,
    Tokenizer,
};

/// Words of this many bytes or more are noise (encoded data, broken extraction) and are left out.
const MAX_WORD_BYTES: usize = 100;
/// Longer runs are paths and lists, not identifiers.
const MAX_IDENTIFIER_BYTES: usize = 64;
/// Stems that are remembered before the memory starts anew: the vocabulary of a large tenant, some MB.
const MAX_KNOWN_WORDS: usize = 50_000;
/// Before a stop word's term. No word holds it, and no identifier begins with it.
const STOP_WORD_MARK: char = '_';

/// What a term stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stemmed word.
    Word,
    /// A word so common that it says nothing.
    StopWord,
    /// A whole code, such as `inv-2024-117`.
    Identifier,
}

/// Where in the text a term was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    /// Bytes of the original text.
    pub(crate) range: Range<usize>,
}

/// Cuts texts of one language into terms. Remembers stems, which makes it many times faster on the second
/// text than on the first.
#[derive(Clone)]
pub(crate) struct Analyzer {
    /// Of a single word in lower case: its stem, or nothing for a stop word.
    stems: TextAnalyzer,
    known: HashMap<Box<str>, Stem>,
    lower: String,
}

impl Analyzer {
    pub(crate) fn new(language: Language) -> Self {
        Self {
            stems: stems(language),
            known: HashMap::new(),
            lower: String::new(),
        }
    }

    /// The terms of a text, in order; an identifier comes before its parts.
    pub(crate) fn tokens<'a>(&'a mut self, text: &'a str) -> Tokens<'a> {
        Tokens {
            analyzer: self,
            text,
            at: 0,
            run: 0..0,
            piece_end: 0,
        }
    }

    /// Writes the term of the word that `self.lower` holds.
    fn write_term(&mut self, term: &mut String) -> Kind {
        if let Some(stem) = self.known.get(self.lower.as_str()) {
            return stem.write(&self.lower, term);
        }
        let stem = self.stem();
        let kind = stem.write(&self.lower, term);
        if self.known.len() >= MAX_KNOWN_WORDS {
            self.known.clear();
        }
        self.known.insert(self.lower.as_str().into(), stem);
        kind
    }

    fn stem(&mut self) -> Stem {
        let mut stems = self.stems.token_stream(&self.lower);
        let Some(token) = stems.next() else {
            return Stem::StopWord;
        };
        let stem = match token.text.as_str() {
            "" => &self.lower,
            stem => stem,
        };
        match u8::try_from(stem.len()) {
            Ok(length) if self.lower.starts_with(stem) => Stem::Start(length),
            _ => Stem::Other(stem.into()),
        }
    }
}

/// What is known of a word.
#[derive(Clone)]
enum Stem {
    /// Its first bytes are its stem, as in most languages most often: nothing more to keep.
    Start(u8),
    Other(Box<str>),
    StopWord,
}

impl Stem {
    fn write(&self, word: &str, term: &mut String) -> Kind {
        match self {
            Self::Start(length) => term.push_str(&word[..usize::from(*length)]),
            Self::Other(stem) => term.push_str(stem),
            Self::StopWord => {
                term.push(STOP_WORD_MARK);
                term.push_str(word);
                return Kind::StopWord;
            }
        }
        Kind::Word
    }
}

/// The terms of one text.
pub(crate) struct Tokens<'a> {
    analyzer: &'a mut Analyzer,
    text: &'a str,
    at: usize,
    /// The words that are joined to the current one.
    run: Range<usize>,
    /// The end of the current piece of that run; pieces lie between `/` and `_`.
    piece_end: usize,
}

impl Tokens<'_> {
    /// Writes the next term over `term` and says where it stands.
    pub(crate) fn next(&mut self, term: &mut String) -> Option<Found> {
        term.clear();
        loop {
            let start = word_start(self.text, self.at)?;
            self.at = start;
            let end = word_end(self.text, start);
            if start >= self.run.end {
                self.run = start..run_end(self.text, end, |_| false);
                self.piece_end = if self.run.end == end { end } else { start };
                if let Some(found) = self.identifier(self.run.clone(), end, term) {
                    return Some(found);
                }
            }
            if start >= self.piece_end {
                self.piece_end = run_end(self.text, end, |joint| matches!(joint, '/' | '_'));
                let piece = start..self.piece_end;
                if piece != self.run
                    && let Some(found) = self.identifier(piece, end, term)
                {
                    return Some(found);
                }
            }
            self.at = end;
            if end - start >= MAX_WORD_BYTES {
                continue;
            }
            self.analyzer.lower.clear();
            let before = self.text[..start].chars().next_back();
            push_word(&mut self.analyzer.lower, &self.text[start..end], before);
            let kind = self.analyzer.write_term(term);
            return Some(Found {
                kind,
                range: start..end,
            });
        }
    }

    /// Writes the words in `range`, the first of which ends at `first_end`, if they are a code.
    fn identifier(
        &self,
        range: Range<usize>,
        first_end: usize,
        term: &mut String,
    ) -> Option<Found> {
        let run = &self.text[range.clone()];
        let is_identifier = range.end > first_end
            && run.len() <= MAX_IDENTIFIER_BYTES
            && run.contains(|c: char| c.is_ascii_digit());
        if !is_identifier {
            return None;
        }
        let mut at = 0;
        let mut before = self.text[..range.start].chars().next_back();
        while at < run.len() {
            let end = word_end(run, at);
            push_word(term, &run[at..end], before);
            let Some(joint) = run[end..].chars().next() else {
                break;
            };
            term.push(match joint {
                '_' | '\u{2010}' | '\u{2011}' => '-',
                other => other,
            });
            before = Some(joint);
            at = end + joint.len_utf8();
        }
        Some(Found {
            kind: Kind::Identifier,
            range,
        })
    }
}

/// The first letter or digit at or after `at`.
fn word_start(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let byte = text.as_bytes().get(at)?;
        if !byte.is_ascii() {
            let c = text[at..].chars().next()?;
            if c.is_alphanumeric() {
                return Some(at);
            }
            at += c.len_utf8();
        } else if byte.is_ascii_alphanumeric() {
            return Some(at);
        } else {
            at += 1;
        }
    }
}

/// The end of the letters and digits from `at` on.
fn word_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let ascii = bytes[at..]
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric())
        .count();
    let rest = at + ascii;
    match bytes.get(rest) {
        Some(byte) if !byte.is_ascii() => text[rest..]
            .find(|c: char| !c.is_alphanumeric())
            .map_or(text.len(), |end| rest + end),
        _ => rest,
    }
}

/// The end of the words that are joined, by one sign each, to the word that ends at `end`; up to a joint
/// where `stops`.
fn run_end(text: &str, mut end: usize, stops: impl Fn(char) -> bool) -> usize {
    let bytes = text.as_bytes();
    loop {
        if matches!(bytes.get(end), None | Some(b' ' | b'\n' | b',')) {
            return end;
        }
        let mut rest = text[end..].chars();
        let (Some(joint), Some(next)) = (rest.next(), rest.next()) else {
            return end;
        };
        // A point ends sentences and begins file extensions; only between digits is it part of a code.
        let is_number = || next.is_ascii_digit() && bytes[end - 1].is_ascii_digit();
        if !is_joint(joint)
            || !next.is_alphanumeric()
            || stops(joint)
            || (joint == '.' && !is_number())
        {
            return end;
        }
        end = word_end(text, end + joint.len_utf8());
    }
}

fn is_joint(c: char) -> bool {
    matches!(
        c,
        '-' | '/' | '#' | '.' | '_' | ':' | '\u{2010}' | '\u{2011}'
    )
}

/// Appends a word in lower case, and a number without leading zeros, so that "change order 1" finds "Change
/// Order 01". Digits after a point or inside a longer word stay as they are.
fn push_word(into: &mut String, word: &str, before: Option<char>) {
    if word.starts_with('0')
        && !matches!(before, Some('.' | ','))
        && word.bytes().all(|byte| byte.is_ascii_digit())
    {
        let number = word.trim_start_matches('0');
        into.push_str(if number.is_empty() { word } else { number });
    } else if word.is_ascii() {
        let start = into.len();
        into.push_str(word);
        into[start..].make_ascii_lowercase();
    } else {
        into.extend(word.chars().flat_map(char::to_lowercase));
    }
}

/// The words of an English text as search sees them, in order: lower case, stemmed, without stop words
/// and without whole identifiers.
pub fn terms(text: &str) -> Vec<String> {
    terms_of(text, Language::English)
}

/// The words of a text of some language, as [`terms`] has those of an English one.
pub(crate) fn terms_of(text: &str, language: Language) -> Vec<String> {
    let mut analyzer = Analyzer::new(language);
    let mut tokens = analyzer.tokens(text);
    let mut term = String::new();
    let mut terms = Vec::new();
    while let Some(found) = tokens.next(&mut term) {
        if found.kind == Kind::Word {
            terms.push(term.clone());
        }
    }
    terms
}

/// Built once per language: a list of stop words is a set of some hundred strings.
fn stems(language: Language) -> TextAnalyzer {
    static BUILT: [OnceLock<TextAnalyzer>; Language::ALL.len()] =
        [const { OnceLock::new() }; Language::ALL.len()];
    let build = || {
        let Some(snowball) = snowball(language) else {
            return TextAnalyzer::from(RawTokenizer::default());
        };
        let stemmer = Stemmer::new(snowball);
        let word = TextAnalyzer::builder(RawTokenizer::default());
        match StopWordFilter::new(snowball) {
            Some(stop_words) => word.filter(stop_words).filter(stemmer).build(),
            None => word.filter(stemmer).build(),
        }
    };
    BUILT[language as usize].get_or_init(build).clone()
}

fn snowball(language: Language) -> Option<Snowball> {
    Some(match language {
        Language::Arabic => Snowball::Arabic,
        Language::Danish => Snowball::Danish,
        Language::Dutch => Snowball::Dutch,
        Language::English => Snowball::English,
        Language::Finnish => Snowball::Finnish,
        Language::French => Snowball::French,
        Language::German => Snowball::German,
        Language::Greek => Snowball::Greek,
        Language::Hungarian => Snowball::Hungarian,
        Language::Italian => Snowball::Italian,
        Language::Norwegian => Snowball::Norwegian,
        Language::Portuguese => Snowball::Portuguese,
        Language::Romanian => Snowball::Romanian,
        Language::Russian => Snowball::Russian,
        Language::Spanish => Snowball::Spanish,
        Language::Swedish => Snowball::Swedish,
        Language::Tamil => Snowball::Tamil,
        Language::Turkish => Snowball::Turkish,
        Language::None => return None,
    })
}

/// The analyzer as tantivy calls it while it builds a segment.
impl Tokenizer for Analyzer {
    type TokenStream<'a> = Stream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Stream<'a> {
        Stream {
            tokens: self.tokens(text),
            token: Token::default(),
        }
    }
}

/// [`Tokens`] in tantivy's form.
pub(crate) struct Stream<'a> {
    tokens: Tokens<'a>,
    token: Token,
}

impl TokenStream for Stream<'_> {
    fn advance(&mut self) -> bool {
        let Some(found) = self.tokens.next(&mut self.token.text) else {
            return false;
        };
        self.token.offset_from = found.range.start;
        self.token.offset_to = found.range.end;
        // Positions are not stored.
        self.token.position = 0;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}
