//! What a passage is stored as.

use domain::ids::PrefixedId;
use models::lexical::Terms as Counted;
use tantivy::TantivyDocument;
use tantivy::Term;
use tantivy::schema::{
    BytesOptions, FAST, Field, INDEXED, IndexRecordOption, NumericOptions, Schema, SchemaBuilder,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use uuid::Uuid;

use crate::index::Point;

/// Name of the tokenizer of fields that hold counted terms.
pub(super) const TERMS: &str = "terms";

/// Names of columns.
pub(super) mod column {
    pub(in super::super) const ID_HIGH: &str = "id_high";
    pub(in super::super) const ID_LOW: &str = "id_low";
    pub(in super::super) const WORKSPACE: &str = "workspace";
    pub(in super::super) const SOURCE: &str = "source";
    pub(in super::super) const VERSION: &str = "version";
    pub(in super::super) const WORDS_LENGTH: &str = "words_length";
    pub(in super::super) const GRAMS_LENGTH: &str = "grams_length";
}

/// The fields of a passage.
#[derive(Debug)]
pub(super) struct Fields {
    /// The chunk's id, to look up.
    pub(super) id: Field,
    /// The same in two columns of eight bytes, to read.
    id_high: Field,
    id_low: Field,
    pub(super) workspace: Field,
    pub(super) datastore: Field,
    pub(super) source: Field,
    pub(super) version: Field,
    /// Every `name = value` as one token.
    pub(super) metadata: Field,
    pub(super) words: Field,
    pub(super) grams: Field,
    /// Words with repetition.
    words_length: Field,
    /// Grams with repetition.
    grams_length: Field,
}

pub(super) fn schema() -> (Schema, Fields) {
    let mut schema = SchemaBuilder::new();
    let indexed = BytesOptions::default().set_indexed();
    let both = indexed.clone().set_fast();
    let number = || NumericOptions::default().set_fast();
    let text = |tokenizer: &str, record: IndexRecordOption| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_fieldnorms(false)
            .set_index_option(record);
        TextOptions::default().set_indexing_options(indexing)
    };
    let fields = Fields {
        id: schema.add_bytes_field("id", indexed.clone()),
        id_high: schema.add_u64_field(column::ID_HIGH, number()),
        id_low: schema.add_u64_field(column::ID_LOW, number()),
        workspace: schema.add_bytes_field(column::WORKSPACE, both.clone()),
        datastore: schema.add_bytes_field("datastore", indexed),
        source: schema.add_bytes_field(column::SOURCE, both),
        version: schema.add_i64_field(column::VERSION, FAST | INDEXED),
        metadata: schema.add_text_field("metadata", text("raw", IndexRecordOption::Basic)),
        words: schema.add_text_field("words", text(TERMS, IndexRecordOption::WithFreqs)),
        grams: schema.add_text_field("grams", text(TERMS, IndexRecordOption::WithFreqs)),
        words_length: schema.add_u64_field(column::WORDS_LENGTH, number()),
        grams_length: schema.add_u64_field(column::GRAMS_LENGTH, number()),
    };
    (schema.build(), fields)
}

impl Fields {
    pub(super) fn document(&self, point: &Point) -> TantivyDocument {
        let Point { passage, terms, metadata } = point;
        let Counted { words, grams } = terms;
        let (high, low) = passage.id.uuid().as_u64_pair();
        let mut document = TantivyDocument::default();
        document.add_bytes(self.id, passage.id.uuid().as_bytes());
        document.add_u64(self.id_high, high);
        document.add_u64(self.id_low, low);
        document.add_bytes(self.workspace, passage.workspace.uuid().as_bytes());
        document.add_bytes(self.datastore, passage.datastore.uuid().as_bytes());
        document.add_bytes(self.source, passage.source.uuid().as_bytes());
        document.add_i64(self.version, passage.version);
        for token in metadata {
            document.add_text(self.metadata, token);
        }
        for (field, length, terms) in
            [(self.words, self.words_length, words), (self.grams, self.grams_length, grams)]
        {
            document.add_text(field, encode(terms));
            document.add_u64(length, terms.iter().map(|&(_, count)| u64::from(count)).sum());
        }
        document
    }

    pub(super) fn uuid(field: Field, uuid: Uuid) -> Term {
        Term::from_field_bytes(field, uuid.as_bytes())
    }
}

/// Characters of a term as text, of seven bits each: every text of them is valid.
const TERM: usize = 5;
/// More occurrences in one passage weigh the same to .01.
const MOST: u32 = 127;

/// A term as its field's dictionary has it.
pub(super) fn term_text(term: u32) -> [u8; TERM] {
    [28, 21, 14, 7, 0].map(|shift| u8::try_from(term >> shift & 0x7f).unwrap_or_default())
}

/// Terms and how often each stands there, for the tokenizer [`Terms`].
fn encode(terms: &[(u32, u32)]) -> String {
    let mut text = String::with_capacity(terms.len() * (TERM + 1));
    for &(term, count) in terms {
        text.extend(term_text(term).map(char::from));
        text.push(char::from(u8::try_from(count.clamp(1, MOST)).unwrap_or(1)));
    }
    text
}

/// Tells the terms of [`encode`], each as often as it stands there.
#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    token: Token,
}

/// The terms of one passage.
#[derive(Debug)]
pub(super) struct TermsOf<'a> {
    rest: &'a str,
    /// How often the current one is still to be told.
    left: u8,
    token: &'a mut Token,
}

impl Tokenizer for Terms {
    type TokenStream<'a> = TermsOf<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> TermsOf<'a> {
        self.token.reset();
        TermsOf { rest: text, left: 0, token: &mut self.token }
    }
}

impl TokenStream for TermsOf<'_> {
    fn advance(&mut self) -> bool {
        self.token.position = self.token.position.wrapping_add(1);
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        let Some((record, rest)) = self.rest.split_at_checked(TERM + 1) else { return false };
        self.rest = rest;
        self.token.text.clear();
        self.token.text.push_str(&record[..TERM]);
        self.left = record.as_bytes()[TERM] - 1;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_told_as_often_as_they_stand_there() {
        let terms = [(0, 1), (7, 3), (u32::MAX, 1), (1 << 31, 2), (9, 500)];
        let text = encode(&terms);
        let mut tokenizer = Terms::default();
        let mut told: Vec<Vec<u8>> = Vec::new();
        for _ in 0..2 {
            told.clear();
            let mut stream = tokenizer.token_stream(&text);
            while stream.advance() {
                told.push(stream.token().text.as_bytes().to_vec());
            }
        }
        let times = |count: u32| usize::try_from(count.min(MOST)).unwrap();
        let expected: Vec<Vec<u8>> = terms
            .iter()
            .flat_map(|&(term, count)| vec![term_text(term).to_vec(); times(count)])
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn different_terms_have_different_texts() {
        let terms = [0, 1, 127, 128, 1 << 14, 1 << 21, 1 << 28, 1 << 31, u32::MAX];
        let texts: std::collections::HashSet<_> = terms.into_iter().map(term_text).collect();
        assert_eq!(texts.len(), terms.len());
    }
}
