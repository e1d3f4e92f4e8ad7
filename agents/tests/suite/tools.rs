//! Turns in which a model calls tools, each driven over real HTTP.

use std::sync::Arc;

use agents::{ToolPhase, TurnRequest};
use domain::agent::{Agent, AgentTool, ToolKind};
use domain::conversation::{ConversationStatus, Handler};
use domain::message::{MessageState, Outcome, ToolStatus};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};
use tokio_util::task::TaskTracker;

use crate::world::{Heard, World, hear};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

fn tool(kind: ToolKind, settings: &Value) -> AgentTool {
    let settings = settings.as_object().cloned().unwrap_or_default();
    AgentTool { kind, id: None, settings }
}

/// An agent with these tools beside its knowledge.
async fn agent_with(world: &World, tools: Vec<AgentTool>) -> Agent {
    let mut agent = world.born.agent.clone();
    agent.id = world.ambient.new_id();
    agent.tools = vec![AgentTool::plain(ToolKind::Datastore)];
    agent.tools.extend(tools);
    world.store_agent(agent).await
}

fn calls(name: &str, arguments: &Value) -> Reply {
    Reply::text("").tool_call("call_1", name, &[&arguments.to_string()])
}

/// The messages of the last request to the model.
fn last_messages(world: &World) -> Vec<Value> {
    let requests = world.model().requests_to(Endpoint::Chat);
    requests.last().unwrap().body["messages"].as_array().unwrap().clone()
}

fn phases(heard: &Heard) -> Vec<(&str, ToolPhase)> {
    heard.tools.iter().map(|step| (step.name.as_str(), step.phase)).collect()
}

/// The same question streamed and as a whole: both must come to the same.
async fn both_ways(world: &World, request: TurnRequest, script: impl Fn()) -> [Heard; 2] {
    script();
    let streamed = world.ask(request.clone()).await;
    script();
    let whole = hear(world.agents.start_whole(request).await.unwrap()).await;
    [streamed, whole]
}

#[tokio::test]
async fn a_model_searches_again_in_its_own_words_and_cites_what_it_found() {
    for test_db in databases("search again").await {
        let world = World::scripted(test_db).await;
        world.teach("Garantía", "La garantía legal de los productos dura seis meses.").await;
        let agent = world.agent(&[ToolKind::Datastore], |settings| settings.top_k = 1).await;
        let script = || {
            world
                .model()
                .enqueue(calls("search_knowledge", &json!({"query": "garantía productos"})));
            world
                .model()
                .enqueue(Reply::text("Abre a las 10 [1] y la garantía dura seis meses [2]."));
        };
        let heard = both_ways(&world, world.to(&agent, QUESTION), script).await;
        let answer = heard[0].answer();
        let cited: Vec<&str> = answer.citations.iter().map(|c| c.source_name.as_str()).collect();
        assert_eq!(cited, ["Horarios", "Garantía"]);
        assert_eq!(
            phases(&heard[0]),
            [("datastore", ToolPhase::Running), ("datastore", ToolPhase::Done)]
        );
        assert_eq!(
            heard[0].sources.len(),
            2,
            "the found passage is told before the text that cites it"
        );
        assert_eq!(answer.tools[0].arguments, json!({"query": "garantía productos"}));
        assert_eq!(heard[1].end.as_ref().unwrap().text, answer.text);
        let messages = last_messages(&world);
        let result = messages.last().unwrap();
        assert_eq!((&result["role"], &result["tool_call_id"]), (&json!("tool"), &json!("call_1")));
        assert!(result["content"].as_str().unwrap().contains("seis meses"), "{result}");
        let trace = world.trace(answer.message).await;
        assert_eq!(trace["tools"][0]["name"], "search_knowledge");
    }
}

#[tokio::test]
async fn a_search_stays_within_the_agents_datastores_and_filters_must_be_well_formed() {
    for test_db in databases("search bounds").await {
        let world = World::scripted(test_db).await;
        for (arguments, told) in [
            (json!({"query": ""}), "`query` must be"),
            (json!({"query": "x", "datastore": "ds_of_another"}), "there is no datastore"),
            (json!({"query": "x", "filter": "y"}), "`filter` must be"),
            (json!({"query": "zzzz qqqq"}), "Nothing was found"),
        ] {
            world.model().enqueue(calls("search_knowledge", &arguments));
            world.model().enqueue(Reply::text("A las 10 [1]."));
            world.ask(world.request(QUESTION)).await.answer();
            let messages = last_messages(&world);
            let result = messages.last().unwrap()["content"].as_str().unwrap().to_owned();
            assert!(result.contains(told), "{arguments}: {result}");
        }
    }
}

