//! Conversations, messages, gaps.

use std::time::Duration;

use domain::agent::ToolKind;
use domain::contact::ContactDetails;
use domain::conversation::{Channel, Conversation, ConversationStatus, Handler, Transition};
use domain::gap::{GapReason, GapStatus};
use domain::lead::Lead;
use domain::message::{
    Author, Citation, CitedPassage, Message, MessageKind, MessageState, Outcome, Rating,
    ShownImage, ToolStatus, ToolUse,
};
use domain::{ConversationId, Lang, MessageId, Timestamp, VisitorId};
use serde_json::json;
use storage::conversations::{ConversationFilter, ConversationRating, TurnLock};
use storage::gaps::{Gap, GapFilter, Recheck};
use storage::messages::NewMessage;
use storage::{
    StorageError, Wakeup, chunks, citations, contacts, conversations, events, gaps, leads,
    messages, sources,
};
use tokio_util::task::TaskTracker;

use crate::support::{Place, ids, places};

pub fn conversation(place: &Place) -> Conversation {
    let now = place.later(Duration::from_millis(1));
    Conversation {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        agent_id: place.home.agent.id,
        channel: Channel::Api,
        project_id: None,
        visitor_id: VisitorId::parse("user 456"),
        contact_id: None,
        status: ConversationStatus::Open,
        handler: Handler::Bot,
        title: "¿Cuáles son los horarios?".to_owned(),
        messages_count: 0,
        context_after: 0,
        created_at: now,
        updated_at: now,
        closed_at: None,
    }
}

pub async fn begin(place: &Place) -> Conversation {
    let conversation = conversation(place);
    let mut tx = place.write().await;
    conversations::insert(&mut tx, &conversation, None).await.unwrap();
    tx.commit().await.unwrap();
    conversation
}

pub fn message(
    place: &Place,
    conversation: ConversationId,
    author: Author,
    text: &str,
) -> NewMessage {
    let message = Message {
        id: place.ambient.new_id(),
        conversation_id: conversation,
        seq: 0,
        author,
        operator: None,
        kind: MessageKind::Text,
        content: text.to_owned(),
        state: MessageState::Complete,
        outcome: None,
        model: None,
        reply_to: None,
        prompt_tokens: None,
        completion_tokens: None,
        unsupported: Vec::new(),
        answered_from: None,
        created_at: place.later(Duration::from_millis(1)),
    };
    NewMessage {
        message,
        images: Vec::new(),
        citations: Vec::new(),
        passages: Vec::new(),
        tools: Vec::new(),
        trace: None,
        client_id: None,
    }
}

pub async fn say(place: &Place, message: &NewMessage) -> Message {
    let mut tx = place.write().await;
    let stored = messages::insert(&mut tx, place.ws(), message, place.now()).await.unwrap();
    tx.commit().await.unwrap();
    stored
}

fn turn(owner: &str, answer: MessageId, until: Timestamp) -> TurnLock<'_> {
    TurnLock { owner, answer, until }
}

#[tokio::test]
async fn conversations_are_listed_by_agent_and_status_newest_first() {
    for place in places("conversations").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let (first, second) = (begin(&place).await, begin(&place).await);
        let mut foreign = conversation(&place);
        foreign.agent_id = place.other.agent.id;
        let mut tx = place.write().await;
        let refused = conversations::insert(&mut tx, &foreign, None).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);

        let mut conn = place.read().await;
        assert_eq!(conversations::get(&mut conn, ws, first.id).await.unwrap(), Some(first.clone()));
        assert_eq!(conversations::get(&mut conn, stranger, first.id).await.unwrap(), None);
        drop(conn);
        let mut tx = place.write().await;
        let close = Transition::Close;
        conversations::transition(&mut tx, ws, first.id, close, place.now()).await.unwrap();
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let all = ConversationFilter::default();
        let open = ConversationFilter {
            agent: Some(place.home.agent.id),
            status: Some(ConversationStatus::Open),
        };
        let other_agent = ConversationFilter { agent: Some(place.other.agent.id), status: None };
        let listed = conversations::list(&mut conn, ws, &all, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |c| c.id), [second.id, first.id]);
        let listed = conversations::list(&mut conn, ws, &all, None, 1).await.unwrap();
        assert_eq!(ids(&listed, |c| c.id), [second.id]);
        let listed = conversations::list(&mut conn, ws, &all, Some(second.id), 9).await.unwrap();
        assert_eq!(ids(&listed, |c| c.id), [first.id]);
        let listed = conversations::list(&mut conn, ws, &open, None, 9).await.unwrap();
        assert_eq!(ids(&listed, |c| c.id), [second.id]);
        for (workspace, filter) in [(ws, &other_agent), (stranger, &all)] {
            let listed = conversations::list(&mut conn, workspace, filter, None, 9).await.unwrap();
            assert!(listed.is_empty());
        }
    }
}

