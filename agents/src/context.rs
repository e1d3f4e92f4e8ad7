//! What a turn knows of its conversation: the earlier messages within a budget, and the question made to
//! stand alone. Only messages of the one conversation ever get here.

use domain::Lang;
use domain::agent::ContactFact;
use domain::contact::Contact;
use domain::message::{Author, Message};
use models::{ChatMessage, lexical};

use crate::citations::without_markers;
use crate::words::Words;

/// Most messages read for a prompt, whatever their size.
pub(crate) const MAX_MESSAGES: i64 = 60;

/// A question with more words than this is taken to stand alone.
const MAX_FOLLOW_UP_WORDS: usize = 9;

/// How far back a chain of follow-ups is traced.
const MAX_CHAIN: usize = 4;

/// Puts earlier messages in the order of the talk: each answer behind the message that it replies to,
/// although other messages may have arrived in between. Messages that came after `question` and are not
/// answered yet are left out: they get turns of their own.
pub(crate) fn before(question: &Message, recent: Vec<Message>) -> Vec<Message> {
    let place = |message: &Message, all: &[(i64, domain::MessageId)]| match message.reply_to {
        Some(id) => all.iter().find(|(_, known)| *known == id).map_or(message.seq, |(seq, _)| *seq),
        None => message.seq,
    };
    let known: Vec<(i64, domain::MessageId)> =
        recent.iter().map(|message| (message.seq, message.id)).collect();
    let mut placed: Vec<(i64, i64, Message)> = recent
        .into_iter()
        .filter(|message| message.id != question.id && !message.content.is_empty())
        .map(|message| (place(&message, &known), message.seq, message))
        .filter(|(place, _, message)| {
            *place < question.seq
                && (message.author != Author::Customer || message.seq < question.seq)
        })
        .collect();
    placed.sort_by_key(|(place, seq, _)| (*place, *seq));
    placed.into_iter().map(|(_, _, message)| message).collect()
}

/// Markers of earlier answers name passages of earlier prompts; they would mislead in this one.
pub(crate) fn as_spoken(message: &Message) -> ChatMessage {
    match message.author {
        Author::Customer => ChatMessage::user(message.content.as_str()),
        Author::Agent => ChatMessage::assistant(without_markers(&message.content)),
        Author::Operator => ChatMessage::assistant(message.content.as_str()),
    }
}

/// The question made to stand alone, by rule: a follow-up gets the topic words of the customer's question
/// that it follows. `None` when it stands alone already. A model that rewrites questions would take this
/// function's place.
pub(crate) fn standalone(question: &str, earlier: &[Message], lang: Lang) -> Option<String> {
    if !is_follow_up(question, lang) {
        return None;
    }
    let asked = earlier.iter().rev().filter(|message| message.author == Author::Customer);
    let mut topic: Vec<&str> = Vec::new();
    for message in asked.take(MAX_CHAIN) {
        let words = topic_words(&message.content, lang);
        topic.splice(
            0..0,
            words.into_iter().filter(|word| !topic.contains(word)).collect::<Vec<_>>(),
        );
        if !topic.is_empty() && !is_follow_up(&message.content, lang) {
            break;
        }
    }
    (!topic.is_empty()).then(|| format!("{} {question}", topic.join(" ")))
}

/// What of a contact the agent may know.
pub(crate) fn facts(contact: &Contact, known: &[ContactFact]) -> Vec<(&'static str, String)> {
    let name = [&contact.first_name, &contact.last_name];
    let name = name.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
    let fact = |fact: &ContactFact| match fact {
        ContactFact::Name => Some(("Name", name.clone())).filter(|(_, name)| !name.is_empty()),
        ContactFact::Email => contact.email.clone().map(|email| ("E-mail", email)),
        ContactFact::Phone => contact.phone.clone().map(|phone| ("Phone", phone)),
    };
    known.iter().filter_map(fact).collect()
}

/// Whether a question can hardly be understood without the talk before it. One that merely has a single word of its
/// own («¿Cuáles son los horarios?») is not worth asking a model about.
pub(crate) fn leans(question: &str, earlier: &[Message], lang: Lang) -> bool {
    !earlier.is_empty() && words_of_its_own(question, lang) == Some(0)
}

/// Whether a question leans on the one before: it is short and begins with a connecting word, points back
/// with a pronoun, or has at most one word of its own.
fn is_follow_up(question: &str, lang: Lang) -> bool {
    words_of_its_own(question, lang).is_some_and(|own| own <= 1)
}

