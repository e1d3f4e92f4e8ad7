//! Answers in JSON mode: one object, whose texts pass the citation filter each by itself.
//!
//! Brackets of JSON are no markers, and half an object is no answer, so such an answer is judged when it is whole.

use serde_json::{Map, Value, json};

use super::filter::{CitationFilter, MarkerUse};

/// What became of an answer in JSON mode.
#[derive(Debug, Default)]
pub(crate) struct JsonAnswer {
    /// The object; empty when it says nothing, or says that the model does not know.
    pub(crate) text: String,
    /// Its texts, one on a line: what citations and checks are about.
    pub(crate) prose: String,
    /// The markers of `prose`.
    pub(crate) uses: Vec<MarkerUse>,
    /// The markers that named nothing.
    pub(crate) removed: Vec<String>,
    /// The model said that it does not know.
    pub(crate) sentinel: bool,
}

/// Reads the whole of what a model said; `None` when it is no JSON object.
pub(crate) fn read_answer(said: &str, passages: usize) -> Option<JsonAnswer> {
    let value: Value = serde_json::from_str(without_fence(said)).ok()?;
    let Value::Object(mut object) = value else { return None };
    let mut answer = JsonAnswer::default();
    let speaks = answer.take(&mut object, passages);
    let unknown = answer.sentinel && answer.uses.is_empty();
    if speaks && !unknown {
        answer.text = Value::Object(object).to_string();
    }
    Some(answer)
}

/// What is said in JSON mode without a model: as it is when it is an object, else as the field `answer`.
pub(crate) fn as_object(text: &str) -> String {
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => text.to_owned(),
        Err(_) => json!({ "answer": text }).to_string(),
    }
}

/// Without the code fence that models like to put around JSON.
fn without_fence(said: &str) -> &str {
    let said = said.trim();
    let Some(inner) = said.strip_prefix("```").and_then(|rest| rest.strip_suffix("```")) else {
        return said;
    };
    inner.strip_prefix("json").unwrap_or(inner).trim()
}

impl JsonAnswer {
    /// Cleans every text of an object; whether anything is said at all.
    fn take(&mut self, object: &mut Map<String, Value>, passages: usize) -> bool {
        let mut speaks = false;
        for (_, value) in object.iter_mut() {
            speaks |= self.take_value(value, passages);
        }
        speaks
    }

    fn take_value(&mut self, value: &mut Value, passages: usize) -> bool {
        match value {
            Value::Null => false,
            // «found: false» alone is no answer, «open: true» is one.
            Value::Bool(yes) => *yes,
            Value::Number(_) => {
                self.line(&value.to_string());
                true
            }
            Value::String(text) => {
                *text = self.clean(text, passages);
                !text.is_empty()
            }
            Value::Array(all) => {
                let mut speaks = false;
                for value in all {
                    speaks |= self.take_value(value, passages);
                }
                speaks
            }
            Value::Object(object) => self.take(object, passages),
        }
    }

    fn clean(&mut self, text: &str, passages: usize) -> String {
        let mut filter = CitationFilter::new(passages);
        let mut clean = filter.push(text.to_owned()).unwrap_or_default();
        clean.extend(filter.finish());
        self.sentinel |= filter.met_sentinel();
        self.removed.extend_from_slice(filter.removed());
        if clean.is_empty() {
            return clean;
        }
        let start = self.prose.len() + usize::from(!self.prose.is_empty());
        let uses = filter.uses().iter();
        self.uses.extend(uses.map(|used| MarkerUse { at: start + used.at, ..*used }));
        self.line(&clean);
        clean
    }

    fn line(&mut self, text: &str) {
        if !self.prose.is_empty() {
            self.prose.push('\n');
        }
        self.prose.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(said: &str) -> JsonAnswer {
        read_answer(said, 2).unwrap_or_else(|| panic!("{said} is an object"))
    }

    #[test]
    fn texts_are_filtered_and_numbers_are_none_of_the_filters_business() {
        let said = r#"{"people": [9, 1], "answer": "Sí [1][7]. ![x](https://e.example/a)", "more": {"when": "De 9 a 18 [2]."}}"#;
        let answer = read(said);
        assert_eq!(
            answer.text,
            r#"{"people":[9,1],"answer":"Sí [1]. x","more":{"when":"De 9 a 18 [2]."}}"#
        );
        assert_eq!(answer.prose, "9\n1\nSí [1]. x\nDe 9 a 18 [2].");
        for used in &answer.uses {
            let marker = format!("[{}]", used.passage);
            assert!(answer.prose[used.at..].starts_with(&marker), "{used:?}");
        }
        assert_eq!((answer.uses.len(), answer.removed), (2, vec!["[7]".to_owned()]));
    }

    #[test]
    fn whoever_knows_nothing_says_nothing() {
        for said in [
            r#"{"answer": "[NO_ANSWER]"}"#,
            r#"{"answer": "NO_ANSWER", "topic": "envíos"}"#,
            r#"{"answer": null}"#,
            r#"{"answer": "", "sources": [], "found": false}"#,
            "{}",
            "```json\n{\"answer\": \"[NO_ANSWER]\"}\n```",
        ] {
            assert_eq!(read(said).text, "", "{said}");
        }
        // What is known stands although something else is not.
        let part = read(r#"{"price": "3.500 [1]", "delay": "[NO_ANSWER]"}"#);
        assert_eq!(part.text, r#"{"price":"3.500 [1]","delay":""}"#);
        assert!(part.sentinel);
    }

    #[test]
    fn what_is_no_object_is_told_apart() {
        for said in ["", "De 9 a 18.", r#"{"answer": "De 9"#, "[1, 2]", "\"x\"", "{} {}"] {
            assert!(read_answer(said, 2).is_none(), "{said}");
        }
        assert_eq!(as_object("No \"sé\"."), r#"{"answer":"No \"sé\"."}"#);
        assert_eq!(as_object(r#"{"error": "x"}"#), r#"{"error": "x"}"#);
    }
}