#[tokio::test]
async fn a_lead_is_checked_put_on_the_contact_and_told_once() {
    for test_db in databases("lead tool").await {
        let world = World::scripted(test_db).await;
        let settings = json!({"fields": [
            {"name": "name", "required": true},
            {"name": "email", "required": true},
            {"name": "order", "description": "the order's number"},
        ]});
        let agent = agent_with(&world, vec![tool(ToolKind::LeadCapture, &settings)]).await;
        let given =
            json!({"name": "Ana Pérez", "email": "Ana@Ejemplo.com", "order": 4711, "other": "x"});
        world.model().enqueue(calls("capture_lead", &given));
        world.model().enqueue(Reply::text("Gracias, Ana: te escribiremos."));
        let said = "Soy Ana Pérez, mi correo es ana@ejemplo.com y el pedido es el 4711, ¿me avisan cuando llegue?";
        let heard = world.ask(world.to(&agent, said)).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::LeadCaptured));
        let leads = world.leads().await;
        assert_eq!(leads.len(), 1);
        let fields: Vec<(&str, &str)> =
            leads[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            fields,
            [("email", "ana@ejemplo.com"), ("name", "Ana Pérez"), ("order", "4711")]
        );
        let conversation = world.conversation(answer.conversation).await;
        assert_eq!(conversation.contact_id, leads[0].contact_id);
        assert_eq!(world.events("lead.captured").await.len(), 1);
        let told = last_messages(&world).last().unwrap()["content"].as_str().unwrap().to_owned();
        assert!(told.contains("\"stillMissing\":[]"), "{told}");

        // More of the same customer is added to the same lead and the same contact.
        world.model().enqueue(calls("capture_lead", &json!({"order": "4712"})));
        world.model().enqueue(Reply::text("Anotado."));
        let more = TurnRequest {
            conversation: Some(answer.conversation),
            ..world.to(&agent, "Perdón, el pedido es el 4712, no el que te dije antes")
        };
        world.ask(more).await.answer();
        let leads = world.leads().await;
        assert_eq!((leads.len(), leads[0].fields["order"].as_str()), (1, "4712"));
        assert_eq!(leads[0].fields["email"], "ana@ejemplo.com");
    }
}

#[tokio::test]
async fn what_a_model_makes_up_is_not_noted() {
    for test_db in databases("made up").await {
        let world = World::scripted(test_db).await;
        let agent = agent_with(&world, vec![AgentTool::plain(ToolKind::LeadCapture)]).await;
        for given in [
            json!({"email": "juan@inventado.com"}),
            json!({"phone": "+56 9 8765 4321"}),
            json!({"email": "no es un correo"}),
            json!({}),
        ] {
            world.model().enqueue(calls("capture_lead", &given));
            world.model().enqueue(Reply::text("¿Me dejas tu correo?"));
            let heard =
                world.ask(world.to(&agent, "Quiero que me contacten mañana por el pedido")).await;
            assert_eq!(heard.answer().tools[0].status, ToolStatus::Failed, "{given}");
            assert_eq!(phases(&heard)[1].1, ToolPhase::Failed);
        }
        assert!(world.leads().await.is_empty());
        assert!(world.events("lead.captured").await.is_empty());
    }
}

#[tokio::test]
async fn a_model_that_calls_a_person_ends_its_turn() {
    for test_db in databases("human tool").await {
        let world = World::scripted(test_db).await;
        let human = tool(ToolKind::RequestHuman, &json!({"message": "Te paso con Marta."}));
        let agent = agent_with(&world, vec![human]).await;
        let script = || {
            world.model().enqueue(Reply::tokens(&["Entiendo."]).tool_call(
                "c",
                "request_human",
                &["{\"reason\":\"queja\"}"],
            ));
        };
        for heard in both_ways(&world, world.to(&agent, QUESTION), script).await {
            let answer = heard.end.as_ref().unwrap();
            assert_eq!(answer.text, "Entiendo.\n\nTe paso con Marta.");
            assert_eq!(
                (answer.outcome, answer.handler),
                (Some(Outcome::HandedOff), Handler::Queue)
            );
            assert_eq!(answer.status, ConversationStatus::Pending);
            let conversation = world.conversation(answer.conversation).await;
            assert_eq!(conversation.handler, Handler::Queue);
        }
        assert_eq!(world.events("handoff.requested").await.len(), 2);
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 2, "no further round");
    }
}

