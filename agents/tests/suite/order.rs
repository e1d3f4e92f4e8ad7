//! Several turns of one conversation, and a person among them.

use std::sync::Arc;

use domain::conversation::{Handler, Transition};
use domain::message::Author;
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};
use tokio::sync::Notify;

use crate::world::{World, hear, next_token};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

#[tokio::test]
async fn ten_messages_at_once_get_one_reply_each_in_their_order() {
    for test_db in databases("ten at once").await {
        let world = World::scripted(test_db).await;
        let first = world.ask(world.request(QUESTION)).await;
        let conversation = first.answer().conversation;
        let begun = (0..10).map(|n| {
            let query = format!("{QUESTION} ({n})");
            world.agents.start(world.in_conversation(conversation, &query))
        });
        let turns = futures::future::join_all(begun).await;
        let heard =
            futures::future::join_all(turns.into_iter().map(|turn| hear(turn.unwrap()))).await;
        for one in &heard {
            assert!(!one.answer().text.is_empty());
        }
        let all = world.messages(conversation).await;
        assert_eq!(all.len(), 22);
        let asked = all.iter().filter(|message| message.author == Author::Customer);
        let asked: Vec<_> = asked.map(|message| message.id).collect();
        let replied = all.iter().filter_map(|message| message.reply_to);
        assert_eq!(replied.collect::<Vec<_>>(), asked, "each once, in the order of the questions");
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 11);
    }
}

#[tokio::test]
async fn a_second_process_waits_for_the_turn_of_the_first() {
    for test_db in databases("two processes").await {
        let world = World::scripted(test_db).await;
        let other = world.another_process().await;
        let conversation = world.ask(world.request(QUESTION)).await.answer().conversation;
        let go = Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["uno"]).hold(go.clone()).then(&[" [1]"]));
        world.model().enqueue(Reply::text("dos [1]"));
        let mut first =
            world.agents.start(world.in_conversation(conversation, QUESTION)).await.unwrap();
        assert_eq!(next_token(&mut first).await, "uno");
        let second = other.start(world.in_conversation(conversation, QUESTION)).await.unwrap();
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 2, "the second one waits");
        go.notify_one();
        hear(first).await;
        assert_eq!(hear(second).await.answer().text, "dos [1]");
        let replies = world.replies(conversation).await;
        let texts: Vec<&str> = replies[1..].iter().map(|reply| reply.content.as_str()).collect();
        assert_eq!(texts, ["uno [1]", "dos [1]"]);
    }
}

#[tokio::test]
async fn an_answer_is_not_kept_when_a_person_takes_over_while_it_is_written() {
    for test_db in databases("takeover").await {
        let world = World::scripted(test_db).await;
        let conversation = world.ask(world.request(QUESTION)).await.answer().conversation;
        let go = Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["De 10"]).hold(go.clone()).then(&[" a 14 [1]."]));
        let mut turn =
            world.agents.start(world.in_conversation(conversation, QUESTION)).await.unwrap();
        assert_eq!(next_token(&mut turn).await, "De 10");
        world.transition(conversation, Transition::RequestHuman).await;
        go.notify_one();
        let heard = hear(turn).await;
        assert_eq!(heard.error().code, "TAKEN_OVER");
        assert_eq!(world.replies(conversation).await.len(), 1, "only the first answer");
        let silent = world.ask(world.in_conversation(conversation, "¿hola?")).await;
        assert_eq!((silent.answer().text.as_str(), silent.answer().handler), ("", Handler::Queue));
    }
}

#[tokio::test]
async fn who_waits_for_the_whole_answer_gets_an_empty_one_when_a_person_takes_over() {
    for test_db in databases("takeover of a whole answer").await {
        let world = World::scripted(test_db).await;
        let conversation = world.ask(world.request(QUESTION)).await.answer().conversation;
        let go = Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["De 10"]).hold(go.clone()).then(&[" a 14 [1]."]));
        let request = world.in_conversation(conversation, QUESTION);
        let answering = async { hear(world.agents.start_whole(request).await.unwrap()).await };
        let taking_over = async {
            world.model().wait_for_requests(2).await;
            world.transition(conversation, Transition::RequestHuman).await;
            go.notify_one();
        };
        let (heard, ()) = tokio::join!(answering, taking_over);
        let answer = heard.answer();
        assert_eq!((answer.text.as_str(), answer.handler), ("", Handler::Queue));
        assert_eq!(world.replies(conversation).await.len(), 1);
    }
}

#[tokio::test]
async fn messages_that_wait_are_not_answered_after_a_takeover() {
    for test_db in databases("takeover while waiting").await {
        let world = World::scripted(test_db).await;
        let conversation = world.ask(world.request(QUESTION)).await.answer().conversation;
        let go = Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["De 10"]).hold(go.clone()).then(&[" a 14 [1]."]));
        let mut first =
            world.agents.start(world.in_conversation(conversation, QUESTION)).await.unwrap();
        next_token(&mut first).await;
        let waiting =
            world.agents.start(world.in_conversation(conversation, QUESTION)).await.unwrap();
        world.transition(conversation, Transition::RequestHuman).await;
        go.notify_one();
        hear(first).await;
        assert_eq!(hear(waiting).await.answer().text, "");
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 2);
        assert_eq!(world.replies(conversation).await.len(), 1);
    }
}

#[tokio::test]
async fn a_slow_reader_holds_up_its_own_turn_only() {
    for test_db in databases("slow reader").await {
        let world = World::scripted(test_db).await;
        let long = "palabra ".repeat(400);
        world.model().enqueue(Reply::text(&format!("{long}fin [1]")));
        let slow = world.agents.start(world.request(QUESTION)).await.unwrap();
        world.model().wait_for_requests(1).await;
        for _ in 0..8 {
            world.ask(world.request(QUESTION)).await.answer();
        }
        assert!(world.replies(slow.conversation).await.is_empty(), "it is not over");
        let heard = hear(slow).await;
        assert!(heard.answer().text.ends_with("fin [1]"));
        assert!(heard.tokens.len() > 300);
    }
}

#[tokio::test]
async fn a_whole_answer_is_one_event_and_the_same_as_the_streamed_one() {
    for test_db in databases("whole answer").await {
        let world = World::scripted(test_db).await;
        let mut answers = Vec::new();
        for whole in [true, false] {
            world.model().enqueue(Reply::text("De 10 a 14 [1]. Y no [7]."));
            let request = world.request(QUESTION);
            let heard = if whole {
                hear(world.agents.start_whole(request).await.unwrap()).await
            } else {
                world.ask(request).await
            };
            assert_eq!(heard.tokens.is_empty(), whole);
            assert_eq!(heard.sources.is_empty(), whole);
            let answer = heard.end.unwrap();
            answers.push((answer.text, answer.citations, answer.outcome));
        }
        assert_eq!(answers[0], answers[1]);
    }
}
