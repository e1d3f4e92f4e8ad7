//! Turns that can be rejoined.

use std::time::Duration;

use domain::conversation::{Channel, Conversation, ConversationStatus, Handler};
use domain::{MessageId, Timestamp};
use storage::streams::{self, NewStream, StreamBatch, StreamEvent, StreamState};
use storage::{Wakeup, conversations};

use crate::support::{Place, places};

const LEASE: Duration = Duration::from_mins(1);

fn event(id: i64) -> StreamEvent {
    StreamEvent { id, kind: "token".to_owned(), data: format!("{{\"text\":\"ñ\\u0000 {id}\"}}") }
}

/// A turn that begins; its answer and its question.
async fn begin(place: &Place) -> (MessageId, MessageId) {
    let now = place.later(Duration::from_millis(1));
    let conversation = Conversation {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        agent_id: place.home.agent.id,
        channel: Channel::Api,
        project_id: None,
        visitor_id: None,
        contact_id: None,
        status: ConversationStatus::Open,
        handler: Handler::Bot,
        title: String::new(),
        messages_count: 0,
        context_after: 0,
        created_at: now,
        updated_at: now,
        closed_at: None,
    };
    let (message, question) = (place.ambient.new_id(), place.ambient.new_id());
    let stream = NewStream {
        message,
        conversation: conversation.id,
        question,
        owner: "a",
        live_until: now.plus(LEASE),
    };
    let mut tx = place.write().await;
    conversations::insert(&mut tx, &conversation, None).await.unwrap();
    streams::insert(&mut tx, place.ws(), &stream).await.unwrap();
    tx.commit().await.unwrap();
    (message, question)
}

async fn append(place: &Place, message: MessageId, owner: &str, ids: &[i64], ended: bool) -> bool {
    let events: Vec<StreamEvent> = ids.iter().copied().map(event).collect();
    let batch = StreamBatch { message, events: &events, ended };
    let until = place.now().plus(LEASE);
    let mut tx = place.write().await;
    let stored = streams::append(&mut tx, place.ws(), &batch, owner, until).await.unwrap();
    tx.commit().await.unwrap();
    stored
}

async fn told(place: &Place, message: MessageId, after: i64) -> Vec<i64> {
    let mut conn = place.read().await;
    let events = streams::events(&mut conn, place.ws(), message, after, 10).await.unwrap();
    for found in &events {
        assert_eq!(found, &event(found.id));
    }
    events.into_iter().map(|event| event.id).collect()
}

async fn state(place: &Place, message: MessageId) -> (StreamState, Timestamp, i64) {
    let (ws, agent) = (place.ws(), place.home.agent.id);
    let stream = streams::get(&mut place.read().await, ws, agent, message).await.unwrap().unwrap();
    (stream.state, stream.live_until, stream.last_event)
}

