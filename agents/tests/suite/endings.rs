//! Turns that end before their answer does.

use std::sync::Arc;
use std::time::Duration;

use domain::ErrorKind;
use domain::conversation::Transition;
use domain::message::{MessageState, Outcome};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply};
use tokio::sync::Notify;

use crate::world::{World, hear, next_token};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

#[tokio::test]
async fn a_reader_who_leaves_ends_the_model_call_and_leaves_what_was_said() {
    for test_db in databases("client gone").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1].", " Y ade"]).then_hang());
        let mut turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        assert_eq!(next_token(&mut turn).await, "De 10 a 14 [1].");
        let conversation = turn.conversation;
        assert_eq!(next_token(&mut turn).await, " Y ade");
        drop(turn);
        world.model().wait_for_departures(1).await;
        world.quiet().await;
        let replies = world.replies(conversation).await;
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].content, "De 10 a 14 [1]. Y ade");
        assert_eq!(replies[0].state, MessageState::Interrupted);
        assert_eq!(world.citations(replies[0].id).await.len(), 1);
        // The conversation is free for the next turn.
        world.ask(world.in_conversation(conversation, QUESTION)).await.answer();
    }
}

#[tokio::test]
async fn a_reader_who_leaves_before_the_first_word_leaves_the_question_only() {
    for test_db in databases("client gone early").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["NO_ANS"]).then_hang());
        let turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        let conversation = turn.conversation;
        world.model().wait_for_requests(1).await;
        drop(turn);
        world.model().wait_for_departures(1).await;
        world.quiet().await;
        assert_eq!(world.messages(conversation).await.len(), 1);
    }
}

#[tokio::test]
async fn a_caller_who_stops_waiting_for_the_whole_answer_ends_the_model_call() {
    for test_db in databases("whole answer dropped").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["De 10"]).then_hang());
        let turn = world.agents.start_whole(world.request(QUESTION)).await.unwrap();
        world.model().wait_for_requests(1).await;
        drop(turn);
        world.model().wait_for_departures(1).await;
        world.quiet().await;
    }
}

#[tokio::test]
async fn a_stopped_turn_ends_with_what_was_said() {
    for test_db in databases("stop").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1]", "."]).then_hang());
        let mut turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        let mut said = next_token(&mut turn).await;
        said.push_str(&next_token(&mut turn).await);
        let (workspace, message) = (world.born.workspace.id, turn.message);
        let (agent, other) = (world.born.agent.id, world.agent(&[], |_| {}).await.id);
        assert!(!world.agents.stop(workspace, other, message).await.unwrap(), "another agent's");
        assert!(world.agents.stop(workspace, agent, message).await.unwrap());
        world.model().wait_for_departures(1).await;
        let heard = hear(turn).await;
        let answer = heard.end.as_ref().unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.state),
            (said.as_str(), MessageState::Interrupted)
        );
        assert_eq!(answer.message, message);
        assert_eq!(answer.citations.len(), 1);
        let stored = &world.replies(answer.conversation).await[0];
        assert_eq!((stored.id, stored.state), (message, MessageState::Interrupted));
        assert!(!world.agents.stop(workspace, agent, message).await.unwrap(), "it is over");
    }
}

#[tokio::test]
async fn a_turn_of_another_process_is_stopped_by_way_of_the_database() {
    for test_db in databases("stop elsewhere").await {
        let world = World::scripted(test_db).await;
        let (workspace, agent) = (world.born.workspace.id, world.born.agent.id);
        let elsewhere = world.another_process().await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1]."]).then_hang());
        let mut turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        let said = next_token(&mut turn).await;
        let message = turn.message;
        let stranger = world.stranger().await;
        let other = world.agent(&[], |_| {}).await.id;
        for (workspace, agent) in [(stranger, agent), (workspace, other)] {
            assert!(!elsewhere.stop(workspace, agent, message).await.unwrap(), "not theirs");
        }
        assert!(elsewhere.stop(workspace, agent, message).await.unwrap());
        world.model().wait_for_departures(1).await;
        let heard = hear(turn).await;
        let answer = heard.end.as_ref().unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.state),
            (said.as_str(), MessageState::Interrupted)
        );
        assert!(!elsewhere.stop(workspace, agent, message).await.unwrap(), "it is over");
        // What was wanted of the one turn is not wanted of the next.
        let next = world.in_conversation(answer.conversation, QUESTION);
        let next = hear(elsewhere.start(next).await.unwrap()).await;
        assert_eq!(next.answer().state, MessageState::Complete);
    }
}