#[tokio::test]
async fn when_nobody_is_there_an_address_is_asked_for_and_noted() {
    for test_db in databases("away").await {
        let world = World::scripted(test_db).await;
        let closed =
            json!({"words": ["Humano YA"], "hours": {"timeZone": "America/Santiago", "days": {}}});
        let agent = agent_with(
            &world,
            vec![tool(ToolKind::RequestHuman, &closed), AgentTool::plain(ToolKind::LeadCapture)],
        )
        .await;
        let heard = world.ask(world.to(&agent, "¡humano, ya!")).await;
        let answer = heard.answer();
        assert!(answer.text.contains("correo"), "{}", answer.text);
        assert_eq!(answer.handler, Handler::Queue);
        let request = TurnRequest {
            conversation: Some(answer.conversation),
            ..world.to(&agent, "mi correo es ana@ejemplo.com")
        };
        let silent = world.ask(request).await;
        assert_eq!(silent.end.unwrap().text, "", "a person has the conversation");
        assert_eq!(world.leads().await[0].fields["email"], "ana@ejemplo.com");
        assert!(world.model().requests_to(Endpoint::Chat).is_empty());
    }
}

#[tokio::test]
async fn a_model_closes_a_conversation_that_is_resolved() {
    for test_db in databases("resolve tool").await {
        let world = World::scripted(test_db).await;
        let agent = agent_with(&world, vec![AgentTool::plain(ToolKind::MarkAsResolved)]).await;
        world.model().enqueue(calls("mark_as_resolved", &json!({})));
        world.model().enqueue(Reply::text("¡Qué bueno! Hasta pronto."));
        let heard =
            world.ask(world.to(&agent, "Gracias, ya quedó todo resuelto con mi pedido")).await;
        assert_eq!(heard.answer().status, ConversationStatus::Closed);
        assert_eq!(world.events("conversation.closed").await.len(), 1);
    }
}

#[tokio::test]
async fn a_tool_that_the_agent_lacks_does_not_run_and_the_model_is_told_so() {
    for test_db in databases("unknown tool").await {
        let world = World::scripted(test_db).await;
        let agent = agent_with(&world, Vec::new()).await;
        for (name, arguments) in
            [("request_human", "{}"), ("rm", "{}"), ("search_knowledge", "{\"query\"")]
        {
            world.model().enqueue(Reply::text("").tool_call("c", name, &[arguments]));
            world.model().enqueue(Reply::text("De 10 a 14 [1]."));
            let heard = world.ask(world.to(&agent, QUESTION)).await;
            let answer = heard.answer();
            assert_eq!((answer.handler, answer.outcome), (Handler::Bot, Some(Outcome::Answered)));
            let told =
                last_messages(&world).last().unwrap()["content"].as_str().unwrap().to_owned();
            assert!(told.contains("error"), "{name}: {told}");
        }
    }
}

#[tokio::test]
async fn after_its_rounds_a_model_must_answer() {
    for test_db in databases("rounds").await {
        let world = World::with_limits(test_db, |limits| limits.tool_rounds = 2).await;
        for _ in 0..2 {
            world.model().enqueue(calls("search_knowledge", &json!({"query": "horario"})));
        }
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        let heard = world.ask(world.request(QUESTION)).await;
        let answer = heard.answer();
        assert_eq!(world.trace(answer.message).await["toolLimit"], "rounds");
        let requests = world.model().requests_to(Endpoint::Chat);
        let choices: Vec<&Value> =
            requests.iter().map(|request| &request.body["tool_choice"]).collect();
        assert_eq!(choices, [&Value::Null, &Value::Null, &json!("none")]);

        // One that goes on calling has failed.
        for _ in 0..3 {
            world.model().enqueue(calls("search_knowledge", &json!({"query": "horario"})));
        }
        let heard = world.ask(world.request(QUESTION)).await;
        assert_eq!(heard.error().code, "MODEL_UNAVAILABLE");
    }
}

#[tokio::test]
async fn a_turn_that_has_spent_its_tokens_or_its_time_calls_no_more_tools() {
    for test_db in databases("tool limits").await {
        let world = World::with_limits(test_db, |limits| limits.turn_tokens = 500).await;
        let call = calls("search_knowledge", &json!({"query": "horario"}));
        world.model().enqueue(call.clone().usage(480, 20));
        world.model().enqueue(Reply::text("De 10 a 14 [1].").usage(100, 5));
        let answer = world.ask(world.request(QUESTION)).await.answer().clone();
        assert_eq!(world.trace(answer.message).await["toolLimit"], "tokens");
        let stored = &world.replies(answer.conversation).await[0];
        assert_eq!((stored.prompt_tokens, stored.completion_tokens), (Some(580), Some(25)));
    }
    for test_db in databases("tool time").await {
        let world =
            World::with_limits(test_db, |limits| limits.tool_timeout = std::time::Duration::ZERO)
                .await;
        world.model().enqueue(calls("search_knowledge", &json!({"query": "horario"})));
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        let answer = world.ask(world.request(QUESTION)).await.answer().clone();
        assert_eq!(answer.tools[0].status, ToolStatus::Failed);
        assert_eq!(world.trace(answer.message).await["toolLimit"], "time");
    }
}

