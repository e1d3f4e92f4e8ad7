//! Answers that state what stands in nothing they cite.

use domain::agent::{ToolKind, Unsupported};
use domain::message::Outcome;
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};

use crate::world::World;

const QUESTION: &str = "¿Cuánto cuesta el envío a domicilio y cuánto demora?";
const WRONG: &str = "Cuesta 4.200 pesos [1] y demora tres días hábiles [1].";
const RIGHT: &str = "Cuesta $3500 [1] y demora 3 días hábiles [1].";

#[tokio::test]
async fn what_no_passage_holds_is_flagged_and_what_one_holds_is_not() {
    for test_db in databases("unsupported is flagged").await {
        let world = World::scripted(test_db).await;
        for (reply, expected) in [(WRONG, vec!["4.200".to_owned()]), (RIGHT, Vec::new())] {
            world.model().enqueue(Reply::text(reply));
            let heard = world.ask(world.request(QUESTION)).await;
            let answer = heard.answer();
            assert_eq!((answer.text.as_str(), answer.outcome), (reply, Some(Outcome::Answered)));
            assert_eq!(answer.unsupported, expected);
            assert_eq!(world.replies(answer.conversation).await[0].unsupported, expected);
            let trace = world.trace(answer.message).await;
            assert_eq!(trace["unsupported"], serde_json::json!(expected));
        }
        // What the customer says needs no passage.
        world.model().enqueue(Reply::text("Para el pedido 4200-B el envío cuesta 3.500 [1]."));
        let question = "Pedí la 4200-B, ¿cuánto cuesta el envío a domicilio?";
        let heard = world.ask(world.request(question)).await;
        assert_eq!(heard.answer().unsupported, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_model_is_asked_once_more_before_anything_is_sent() {
    for test_db in databases("unsupported is retried").await {
        let world = World::scripted(test_db).await;
        let agent = world
            .agent(&[ToolKind::Datastore], |settings| settings.unsupported = Unsupported::Retry)
            .await;
        for (second, left) in [(RIGHT, vec![]), (WRONG, vec!["4.200".to_owned()])] {
            let asked = world.model().requests_to(Endpoint::Chat).len();
            world.model().enqueue(Reply::text(WRONG).usage(100, 10));
            world.model().enqueue(Reply::text(second).usage(120, 9));
            let heard = world.ask(world.to(&agent, QUESTION)).await;
            let answer = heard.answer();
            assert_eq!(answer.text, second, "nothing of the first answer is sent");
            assert_eq!((&answer.unsupported, answer.outcome), (&left, Some(Outcome::Answered)));
            assert_eq!(answer.citations.len(), 1);
            let requests = world.model().requests_to(Endpoint::Chat);
            assert_eq!(requests.len(), asked + 2, "once more, not more often");
            let messages = requests.last().unwrap().body["messages"].as_array().unwrap().clone();
            let last = messages.last().unwrap()["content"].as_str().unwrap().to_owned();
            assert!(last.contains("4.200"), "{last}");
            assert_eq!(messages[messages.len() - 2]["content"], WRONG);
            let stored = &world.replies(answer.conversation).await[0];
            assert_eq!((stored.prompt_tokens, stored.completion_tokens), (Some(220), Some(19)));
            assert_eq!(world.trace(answer.message).await["retriedFor"][0], "4.200");
        }
    }
}

#[tokio::test]
async fn an_answer_is_withheld_and_becomes_a_gap() {
    for test_db in databases("unsupported is withheld").await {
        let world = World::scripted(test_db).await;
        let agent = world
            .agent(&[ToolKind::Datastore], |settings| {
                settings.unsupported = Unsupported::Withhold;
                settings.unknown_answer = Some("No lo sé.".to_owned());
            })
            .await;
        world.model().enqueue(Reply::text(WRONG));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!((answer.text.as_str(), answer.outcome), ("No lo sé.", Some(Outcome::Abstained)));
        assert!(heard.sources.is_empty() && answer.citations.is_empty());
        assert_eq!(world.gaps().await[0].message_id, answer.message);
        let trace = world.trace(answer.message).await;
        assert_eq!(
            (&trace["withheld"], &trace["unsupported"][0]),
            (&WRONG.into(), &"4.200".into())
        );
        world.model().enqueue(Reply::text(RIGHT));
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        assert_eq!(heard.answer().text, RIGHT);
        assert_eq!(heard.sources.len(), 1, "what it cites is told before it");
    }
}

#[tokio::test]
async fn the_built_in_answerer_says_nothing_unsupported() {
    for test_db in databases("built-in is supported").await {
        let world = World::builtin(test_db).await;
        world.teach("Contacto", "Escriba a ayuda@tienda.cl o llame al +56 2 2345 6789.").await;
        for question in [QUESTION, "¿Qué horario tienen los sábados?", "¿A qué correo escribo?"]
        {
            let heard = world.ask(world.request(question)).await;
            let answer = heard.answer();
            assert_eq!(answer.outcome, Some(Outcome::Answered), "{question}");
            for citation in &answer.citations {
                assert!(!citation.quote.is_empty());
            }
            // Each sentence stands in the passage word for word.
            let said = answer.text.split(" [").next().unwrap().trim().to_owned();
            assert!(answer.citations.iter().any(|c| c.quote.contains(&said)), "{said}");
            assert_eq!(answer.unsupported, Vec::<String>::new());
        }
    }
}