#[tokio::test]
async fn a_conversation_begins_with_its_first_message() {
    for place in places("first messages").await {
        let ws = place.ws();
        let begun = Conversation { title: "¿Cuáles son…".to_owned(), ..conversation(&place) };
        let asked = "¿Cuáles son los horarios de verano?";
        let first = message(&place, begun.id, Author::Customer, asked);
        let (now, answer) = (place.now(), place.ambient.new_id());
        let until = now.plus(Duration::from_mins(1));
        let lock = turn("a", answer, until);
        let mut tx = place.write().await;
        let stored = conversations::begin(&mut tx, &begun, Some(&lock), &first, now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(stored, Message { seq: 1, ..first.message.clone() });

        let mut conn = place.read().await;
        let found = conversations::get(&mut conn, ws, begun.id).await.unwrap();
        assert_eq!(found, Some(Conversation { messages_count: 1, ..begun.clone() }));
        let listed = messages::list(&mut conn, ws, begun.id, 0, 9).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&stored));
        let told = events::list(&mut conn, ws, 0, 9).await.unwrap();
        let kinds = ids(&told, |event| event.kind.clone());
        assert_eq!(kinds, ["conversation.created", "message.created"]);
        let subjects = [begun.id.to_string(), stored.id.to_string()];
        assert_eq!(ids(&told, |event| event.subject.clone()), subjects);
        assert_eq!(told[1].payload["seq"], 1);
        drop(conn);
        let mut tx = place.write().await;
        let others = turn("b", answer, until);
        assert!(!conversations::lock_turn(&mut tx, ws, begun.id, &others, now).await.unwrap());
        drop(tx);
        let next = message(&place, begun.id, Author::Agent, "De 9 a 18.");
        assert_eq!(say(&place, &next).await.seq, 2);

        let mut foreign = conversation(&place);
        foreign.agent_id = place.other.agent.id;
        let lost = message(&place, foreign.id, Author::Customer, "ajena");
        let mut tx = place.write().await;
        // Told at once, or at the latest by the commit.
        let refused = match conversations::begin(&mut tx, &foreign, None, &lost, now).await {
            Ok(_) => tx.commit().await,
            Err(error) => Err(error),
        };
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        let mut conn = place.read().await;
        assert_eq!(messages::get(&mut conn, ws, lost.message.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_transition_tells_what_changed_and_a_returning_customer_starts_afresh() {
    for place in places("transitions").await {
        let (ws, id) = (place.ws(), begin(&place).await.id);
        say(&place, &message(&place, id, Author::Customer, "hola")).await;
        let steps = [
            (Transition::CustomerReturns, ConversationStatus::Open, Handler::Bot),
            (Transition::RequestHuman, ConversationStatus::Pending, Handler::Queue),
            (Transition::RequestHuman, ConversationStatus::Pending, Handler::Queue),
            (Transition::Close, ConversationStatus::Closed, Handler::Queue),
            (Transition::CustomerReturns, ConversationStatus::Open, Handler::Bot),
        ];
        for (transition, status, handler) in steps {
            let now = place.later(Duration::from_secs(1));
            let mut tx = place.write().await;
            let after = conversations::transition(&mut tx, ws, id, transition, now).await;
            let after = after.unwrap().unwrap();
            assert_eq!((after.status, after.handler), (status, handler), "{transition:?}");
            let elsewhere =
                conversations::transition(&mut tx, place.stranger(), id, transition, now).await;
            assert_eq!(elsewhere.unwrap(), None);
            let stored = conversations::get(&mut tx, ws, id).await.unwrap();
            assert_eq!(stored, Some(after), "what is given is what is stored");
            tx.commit().await.unwrap();
        }
        let mut conn = place.read().await;
        let back = conversations::get(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!(back.context_after, 1, "earlier messages no longer enter the prompt");
        assert!(back.closed_at.is_some());
        let told = events::list(&mut conn, ws, 0, 99).await.unwrap();
        assert_eq!(
            ids(&told, |e| e.kind.as_str().to_owned()),
            [
                "conversation.created",
                "message.created",
                "conversation.updated",
                "handoff.requested",
                "conversation.updated",
                "conversation.closed",
                "conversation.updated",
            ]
        );
        assert_eq!(told[3].payload["handler"], "queue");
    }
}

#[tokio::test]
async fn the_end_of_a_turn_is_wanted_of_whoever_holds_it() {
    for place in places("stops").await {
        let (ws, agent, id) = (place.ws(), place.home.agent.id, begin(&place).await.id);
        let answer: MessageId = place.ambient.new_id();
        let now = place.now();
        let until = now.plus(Duration::from_mins(1));
        let mut wakeups = place.db().wakeups();
        let mut tx = place.write().await;
        assert!(!conversations::want_stop(&mut tx, ws, agent, answer, now).await.unwrap());
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("a", answer, until), now)
                .await
                .unwrap()
        );
        let (stranger, other) = (place.stranger(), place.other.agent.id);
        for (ws, agent, at) in [(stranger, agent, now), (ws, other, now), (ws, agent, until)] {
            assert!(!conversations::want_stop(&mut tx, ws, agent, answer, at).await.unwrap());
        }
        assert!(conversations::stops_wanted(&mut tx, "a").await.unwrap().is_empty());
        assert!(conversations::want_stop(&mut tx, ws, agent, answer, now).await.unwrap());
        tx.commit().await.unwrap();
        while wakeups.recv().await.unwrap() != Wakeup::Stops {}

        let mut tx = place.write().await;
        // The lease is prolonged, and the wish stays.
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("a", answer, until), now)
                .await
                .unwrap()
        );
        let wanted = conversations::stops_wanted(&mut tx, "a").await.unwrap();
        assert_eq!(wanted, [(ws, answer)]);
        assert!(conversations::stops_wanted(&mut tx, "b").await.unwrap().is_empty());
        // The next turn is another one, whether the last one was given back or ran out.
        let next: MessageId = place.ambient.new_id();
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("a", next, until), now).await.unwrap()
        );
        assert!(conversations::stops_wanted(&mut tx, "a").await.unwrap().is_empty());
        assert!(conversations::want_stop(&mut tx, ws, agent, next, now).await.unwrap());
        conversations::unlock_turn(&mut tx, ws, id, "a").await.unwrap();
        assert!(conversations::stops_wanted(&mut tx, "a").await.unwrap().is_empty());
        assert!(!conversations::want_stop(&mut tx, ws, agent, next, now).await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn one_turn_at_a_time_and_a_forgotten_turn_runs_out() {
    for place in places("turns").await {
        let (ws, id) = (place.ws(), begin(&place).await.id);
        let answer: MessageId = place.ambient.new_id();
        let now = place.now();
        let until = now.plus(Duration::from_mins(1));
        let mut tx = place.write().await;
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("a", answer, until), now)
                .await
                .unwrap()
        );
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("a", answer, until), now)
                .await
                .unwrap()
        );
        assert!(
            !conversations::lock_turn(&mut tx, ws, id, &turn("b", answer, until), now)
                .await
                .unwrap()
        );
        let elsewhere =
            conversations::lock_turn(&mut tx, place.stranger(), id, &turn("a", answer, until), now)
                .await;
        assert!(!elsewhere.unwrap());
        conversations::unlock_turn(&mut tx, ws, id, "b").await.unwrap();
        conversations::unlock_turn(&mut tx, place.stranger(), id, "a").await.unwrap();
        assert!(
            !conversations::lock_turn(&mut tx, ws, id, &turn("b", answer, until), now)
                .await
                .unwrap()
        );
        let later = until.plus(Duration::from_mins(1));
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("b", answer, later), until)
                .await
                .unwrap()
        );
        conversations::unlock_turn(&mut tx, ws, id, "b").await.unwrap();
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("c", answer, until), now)
                .await
                .unwrap()
        );
        assert_eq!(conversations::free_turns(&mut tx, "b").await.unwrap(), 0);
        assert_eq!(conversations::free_turns(&mut tx, "c").await.unwrap(), 1);
        assert!(
            conversations::lock_turn(&mut tx, ws, id, &turn("d", answer, until), now)
                .await
                .unwrap()
        );
        conversations::unlock_turn(&mut tx, ws, id, "d").await.unwrap();
        tx.commit().await.unwrap();

        let tasks = TaskTracker::new();
        let running: Vec<_> = (0..16)
            .map(|number| {
                let db = place.db().clone();
                tasks.spawn(async move {
                    let mut tx = db.write().await.unwrap();
                    let owner = format!("owner {number}");
                    let won = conversations::lock_turn(
                        &mut tx,
                        ws,
                        id,
                        &turn(&owner, answer, until),
                        now,
                    )
                    .await;
                    let won = won.unwrap();
                    tx.commit().await.unwrap();
                    won
                })
            })
            .collect();
        let mut winners = 0;
        for task in running {
            winners += i32::from(task.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

#[tokio::test]
async fn a_turn_is_taken_again_by_its_owner_alone() {
    for place in places("turn taken").await {
        let (ws, id) = (place.ws(), begin(&place).await.id);
        let answer: MessageId = place.ambient.new_id();
        let now = place.now();
        let until = now.plus(Duration::from_mins(1));
        let mut tx = place.write().await;
        let own = turn("b", answer, until);
        assert!(conversations::lock_turn(&mut tx, ws, id, &own, now).await.unwrap());
        let later = until.plus(Duration::from_mins(1));
        let (own, others) = (turn("b", answer, later), turn("c", answer, later));
        let taken = conversations::take_turn(&mut tx, ws, id, &own, now).await.unwrap();
        assert!(taken.is_some(), "its owner takes it again");
        assert_eq!(taken, conversations::get(&mut tx, ws, id).await.unwrap());
        for (workspace, lock) in [(ws, &others), (place.stranger(), &own)] {
            let refused = conversations::take_turn(&mut tx, workspace, id, lock, now).await;
            assert_eq!(refused.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a_conversation_belongs_to_a_contact_of_its_own_workspace() {
    for place in places("set_contact").await {
        let (ws, id) = (place.ws(), begin(&place).await.id);
        let details =
            ContactDetails { email: Some("ana@x.cl".to_owned()), ..ContactDetails::default() };
        let mut tx = place.write().await;
        let own = contacts::resolve(&mut tx, &place.ambient, ws, None, &details).await;
        let foreign = contacts::resolve(&mut tx, &place.ambient, place.stranger(), None, &details);
        let (own, foreign) = (own.unwrap().unwrap(), foreign.await.unwrap().unwrap());
        conversations::set_contact(&mut tx, ws, id, foreign.id).await.unwrap();
        conversations::set_contact(&mut tx, place.stranger(), id, foreign.id).await.unwrap();
        let untouched = conversations::get(&mut tx, ws, id).await.unwrap().unwrap();
        assert_eq!(untouched.contact_id, None);
        conversations::set_contact(&mut tx, ws, id, own.id).await.unwrap();
        let linked = conversations::get(&mut tx, ws, id).await.unwrap().unwrap();
        assert_eq!(linked.contact_id, Some(own.id));
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn old_conversations_go_with_their_messages_and_younger_ones_stay() {
    for place in places("delete_older").await {
        let ws = place.ws();
        let (old, young) = (begin(&place).await, begin(&place).await);
        let said = say(&place, &message(&place, old.id, Author::Customer, "hola")).await;
        let limit = place.later(Duration::from_secs(10));
        place.later(Duration::from_secs(1));
        say(&place, &message(&place, young.id, Author::Customer, "hola")).await;
        let mut tx = place.write().await;
        let elsewhere = conversations::delete_older(&mut tx, place.stranger(), limit, 9).await;
        assert_eq!(elsewhere.unwrap(), 0);
        assert_eq!(conversations::delete_older(&mut tx, ws, limit, 9).await.unwrap(), 1);
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        assert_eq!(conversations::get(&mut conn, ws, old.id).await.unwrap(), None);
        assert_eq!(messages::get(&mut conn, ws, said.id).await.unwrap(), None);
        assert!(conversations::get(&mut conn, ws, young.id).await.unwrap().is_some());
    }
}

fn citation(place: &Place, marker: i64) -> Citation {
    Citation {
        marker,
        chunk_id: place.ambient.new_id(),
        datastore_id: place.home.datastore.id,
        source_id: place.ambient.new_id(),
        source_version: 3,
        source_name: "FAQ \"nueva\"".to_owned(),
        url: (marker == 1).then(|| "https://example.com/faq".to_owned()),
        page: (marker == 2).then_some(7),
        quote: "de 9 a 18 hs".to_owned(),
        span: (marker == 1).then_some((4, 16)),
        score: 0.1 + 0.2,
    }
}

#[tokio::test]
async fn an_answer_keeps_its_citations_and_its_trace() {
    for place in places("messages").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let conversation = begin(&place).await.id;
        let asked =
            say(&place, &message(&place, conversation, Author::Customer, "¿Horarios?")).await;
        let mut answer = message(&place, conversation, Author::Agent, "De 9 a 18 [2], creo [1].");
        answer.message.outcome = Some(Outcome::Answered);
        answer.message.model = Some("modelo".to_owned());
        answer.message.reply_to = Some(asked.id);
        answer.message.prompt_tokens = Some(812);
        answer.message.completion_tokens = Some(9);
        answer.message.unsupported = vec!["10 %".to_owned(), "\"X-1\"".to_owned()];
        answer.citations = vec![citation(&place, 2), citation(&place, 1)];
        answer.trace = Some(json!({ "hits": [{ "score": 0.5 }], "ms": 12 }));
        let stored = say(&place, &answer).await;
        assert_eq!((asked.seq, stored.seq), (1, 2));
        assert_eq!(stored, Message { seq: 2, ..answer.message.clone() });

        let mut conn = place.read().await;
        assert_eq!(messages::get(&mut conn, ws, stored.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(messages::get(&mut conn, stranger, stored.id).await.unwrap(), None);
        assert_eq!(messages::reply(&mut conn, ws, asked.id).await.unwrap(), Some(stored.clone()));
        assert_eq!(messages::reply(&mut conn, stranger, asked.id).await.unwrap(), None);
        assert_eq!(messages::reply(&mut conn, ws, stored.id).await.unwrap(), None);
        let both = [asked.id, stored.id];
        let cited = citations::of_messages(&mut conn, ws, &both).await.unwrap();
        let expected: Vec<_> = answer.citations.iter().map(|c| (stored.id, c.clone())).collect();
        assert_eq!(cited, expected, "in order of first use, to the last bit of the score");
        assert!(citations::of_messages(&mut conn, stranger, &both).await.unwrap().is_empty());
        assert_eq!(messages::trace(&mut conn, ws, stored.id).await.unwrap(), answer.trace);
        assert_eq!(messages::trace(&mut conn, ws, asked.id).await.unwrap(), None);
        assert_eq!(messages::trace(&mut conn, stranger, stored.id).await.unwrap(), None);
        let counted = conversations::get(&mut conn, ws, conversation).await.unwrap().unwrap();
        assert_eq!(counted.messages_count, 2);
        let told = events::list(&mut conn, ws, 1, 9).await.unwrap();
        assert_eq!(ids(&told, |e| e.subject.clone()), both.map(|id| id.to_string()));
        assert_eq!(told[1].payload["outcome"], "answered");
        drop(conn);

        let mut tx = place.write().await;
        let lost = message(&place, conversation, Author::Customer, "ajena");
        let refused = messages::insert(&mut tx, stranger, &lost, place.now()).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn old_traces_go_some_at_a_time_and_younger_ones_stay() {
    for place in places("old traces").await {
        let conversation = begin(&place).await.id;
        let mut told = Vec::new();
        for text in ["uno", "dos", "tres"] {
            let now = place.now();
            let mut answer = message(&place, conversation, Author::Agent, text);
            answer.trace = Some(json!({ "outcome": "answered" }));
            told.push((say(&place, &answer).await.id, now));
            place.later(Duration::from_mins(1));
        }
        let (ws, before) = (place.ws(), told[2].1);
        let mut tx = place.write().await;
        assert_eq!(messages::delete_traces(&mut tx, told[0].1, 9).await.unwrap(), 0);
        assert_eq!(messages::delete_traces(&mut tx, before, 1).await.unwrap(), 1);
        assert_eq!(messages::trace(&mut tx, ws, told[0].0).await.unwrap(), None);
        assert_eq!(messages::delete_traces(&mut tx, before, 9).await.unwrap(), 1);
        assert_eq!(messages::delete_traces(&mut tx, before, 9).await.unwrap(), 0);
        assert!(messages::trace(&mut tx, ws, told[2].0).await.unwrap().is_some());
        assert!(messages::get(&mut tx, ws, told[0].0).await.unwrap().is_some(), "the answer stays");
    }
}

#[tokio::test]
async fn a_cited_passage_is_kept_once_and_goes_when_nothing_names_it() {
    for place in places("cited passages").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let source = place.source(place.home.datastore.id, "FAQ");
        let chunk = place.chunk(&source, 1, 0);
        let mut tx = place.write().await;
        sources::insert(&mut tx, ws, std::slice::from_ref(&source)).await.unwrap();
        chunks::insert_many(&mut tx, std::slice::from_ref(&chunk)).await.unwrap();
        tx.commit().await.unwrap();
        let shown = |text: &str| CitedPassage {
            chunk_id: chunk.id,
            heading: chunk.heading.clone(),
            text: text.to_owned(),
        };
        let conversation = begin(&place).await.id;
        for text in [&*chunk.text, "another text"] {
            let mut answer = message(&place, conversation, Author::Agent, "Sí [1].");
            answer.citations = vec![Citation { chunk_id: chunk.id, ..citation(&place, 1) }];
            answer.passages = vec![shown(text)];
            say(&place, &answer).await;
        }
        let stored = async |workspace| {
            let mut conn = place.read().await;
            citations::passages(&mut conn, workspace, &[chunk.id]).await.unwrap()
        };
        assert_eq!(stored(ws).await, [shown(&chunk.text)], "what was shown first is never changed");
        assert!(stored(stranger).await.is_empty());

        let sweep = async || {
            let mut tx = place.write().await;
            let swept = citations::delete_uncited(&mut tx, 9).await.unwrap();
            tx.commit().await.unwrap();
            swept
        };
        let mut tx = place.write().await;
        sources::delete(&mut tx, ws, source.id).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sweep().await, 0, "answers cite it");
        assert_eq!(stored(ws).await.len(), 1);
        let later = place.later(Duration::from_secs(1));
        let mut tx = place.write().await;
        conversations::delete_older(&mut tx, ws, later, 9).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(sweep().await, 1);
        assert!(stored(ws).await.is_empty());
    }
}

#[tokio::test]
async fn messages_are_read_forward_and_from_the_end() {
    for place in places("message lists").await {
        let ws = place.ws();
        let conversation = begin(&place).await.id;
        for number in 1..=5 {
            say(&place, &message(&place, conversation, Author::Customer, &number.to_string()))
                .await;
        }
        let mut conn = place.read().await;
        let page = messages::list(&mut conn, ws, conversation, 1, 2).await.unwrap();
        assert_eq!(ids(&page, |m| m.seq), [2, 3]);
        let recent = messages::recent(&mut conn, ws, conversation, 0, 2).await.unwrap();
        assert_eq!(ids(&recent, |m| m.seq), [4, 5]);
        let recent = messages::recent(&mut conn, ws, conversation, 4, 9).await.unwrap();
        assert_eq!(ids(&recent, |m| m.seq), [5]);
        let stranger = place.stranger();
        assert!(messages::list(&mut conn, stranger, conversation, 0, 9).await.unwrap().is_empty());
        assert!(
            messages::recent(&mut conn, stranger, conversation, 0, 9).await.unwrap().is_empty()
        );
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_stored_fails_what_was_stored_with_it() {
    for place in places("messages that fail").await {
        let ws = place.ws();
        let conversation = begin(&place).await.id;
        let first = message(&place, conversation, Author::Customer, "hola");
        let mut tx = place.write().await;
        messages::insert(&mut tx, ws, &first, place.now()).await.unwrap();
        // What the transaction has written it reads, whenever that reaches the database.
        let read = messages::get(&mut tx, ws, first.message.id).await.unwrap();
        assert_eq!(read.map(|message| message.content), Some("hola".to_owned()));
        // The id is taken: told at once, or at the latest by the commit.
        let ended = match messages::insert(&mut tx, ws, &first, place.now()).await {
            Ok(_) => tx.commit().await,
            Err(error) => {
                assert!(tx.commit().await.is_err());
                Err(error)
            }
        };
        assert!(matches!(ended, Err(StorageError::Conflict(_))), "{ended:?}");
        let mut conn = place.read().await;
        assert!(messages::list(&mut conn, ws, conversation, 0, 9).await.unwrap().is_empty());
        let told = events::list(&mut conn, ws, 0, 99).await.unwrap();
        assert!(told.iter().all(|event| event.kind != "message.created"), "{told:?}");
    }
}

#[tokio::test]
async fn a_message_sent_many_times_is_one_message() {
    for place in places("client ids").await {
        let (ws, agent) = (place.ws(), place.home.agent.id);
        let conversation = begin(&place).await.id;
        let tasks = TaskTracker::new();
        let running: Vec<_> = (0..12)
            .map(|_| {
                let mut again = message(&place, conversation, Author::Customer, "hola");
                again.client_id = Some("k-1".to_owned());
                let (db, now) = (place.db().clone(), place.now());
                tasks.spawn(async move {
                    let mut tx = db.write().await.unwrap();
                    let stored = messages::insert(&mut tx, ws, &again, now).await.unwrap();
                    tx.commit().await.unwrap();
                    stored.id
                })
            })
            .collect();
        let mut stored = Vec::new();
        for task in running {
            stored.push(task.await.unwrap());
        }
        assert!(stored.iter().all(|id| *id == stored[0]), "{stored:?}");
        let mut conn = place.read().await;
        let found = messages::of_client(&mut conn, ws, agent, "k-1").await.unwrap().unwrap();
        assert_eq!((found.id, found.seq), (stored[0], 1));
        assert_eq!(messages::of_client(&mut conn, ws, agent, "k-2").await.unwrap(), None);
        let other_agent = place.other.agent.id;
        assert_eq!(messages::of_client(&mut conn, ws, other_agent, "k-1").await.unwrap(), None);
        let stranger = place.stranger();
        assert_eq!(messages::of_client(&mut conn, stranger, agent, "k-1").await.unwrap(), None);
        let counted = conversations::get(&mut conn, ws, conversation).await.unwrap().unwrap();
        assert_eq!(counted.messages_count, 1);
    }
}

#[tokio::test]
async fn a_rating_is_set_changed_and_taken_back() {
    for place in places("feedback").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let conversation = begin(&place).await.id;
        let id = say(&place, &message(&place, conversation, Author::Agent, "De 9 a 18.")).await.id;
        let steps =
            [(Some(Rating::Up), None), (Some(Rating::Down), Some("no era eso")), (None, None)];
        for (rating, comment) in steps {
            let mut tx = place.write().await;
            let now = place.now();
            assert!(messages::set_feedback(&mut tx, ws, id, rating, comment, now).await.unwrap());
            let foreign = messages::set_feedback(&mut tx, stranger, id, rating, comment, now);
            assert!(!foreign.await.unwrap());
            let expected = rating.map(|rating| (rating, comment.map(str::to_owned)));
            assert_eq!(messages::feedback(&mut tx, ws, id).await.unwrap(), expected);
            assert_eq!(messages::feedback(&mut tx, stranger, id).await.unwrap(), None);
            let listed = messages::feedbacks(&mut tx, ws, &[id]).await.unwrap();
            let listed = listed.into_iter().map(|(_, rating, comment)| (rating, comment)).next();
            assert_eq!(listed, expected);
            assert!(messages::feedbacks(&mut tx, stranger, &[id]).await.unwrap().is_empty());
            tx.commit().await.unwrap();
        }
        let told = events::list(&mut place.read().await, ws, 2, 9).await.unwrap();
        assert_eq!(ids(&told, |e| e.kind.clone()), ["feedback.received"; 3]);
        assert_eq!(
            ids(&told, |e| e.payload["rating"].clone()),
            [json!("up"), json!("down"), json!(null)]
        );
    }
}

#[tokio::test]
async fn a_conversation_is_rated_and_its_rating_goes_with_it() {
    for place in places("conversation ratings").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let id = begin(&place).await.id;
        let low = ConversationRating { rating: 1, comment: Some("mal".to_owned()) };
        let high = ConversationRating { rating: 5, comment: None };
        for rating in [Some(&low), Some(&high), None, Some(&high)] {
            let mut tx = place.write().await;
            let now = place.now();
            assert!(conversations::set_rating(&mut tx, ws, id, rating, now).await.unwrap());
            assert!(!conversations::set_rating(&mut tx, stranger, id, rating, now).await.unwrap());
            let found = conversations::ratings(&mut tx, ws, &[id]).await.unwrap();
            assert_eq!(found, Vec::from_iter(rating.map(|rating| (id, rating.clone()))));
            assert!(conversations::ratings(&mut tx, stranger, &[id]).await.unwrap().is_empty());
            tx.commit().await.unwrap();
        }
        let mut tx = place.write().await;
        let later = place.later(Duration::from_secs(1));
        conversations::delete_older(&mut tx, ws, later, 9).await.unwrap();
        assert!(conversations::ratings(&mut tx, ws, &[id]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn groups_whose_gaps_went_with_their_conversations_go_too() {
    for place in places("empty groups").await {
        let ws = place.ws();
        let conversation = begin(&place).await;
        let mut tx = place.write().await;
        for question in ["uno", "dos"] {
            let id = place.ambient.new_id();
            let gap = Gap {
                id,
                group_id: id,
                agent_id: conversation.agent_id,
                conversation_id: conversation.id,
                message_id: place.ambient.new_id(),
                question: question.to_owned(),
                reason: GapReason::Abstained,
                lang: None,
                evidence: 0.1,
                created_at: place.now(),
            };
            gaps::insert(&mut tx, ws, &gap).await.unwrap();
        }
        assert_eq!(gaps::delete_empty_groups(&mut tx, 9).await.unwrap(), 0);
        let later = place.later(Duration::from_secs(1));
        assert_eq!(conversations::delete_older(&mut tx, ws, later, 9).await.unwrap(), 1);
        assert_eq!(gaps::delete_empty_groups(&mut tx, 1).await.unwrap(), 1);
        assert_eq!(gaps::delete_empty_groups(&mut tx, 9).await.unwrap(), 1);
        assert_eq!(gaps::delete_empty_groups(&mut tx, 9).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn gaps_are_listed_newest_first() {
    for place in places("gaps").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let conversation = begin(&place).await.id;
        let gap = |question: &str| {
            let created_at = place.later(Duration::from_millis(1));
            let id = place.ambient.new_id();
            Gap {
                id,
                group_id: id,
                agent_id: place.home.agent.id,
                conversation_id: conversation,
                message_id: place.ambient.new_id(),
                question: question.to_owned(),
                reason: GapReason::Abstained,
                lang: Some(Lang::Es),
                evidence: 0.125,
                created_at,
            }
        };
        let (first, second) = (gap("¿Abren el domingo?"), gap("¿Y el lunes?"));
        let mut like_first = gap("abren domingo?");
        like_first.group_id = first.id;
        like_first.reason = GapReason::Disliked;
        let mut tx = place.write().await;
        for gap in [&first, &second, &like_first] {
            gaps::insert(&mut tx, ws, gap).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let all = gaps::list(&mut conn, ws, None, 9).await.unwrap();
        assert_eq!(all, [like_first.clone(), second.clone(), first.clone()]);
        let older = gaps::list(&mut conn, ws, Some(second.id), 9).await.unwrap();
        assert_eq!(ids(&older, |gap| gap.id), [first.id]);
        assert!(gaps::list(&mut conn, stranger, None, 9).await.unwrap().is_empty());
        let of_first = gaps::of_groups(&mut conn, ws, &[first.id], 9).await.unwrap();
        assert_eq!(of_first, [like_first.clone(), first.clone()]);
        assert!(gaps::of_groups(&mut conn, stranger, &[first.id], 9).await.unwrap().is_empty());
        let found = gaps::of_message(&mut conn, ws, second.message_id).await.unwrap();
        assert_eq!(found, Some(second.clone()));
        assert_eq!(gaps::of_message(&mut conn, stranger, second.message_id).await.unwrap(), None);

        let any = GapFilter::default();
        let groups = gaps::groups(&mut conn, ws, any, None, 9).await.unwrap();
        assert_eq!(ids(&groups, |g| (g.id, g.count)), [(second.id, 1), (first.id, 2)]);
        assert_eq!(groups[1].last_at, like_first.created_at);
        assert!(gaps::groups(&mut conn, stranger, any, None, 9).await.unwrap().is_empty());
        let group = gaps::group(&mut conn, ws, first.id).await.unwrap();
        assert_eq!(group.as_ref(), Some(&groups[1]));
        assert_eq!(gaps::group(&mut conn, stranger, first.id).await.unwrap(), None);
        let agent = place.home.agent.id;
        let known = gaps::questions(&mut conn, ws, agent, None, 9).await.unwrap();
        assert_eq!(ids(&known, |(id, _)| *id), [second.id, first.id]);
        let known = gaps::questions(&mut conn, ws, agent, Some(first.id), 9).await.unwrap();
        assert_eq!(known, [(second.id, second.question.clone())]);
        assert!(gaps::questions(&mut conn, stranger, agent, None, 9).await.unwrap().is_empty());
        drop(conn);
        let mut tx = place.write().await;
        let refused = gaps::insert(&mut tx, stranger, &gap("x")).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_gap_is_closed_by_an_answer_dismissed_and_removed() {
    for place in places("gap status").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let conversation = begin(&place).await.id;
        let id = place.ambient.new_id();
        let gap = Gap {
            id,
            group_id: id,
            agent_id: place.home.agent.id,
            conversation_id: conversation,
            message_id: place.ambient.new_id(),
            question: "¿Abren?".to_owned(),
            reason: GapReason::Disliked,
            lang: None,
            evidence: 0.25,
            created_at: place.now(),
        };
        let datastore = place.home.datastore.id;
        let mut tx = place.write().await;
        gaps::want_recheck(&mut tx, &place.ambient, ws, datastore).await.unwrap();
        gaps::insert(&mut tx, ws, &gap).await.unwrap();
        for _ in 0..2 {
            gaps::want_recheck(&mut tx, &place.ambient, ws, datastore).await.unwrap();
        }
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let wanted = storage::jobs::counts(&mut conn).await.unwrap();
        let wanted: Vec<_> = wanted.iter().filter(|(kind, ..)| kind == gaps::RECHECK).collect();
        assert_eq!(wanted.len(), 1, "none while nothing is open, one for all that changes at once");
        assert_eq!(wanted[0].2, 1);
        drop(conn);
        let mut tx = place.write().await;
        let later = place.now().plus(Duration::from_hours(1));
        gaps::want_recheck_at(&mut tx, &place.ambient, ws, datastore, later).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let counts = storage::jobs::counts(&mut conn).await.unwrap();
        let wanted = counts.iter().find(|(kind, ..)| kind == gaps::RECHECK).unwrap();
        assert_eq!(wanted.2, 2, "a later one is another one");
        drop(conn);

        let now = place.later(Duration::from_secs(1));
        let state = async |found: Recheck<'_>| {
            let mut tx = place.write().await;
            assert!(!gaps::note_recheck(&mut tx, stranger, id, found, now).await.unwrap());
            assert!(gaps::note_recheck(&mut tx, ws, id, found, now).await.unwrap());
            tx.commit().await.unwrap();
            let mut conn = place.read().await;
            gaps::group(&mut conn, ws, id).await.unwrap().unwrap()
        };
        let group = state(Recheck { evidence: 0.5, answer: None }).await;
        assert_eq!((group.status, group.evidence, group.closed_at), (GapStatus::Open, 0.5, None));
        assert_eq!(group.rechecked_at, Some(now));
        let group = state(Recheck { evidence: 0.25, answer: Some("Sí.") }).await;
        assert_eq!((group.status, group.evidence), (GapStatus::Closed, 0.5));
        assert_eq!((group.closed_at, group.answer.as_deref()), (Some(now), Some("Sí.")));

        let mut tx = place.write().await;
        let dismissed = GapStatus::Dismissed;
        assert!(!gaps::set_status(&mut tx, stranger, id, dismissed, now).await.unwrap());
        assert!(gaps::set_status(&mut tx, ws, id, dismissed, now).await.unwrap());
        assert!(!gaps::delete(&mut tx, stranger, id).await.unwrap());
        assert!(gaps::delete(&mut tx, ws, id).await.unwrap());
        assert_eq!(gaps::group(&mut tx, ws, id).await.unwrap(), None, "with its last gap");
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_lead_grows_with_its_conversation() {
    for place in places("leads").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let conversation = begin(&place).await;
        let lead = |place: &Place, fields: &[(&str, &str)]| Lead {
            id: place.ambient.new_id(),
            agent_id: place.home.agent.id,
            conversation_id: conversation.id,
            contact_id: None,
            fields: fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            created_at: place.now(),
            updated_at: place.now(),
        };
        let first = lead(&place, &[("name", "Ana"), ("email", "a@b.cl")]);
        place.later(Duration::from_secs(1));
        let second = lead(&place, &[("email", "ana@b.cl"), ("phone", "+569")]);
        let mut tx = place.write().await;
        assert_eq!(leads::note(&mut tx, ws, &first).await.unwrap(), first);
        let grown = leads::note(&mut tx, ws, &second).await.unwrap();
        let refused = leads::note(&mut tx, stranger, &second).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);
        let mut tx = place.write().await;
        leads::note(&mut tx, ws, &first).await.unwrap();
        leads::note(&mut tx, ws, &second).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!((grown.id, grown.fields["email"].as_str()), (first.id, "ana@b.cl"));
        assert_eq!((grown.fields.len(), grown.created_at), (3, first.created_at));
        let mut conn = place.read().await;
        let found = leads::of_conversation(&mut conn, ws, conversation.id).await.unwrap();
        assert_eq!(found, Some(grown.clone()));
        let agent = Some(place.home.agent.id);
        let listed = leads::list(&mut conn, ws, agent, None, 10).await.unwrap();
        assert_eq!(listed, std::slice::from_ref(&grown));
        let none = Some(place.other.agent.id);
        assert!(leads::list(&mut conn, ws, none, None, 10).await.unwrap().is_empty());
        assert!(leads::list(&mut conn, ws, None, Some(grown.id), 10).await.unwrap().is_empty());
        assert!(leads::list(&mut conn, stranger, None, None, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_tools_of_a_message_are_kept_in_order_and_what_was_shown_beside_it() {
    for place in places("message tools").await {
        let conversation = begin(&place).await;
        let used = |name: &str, status| ToolUse {
            kind: ToolKind::Http,
            name: name.to_owned(),
            status,
            arguments: json!({"id": "Ñ-1", "n": 2}),
            result: "listo".to_owned(),
            took: Duration::from_micros(1_234),
        };
        let tools = vec![used("b", ToolStatus::Done), used("a", ToolStatus::Failed)];
        let mut new = message(&place, conversation.id, Author::Agent, "Listo.");
        new.tools.clone_from(&tools);
        new.images = vec![ShownImage { media_type: "image/png".to_owned(), bytes: 70 }];
        let stored = say(&place, &new).await;
        let mut conn = place.read().await;
        let found = messages::tools(&mut conn, place.ws(), &[stored.id]).await.unwrap();
        assert_eq!(found, tools.into_iter().map(|tool| (stored.id, tool)).collect::<Vec<_>>());
        let shown = messages::images(&mut conn, place.ws(), &[stored.id]).await.unwrap();
        assert_eq!(shown, [(stored.id, new.images.clone())]);
        let foreign = messages::images(&mut conn, place.stranger(), &[stored.id]).await.unwrap();
        assert!(foreign.is_empty());
        let foreign = messages::tools(&mut conn, place.stranger(), &[stored.id]).await.unwrap();
        assert!(foreign.is_empty());
    }
}

#[tokio::test]
async fn a_summary_only_ever_covers_more() {
    for place in places("summary").await {
        let (ws, conversation) = (place.ws(), begin(&place).await);
        let mut tx = place.write().await;
        let id = conversation.id;
        assert_eq!(conversations::summary(&mut tx, ws, id).await.unwrap(), None);
        assert!(conversations::set_summary(&mut tx, ws, id, "uno", 4).await.unwrap());
        assert!(!conversations::set_summary(&mut tx, ws, id, "viejo", 4).await.unwrap());
        assert!(!conversations::set_summary(&mut tx, place.stranger(), id, "x", 9).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = conversations::summary(&mut conn, ws, id).await.unwrap();
        assert_eq!(found, Some(("uno".to_owned(), 4)));
    }
}