#[tokio::test]
async fn words_before_a_call_stay_part_of_the_answer() {
    for test_db in databases("preamble").await {
        let world = World::scripted(test_db).await;
        world.teach("Garantía", "La garantía legal de los productos dura seis meses.").await;
        world.model().enqueue(Reply::tokens(&["Ya ", "miro."]).tool_call(
            "c",
            "search_knowledge",
            &["{\"query\": \"garantía\"}"],
        ));
        world.model().enqueue(Reply::text("Dura seis meses [2]."));
        let heard = world.ask(world.request(QUESTION)).await;
        let answer = heard.answer();
        assert_eq!(answer.text, "Ya miro.\n\nDura seis meses [2].");
        assert_eq!(answer.citations[0].source_name, "Garantía");
    }
}

#[tokio::test]
async fn a_model_without_tools_is_asked_without_them() {
    for test_db in databases("no tools").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(Reply::error(400, "the model does not support tools"));
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        assert_eq!(world.ask(world.request(QUESTION)).await.answer().text, "De 10 a 14 [1].");
        let requests = world.model().requests_to(Endpoint::Chat);
        assert!(requests[0].body["tools"].is_array() && requests[1].body["tools"].is_null());
    }
}

#[tokio::test]
async fn where_the_knowledge_is_silent_a_model_may_act_or_ask_but_not_tell() {
    for test_db in databases("act").await {
        let world = World::scripted(test_db).await;
        let agent = agent_with(&world, vec![AgentTool::plain(ToolKind::LeadCapture)]).await;
        let off_topic = "¿Quién ganó el mundial de fútbol de 1986?";
        for said in ["[NO_ANSWER]", "Lo ganó Argentina."] {
            world.model().enqueue(Reply::text(said));
            let heard = world.ask(world.to(&agent, off_topic)).await;
            assert_eq!(heard.answer().outcome, Some(Outcome::Abstained), "{said}");
            assert!(!heard.text().contains("Argentina"));
        }
        assert_eq!(world.gaps().await.len(), 2);
        let messages = last_messages(&world);
        let prompt = messages.last().unwrap()["content"].as_str().unwrap();
        assert!(prompt.contains("There is no passage on this."), "{prompt}");
        world.model().enqueue(Reply::text("¿Cómo te llamas y cuál es tu correo?"));
        let heard = world.ask(world.to(&agent, "me interesa que me contacten por favor")).await;
        assert_eq!(heard.answer().text, "¿Cómo te llamas y cuál es tu correo?");
    }
}

#[tokio::test]
async fn a_client_that_leaves_between_call_and_answer_keeps_what_was_noted() {
    for test_db in databases("left after a call").await {
        let world = World::scripted(test_db).await;
        let agent = agent_with(&world, vec![AgentTool::plain(ToolKind::LeadCapture)]).await;
        world.model().enqueue(calls("capture_lead", &json!({"email": "ana@ejemplo.com"})));
        world.model().enqueue(Reply::silence());
        let said = "avísenme cuando llegue la mochila roja que pedí, mi correo: ana@ejemplo.com, gracias de nuevo";
        let turn = world.agents.start(world.to(&agent, said)).await.unwrap();
        world.model().wait_for_requests(2).await;
        let conversation = turn.conversation;
        drop(turn);
        world.quiet().await;
        assert_eq!(world.leads().await.len(), 1);
        assert!(world.replies(conversation).await.is_empty());
        assert_eq!(world.conversation(conversation).await.handler, Handler::Bot);
    }
}

#[tokio::test]
async fn stored_tools_are_told_again_with_a_repeated_request() {
    for test_db in databases("tools again").await {
        let world = World::scripted(test_db).await;
        world.model().enqueue(calls("search_knowledge", &json!({"query": "horario sábados"})));
        world.model().enqueue(Reply::text("De 10 a 14 [1]."));
        let request = TurnRequest { client_id: Some("once".to_owned()), ..world.request(QUESTION) };
        let first = world.ask(request.clone()).await.answer().clone();
        let again = world.ask(request).await.answer().clone();
        assert_eq!((first.message, &first.tools[0].name), (again.message, &again.tools[0].name));
        assert_eq!(again.state, MessageState::Complete);
        assert_eq!(again.tools[0].arguments.as_object().map(Map::len), Some(1));
    }
}

