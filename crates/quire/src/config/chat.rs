//! How models are called, and how much is done for a complex question.

use std::path::PathBuf;

use serde::Deserialize;

use quire_ask::Depth;

use crate::failure::Failure;

/// How models are called, and the one of the pool `local`. Without a model here and without `[chains]` answers are
/// quoted from the sources.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Chat {
    /// Any OpenAI-compatible address, such as http://127.0.0.1:11434/v1.
    pub(crate) base_url: Option<String>,
    /// Its model.
    pub(crate) model: Option<String>,
    /// Its model for questions that compare or weigh. Unset: the same.
    pub(crate) large_model: Option<String>,
    /// A file that holds the key, if the server wants one.
    pub(crate) api_key_file: Option<PathBuf>,
    /// What a million tokens cost, for a model that the registry lacks: "$0" for one of your own.
    pub(crate) input_price: Option<String>,
    pub(crate) output_price: Option<String>,
    /// What such a model holds, question and answer together.
    pub(crate) context_tokens: Option<u64>,
    /// Seconds until the first word.
    pub(crate) first_token_timeout_s: u64,
    /// Seconds between two words.
    pub(crate) between_tokens_timeout_s: u64,
    /// Seconds until all is written down that is said in ten minutes of sound.
    pub(crate) sound_timeout_s: u64,
    /// The longest answer.
    pub(crate) max_tokens: u32,
    /// Percent of questions for which a second model may be asked while the first is silent for unusually long, 5 at
    /// most; 0 for none.
    pub(crate) hedged_percent: f64,
}

impl Chat {
    /// The share of questions that may be hedged.
    pub(crate) fn hedged(&self) -> Result<f64, Failure> {
        match (0.0..=5.0).contains(&self.hedged_percent) {
            true => Ok(self.hedged_percent / 100.0),
            false => Err(Failure::invalid(
                "chat.hedged_percent is 0 to 5: both models are paid for",
            )),
        }
    }
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            base_url: None,
            model: None,
            large_model: None,
            api_key_file: None,
            input_price: None,
            output_price: None,
            context_tokens: None,
            first_token_timeout_s: 20,
            between_tokens_timeout_s: 10,
            sound_timeout_s: 300,
            max_tokens: 1_000,
            hedged_percent: 0.0,
        }
    }
}

/// How the search of complex questions is made deeper; 0 leaves a step out. What was found is put in order where
/// there is a chain `rerank`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DepthOptions {
    /// Further phrasings of the question that a model is asked for, 8 at most: the chain `rephrase`, else `answer`.
    pub(crate) phrasings: usize,
    /// Passages of one source beyond which those of other sources come first.
    pub(crate) per_source: usize,
    /// Of how many of the best passages those right beside them are read, too; 16 at most.
    pub(crate) neighbours: usize,
}

impl Default for DepthOptions {
    fn default() -> Self {
        Self {
            phrasings: 3,
            per_source: 8,
            neighbours: 4,
        }
    }
}

impl DepthOptions {
    pub(crate) fn depth(&self) -> Result<Depth, Failure> {
        if self.phrasings > 8 || self.neighbours > 16 {
            return Err(Failure::invalid(
                "depth.phrasings is 8 at most and depth.neighbours 16: each costs time with every complex question",
            ));
        }
        Ok(Depth {
            phrasings: self.phrasings,
            per_source: self.per_source,
            neighbours: self.neighbours,
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_costs_time_with_every_complex_question_has_a_bound() {
        let depth = |text: &str| {
            let options: DepthOptions = toml::from_str(text).unwrap();
            options.depth()
        };
        assert_eq!(depth("").unwrap().phrasings, 3);
        assert_eq!(depth("phrasings = 0").unwrap().phrasings, 0);
        assert!(depth("phrasings = 9").is_err());
        assert!(depth("neighbours = 17").is_err());
    }
}
