//! The answer of a model that nothing was scripted for.

use serde_json::Value;

/// Longest quote, in characters.
const MAX_QUOTE: usize = 240;

/// An answer to a chat request: the beginning of the passage marked `[1]` in the last message that has one,
/// followed by ` [1]`; without a passage, an echo of the last message.
pub fn answer_to(request: &Value) -> String {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Earlier answers carry markers too; they are no passages.
    let given = messages.iter().rev().filter(|message| message["role"] != "assistant");
    let texts: Vec<&str> = given.filter_map(text_of).collect();
    if let Some(quote) = texts.iter().find_map(|text| first_passage(text)) {
        return format!("{quote} [1]");
    }
    let echo: String = texts.first().copied().unwrap_or_default().chars().take(MAX_QUOTE).collect();
    format!("You said: {}", one_line(&echo))
}

/// The text of a message, which stands alone or as the first of its parts.
fn text_of(message: &Value) -> Option<&str> {
    let content = &message["content"];
    content.as_str().or_else(|| content[0]["text"].as_str())
}

/// A text as a model would stream it: words with the space before them. Joined they are the text.
pub fn tokens_of(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut in_word = false;
    for letter in text.chars() {
        let ends_word = in_word && letter.is_whitespace();
        match tokens.last_mut() {
            Some(token) if !ends_word => token.push(letter),
            _ => tokens.push(letter.to_string()),
        }
        in_word = !letter.is_whitespace();
    }
    tokens
}

/// The tokens of the answer to a request: all, or exactly `count` by repeating or cutting it.
pub(super) fn tokens_for(request: &Value, count: Option<usize>) -> Vec<String> {
    let tokens = tokens_of(&answer_to(request));
    match count {
        Some(count) => {
            let spaced = tokens.iter().map(|token| {
                if token.starts_with(char::is_whitespace) {
                    token.clone()
                } else {
                    format!(" {token}")
                }
            });
            spaced.collect::<Vec<_>>().into_iter().cycle().take(count).collect()
        }
        None => tokens,
    }
}

/// What stands after a line's leading `[1]`, up to `[2]` or an empty line, shortened at a word.
fn first_passage(text: &str) -> Option<String> {
    let start = text.match_indices("[1]").find(|(at, _)| {
        let line = text[..*at].rsplit('\n').next().unwrap_or_default();
        line.trim().is_empty()
    })?;
    let rest = &text[start.0 + 3..];
    let end = rest.find("\n[2]").unwrap_or(rest.len());
    let passage = without_tags(&rest[..end]);
    let body = passage.trim();
    let body = body.split("\n\n").next().unwrap_or(body);
    let line = one_line(body);
    (!line.is_empty()).then(|| shorten(&line))
}

fn shorten(line: &str) -> String {
    let Some((cut, _)) = line.char_indices().nth(MAX_QUOTE) else {
        return line.to_owned();
    };
    let head = &line[..cut];
    let word = head.rfind(' ').unwrap_or(cut);
    head[..word].to_owned()
}

fn without_tags(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        let (before, tag) = rest.split_at(open);
        plain.push_str(before);
        rest = tag;
        let Some(close) = tag.find('>') else {
            break;
        };
        rest = &tag[close + 1..];
    }
    plain.push_str(rest);
    plain
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_passage_is_quoted_and_cited() {
        let request = json!({"messages": [
            {"role": "system", "content": "Cite as [1].\n\n[1] Horario\nAbrimos a las 9.\n\n[2] Otro"},
            {"role": "assistant", "content": "[1] no"},
            {"role": "user", "content": "¿Cuándo abren?"},
        ]});
        assert_eq!(answer_to(&request), "Horario Abrimos a las 9. [1]");
    }

    #[test]
    fn tokens_join_to_the_text() {
        for text in ["", "a", " a  b\n\nc ", "Hola, ¿qué tal?", "  "] {
            assert_eq!(tokens_of(text).concat(), text);
        }
        assert_eq!(tokens_of("Hola, qué tal"), ["Hola,", " qué", " tal"]);
    }

    #[test]
    fn as_many_tokens_as_asked_for() {
        let request = json!({"messages": [{"role": "user", "content": "hola"}]});
        assert_eq!(tokens_for(&request, Some(50)).len(), 50);
        assert_eq!(tokens_for(&request, Some(2)).len(), 2);
    }
}