#[tokio::test]
async fn what_readers_are_told_is_read_from_any_place_on() {
    for place in places("turn events").await {
        let (message, question) = begin(&place).await;
        let mut wakeups = place.db().wakeups();
        assert!(append(&place, message, "a", &[1, 2, 3], false).await);
        while wakeups.recv().await.unwrap() != Wakeup::Streams {}
        assert!(!append(&place, message, "b", &[4], false).await, "another process's");
        assert!(append(&place, message, "a", &[4, 5], true).await);
        assert!(!append(&place, message, "a", &[6], false).await, "it is over");
        for (after, ids) in [(0, vec![1, 2, 3, 4, 5]), (2, vec![3, 4, 5]), (3, vec![4, 5])] {
            assert_eq!(told(&place, message, after).await, ids);
        }
        assert!(told(&place, message, 5).await.is_empty());
        let mut conn = place.read().await;
        let first = streams::events(&mut conn, place.ws(), message, 0, 1).await.unwrap();
        assert_eq!(first.len(), 3, "one batch");
        let ws = place.stranger();
        assert!(streams::events(&mut conn, ws, message, 0, 9).await.unwrap().is_empty());
        let (agent, other) = (place.home.agent.id, place.other.agent.id);
        for (ws, agent) in [(ws, agent), (ws, other), (place.ws(), other)] {
            assert_eq!(streams::get(&mut conn, ws, agent, message).await.unwrap(), None);
        }
        let newest = streams::of_question(&mut conn, place.ws(), question).await.unwrap().unwrap();
        assert_eq!((newest.message, newest.state), (message, StreamState::Ended));
        assert_eq!(newest.last_event, 5);
        assert_eq!(streams::of_question(&mut conn, ws, question).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_turn_is_lost_once_its_process_no_longer_lives() {
    for place in places("lost turns").await {
        let (message, _) = begin(&place).await;
        assert!(append(&place, message, "a", &[1], false).await);
        let until = place.now().plus(LEASE);
        assert_eq!(state(&place, message).await, (StreamState::Open, until, 1));
        let mut tx = place.write().await;
        let end = event(9);
        let lose = streams::lose(&mut tx, place.ws(), message, &end, place.now());
        assert!(!lose.await.unwrap(), "it lives");
        let longer = until.plus(LEASE);
        streams::prolong(&mut tx, "b", longer.plus(LEASE)).await.unwrap();
        streams::prolong(&mut tx, "a", longer).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state(&place, message).await, (StreamState::Open, longer, 1));
        let mut tx = place.write().await;
        let other = streams::lose(&mut tx, place.stranger(), message, &end, longer);
        assert!(!other.await.unwrap());
        for lost in [true, false] {
            let lose = streams::lose(&mut tx, place.ws(), message, &end, longer);
            assert_eq!(lose.await.unwrap(), lost);
        }
        tx.commit().await.unwrap();
        assert_eq!(state(&place, message).await, (StreamState::Ended, longer, 9));
        assert_eq!(told(&place, message, 0).await, [1, 9]);
        assert!(!append(&place, message, "a", &[2], false).await, "it was declared lost");
    }
}

#[tokio::test]
async fn a_process_that_is_gone_holds_nothing() {
    for place in places("abandoned streams").await {
        let (mine, _) = begin(&place).await;
        let now = place.later(Duration::from_secs(1));
        let mut tx = place.write().await;
        streams::abandon(&mut tx, "b", now).await.unwrap();
        tx.commit().await.unwrap();
        assert!(state(&place, mine).await.1 > now, "another process's");
        let mut tx = place.write().await;
        streams::abandon(&mut tx, "a", now).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(state(&place, mine).await, (StreamState::Open, now, 0));
    }
}

#[tokio::test]
async fn the_end_of_a_turn_is_wanted_also_while_it_waits() {
    for place in places("stops of streams").await {
        let (message, _) = begin(&place).await;
        let (ws, agent, now) = (place.ws(), place.home.agent.id, place.now());
        let (stranger, other) = (place.stranger(), place.other.agent.id);
        let late = now.plus(LEASE);
        let mut tx = place.write().await;
        for (ws, agent, at) in [(stranger, agent, now), (ws, other, now), (ws, agent, late)] {
            assert!(!streams::want_stop(&mut tx, ws, agent, message, at).await.unwrap());
        }
        assert!(streams::stops_wanted(&mut tx, "a").await.unwrap().is_empty());
        assert!(streams::want_stop(&mut tx, ws, agent, message, now).await.unwrap());
        assert_eq!(streams::stops_wanted(&mut tx, "a").await.unwrap(), [(ws, message)]);
        assert!(streams::stops_wanted(&mut tx, "b").await.unwrap().is_empty());
        tx.commit().await.unwrap();
        assert!(append(&place, message, "a", &[1], true).await);
        let mut tx = place.write().await;
        assert!(streams::stops_wanted(&mut tx, "a").await.unwrap().is_empty());
        assert!(!streams::want_stop(&mut tx, ws, agent, message, now).await.unwrap());
    }
}

#[tokio::test]
async fn events_are_swept_and_the_turn_stays_known() {
    for place in places("swept streams").await {
        let mut all = Vec::new();
        for ended in [true, false] {
            let (message, _) = begin(&place).await;
            assert!(append(&place, message, "a", &[1, 2], ended).await);
            all.push(message);
        }
        let last = place.now().plus(LEASE);
        let mut tx = place.write().await;
        assert_eq!(streams::sweep(&mut tx, place.now(), 10).await.unwrap(), 0, "too early");
        let after = last.plus(LEASE);
        assert_eq!(streams::sweep(&mut tx, after, 1).await.unwrap(), 1, "one at a time");
        assert_eq!(streams::sweep(&mut tx, after, 10).await.unwrap(), 1);
        assert_eq!(streams::sweep(&mut tx, after, 10).await.unwrap(), 0);
        tx.commit().await.unwrap();
        for message in all {
            assert_eq!(state(&place, message).await.0, StreamState::Swept);
            assert!(told(&place, message, 0).await.is_empty());
        }
    }
}