/// How many words of a short question carry a topic, none when it says that it goes on or points back; `None` for one
/// that is long, or empty.
fn words_of_its_own(question: &str, lang: Lang) -> Option<usize> {
    let words = Words::of(lang);
    let folded = folded_words(question);
    if folded.is_empty() || folded.len() > MAX_FOLLOW_UP_WORDS {
        return None;
    }
    let start = folded.join(" ");
    let opens = words.follow_up_openings.iter().any(|opening| {
        start.strip_prefix(opening.as_str()).is_some_and(|rest| rest.starts_with(' '))
    });
    if opens || folded.iter().any(|word| words.pointing_back.contains(word)) {
        return Some(0);
    }
    Some(folded.iter().filter(|word| !words.functional.contains(*word)).count())
}

/// The words of a text that carry its topic, as written.
fn topic_words(text: &str, lang: Lang) -> Vec<&str> {
    let words = Words::of(lang);
    let as_written = text.split(|c: char| !c.is_alphanumeric() && c != '-');
    let mut topic = Vec::new();
    for word in as_written {
        let folded = folded_words(word);
        let carries = folded
            .iter()
            .any(|part| !words.functional.contains(part) && !words.pointing_back.contains(part));
        if carries && !topic.contains(&word) {
            topic.push(word);
        }
    }
    topic
}

fn folded_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    lexical::each_word(text, |word| words.push(word.to_owned()));
    words
}

#[cfg(test)]
mod tests {
    use domain::ids::PrefixedId;
    use domain::message::{MessageKind, MessageState};
    use domain::{ConversationId, MessageId, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn message(seq: i64, author: Author, content: &str, reply_to: Option<i64>) -> Message {
        let id = |n: i64| MessageId::from_uuid(Uuid::from_u128(u128::try_from(n).unwrap()));
        Message {
            id: id(seq),
            conversation_id: ConversationId::from_uuid(Uuid::nil()),
            seq,
            author,
            operator: None,
            kind: MessageKind::Text,
            content: content.to_owned(),
            state: MessageState::Complete,
            outcome: None,
            model: None,
            reply_to: reply_to.map(id),
            prompt_tokens: None,
            completion_tokens: None,
            unsupported: Vec::new(),
            answered_from: None,
            created_at: Timestamp::from_micros(0),
        }
    }

    fn asked(questions: &[&str]) -> Vec<Message> {
        let seqs = 1..;
        seqs.zip(questions).map(|(seq, text)| message(seq, Author::Customer, text, None)).collect()
    }

    #[test]
    fn answers_follow_their_questions_and_later_questions_are_left_out() {
        let all = vec![
            message(1, Author::Customer, "a", None),
            message(2, Author::Customer, "b", None),
            message(3, Author::Customer, "c", None),
            message(4, Author::Agent, "to a", Some(1)),
            message(5, Author::Agent, "to b", Some(2)),
        ];
        let question = all[2].clone();
        let texts = |question: &Message| -> Vec<String> {
            before(question, all.clone()).into_iter().map(|m| m.content).collect()
        };
        assert_eq!(texts(&question), ["a", "to a", "b", "to b"]);
        assert_eq!(texts(&all[1]), ["a", "to a"]);
        assert!(texts(&all[0]).is_empty());
    }

    #[test]
    fn a_follow_up_gets_the_topic_of_the_question_before() {
        let cases = [
            (
                Lang::Es,
                "¿Cuánto cuesta el plan Premium?",
                "¿y el anual?",
                "plan Premium ¿y el anual?",
            ),
            (Lang::Es, "¿Cuánto cuesta el envío a Chiloé?", "¿por qué?", "envío Chiloé ¿por qué?"),
            (
                Lang::En,
                "How much is the premium plan?",
                "and in dollars?",
                "premium plan and in dollars?",
            ),
            (
                Lang::Pt,
                "Qual é o prazo de entrega?",
                "e isso muda aos sábados?",
                "prazo entrega e isso muda aos sábados?",
            ),
        ];
        for (lang, first, follow_up, expected) in cases {
            assert_eq!(standalone(follow_up, &asked(&[first]), lang).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_chain_of_follow_ups_is_traced_to_its_topic() {
        let earlier = asked(&["¿Cuánto cuesta el plan Premium?", "¿y el anual?"]);
        let found = standalone("¿y en dólares?", &earlier, Lang::Es);
        assert_eq!(found.as_deref(), Some("plan Premium anual ¿y en dólares?"));
    }

    #[test]
    fn a_question_that_stands_alone_stays_as_it_is() {
        let earlier = asked(&["¿Cuánto cuesta el plan Premium?"]);
        for question in [
            "¿Hacen envíos a regiones?",
            "¿Dónde está la tienda de Providencia?",
            "¿Cuál es el horario de la sucursal?",
        ] {
            assert_eq!(standalone(question, &earlier, Lang::Es), None, "{question}");
        }
        assert_eq!(standalone("¿y el anual?", &[], Lang::Es), None);
        assert_eq!(standalone("Is there parking near the store?", &earlier, Lang::En), None);
    }
}
