//! Prompts that fit: their sizes by the tokenizers of the models that may be asked.
//!
//! Counting exactly takes a table of 45 MiB and 0.3 ms for each KiB (`models::tokens`), so it is done only where an
//! estimate cannot tell, and off the request's thread.

use domain::message::Message;
use models::tokens::{Tokenizer, count_by, estimate};
use models::{Catalogue, ChatMessage, ChatRequest};
use retrieval::{Around, Hit};

use crate::context::as_spoken;
use crate::prompt;
use crate::run::Work;
use crate::spend::IMAGE_TOKENS;

/// An estimate may be off by that much, in per cent: code and tables of ids are by a third.
const DOUBT: usize = 150;

/// Tokens that a message costs beyond its text.
pub(crate) const MESSAGE_OVERHEAD: usize = 4;

/// The ways in which the models of a turn count.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    tokenizers: Vec<Tokenizer>,
}

/// What a prompt had to leave out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) messages: usize,
    pub(crate) passages: usize,
}

impl Sizes {
    /// Of models by these names.
    pub(crate) fn of<'a>(catalogue: &Catalogue, models: impl Iterator<Item = &'a str>) -> Self {
        let mut tokenizers = Vec::new();
        for model in models {
            let tokenizer = catalogue.tokenizer(model);
            if !tokenizers.contains(&tokenizer) {
                tokenizers.push(tokenizer);
            }
        }
        Self { tokenizers }
    }

    /// The tokens of each text, as the model counts them that counts most.
    async fn count(&self, texts: Vec<String>) -> Vec<usize> {
        let tokenizers = self.tokenizers.clone();
        let near: Vec<usize> = texts.iter().map(|text| estimate(text) * DOUBT / 100).collect();
        let counting = tokio::task::spawn_blocking(move || {
            let most = |text: &String| tokenizers.iter().map(|by| count_by(*by, text)).max();
            texts.iter().map(|text| most(text).unwrap_or_default()).collect()
        });
        // Only a shutdown ends it before its time.
        counting.await.unwrap_or(near)
    }

    /// The newest of the messages that fit into `budget` tokens, as a prompt takes them. A message is taken whole or
    /// not at all, and nothing older than the first that does not fit.
    pub(crate) async fn within_budget(
        &self,
        earlier: &[Message],
        budget: usize,
    ) -> Vec<ChatMessage> {
        let (mut near, mut spoken) = (0, Vec::new());
        for message in earlier.iter().rev() {
            let said = as_spoken(message);
            near += estimate(&said.content) + MESSAGE_OVERHEAD;
            if near * 100 / DOUBT > budget {
                break;
            }
            spoken.push(said);
        }
        let all = spoken.len() == earlier.len();
        if !(all && near * DOUBT / 100 <= budget) {
            let texts = spoken.iter().map(|said| said.content.to_string()).collect();
            let (mut used, mut fit) = (0, 0);
            for size in self.count(texts).await {
                used += size + MESSAGE_OVERHEAD;
                if used > budget {
                    break;
                }
                fit += 1;
            }
            spoken.truncate(fit);
        }
        spoken.reverse();
        spoken
    }

    /// Makes a request fit into `context` tokens together with its answer: the oldest messages of the talk are left out
    /// first, then what was joined to passages, then the last passages. What stays too large is the provider's to judge.
    pub(crate) async fn fit(
        &self,
        work: &Work,
        request: &mut ChatRequest,
        passages: &mut Vec<Hit>,
        context: u32,
    ) -> LeftOut {
        let mut left_out = LeftOut::default();
        let answer = request.max_tokens.unwrap_or_default();
        let room = usize::try_from(context.saturating_sub(answer)).unwrap_or(usize::MAX);
        let parts = parts_of(request);
        let near: usize = parts.iter().map(|text| estimate(text) + MESSAGE_OVERHEAD).sum();
        let images = images_of(request);
        if near * DOUBT / 100 + images <= room {
            return left_out;
        }
        let sizes = self.count(parts).await;
        let mut whole: usize =
            sizes.iter().map(|size| size + MESSAGE_OVERHEAD).sum::<usize>() + images;
        // The first message is the agent's instructions, the last one is the question.
        while whole > room && request.messages.len() > 2 {
            request.messages.remove(1);
            whole -= sizes.get(1 + left_out.messages).map_or(0, |size| size + MESSAGE_OVERHEAD);
            left_out.messages += 1;
        }
        let joined = whole > room && part_with_neighbours(passages, &mut whole);
        while whole > room && passages.len() > 1 {
            let Some(last) = passages.pop() else { break };
            whole = whole.saturating_sub(estimate(&last.live.chunk.text) * 100 / DOUBT);
            left_out.passages += 1;
        }
        if (joined || left_out.passages > 0)
            && let Some(question) = request.messages.last_mut()
        {
            let asked = work.asked();
            let anew = prompt::grounded_question(&work.inner.ambient, passages, &asked);
            question.content = anew.content;
        }
        left_out
    }
}

