//! Text to token ids, as all-MiniLM-L6-v2 was trained. Refuses to know what the ids mean.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::Error;
use crate::find::{self, TOKENIZER};

/// The model was trained on 256 tokens; two of them frame the text.
pub(super) const MAX_TEXT_TOKENS: usize = 254;

pub(super) struct Tokens {
    tokenizer: Tokenizer,
    first: u32,
    last: u32,
}

impl Tokens {
    pub(super) fn load(dir: &Path) -> Result<Self, Error> {
        let mut tokenizer =
            Tokenizer::from_bytes(find::read(dir, TOKENIZER)?).map_err(Error::Tokenize)?;
        // The file asks for 128 tokens and padding; the model takes 256 and this crate never pads.
        tokenizer.with_truncation(None).map_err(Error::Tokenize)?;
        tokenizer.with_padding(None);
        let special = |token: &str| {
            tokenizer
                .token_to_id(token)
                .ok_or_else(|| Error::ModelMismatch {
                    file: dir.join(TOKENIZER),
                    expected: format!("a vocabulary with {token}"),
                    found: "none".to_owned(),
                })
        };
        let (first, last) = (special("[CLS]")?, special("[SEP]")?);
        Ok(Self {
            tokenizer,
            first,
            last,
        })
    }

    /// Tokens that the tokenizer knows.
    pub(super) fn vocabulary(&self) -> usize {
        self.tokenizer.get_vocab_size(false)
    }

    /// The ids of `text`, framed and cut to what the model can see.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(Error::Tokenize)?;
        let kept = &encoding.get_ids()[..encoding.len().min(MAX_TEXT_TOKENS)];
        let mut ids = Vec::with_capacity(kept.len() + 2);
        ids.push(self.first);
        ids.extend_from_slice(kept);
        ids.push(self.last);
        Ok(ids)
    }

    pub(super) fn count(&self, text: &str) -> usize {
        self.tokenizer
            .encode_fast(text, false)
            .map_or(0, |encoding| encoding.len())
    }
}
