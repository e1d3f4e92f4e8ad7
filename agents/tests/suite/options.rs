//! What an agent's settings ask of the model, and what becomes of its answers.

use domain::agent::{Agent, ToolKind, Unsupported};
use domain::message::Outcome;
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};

use crate::world::World;

const QUESTION: &str = "¿Cuánto cuesta el envío a domicilio y cuánto demora?";

async fn json_agent(world: &World, tools: &[ToolKind]) -> Agent {
    world.agent(tools, |settings| settings.json_mode = true).await
}

fn object(text: &str) -> Value {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text} is JSON"));
    assert!(value.is_object(), "{text}");
    value
}

#[tokio::test]
async fn seed_stop_and_json_mode_reach_the_provider() {
    for test_db in databases("request options").await {
        let world = World::scripted(test_db).await;
        let agent = world
            .agent(&[], |settings| {
                settings.seed = Some(41);
                settings.stop = vec!["\n\n".to_owned()];
                settings.json_mode = true;
            })
            .await;
        world.model().enqueue(Reply::text(r#"{"answer": "Hola."}"#));
        let heard = world.ask(world.to(&agent, "¿Me ayudas con una receta?")).await;
        assert_eq!(object(&heard.answer().text), json!({"answer": "Hola."}));
        let seen = world.model().requests_to(Endpoint::Chat).remove(0).body;
        assert_eq!((&seen["seed"], &seen["stop"]), (&json!(41), &json!(["\n\n"])));
        assert_eq!(seen["response_format"], json!({"type": "json_object"}));
        assert!(seen["messages"][0]["content"].as_str().unwrap().contains("JSON"));
    }
}

#[tokio::test]
async fn an_answer_in_json_cites_from_within_its_texts() {
    for test_db in databases("json cites").await {
        let world = World::scripted(test_db).await;
        let agent = json_agent(&world, &[ToolKind::Datastore]).await;
        let said = r#"{"days": [3, 9], "answer": "Cuesta 3.500 pesos [1][8].", "note": "Demora \"tres\" días hábiles [1]."}"#;
        world.model().enqueue(Reply::text(said).split_every(3));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        let answer = heard.answer();
        let expected = json!({
            "days": [3, 9],
            "answer": "Cuesta 3.500 pesos [1].",
            "note": "Demora \"tres\" días hábiles [1].",
        });
        assert_eq!(object(&answer.text), expected);
        assert_eq!((answer.outcome, answer.citations.len()), (Some(Outcome::Answered), 1));
        let quote = &answer.citations[0].quote;
        assert!(quote.contains("3.500") && world_text().contains(quote.as_str()), "{quote}");
        assert_eq!(heard.sources.len(), 1);
        assert_eq!(answer.unsupported, ["9"], "a number of an object is a number of the answer");
        assert_eq!(world.replies(answer.conversation).await[0].content, answer.text);
    }
}

fn world_text() -> &'static str {
    crate::world::SHIPPING
}

#[tokio::test]
async fn a_model_in_json_mode_that_knows_nothing_abstains_in_json() {
    for test_db in databases("json abstains").await {
        let world = World::scripted(test_db).await;
        let agent = json_agent(&world, &[ToolKind::Datastore]).await;
        for said in [
            r#"{"answer": "[NO_ANSWER]"}"#,
            r#"{"answer": "NO_ANSWER", "topic": "envíos"}"#,
            r#"{"answer": null}"#,
            r#"{"answer": ""}"#,
            "{}",
        ] {
            let gaps = world.gaps().await.len();
            world.model().enqueue(Reply::text(said));
            let heard = world.ask(world.to(&agent, QUESTION)).await;
            let answer = heard.answer();
            assert_eq!(answer.outcome, Some(Outcome::Abstained), "{said}");
            let words = object(&answer.text)["answer"].as_str().unwrap().to_owned();
            assert!(!words.is_empty() && !answer.text.contains("NO_ANSWER"), "{words}");
            assert!(answer.citations.is_empty() && heard.sources.is_empty());
            assert_eq!(world.gaps().await.len(), gaps + 1, "{said}");
        }
        let asked = &world.model().requests_to(Endpoint::Chat)[0].body["messages"][0]["content"];
        assert!(asked.as_str().unwrap().contains(r#"{"answer": "[NO_ANSWER]"}"#), "{asked}");
        // The gate says so too, without asking the model.
        let before = world.model().requests_to(Endpoint::Chat).len();
        let heard = world.ask(world.to(&agent, "¿Aceptan criptomonedas?")).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Abstained));
        object(&heard.answer().text);
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), before);
    }
}

#[tokio::test]
async fn what_is_no_object_is_asked_for_again_and_never_sent() {
    for test_db in databases("no object").await {
        let world = World::scripted(test_db).await;
        let agent = json_agent(&world, &[ToolKind::Datastore]).await;
        let cut = r#"{"answer": "Cuesta 3.5"#;
        world.model().enqueue(Reply::text(cut).finish("length"));
        world.model().enqueue(Reply::text(r#"{"answer": "Cuesta 3.500 [1]."}"#));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        assert_eq!(object(&heard.answer().text), json!({"answer": "Cuesta 3.500 [1]."}));
        let messages = world.model().requests_to(Endpoint::Chat)[1].body["messages"].clone();
        let messages = messages.as_array().unwrap();
        assert_eq!(messages[messages.len() - 2]["content"], cut);
        world.model().enqueue(Reply::text("Cuesta 3.500 pesos [1]."));
        world.model().enqueue(Reply::text("Cuesta 3.500 pesos [1]."));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        assert_eq!(heard.error().code, "MODEL_UNAVAILABLE");
        assert!(heard.tokens.is_empty() && heard.sources.is_empty(), "half an object is no answer");
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 4, "once more, not more often");
    }
}

#[tokio::test]
async fn json_mode_holds_with_tools_handoff_and_checks() {
    for test_db in databases("json with tools").await {
        let world = World::scripted(test_db).await;
        let tools = [ToolKind::Datastore, ToolKind::RequestHuman];
        let agent = json_agent(&world, &tools).await;
        let search = Reply::text(r#"{"answer": "Busco…"}"#);
        let arguments = r#"{"query": "horario de los sábados"}"#;
        world.model().enqueue(search.tool_call("a", "search_knowledge", &[arguments]));
        world.model().enqueue(Reply::text(r#"{"answer": "Cuesta 3.500 [1]."}"#));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!(object(&answer.text), json!({"answer": "Cuesta 3.500 [1]."}));
        let call = Reply::text(r#"{"answer": "Te paso con alguien."}"#);
        world.model().enqueue(call.tool_call("b", "request_human", &["{}"]));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::HandedOff));
        assert!(object(&answer.text)["answer"].is_string());
        let heard = world.ask(world.to(&agent, "quiero hablar con una persona")).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::HandedOff));
        object(&heard.answer().text);

        let strict = world
            .agent(&[ToolKind::Datastore], |settings| {
                settings.json_mode = true;
                settings.unsupported = Unsupported::Withhold;
                settings.unknown_answer = Some(r#"{"answer": null, "known": false}"#.to_owned());
            })
            .await;
        world.model().enqueue(Reply::text(r#"{"answer": "Cuesta 4.200 [1]."}"#));
        let heard = world.ask(world.to(&strict, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::Abstained));
        assert_eq!(object(&answer.text), json!({"answer": null, "known": false}), "in their words");
    }
}
