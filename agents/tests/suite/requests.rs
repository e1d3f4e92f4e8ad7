//! What a request is refused for, and what a repeated one gets.

use agents::TurnRequest;
use domain::agent::AgentStatus;
use domain::contact::ContactDetails;
use domain::conversation::{ConversationStatus, Handler, Transition};
use domain::message::Author;
use domain::{AgentId, ConversationId, ErrorKind};
use storage::workspaces;
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};
use tokio::sync::Notify;

use crate::world::{World, hear, visitor};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

#[tokio::test]
async fn absent_and_foreign_agents_and_conversations_are_told_in_the_same_words() {
    for test_db in databases("foreign ids").await {
        let world = World::builtin(test_db).await;
        let mut tx = world.test_db.db.write().await.unwrap();
        let other = workspaces::create(&mut tx, &world.ambient, "Otra").await.unwrap();
        tx.commit().await.unwrap();
        let heard = world.ask(world.request(QUESTION)).await;
        let known = heard.answer().conversation;
        let second = world.agent(&[], |_| {}).await;
        let absent_agent: AgentId = world.ambient.new_id();
        let absent: ConversationId = world.ambient.new_id();
        for agent in [absent_agent, other.agent.id] {
            let request = TurnRequest { agent, ..world.request(QUESTION) };
            let error = world.agents.start(request).await.unwrap_err();
            assert_eq!(
                (error.kind, error.message.as_str()),
                (ErrorKind::NotFound, "agent not found")
            );
        }
        let of_another_workspace = TurnRequest {
            workspace: other.workspace.id,
            agent: other.agent.id,
            ..world.in_conversation(known, QUESTION)
        };
        let of_another_agent =
            TurnRequest { agent: second.id, ..world.in_conversation(known, QUESTION) };
        let unknown = world.in_conversation(absent, QUESTION);
        for request in [of_another_workspace, of_another_agent, unknown] {
            let error = world.agents.start(request).await.unwrap_err();
            let words = "conversation not found";
            assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, words));
        }
        assert_eq!(world.messages(known).await.len(), 2, "nothing was stored");
        let (stranger, agent) = (other.workspace.id, other.agent.id);
        assert!(!world.agents.stop(stranger, agent, heard.answer().message).await.unwrap());
    }
}

#[tokio::test]
async fn a_paused_agent_stays_silent() {
    for test_db in databases("paused agent").await {
        let world = World::builtin(test_db).await;
        for status in [AgentStatus::Paused, AgentStatus::Archived] {
            let mut agent = world.born.agent.clone();
            agent.id = world.ambient.new_id();
            agent.status = status;
            let agent = world.store_agent(agent).await;
            let error = world.agents.start(world.to(&agent, QUESTION)).await.unwrap_err();
            assert_eq!((error.kind, error.code), (ErrorKind::Conflict, "AGENT_PAUSED"));
        }
        assert!(world.events("conversation.created").await.is_empty());
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_stored_answer_and_is_answered_once() {
    for test_db in databases("idempotency").await {
        let world = World::scripted(test_db).await;
        let request = TurnRequest { client_id: Some("k-1".to_owned()), ..world.request(QUESTION) };
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        let first = world.ask(request.clone()).await;
        let again = world.ask(request.clone()).await;
        assert_eq!(again.answer().conversation, first.answer().conversation);
        assert_eq!(again.answer().message, first.answer().message);
        assert_eq!(again.answer().text, "De 10 a 14 [1].");
        assert_eq!(again.answer().citations, first.answer().citations);
        let conversation = first.answer().conversation;
        let inside = TurnRequest {
            client_id: Some("k-2".to_owned()),
            ..world.in_conversation(conversation, QUESTION)
        };
        let one = world.ask(inside.clone()).await;
        let two = world.ask(inside).await;
        assert_eq!(one.answer().message, two.answer().message);
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 2);
        assert_eq!(world.messages(conversation).await.len(), 4);
        assert_eq!(world.events("conversation.created").await.len(), 1);
    }
}

#[tokio::test]
async fn a_request_repeated_while_it_is_answered_is_a_conflict_and_later_is_served() {
    for test_db in databases("repeated while running").await {
        let world = World::scripted(test_db).await;
        let go = std::sync::Arc::new(Notify::new());
        world.model().enqueue(Reply::tokens(&["De 10"]).hold(go.clone()).then(&[" a 14 [1]."]));
        let request = TurnRequest { client_id: Some("k-1".to_owned()), ..world.request(QUESTION) };
        let turn = world.agents.start(request.clone()).await.unwrap();
        world.model().wait_for_requests(1).await;
        let error = world.agents.start(request.clone()).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Conflict, "CONFLICT"));
        go.notify_one();
        assert_eq!(hear(turn).await.answer().text, "De 10 a 14 [1].");
        assert_eq!(world.ask(request).await.answer().text, "De 10 a 14 [1].");
    }
}

#[tokio::test]
async fn a_request_whose_answer_failed_before_a_word_is_answered_when_it_is_repeated() {
    for test_db in databases("repeated after failure").await {
        let world = World::scripted(test_db).await;
        let request = TurnRequest { client_id: Some("k-1".to_owned()), ..world.request(QUESTION) };
        world.model().enqueue(Reply::error(500, "down"));
        let failed = world.ask(request.clone()).await;
        assert_eq!(failed.error().kind, ErrorKind::Unavailable);
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        let heard = world.ask(request).await;
        let all = world.messages(heard.answer().conversation).await;
        assert_eq!(all.len(), 2, "one message of the customer, one answer");
        assert_eq!(all[1].reply_to, Some(all[0].id));
    }
}

#[tokio::test]
async fn contact_and_visitor_of_a_request_are_put_on_the_conversation() {
    for test_db in databases("contact of a request").await {
        let world = World::builtin(test_db).await;
        let contact = ContactDetails {
            email: Some("juan@ejemplo.com".to_owned()),
            first_name: Some("Juan".to_owned()),
            ..ContactDetails::default()
        };
        let request = TurnRequest { visitor: visitor("u-7"), contact, ..world.request(QUESTION) };
        let conversation = world.ask(request).await.answer().conversation;
        let stored = world.conversation(conversation).await;
        assert_eq!(stored.visitor_id, visitor("u-7"));
        assert_eq!(stored.title, QUESTION);
        let next = TurnRequest { visitor: visitor("u-7"), ..world.request("hola") };
        let second = world.conversation(world.ask(next).await.answer().conversation).await;
        assert_eq!(second.contact_id, stored.contact_id, "the visitor is known");
        assert!(stored.contact_id.is_some());
    }
}

#[tokio::test]
async fn a_customer_who_returns_after_the_close_begins_a_new_context_with_the_agent() {
    for test_db in databases("return after close").await {
        let world = World::builtin(test_db).await;
        let first = world.ask(world.request("quiero hablar con una persona")).await;
        let conversation = first.answer().conversation;
        world.transition(conversation, Transition::Close).await;
        let heard = world.ask(world.in_conversation(conversation, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!((answer.handler, answer.status), (Handler::Bot, ConversationStatus::Open));
        let after = world.conversation(conversation).await.context_after;
        let before: Vec<i64> =
            world.messages(conversation).await[..2].iter().map(|m| m.seq).collect();
        assert_eq!(after, before[1]);
        assert_eq!(world.messages(conversation).await[2].author, Author::Customer);
    }
}
