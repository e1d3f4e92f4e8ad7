//! Many messages at once while a person takes the conversation over.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::ConversationId;
use domain::conversation::Transition;
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};
use tokio::sync::Notify;

use super::provider::{QUESTION, app_on};
use crate::events;
use crate::support::read;

/// Messages that arrive at once, and those of them that are answered before the takeover.
const MESSAGES: usize = 10;
const ANSWERED: usize = 4;

#[tokio::test]
async fn ten_messages_at_once_get_one_reply_each_and_none_after_a_takeover() {
    for database in databases("ten messages and a takeover").await {
        let server = ModelServer::start().await.unwrap();
        let app = app_on(database, &server).await;
        let beside = app.beside().await;
        let first = app.post(&app.chat_path(), &json!({"query": "hola"})).await.expect(200);
        let conversation = first["conversationId"].as_str().unwrap();
        for _ in 0..ANSWERED {
            server.enqueue(ModelReply::tokens(&["De 9 ", "a 18 hs. [1]"]));
        }
        let go = Arc::new(Notify::new());
        server.enqueue(ModelReply::tokens(&["De 9 "]).hold(go.clone()).then(&["a 18 hs. [1]"]));
        let before = server.requests().len();

        // Half of them reach another process; every other one is streamed.
        let asking = (0..MESSAGES).map(|number| {
            let app = if number % 2 == 0 { &app } else { &beside };
            let streaming = number % 3 == 0;
            let query = format!("{QUESTION} Soy el cliente {number}.");
            let body = json!({
                "query": query, "conversationId": conversation, "streaming": streaming,
            });
            let path = app.chat_path();
            async move { (streaming, read(app.request(Method::POST, &path).json(&body)).await) }
        });
        let takeover = async {
            server.wait_for_requests(before + ANSWERED + 1).await;
            let id: ConversationId = conversation.parse().unwrap();
            let (workspace, now) = (app.tenant.workspace, app.ambient.now());
            let mut tx = app.db.write().await.unwrap();
            let taken = Transition::RequestHuman;
            storage::conversations::transition(&mut tx, workspace, id, taken, now).await.unwrap();
            tx.commit().await.unwrap();
            go.notify_one();
        };
        let (replies, ()) = tokio::join!(futures::future::join_all(asking), takeover);

        let (mut answered, mut silent, mut broken_off) = (0, 0, 0);
        for (streaming, reply) in replies {
            assert_eq!(reply.status, 200, "{}", reply.text);
            let last = if streaming {
                let last = events::parse(&reply.text).pop().unwrap();
                if last.name == "error" {
                    assert_eq!(last.data["code"], "TAKEN_OVER", "{}", reply.text);
                    broken_off += 1;
                    continue;
                }
                last.data
            } else {
                reply.json()
            };
            match last["answer"].as_str().unwrap() {
                "" => silent += 1,
                text => {
                    assert_eq!(text, "De 9 a 18 hs. [1]");
                    answered += 1;
                }
            }
            let handler = if last["answer"] == "" { "queue" } else { "bot" };
            assert_eq!(last["handler"], handler, "{last}");
        }
        assert_eq!(answered, ANSWERED);
        assert!(broken_off <= 1, "only the one that had begun");
        assert_eq!(silent + broken_off, MESSAGES - ANSWERED);
        assert_eq!(server.requests().len(), before + ANSWERED + 1, "nobody else asked the model");

        let path = format!("/api/v2/conversations/{conversation}/messages?limit=100");
        let listed = app.get(&path).await.expect(200);
        let messages = listed["data"].as_array().unwrap();
        let of = |role: &str| -> Vec<&Value> {
            messages.iter().filter(|message| message["role"] == role).collect()
        };
        assert_eq!((of("user").len(), of("assistant").len()), (MESSAGES + 1, ANSWERED + 1));
        let mut conn = app.db.read().await.unwrap();
        let id: ConversationId = conversation.parse().unwrap();
        let stored =
            storage::messages::list(&mut conn, app.tenant.workspace, id, 0, 100).await.unwrap();
        let answers: Vec<_> = stored.iter().filter_map(|message| message.reply_to).collect();
        let questions: BTreeSet<_> = answers.iter().copied().collect();
        assert_eq!((answers.len(), questions.len()), (ANSWERED + 1, ANSWERED + 1), "one each");
    }
}
