//! The weights of a model by name, as 32-bit floats.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};

/// The name that tells where the encoder's weights begin.
const MARK: &str = "embeddings.word_embeddings.weight";

/// Weights that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Weights {
    tensors: HashMap<String, Tensor>,
    /// What stands before the encoder's names: nothing, `bert.`, `roberta.`.
    prefix: String,
}

impl Weights {
    /// From the bytes of a `safetensors` file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let prefix = tensors.keys().find_map(|name| name.strip_suffix(MARK));
        let Some(prefix) = prefix.map(str::to_owned) else {
            candle_core::bail!("it holds no {MARK}");
        };
        Ok(Self { tensors, prefix })
    }

    /// A tensor of the encoder.
    pub(super) fn take(&mut self, name: &str) -> Result<Tensor> {
        let name = format!("{}{name}", self.prefix);
        match self.tensors.remove(&name) {
            Some(tensor) => tensor.to_dtype(DType::F32),
            None => candle_core::bail!("it holds no {name}"),
        }
    }

    /// A tensor of the encoder that has one dimension.
    pub(super) fn take_numbers(&mut self, name: &str) -> Result<Vec<f32>> {
        self.take(name)?.to_vec1()
    }

    /// The head's names have no prefix: from here on names are taken as they are.
    pub(super) fn into_head(mut self) -> Self {
        self.prefix.clear();
        self
    }
}