/// A service on a socket that notes what it is asked and answers the order that is asked for.
async fn orders() -> (String, Arc<Mutex<Vec<String>>>) {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = seen.clone();
    let answer = move |request: axum::extract::Request| {
        let noted = noted.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let key = head.headers.get("x-key").map(|key| key.to_str().unwrap().to_owned());
            noted.lock().push(format!(
                "{} {} {} {}",
                head.method,
                head.uri,
                key.unwrap_or_default(),
                String::from_utf8_lossy(&body)
            ));
            match head.uri.path() {
                "/orders/404" => (axum::http::StatusCode::NOT_FOUND, "no such order".to_owned()),
                "/big" => (axum::http::StatusCode::OK, "x".repeat(100_000)),
                _ => (
                    axum::http::StatusCode::OK,
                    json!({"order": {"state": "enviado"}, "secret": "internal"}).to_string(),
                ),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = axum::Router::new().fallback(answer);
    TaskTracker::new().spawn(async move { axum::serve(listener, service).await.unwrap() });
    (format!("http://{address}"), seen)
}

fn find_order(base: &str, change: &Value) -> AgentTool {
    let mut settings = json!({
        "name": "find_order",
        "description": "Finds an order by its number.",
        "url": format!("{base}/orders/{{order}}"),
        "headers": [{"name": "x-key", "value": "k1"}],
        "parameters": [{"name": "order", "required": true}, {"name": "lang", "value": "es"}],
        "result": {"path": "$.order.state"},
    });
    settings.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    tool(ToolKind::Http, &settings)
}

#[tokio::test]
async fn a_declared_request_is_sent_and_the_selected_answer_told() {
    for test_db in databases("http tool").await {
        let world = World::scripted(test_db).await;
        let (base, seen) = orders().await;
        let agent = agent_with(&world, vec![find_order(&base, &json!({}))]).await;
        let script = || {
            world.model().enqueue(calls("find_order", &json!({"order": "A 7/1"})));
            world.model().enqueue(Reply::text("Tu pedido fue enviado."));
        };
        let request = world.to(&agent, "¿Dónde está mi pedido A 7/1?");
        for heard in both_ways(&world, request, script).await {
            let answer = heard.end.as_ref().unwrap();
            assert_eq!(answer.text, "Tu pedido fue enviado.");
            assert_eq!(
                (answer.tools[0].name.as_str(), answer.tools[0].kind),
                ("find_order", ToolKind::Http)
            );
            assert_eq!(answer.tools[0].result, "\"enviado\"");
        }
        assert_eq!(*seen.lock(), ["GET /orders/A%207%2F1?lang=es k1 "; 2]);
        let requests = world.model().requests_to(Endpoint::Chat);
        let offered = &requests[0].body["tools"];
        let declared = offered
            .as_array()
            .unwrap()
            .iter()
            .find(|tool| tool["function"]["name"] == "find_order");
        let properties = &declared.unwrap()["function"]["parameters"]["properties"];
        assert_eq!(
            properties.as_object().unwrap().len(),
            1,
            "a fixed value is not the model's: {properties}"
        );
    }
}

#[tokio::test]
async fn a_request_that_fails_is_told_as_failed() {
    for test_db in databases("http tool failures").await {
        let world = World::scripted(test_db).await;
        let (base, seen) = orders().await;
        let private = json!({"url": "http://10.0.0.1/{order}"});
        let big =
            json!({"url": format!("{base}/big"), "method": "POST", "result": {"maxBytes": 1_000}});
        for (change, arguments, told) in [
            (json!({}), json!({"order": "404"}), "404"),
            (json!({}), json!({"order": ".."}), "another path"),
            (json!({}), json!({}), "`order` is missing"),
            (json!({"result": {"path": "$.nothing"}}), json!({"order": "1"}), "nothing"),
            (private, json!({"order": "1"}), "error"),
            (big, json!({"order": "1"}), "error"),
        ] {
            let agent = agent_with(&world, vec![find_order(&base, &change)]).await;
            world.model().enqueue(calls("find_order", &arguments));
            world.model().enqueue(Reply::text("¿Me das el número del pedido?"));
            world.ask(world.to(&agent, "¿Dónde está mi pedido?")).await.answer();
            let result =
                last_messages(&world).last().unwrap()["content"].as_str().unwrap().to_owned();
            assert!(result.contains(told), "{change} {arguments}: {result}");
        }
        assert!(!seen.lock().iter().any(|line| line.contains("/..")));
    }
}
