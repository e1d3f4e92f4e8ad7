//! The transformer itself: BERT, and `RoBERTa` with its offspring, which differ in where positions begin.
//!
//! The texts of a batch lie one after the other in one matrix, without padding: the products with the weights,
//! nearly all of the work, do not care where a text ends, and attention is computed text by text. So a batch
//! of texts of all lengths costs what its tokens cost, and no text's vector depends on its company.

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor};

use super::kernels::{self, Norm};
use super::weights::Weights;

/// A text as the model sees it.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    pub(super) ids: Vec<u32>,
    /// Of each token: whether it is of the first or the second text of a pair.
    pub(super) types: Vec<u32>,
}

/// The sizes of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) layers: usize,
    pub(super) epsilon: f32,
    /// The position of the first token.
    pub(super) first_position: u32,
}

/// A transformer's encoder.
#[derive(Debug)]
pub(super) struct Encoder {
    shape: Shape,
    words: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    /// Query, key and value in one product; the query is scaled already.
    attention: Linear,
    output: Linear,
    output_norm: Norm,
    up: Linear,
    down: Linear,
    down_norm: Norm,
}

/// A product with weights; what is done with the bias is up to the caller.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,
    pub(super) bias: Vec<f32>,
}

impl Linear {
    pub(super) fn load(weights: &mut Weights, name: &str) -> Result<Self> {
        let weight = weights.take(&format!("{name}.weight"))?;
        Ok(Self { weight: weight.t()?, bias: weights.take_numbers(&format!("{name}.bias"))? })
    }

    fn product(&self, input: &Tensor) -> Result<Tensor> {
        input.matmul(&self.weight)
    }

    /// With the bias added, for the few rows of a head.
    pub(super) fn apply(&self, rows: &Tensor) -> Result<Tensor> {
        let product = self.product(rows)?;
        product.inplace_op1(&OnRows(|rows: &mut [f32]| kernels::add_bias(rows, &self.bias)))?;
        Ok(product)
    }
}

impl Norm {
    fn load(weights: &mut Weights, name: &str, epsilon: f32) -> Result<Self> {
        Ok(Self {
            scale: weights.take_numbers(&format!("{name}.weight"))?,
            shift: weights.take_numbers(&format!("{name}.bias"))?,
            epsilon,
        })
    }
}

impl Encoder {
    pub(super) fn load(weights: &mut Weights, shape: Shape) -> Result<Self> {
        let embeddings = "embeddings";
        Ok(Self {
            shape,
            words: weights.take(&format!("{embeddings}.word_embeddings.weight"))?,
            positions: weights.take(&format!("{embeddings}.position_embeddings.weight"))?,
            types: weights.take(&format!("{embeddings}.token_type_embeddings.weight"))?,
            norm: Norm::load(weights, &format!("{embeddings}.LayerNorm"), shape.epsilon)?,
            layers: (0..shape.layers)
                .map(|n| Layer::load(weights, &format!("encoder.layer.{n}"), &shape))
                .collect::<Result<_>>()?,
        })
    }

    /// Words that it knows.
    pub(super) fn vocabulary(&self) -> usize {
        self.words.dims().first().copied().unwrap_or_default()
    }

    /// One row for each token of each text, in order.
    pub(super) fn forward(&self, texts: &[Tokens]) -> Result<Tensor> {
        let mut rows = self.embed(texts)?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        for layer in &self.layers {
            rows = layer.forward(&rows, &lengths, &self.shape)?;
        }
        Ok(rows)
    }

    fn embed(&self, texts: &[Tokens]) -> Result<Tensor> {
        let device = self.words.device();
        let (mut ids, mut types, mut positions) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            ids.extend_from_slice(&text.ids);
            types.extend_from_slice(&text.types);
            positions.extend((self.shape.first_position..).take(text.ids.len()));
        }
        let rows = |table: &Tensor, at: Vec<u32>| {
            let length = at.len();
            table.index_select(&Tensor::from_vec(at, length, device)?, 0)
        };
        let sum = (rows(&self.words, ids)? + rows(&self.positions, positions)?)?;
        let sum = (sum + rows(&self.types, types)?)?;
        sum.inplace_op1(&OnRows(|rows: &mut [f32]| self.norm.apply(rows)))?;
        Ok(sum)
    }
}