#[tokio::test]
async fn a_turn_stopped_before_its_first_word_stores_no_empty_answer() {
    for test_db in databases("early stop").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::silence());
        let turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        world.model().wait_for_requests(1).await;
        let (workspace, agent) = (world.born.workspace.id, world.born.agent.id);
        assert!(world.agents.stop(workspace, agent, turn.message).await.unwrap());
        let heard = hear(turn).await;
        assert_eq!((heard.answer().text.as_str(), heard.answer().outcome), ("", None));
        assert_eq!(heard.answer().state, MessageState::Interrupted);
        assert_eq!(world.messages(heard.answer().conversation).await.len(), 1);
    }
}

#[tokio::test]
async fn a_model_that_fails_before_its_first_word_is_told_as_unavailable() {
    for test_db in databases("model failure").await {
        let world = World::scripted(test_db).await;
        let limited = Reply::error(429, "slow down").header("retry-after", "7");
        for (reply, wait) in
            [(limited, Some(Duration::from_secs(7))), (Reply::error(500, "oops"), None)]
        {
            world.model().enqueue(reply);
            let turn = world.agents.start(world.request(QUESTION)).await.unwrap();
            let conversation = turn.conversation;
            let heard = hear(turn).await;
            assert_eq!(heard.error().kind, ErrorKind::Unavailable);
            assert!(heard.error().retry_after.is_some());
            assert!(wait.is_none() || heard.error().retry_after == wait);
            assert!(heard.sources.is_empty() && heard.tokens.is_empty());
            assert_eq!(world.messages(conversation).await.len(), 1, "the question stays");
        }
    }
}

#[tokio::test]
async fn a_model_that_breaks_off_leaves_a_failed_answer() {
    for test_db in databases("model cut").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1].", " Los dom"]).then_cut());
        let turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        let conversation = turn.conversation;
        let heard = hear(turn).await;
        assert_eq!(heard.error().kind, ErrorKind::Unavailable);
        let replies = world.replies(conversation).await;
        assert_eq!(replies[0].content, heard.text());
        assert_eq!(replies[0].state, MessageState::Failed);
        assert_eq!(world.citations(replies[0].id).await.len(), 1);
        assert!(world.trace(replies[0].id).await["modelError"].is_string());
    }
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_ended() {
    for test_db in databases("turn timeout").await {
        let server = ModelServer::start().await.unwrap();
        let world = World::new(test_db, Some(server), Duration::from_millis(1_500)).await;
        world.model().enqueue(Reply::tokens(&["De 10", " a 14"]).then_hang());
        let turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        let conversation = turn.conversation;
        let heard = hear(turn).await;
        assert_eq!(heard.error().code, "TURN_TIMEOUT");
        world.model().wait_for_departures(1).await;
        let replies = world.replies(conversation).await;
        assert_eq!(
            (replies[0].content.as_str(), replies[0].state),
            ("De 10 a 14", MessageState::Failed)
        );
    }
}

#[tokio::test]
async fn the_end_of_the_grace_interrupts_running_turns_and_refuses_new_ones() {
    for test_db in databases("shutdown").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1]."]).then_hang());
        let mut turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        next_token(&mut turn).await;
        let conversation = turn.conversation;
        world.stop.cancel();
        let heard = hear(turn).await;
        assert_eq!(heard.error().code, "SHUTTING_DOWN");
        world.quiet().await;
        let replies = world.replies(conversation).await;
        assert_eq!(replies[0].state, MessageState::Interrupted);
        let error = world.agents.start(world.request(QUESTION)).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Unavailable, "SHUTTING_DOWN"));
    }
}

#[tokio::test]
async fn a_partial_answer_is_not_kept_either_when_a_person_has_taken_over() {
    for test_db in databases("partial after takeover").await {
        let world = World::scripted(test_db).await;
        let go = Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["De 10"]).hold(go.clone()).then_cut());
        let mut turn = world.agents.start(world.request(QUESTION)).await.unwrap();
        next_token(&mut turn).await;
        let conversation = turn.conversation;
        world.transition(conversation, Transition::RequestHuman).await;
        go.notify_one();
        assert_eq!(hear(turn).await.error().code, "TAKEN_OVER");
        assert!(world.replies(conversation).await.is_empty());
    }
}

#[tokio::test]
async fn an_unknown_said_after_some_words_abstains_with_those_words() {
    for test_db in databases("late sentinel").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::tokens(&["Lo siento.", " [NO_ANSWER]", " nada"]));
        let heard = world.ask(world.request(QUESTION)).await;
        assert_eq!(heard.answer().text, "Lo siento.");
        assert_eq!(heard.answer().outcome, Some(Outcome::Abstained));
        assert!(heard.answer().citations.is_empty());
        assert_eq!(world.gaps().await.len(), 1);
    }
}