/// Takes from the passages what was joined to them, and from `whole` its tokens; whether there was any.
fn part_with_neighbours(passages: &mut [Hit], whole: &mut usize) -> bool {
    let mut any = false;
    for hit in passages {
        let Around { before, after } = std::mem::take(&mut hit.around);
        for part in before.iter().chain(&after) {
            *whole = whole.saturating_sub(estimate(&part.text) * 100 / DOUBT);
            any = true;
        }
    }
    any
}

/// What of a request is text: each message, and what tools are described by.
fn parts_of(request: &ChatRequest) -> Vec<String> {
    let mut parts: Vec<String> =
        request.messages.iter().map(|message| message.content.to_string()).collect();
    for tool in &*request.tools {
        parts.push(format!("{} {} {}", tool.name, tool.description, tool.parameters));
    }
    parts
}

fn images_of(request: &ChatRequest) -> usize {
    let images: usize = request.messages.iter().map(|message| message.images.len()).sum();
    images * usize::try_from(IMAGE_TOKENS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::message::{Author, MessageKind, MessageState};
    use domain::{ConversationId, MessageId, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn asked(texts: &[&str]) -> Vec<Message> {
        let message = |(seq, text): (i64, &&str)| Message {
            id: MessageId::from_uuid(Uuid::from_u128(u128::try_from(seq).unwrap())),
            conversation_id: ConversationId::from_uuid(Uuid::nil()),
            seq,
            author: Author::Customer,
            operator: None,
            kind: MessageKind::Text,
            content: (*text).to_owned(),
            state: MessageState::Complete,
            outcome: None,
            model: None,
            reply_to: None,
            prompt_tokens: None,
            completion_tokens: None,
            unsupported: Vec::new(),
            answered_from: None,
            created_at: Timestamp::from_micros(0),
        };
        (1..).zip(texts).map(message).collect()
    }

    #[tokio::test]
    async fn the_newest_messages_that_fit_are_taken_whole_by_the_models_own_count() {
        let texts = ["uno dos tres cuatro cinco seis", "siete ocho", "nueve diez"];
        let (earlier, catalogue) = (asked(&texts), Catalogue::default());
        for model in ["gpt-4o", "gpt-4"] {
            let sizes = Sizes::of(&catalogue, [model].into_iter());
            let size = |n: usize| -> usize {
                let newest = texts[3 - n..].iter();
                newest.map(|text| catalogue.count(model, text) + MESSAGE_OVERHEAD).sum()
            };
            let kept = async |budget| sizes.within_budget(&earlier, budget).await.len();
            assert_eq!(kept(0).await, 0);
            assert_eq!(kept(size(1)).await, 1);
            assert_eq!(kept(size(2)).await, 2);
            assert_eq!(kept(size(3) - 1).await, 2);
            assert_eq!(kept(size(3)).await, 3);
            let two = sizes.within_budget(&earlier, size(2)).await;
            assert_eq!(&*two[0].content, "siete ocho");
            assert_eq!(kept(10_000).await, 3, "where an estimate tells, nobody counts");
        }
    }

    #[tokio::test]
    async fn of_several_models_the_one_decides_that_counts_most() {
        let text = "¿Cuáles son los horarios de atención de la ferretería?";
        let (earlier, catalogue) = (asked(&[text]), Catalogue::default());
        let budget = catalogue.count("gpt-4o", text) + MESSAGE_OVERHEAD;
        assert!(catalogue.count("gpt-4", text) + MESSAGE_OVERHEAD > budget);
        let alone = Sizes::of(&catalogue, ["gpt-4o"].into_iter());
        assert_eq!(alone.within_budget(&earlier, budget).await.len(), 1);
        let both = Sizes::of(&catalogue, ["gpt-4o", "gpt-4"].into_iter());
        assert!(both.within_budget(&earlier, budget).await.is_empty());
    }
}
