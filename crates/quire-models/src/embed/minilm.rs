//! The network of all-MiniLM-L6-v2: a BERT encoder of 6 layers, mean pooling, length 1.
//!
//! Written here on plain tensor operations because candle-transformers brings a hundred models and
//! minutes of compile time for this one. Sequences are laid end to end instead of being padded to one
//! length: the large matrix products see all tokens of a batch, attention sees one sequence at a time,
//! so there is no mask, no wasted work, and a text's vector does not depend on its neighbours. Refuses
//! to know text: token ids in, vectors out.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use serde::Deserialize;

use super::kernels::{AddBias, AddBiasGelu};
use crate::Error;
use crate::find::{self, CONFIG};

pub(super) const DIMENSION: usize = 384;
const HEADS: usize = 12;
const HEAD_DIMENSION: usize = DIMENSION / HEADS;
const LAYERS: usize = 6;

/// Columns of a stripe of a matrix.
const STRIPE: usize = 32;
/// Up to so many rows the stripes are faster.
const FEW_ROWS: usize = 64;

type Weights = HashMap<String, Tensor>;

pub(super) struct MiniLm {
    words: Tensor,
    positions: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    intermediate: Linear,
    output: Linear,
    output_norm: Norm,
}

/// A matrix and its bias. The matrix is there twice, 42 MB for all layers, because a question and a batch
/// of passages want it in different order.
struct Linear {
    /// (inputs, outputs): fast for many rows.
    weight: Tensor,
    /// (stripes, inputs, [`STRIPE`]): for few rows the time goes into reading the matrix, and narrow
    /// stripes are read from memory in one sweep. Halves the time of a question.
    stripes: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
}

/// The part of config.json that this code depends on.
#[derive(Debug, PartialEq, Deserialize)]
struct Config {
    hidden_act: String,
    hidden_size: usize,
    intermediate_size: usize,
    layer_norm_eps: f64,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    position_embedding_type: String,
    vocab_size: usize,
}

impl MiniLm {
    /// Reads the verified weights. `vocabulary` is the size of the tokenizer that will be used.
    pub(super) fn load(dir: &Path, vocabulary: usize) -> Result<Self, Error> {
        check_config(dir, vocabulary)?;
        let raw = find::read_weights(dir)?;
        let weights = candle_core::safetensors::load_buffer(&raw, &Device::Cpu)?;
        drop(raw);

        // Every text is of token type 0, so that row is added to the positions once and for all.
        let token_type =
            get(&weights, "embeddings.token_type_embeddings.weight")?.narrow(0, 0, 1)?;
        let positions =
            get(&weights, "embeddings.position_embeddings.weight")?.broadcast_add(&token_type)?;
        Ok(Self {
            words: get(&weights, "embeddings.word_embeddings.weight")?.clone(),
            positions,
            norm: Norm::load(&weights, "embeddings.LayerNorm")?,
            layers: (0..LAYERS)
                .map(|index| Layer::load(&weights, index))
                .collect::<Result<_, _>>()?,
        })
    }

    /// One vector per sequence of token ids, in the same order.
    pub(super) fn forward(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, Error> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
        let hidden = self
            .hidden(sequences, &lengths)?
            .flatten_all()?
            .to_vec1::<f32>()?;

        let mut rest = hidden.as_slice();
        let mut vectors = Vec::with_capacity(lengths.len());
        for length in lengths {
            let (sequence, next) = rest.split_at(length * DIMENSION);
            vectors.push(mean_direction(sequence));
            rest = next;
        }
        Ok(vectors)
    }

    fn hidden(
        &self,
        sequences: &[Vec<u32>],
        lengths: &[usize],
    ) -> Result<Tensor, candle_core::Error> {
        let ids = sequences.concat();
        let positions: Vec<u32> = sequences
            .iter()
            .flat_map(|ids| (0u32..).take(ids.len()))
            .collect();
        let words = self
            .words
            .index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
        let positions = self
            .positions
            .index_select(&Tensor::new(positions, &Device::Cpu)?, 0)?;
        let mut hidden = self.norm.forward(&(words + positions)?)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, lengths)?;
        }
        Ok(hidden)
    }
}

impl Layer {
    fn load(weights: &Weights, index: usize) -> Result<Self, candle_core::Error> {
        let prefix = format!("encoder.layer.{index}");
        let linear = |name: &str| Linear::load(weights, &format!("{prefix}.{name}"));
        let norm = |name: &str| Norm::load(weights, &format!("{prefix}.{name}"));

        // Dividing the queries here saves a pass over every table of attention scores.
        let scale = 1.0 / (HEAD_DIMENSION as f64).sqrt();
        let query = linear("attention.self.query")?.scaled(scale)?;
        let key = linear("attention.self.key")?;
        let value = linear("attention.self.value")?;
        Ok(Self {
            query_key_value: Linear::new(
                Tensor::cat(&[&query.weight, &key.weight, &value.weight], 1)?,
                Tensor::cat(&[&query.bias, &key.bias, &value.bias], 0)?,
            )?,
            attention_output: linear("attention.output.dense")?,
            attention_norm: norm("attention.output.LayerNorm")?,
            intermediate: linear("intermediate.dense")?,
            output: linear("output.dense")?,
            output_norm: norm("output.LayerNorm")?,
        })
    }

