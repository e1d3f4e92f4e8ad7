//! How domain values are written to and read from columns.

use domain::agent::AgentStatus;
use domain::budget::{BudgetPeriod, BudgetScope, BudgetUnit};
use domain::conversation::{ConversationStatus, Handler};
use domain::datastore::{IngestStage, SourceStatus};
use domain::gap::{GapReason, GapStatus};
use domain::ids::PrefixedId;
use domain::job::JobState;
use domain::message::{Author, MessageKind, MessageState, Outcome, Rating};
use domain::{Lang, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};

/// An id, stored as its text with the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id<T>(pub(crate) T);

/// An instant, stored as microseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micros(pub(crate) Timestamp);

/// A word of a closed set, stored as its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<T>(pub(crate) T);

/// A value stored as the text of its JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Json<T>(pub(crate) T);

/// A value with a text of its own, read back by a function of its own.
pub(crate) trait Wording: Sized {
    /// What is stored.
    fn to_text(&self) -> Result<String, BoxDynError>;
    /// Reads what is stored.
    fn from_text(text: &str) -> Result<Self, BoxDynError>;
}

/// A closed set of words.
pub(crate) trait Closed: Copy + 'static {
    /// Every word.
    fn all() -> &'static [Self];
    /// The word as stored.
    fn name(self) -> &'static str;
}

impl<T: PrefixedId> Wording for Id<T> {
    fn to_text(&self) -> Result<String, BoxDynError> {
        Ok(self.0.to_string())
    }

    fn from_text(text: &str) -> Result<Self, BoxDynError> {
        Ok(Self(text.parse()?))
    }
}

impl<T: Closed> Wording for Name<T> {
    fn to_text(&self) -> Result<String, BoxDynError> {
        Ok(self.0.name().to_owned())
    }

    fn from_text(text: &str) -> Result<Self, BoxDynError> {
        let found = T::all().iter().copied().find(|word| word.name() == text);
        found.map(Self).ok_or_else(|| format!("unknown word `{text}`").into())
    }
}

impl<T: Serialize + DeserializeOwned> Wording for Json<T> {
    fn to_text(&self) -> Result<String, BoxDynError> {
        Ok(serde_json::to_string(&self.0)?)
    }

    fn from_text(text: &str) -> Result<Self, BoxDynError> {
        Ok(Self(serde_json::from_str(text)?))
    }
}

macro_rules! stored_as_text {
    ($($name:ident<T: $($bound:path),+>;)*) => {$(
        impl<DB: Database, T> Type<DB> for $name<T>
        where
            str: Type<DB>,
        {
            fn type_info() -> DB::TypeInfo {
                <str as Type<DB>>::type_info()
            }

            fn compatible(ty: &DB::TypeInfo) -> bool {
                <str as Type<DB>>::compatible(ty)
            }
        }

        impl<'q, DB: Database, T: $($bound +)+> Encode<'q, DB> for $name<T>
        where
            String: Encode<'q, DB>,
        {
            fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
                Encode::<DB>::encode(self.to_text()?, buffer)
            }
        }

        impl<'r, DB: Database, T: $($bound +)+> Decode<'r, DB> for $name<T>
        where
            &'r str: Decode<'r, DB>,
        {
            fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
                Self::from_text(<&str as Decode<DB>>::decode(value)?)
            }
        }
    )*};
}

stored_as_text! {
    Id<T: PrefixedId>;
    Name<T: Closed>;
    Json<T: Serialize, DeserializeOwned>;
}

impl<DB: Database> Type<DB> for Micros
where
    i64: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <i64 as Type<DB>>::type_info()
    }

    fn compatible(ty: &DB::TypeInfo) -> bool {
        <i64 as Type<DB>>::compatible(ty)
    }
}

impl<'q, DB: Database> Encode<'q, DB> for Micros
where
    i64: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buffer: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<DB>::encode(self.0.micros(), buffer)
    }
}

impl<'r, DB: Database> Decode<'r, DB> for Micros
where
    i64: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(Timestamp::from_micros(<i64 as Decode<DB>>::decode(value)?)))
    }
}

macro_rules! closed {
    ($($set:ty),* $(,)?) => {$(
        impl Closed for $set {
            fn all() -> &'static [Self] {
                &Self::ALL
            }

            fn name(self) -> &'static str {
                <$set>::name(self)
            }
        }
    )*};
}

closed!(
    AgentStatus,
    domain::Role,
    domain::approval::ApprovalStatus,
    domain::article::ArticleStatus,
    Author,
    BudgetPeriod,
    BudgetScope,
    BudgetUnit,
    domain::conversation::Channel,
    ConversationStatus,
    domain::eval::EvalStatus,
    domain::eval::EvalTarget,
    domain::gate::PublicationStatus,
    GapReason,
    GapStatus,
    Handler,
    IngestStage,
    JobState,
    MessageKind,
    MessageState,
    Outcome,
    domain::budget::Purpose,
    Rating,
    SourceStatus,
    domain::agent::ToolKind,
    domain::message::ToolStatus,
);

impl Closed for Lang {
    fn all() -> &'static [Self] {
        &[Self::Es, Self::En, Self::Pt, Self::Other]
    }

    fn name(self) -> &'static str {
        self.code()
    }
}
