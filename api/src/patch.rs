//! Fields of changes.

use serde::{Deserialize, Deserializer};

use crate::error::ApiResult;

/// A field of a change: absent keeps what is there, null clears it, a value sets it.
#[derive(Debug, Clone, Default)]
pub(crate) enum Patch<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T> Patch<T> {
    /// Writes the change into `target`, after `check` when there is a value.
    pub fn apply<U>(
        self,
        target: &mut Option<U>,
        check: impl FnOnce(T) -> ApiResult<U>,
    ) -> ApiResult<()> {
        match self {
            Self::Keep => {}
            Self::Clear => *target = None,
            Self::Set(value) => *target = Some(check(value)?),
        }
        Ok(())
    }
}
