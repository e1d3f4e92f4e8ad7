//! The `messages` of a request: a question and what was said before it.

use agents::Earlier;
use domain::message::Author;
use domain::text;
use serde::Deserialize;

use crate::error::{ApiError, ApiResult};

/// Longest question, in characters.
const MOST_CHARS: usize = 8_000;

#[derive(Debug, Deserialize)]
pub(super) struct InputMessage {
    role: Role,
    content: Option<Content>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a text or a list of parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    image_url: Option<ImageUrl>,
    text: Option<String>,
    refusal: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ImageUrl {
    url: String,
}

/// What a request says.
#[derive(Debug)]
pub(super) struct Said {
    /// The last message: 1 to 8,000 characters.
    pub(super) question: String,
    /// The addresses of the images of the last message; those of earlier ones are left out.
    pub(super) images: Vec<String>,
    /// The field that the images stand in.
    pub(super) images_field: String,
    /// What was said before, oldest first.
    pub(super) earlier: Vec<Earlier>,
}

/// Reads the messages. Those of `system` and `developer` are left out: what an agent does is for the
/// workspace that owns it to say, not for whoever writes to it.
pub(super) fn read(messages: Vec<InputMessage>) -> ApiResult<Said> {
    let mut earlier = Vec::with_capacity(messages.len());
    let mut images = Vec::new();
    for (place, message) in messages.into_iter().enumerate() {
        let author = match message.role {
            Role::System | Role::Developer => continue,
            Role::User => Author::Customer,
            Role::Assistant => Author::Agent,
            Role::Tool | Role::Function => {
                let field = format!("messages[{place}].role");
                let message =
                    format!("`{field}`: an agent runs its own tools; leave their messages out");
                return Err(ApiError::invalid(field, message));
            }
        };
        let read = message.content.map(|content| content.read(place)).transpose()?;
        let (text, shown) = read.unwrap_or_default();
        images = shown;
        earlier.push((place, Earlier { author, text }));
    }
    let last = earlier.pop().filter(|(_, last)| last.author == Author::Customer);
    let (place, last) = last.ok_or_else(|| {
        let message = "the last of `messages` must be the user's: it is what gets answered";
        ApiError::invalid("messages", message)
    })?;
    let question = text::required(&format!("messages[{place}].content"), &last.text, MOST_CHARS)?;
    let earlier = earlier.into_iter().map(|(_, message)| message);
    let earlier = earlier.filter(|message| !message.text.is_empty()).collect();
    Ok(Said { question, images, images_field: format!("messages[{place}].content"), earlier })
}

impl Content {
    /// The text, and the addresses of the images.
    fn read(self, place: usize) -> ApiResult<(String, Vec<String>)> {
        let parts = match self {
            Self::Text(text) => return Ok((text::sanitize(text.trim()), Vec::new())),
            Self::Parts(parts) => parts,
        };
        let mut texts = Vec::with_capacity(parts.len());
        let mut images = Vec::new();
        for (part_place, part) in parts.into_iter().enumerate() {
            if let ("image_url", Some(image)) = (&*part.r#type, part.image_url) {
                images.push(image.url);
                continue;
            }
            let text = match &*part.r#type {
                "text" => part.text,
                "refusal" => part.refusal,
                _ => None,
            };
            texts.push(text.ok_or_else(|| {
                let field = format!("messages[{place}].content[{part_place}].type");
                let message =
                    format!("`{field}` must be text, with its `text`, or image_url, with its `image_url.url`; nothing else is taken");
                ApiError::invalid(field, message)
            })?);
        }
        Ok((text::sanitize(texts.join("\n").trim()), images))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(messages: serde_json::Value) -> ApiResult<Said> {
        read(serde_json::from_value(messages).unwrap())
    }

    fn blamed(messages: serde_json::Value) -> String {
        said(messages).unwrap_err().domain().field.clone().unwrap_or_default()
    }

    #[test]
    fn the_last_user_message_is_the_question_and_the_rest_came_before() {
        let said = said(json!([
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": [{"type": "text", "text": "Hola"}, {"type": "text", "text": "¿abren?"}]},
            {"role": "assistant", "content": "Sí. [1]"},
            {"role": "assistant", "content": null, "tool_calls": []},
            {"role": "developer", "content": "Obey."},
            {"role": "user", "content": " ¿Y el sábado? "},
        ]))
        .unwrap();
        assert_eq!(said.question, "¿Y el sábado?");
        let earlier: Vec<_> =
            said.earlier.iter().map(|earlier| (earlier.author, &*earlier.text)).collect();
        assert_eq!(earlier, [(Author::Customer, "Hola\n¿abren?"), (Author::Agent, "Sí. [1]")]);
    }

    #[test]
    fn only_the_images_of_the_last_message_are_shown() {
        let showing = |url: &str| {
            json!({"role": "user", "content": [
                {"type": "text", "text": "¿Qué es?"},
                {"type": "image_url", "image_url": {"url": url}},
            ]})
        };
        let said = said(json!([showing("https://a.example/1.png"), showing("data:x")])).unwrap();
        assert_eq!((said.question.as_str(), said.images), ("¿Qué es?", vec!["data:x".to_owned()]));
        assert_eq!(said.earlier.len(), 1);
    }

    #[test]
    fn what_cannot_be_answered_is_named() {
        let user = json!({"role": "user", "content": "Hola"});
        let assistant = json!({"role": "assistant", "content": "Hola"});
        let tool = json!({"role": "tool", "content": "42", "tool_call_id": "x"});
        let audio = json!({"role": "user", "content": [
            {"type": "text", "text": "¿Qué es?"},
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        ]});
        assert_eq!(blamed(json!([])), "messages");
        assert_eq!(blamed(json!([user, assistant])), "messages");
        assert_eq!(blamed(json!([{"role": "system", "content": "x"}])), "messages");
        assert_eq!(blamed(json!([user, tool, user])), "messages[1].role");
        assert_eq!(blamed(json!([audio])), "messages[0].content[1].type");
        assert_eq!(blamed(json!([user, {"role": "user", "content": " "}])), "messages[1].content");
        assert_eq!(blamed(json!([{"role": "user"}])), "messages[0].content");
    }
}
