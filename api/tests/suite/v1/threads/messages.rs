//! Operators' messages: the text's own body, taking over, paging, repetition.

use domain::Role;
use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};

use super::{begin, member};
use crate::support::{PATIENCE, TestApp};

fn seqs(list: &Value) -> Vec<i64> {
    list["data"].as_array().unwrap().iter().map(|m| m["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn an_operator_answers_with_the_body_of_the_text_and_the_agent_falls_silent() {
    for app in TestApp::on_each_database("operators answer").await {
        let ana = member(&app, "Andrea", Role::Agent).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/messages");
        let body = json!({"content": "Hola, soy Andrea, te ayudo con esto.", "type": "text"});
        let sent = ana.post(&app, &path, &body).await.expect(201);
        assert_eq!(sent["content"], "Hola, soy Andrea, te ayudo con esto.");
        let author = json!({"type": "operator", "userId": ana.id, "name": "Andrea"});
        assert_eq!((&sent["author"], &sent["type"]), (&author, &json!("text")));
        assert_eq!(sent["seq"], 3);

        let list = ana.get(&app, &path).await.expect(200);
        assert_eq!(list["data"][2], sent);
        assert_eq!(list["data"][0]["author"], json!({"type": "customer"}));
        assert_eq!(list["data"][1]["author"]["type"], "agent");
        assert_eq!(list["meta"]["itemCount"], 3);

        // What the customer's own surface shows, and that the agent is silent from now on.
        let shown = app.get(&format!("/api/v2/conversations/{conversation}")).await.expect(200);
        assert_eq!((&shown["handler"], &shown["status"]), (&json!("operator"), &json!("open")));
        let v2 = format!("/api/v2/conversations/{conversation}/messages");
        let shown = app.get(&v2).await.expect(200);
        assert_eq!(shown["data"][2]["operatorName"], "Andrea");
        assert_eq!(shown["data"][2]["role"], "operator");
        let again = json!({"query": "¿y el horario?", "conversationId": conversation});
        let answer = app.post(&app.chat_path(), &again).await.expect(200);
        assert_eq!((&answer["handler"], &answer["answer"]), (&json!("operator"), &json!("")));
        let list = ana.get(&app, &format!("{path}?after=3")).await.expect(200);
        assert_eq!(seqs(&list), [4], "the customer's message alone");
    }
}

#[tokio::test]
async fn messages_are_read_by_page_and_on_either_side_of_one() {
    for app in TestApp::on_each_database("paging messages").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/messages");
        for number in 3..=7 {
            let body = json!({"content": number.to_string()});
            ana.post(&app, &path, &body).await.expect(201);
        }
        let viewer = member(&app, "mira", Role::Viewer).await;
        let expected = [
            ("take=3", vec![1, 2, 3], [false, true]),
            ("take=3&page=3", vec![7], [true, false]),
            ("take=3&page=9", vec![], [true, false]),
            ("take=3&order=DESC", vec![7, 6, 5], [false, true]),
            ("take=3&order=DESC&page=3", vec![1], [true, false]),
            ("after=0&take=2", vec![1, 2], [false, true]),
            ("after=5&take=9", vec![6, 7], [true, false]),
            ("after=7", vec![], [true, false]),
            ("before=4&take=2", vec![2, 3], [true, true]),
            ("before=3", vec![1, 2], [false, true]),
        ];
        for (query, expected, [before, after]) in expected {
            let list = viewer.get(&app, &format!("{path}?{query}")).await.expect(200);
            assert_eq!(seqs(&list), expected, "{query}");
            let meta = &list["meta"];
            assert_eq!(meta["itemCount"], 7, "{query}");
            let sides = json!([meta["hasPreviousPage"], meta["hasNextPage"]]);
            assert_eq!(sides, json!([before, after]), "{query}");
        }
        for (query, field) in [
            ("take=0", "take"),
            ("take=101", "take"),
            ("page=x", "page"),
            ("order=up", "order"),
            ("after=-1", "after"),
            ("before=0", "before"),
            ("before=2&after=1", "before"),
            ("before=2&page=1", "page"),
        ] {
            viewer.get(&app, &format!("{path}?{query}")).await.expect_field(field);
        }
        viewer.post(&app, &path, &json!({"content": "x"})).await.expect_error(403, "FORBIDDEN");
    }
}

#[tokio::test]
async fn a_message_that_is_sent_twice_is_one() {
    for app in TestApp::on_each_database("repeated messages").await {
        let ana = member(&app, "ana", Role::Agent).await;
        let eva = member(&app, "eva", Role::Agent).await;
        let conversation = begin(&app, "hola").await;
        let path = format!("/v1/conversations/{conversation}/messages");
        let body = json!({"content": "una vez", "clientMessageId": "c-1"});
        let (one, other) = tokio::join!(ana.post(&app, &path, &body), ana.post(&app, &path, &body));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201]);
        assert_eq!(one.json(), other.json());
        // Another person's id of the same name is another message's.
        let hers = eva.post(&app, &path, &body).await.expect(201);
        assert_eq!(hers["author"]["name"], "eva");
        let list = ana.get(&app, &path).await.expect(200);
        assert_eq!(list["meta"]["itemCount"], 4);
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_by_name() {
    let app = TestApp::start().await;
    let ana = member(&app, "ana", Role::Agent).await;
    let conversation = begin(&app, "hola").await;
    let path = format!("/v1/conversations/{conversation}/messages");
    for (body, field) in [
        (json!({}), "content"),
        (json!({"content": " "}), "content"),
        (json!({"content": "x".repeat(10_001)}), "content"),
        (json!({"content": "x", "type": "video"}), "type"),
        (json!({"content": "x", "type": "image"}), "attachmentIds"),
        (json!({"type": "file", "attachmentIds": []}), "attachmentIds"),
        (json!({"content": "x", "attachmentIds": ["x"]}), "attachmentIds[0]"),
        (
            json!({"content": "x", "attachmentIds": ["att_00000000000000000000000000000000"]}),
            "attachmentIds[0]",
        ),
        (json!({"content": "x", "clientMessageId": ""}), "clientMessageId"),
    ] {
        ana.post(&app, &path, &body).await.expect_field(field);
    }
    let list = ana.get(&app, &path).await.expect(200);
    assert_eq!(list["meta"]["itemCount"], 2, "nothing was kept");
    let shown = app.get(&format!("/api/v2/conversations/{conversation}")).await.expect(200);
    assert_eq!(shown["handler"], "bot", "and nobody took it over");

    let body = json!({"content": "x"});
    let key = crate::support::read(app.request(Method::POST, &path).json(&body)).await;
    key.expect_error(403, "FORBIDDEN");
    let stranger = super::Person::register(&app, "extraña").await;
    let absent = path.replace(&conversation, "conv_00000000000000000000000000000000");
    let foreign = stranger.post(&app, &path, &body).await.expect_error(404, "NOT_FOUND");
    assert_eq!(stranger.post(&app, &absent, &body).await.expect_error(404, "NOT_FOUND"), foreign);
    assert_eq!(stranger.get(&app, &path).await.expect_error(404, "NOT_FOUND"), foreign);
}

#[tokio::test]
async fn an_answer_under_way_ends_when_a_person_answers() {
    for database in databases("an answer under way").await {
        let server = ModelServer::start().await.unwrap();
        let base_url = server.base_url().parse().unwrap();
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
        })
        .await;
        app.learn("FAQ", "Nuestros horarios son de 9 a 18 hs.").await;
        let ana = member(&app, "ana", Role::Agent).await;
        server.enqueue(ModelReply::tokens(&["Abrimos de 9 ", "a 18 hs "]).then_hang());
        let body = json!({"query": "¿Cuáles son los horarios?", "streaming": true});
        let response =
            app.request(Method::POST, &app.chat_path()).json(&body).send().await.unwrap();
        let conversation = response.headers()["x-conversation-id"].to_str().unwrap().to_owned();
        let mut stream = response.bytes_stream();
        let mut seen = String::new();
        let path = format!("/v1/conversations/{conversation}/messages");
        let reading = async {
            while !seen.contains("Abrimos") {
                seen.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
            }
            ana.post(&app, &path, &json!({"content": "Ya le respondo yo."})).await.expect(201);
            while let Some(piece) = stream.next().await {
                seen.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the stream ends");
        server.wait_for_departures(1).await;
        let list = ana.get(&app, &path).await.expect(200);
        let said: Vec<&str> = list["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["content"].as_str().unwrap())
            .collect();
        assert_eq!(said, ["¿Cuáles son los horarios?", "Ya le respondo yo."], "{seen}");
    }
}