impl Layer {
    fn load(weights: &mut Weights, name: &str, shape: &Shape) -> Result<Self> {
        let norm = |weights: &mut Weights, part: &str| {
            Norm::load(weights, &format!("{name}.{part}.LayerNorm"), shape.epsilon)
        };
        Ok(Self {
            attention: attention(weights, name, shape)?,
            output: Linear::load(weights, &format!("{name}.attention.output.dense"))?,
            output_norm: norm(weights, "attention.output")?,
            up: Linear::load(weights, &format!("{name}.intermediate.dense"))?,
            down: Linear::load(weights, &format!("{name}.output.dense"))?,
            down_norm: norm(weights, "output")?,
        })
    }

    fn forward(&self, input: &Tensor, lengths: &[usize], shape: &Shape) -> Result<Tensor> {
        let mixed = self.attention.product(input)?;
        let bias = &self.attention.bias;
        mixed.inplace_op1(&OnRows(|rows: &mut [f32]| kernels::add_bias(rows, bias)))?;
        let heard = attend(&mixed, lengths, shape)?;
        let attended = self.output.product(&heard)?;
        add_and_normalise(&attended, &self.output, input, &self.output_norm)?;
        let wide = self.up.product(&attended)?;
        let bias = &self.up.bias;
        wide.inplace_op1(&OnRows(|rows: &mut [f32]| kernels::add_bias_gelu(rows, bias)))?;
        let narrow = self.down.product(&wide)?;
        add_and_normalise(&narrow, &self.down, &attended, &self.down_norm)?;
        Ok(narrow)
    }
}

/// The weights of query, key and value below each other. Scaling the query's is scaling every score.
fn attention(weights: &mut Weights, name: &str, shape: &Shape) -> Result<Linear> {
    let scale = 1.0 / ((shape.hidden / shape.heads) as f64).sqrt();
    let mut matrices = Vec::with_capacity(3);
    let mut bias = Vec::with_capacity(3 * shape.hidden);
    for (part, scale) in [("query", scale), ("key", 1.0), ("value", 1.0)] {
        let name = format!("{name}.attention.self.{part}");
        matrices.push((weights.take(&format!("{name}.weight"))? * scale)?);
        let own = weights.take_numbers(&format!("{name}.bias"))?;
        #[expect(clippy::cast_possible_truncation, reason = "a number of the model's precision")]
        bias.extend(own.iter().map(|x| x * scale as f32));
    }
    Ok(Linear { weight: Tensor::cat(&matrices, 0)?.t()?, bias })
}

/// What each token hears from the others of its text. `mixed` has query, key and value of a token in a row.
fn attend(mixed: &Tensor, lengths: &[usize], shape: &Shape) -> Result<Tensor> {
    let width = shape.hidden / shape.heads;
    let mixed = mixed.reshape(((), 3, shape.heads, width))?;
    let mut heard = Vec::with_capacity(lengths.len());
    let mut start = 0;
    for &length in lengths {
        let text = mixed.narrow(0, start, length)?;
        start += length;
        let part = |n: usize| text.narrow(1, n, 1)?.squeeze(1)?.transpose(0, 1);
        let scores = part(0)?.matmul(&part(1)?.t()?)?;
        scores.inplace_op1(&OnRows(|rows: &mut [f32]| kernels::softmax(rows, length)))?;
        let own = scores.matmul(&part(2)?)?.transpose(0, 1)?;
        heard.push(own.reshape((length, shape.hidden))?);
    }
    Tensor::cat(&heard, 0)
}

fn add_and_normalise(rows: &Tensor, linear: &Linear, residual: &Tensor, norm: &Norm) -> Result<()> {
    let (storage, layout) = residual.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        candle_core::bail!("the rows are not in memory");
    };
    let residual = numbers(storage, layout)?;
    rows.inplace_op1(&OnRows(|rows: &mut [f32]| {
        norm.apply_after(rows, &linear.bias, residual);
    }))
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("the rows do not lie one after the other"),
    }
}

/// Something that is done to a tensor's rows in place.
struct OnRows<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for OnRows<F> {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("the rows do not lie one after the other");
        };
        let CpuStorage::F32(numbers) = storage else {
            candle_core::bail!("the rows are not of 32-bit floats");
        };
        (self.0)(&mut numbers[start..end]);
        Ok(())
    }
}