    fn forward(&self, hidden: &Tensor, lengths: &[usize]) -> Result<Tensor, candle_core::Error> {
        let attended = self.attend(hidden, lengths)?;
        let attended = self.attention_output.forward(&attended)?;
        let hidden = self.attention_norm.forward(&(attended + hidden)?)?;
        let output = self
            .output
            .forward(&self.intermediate.forward_gelu(&hidden)?)?;
        self.output_norm.forward(&(output + hidden)?)
    }

    /// Self-attention of each sequence over itself.
    fn attend(&self, hidden: &Tensor, lengths: &[usize]) -> Result<Tensor, candle_core::Error> {
        let tokens = hidden.dim(0)?;
        let all =
            self.query_key_value
                .forward(hidden)?
                .reshape((tokens, 3 * HEADS, HEAD_DIMENSION))?;
        let mut start = 0;
        let mut attended = Vec::with_capacity(lengths.len());
        for &length in lengths {
            let sequence = all.narrow(0, start, length)?;
            // Views (heads, tokens, head dimension): the matrix product reads them where they lie.
            let part = |index: usize| sequence.narrow(1, index * HEADS, HEADS)?.transpose(0, 1);
            let scores = part(0)?.matmul(&part(1)?.t()?)?;
            let mixed = softmax_last_dim(&scores)?.matmul(&part(2)?)?;
            attended.push(mixed.transpose(0, 1)?.reshape((length, DIMENSION))?);
            start += length;
        }
        Tensor::cat(&attended, 0)
    }
}

impl Linear {
    fn new(weight: Tensor, bias: Tensor) -> Result<Self, candle_core::Error> {
        let (inputs, outputs) = weight.dims2()?;
        let stripes = weight
            .reshape((inputs, outputs / STRIPE, STRIPE))?
            .transpose(0, 1)?;
        Ok(Self {
            weight: weight.contiguous()?,
            stripes: stripes.contiguous()?,
            bias,
        })
    }

    fn load(weights: &Weights, name: &str) -> Result<Self, candle_core::Error> {
        let weight = get(weights, &format!("{name}.weight"))?.t()?;
        Self::new(weight, get(weights, &format!("{name}.bias"))?.clone())
    }

    fn scaled(self, factor: f64) -> Result<Self, candle_core::Error> {
        Self::new((self.weight * factor)?, (self.bias * factor)?)
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, candle_core::Error> {
        let output = self.product(input)?;
        output.inplace_op2(&self.bias, &AddBias)?;
        Ok(output)
    }

    fn forward_gelu(&self, input: &Tensor) -> Result<Tensor, candle_core::Error> {
        let output = self.product(input)?;
        output.inplace_op2(&self.bias, &AddBiasGelu)?;
        Ok(output)
    }

    fn product(&self, input: &Tensor) -> Result<Tensor, candle_core::Error> {
        let (rows, inputs) = input.dims2()?;
        if rows > FEW_ROWS {
            return input.matmul(&self.weight);
        }
        let stripes = self.stripes.dim(0)?;
        let output = input
            .expand((stripes, rows, inputs))?
            .matmul(&self.stripes)?;
        output.transpose(0, 1)?.reshape((rows, stripes * STRIPE))
    }
}

impl Norm {
    fn load(weights: &Weights, name: &str) -> Result<Self, candle_core::Error> {
        Ok(Self {
            weight: get(weights, &format!("{name}.weight"))?.clone(),
            bias: get(weights, &format!("{name}.bias"))?.clone(),
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, candle_core::Error> {
        candle_nn::ops::layer_norm(input, &self.weight, &self.bias, 1e-12)
    }
}

fn get<'a>(weights: &'a Weights, name: &str) -> Result<&'a Tensor, candle_core::Error> {
    weights
        .get(name)
        .ok_or_else(|| candle_core::Error::CannotFindTensor {
            path: name.to_owned(),
        })
}

/// Refuses a config.json of another network: its numbers are constants here.
fn check_config(dir: &Path, vocabulary: usize) -> Result<(), Error> {
    let expected = Config {
        hidden_act: "gelu".to_owned(),
        hidden_size: DIMENSION,
        intermediate_size: 1536,
        layer_norm_eps: 1e-12,
        num_attention_heads: HEADS,
        num_hidden_layers: LAYERS,
        position_embedding_type: "absolute".to_owned(),
        vocab_size: vocabulary,
    };
    let found = serde_json::from_slice::<Config>(&find::read(dir, CONFIG)?);
    let found = match found {
        Ok(found) if found == expected => return Ok(()),
        Ok(found) => format!("{found:?}"),
        Err(error) => error.to_string(),
    };
    Err(Error::ModelMismatch {
        file: dir.join(CONFIG),
        expected: format!("{expected:?}"),
        found,
    })
}

/// The mean of the rows, as a vector of length 1.
fn mean_direction(rows: &[f32]) -> Vec<f32> {
    let mut sum = vec![0f32; DIMENSION];
    for row in rows.chunks_exact(DIMENSION) {
        for (total, value) in sum.iter_mut().zip(row) {
            *total += value;
        }
    }
    // The division by the number of rows cancels out.
    let length = sum
        .iter()
        .map(|value| value * value)
        .sum::<f32>()
        .sqrt()
        .max(1e-12);
    for value in &mut sum {
        *value /= length;
    }
    sum
}
