//! Turns of the built-in answerer.

use agents::TurnRequest;
use domain::agent::ToolKind;
use domain::conversation::{ConversationStatus, Handler};
use domain::message::{MessageState, Outcome};
use models::builtin::MODEL_NAME;
use testkit::db::databases;

use crate::world::{HOURS, World, visitor};

#[tokio::test]
async fn a_question_is_answered_by_sentences_of_the_passages_with_their_citations() {
    for test_db in databases("builtin answer").await {
        let world = World::builtin(test_db).await;
        let heard = world.ask(world.request("¿Qué horario tiene la tienda los sábados?")).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::Answered));
        assert_eq!(answer.model, MODEL_NAME);
        assert_eq!((answer.handler, answer.status), (Handler::Bot, ConversationStatus::Open));
        assert!(answer.text.contains("Los sábados la tienda abre de 10 a 14 horas. [1]"));
        assert!(heard.tokens.len() > 5, "streamed by words");
        assert_eq!(heard.sources, answer.citations);
        let first = &answer.citations[0];
        assert_eq!((first.marker, first.source_name.as_str()), (1, "Horarios"));
        assert!(HOURS.contains(&first.quote) && first.quote.contains("sábados"));
        let stored = world.replies(answer.conversation).await;
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].id, answer.message);
        assert_eq!(stored[0].content, answer.text);
        assert_eq!(stored[0].state, MessageState::Complete);
        assert_eq!(world.citations(answer.message).await, answer.citations);
        let trace = world.trace(answer.message).await;
        assert_eq!(trace["outcome"], "answered");
        assert!(trace["evidence"].as_f64().unwrap() >= trace["threshold"].as_f64().unwrap());
        assert_eq!(trace["hits"][0]["chunkId"], first.chunk_id.to_string());
        assert!(trace["totalMs"].as_f64().unwrap() > 0.0);
    }
}

#[tokio::test]
async fn what_the_knowledge_does_not_hold_is_not_answered_and_becomes_a_gap() {
    for test_db in databases("builtin abstention").await {
        let world = World::builtin(test_db).await;
        let question = "¿Quién ganó el mundial de fútbol de 1986?";
        let heard = world.ask(world.request(question)).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::Abstained));
        assert!(answer.text.starts_with("Lo siento") && answer.text.contains("persona"));
        assert!(heard.sources.is_empty() && answer.citations.is_empty());
        let gaps = world.gaps().await;
        assert_eq!(gaps.len(), 1);
        assert_eq!((gaps[0].question.as_str(), gaps[0].message_id), (question, answer.message));
        assert_eq!(gaps[0].conversation_id, answer.conversation);
        let own = world
            .agent(&[ToolKind::Datastore, ToolKind::RequestHuman], |settings| {
                settings.unknown_answer = Some("No lo sé.".to_owned());
            })
            .await;
        let heard = world.ask(world.to(&own, "Who won the world cup in 1986?")).await;
        assert_eq!(heard.answer().text, "No lo sé.");
    }
}

#[tokio::test]
async fn the_agents_own_threshold_decides() {
    for test_db in databases("own threshold").await {
        let world = World::builtin(test_db).await;
        let strict =
            world.agent(&[ToolKind::Datastore], |settings| settings.min_evidence = Some(1.0)).await;
        let question = "¿Qué horario tiene la tienda los sábados?";
        let heard = world.ask(world.to(&strict, question)).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Abstained));
        let trace = world.trace(heard.answer().message).await;
        assert_eq!((&trace["threshold"], &trace["thresholdFrom"]), (&1.0.into(), &"agent".into()));
        let heard = world.ask(world.request(question)).await;
        let trace = world.trace(heard.answer().message).await;
        // Two passages: the least there is.
        assert_eq!((&trace["threshold"], &trace["thresholdFrom"]), (&0.15.into(), &"size".into()));
    }
}

#[tokio::test]
async fn the_installations_threshold_decides_where_the_agent_sets_none() {
    for test_db in databases("installation's threshold").await {
        let mut world = World::builtin(test_db).await;
        world.options.defaults.min_evidence = Some(0.99);
        let agents = world.another_process().await;
        world.agents = agents;
        let question = "¿Qué horario tiene la tienda los sábados?";
        let heard = world.ask(world.request(question)).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Abstained));
        let trace = world.trace(heard.answer().message).await;
        assert_eq!(trace["thresholdFrom"], "installation");
        let lenient =
            world.agent(&[ToolKind::Datastore], |settings| settings.min_evidence = Some(0.1)).await;
        let heard = world.ask(world.to(&lenient, question)).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Answered));
    }
}

#[tokio::test]
async fn a_section_answers_by_its_heading() {
    let sections = [
        ("Preguntas frecuentes › Horarios", "Atendemos de lunes a viernes de 9 a 18 horas."),
        ("Preguntas frecuentes › Envíos", "Llega a regiones entre 3 y 6 días hábiles después."),
        ("Preguntas frecuentes › Pagos", "Aceptamos tarjetas, transferencia y efectivo."),
        ("Preguntas frecuentes › Devoluciones", "Tienes 30 días corridos con tu boleta."),
    ];
    for test_db in databases("headings").await {
        let world = World::builtin(test_db).await;
        for (heading, text) in sections {
            world.teach(heading, text).await;
        }
        for (question, section) in [
            ("¿Cómo son las devoluciones?", 3),
            ("cuales son las formas de pago", 2),
            ("como puedo pagar", 2),
            ("hacen devoluciones?", 3),
        ] {
            let heard = world.ask(world.request(question)).await;
            let answer = heard.answer();
            assert_eq!(answer.outcome, Some(Outcome::Answered), "{question}");
            let said = format!("{} [1]", sections[section].1);
            assert!(answer.text.starts_with(&said), "{question}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_person_asked_for_is_called_and_then_nobody_answers_here() {
    for test_db in databases("handoff").await {
        let world = World::builtin(test_db).await;
        let heard = world.ask(world.request("quiero hablar con una persona")).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::HandedOff));
        assert_eq!((answer.handler, answer.status), (Handler::Queue, ConversationStatus::Pending));
        assert!(answer.text.contains("persona del equipo"));
        assert_eq!(world.events("handoff.requested").await.len(), 1);
        let next = world.in_conversation(answer.conversation, "¿Cuál es el horario?");
        let silent = world.ask(next).await;
        assert_eq!(silent.answer().text, "");
        assert_eq!((silent.answer().outcome, silent.answer().handler), (None, Handler::Queue));
        let all = world.messages(answer.conversation).await;
        assert_eq!(all.len(), 3);
        assert_eq!(all[2].id, silent.answer().message);
    }
}

#[tokio::test]
async fn yes_to_an_offered_person_calls_one() {
    for test_db in databases("accepted offer").await {
        let world = World::builtin(test_db).await;
        let unknown = world.ask(world.request("¿Quién ganó el mundial de fútbol de 1986?")).await;
        let conversation = unknown.answer().conversation;
        let heard = world.ask(world.in_conversation(conversation, "Sí, por favor.")).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::HandedOff));
        assert_eq!(heard.answer().handler, Handler::Queue);
        // Where nobody was offered, yes calls nobody.
        let alone = world.ask(world.request("Sí, por favor.")).await;
        assert_eq!(alone.answer().handler, Handler::Bot);
    }
}

#[tokio::test]
async fn the_operators_words_are_used_and_without_the_tool_nobody_is_promised() {
    for test_db in databases("handoff words").await {
        let world = World::builtin(test_db).await;
        let mut agent = world.born.agent.clone();
        agent.id = world.ambient.new_id();
        for tool in &mut agent.tools {
            if tool.kind == ToolKind::RequestHuman {
                tool.settings.insert("message".to_owned(), "Ya viene Ana.".into());
            }
        }
        let agent = world.store_agent(agent).await;
        let heard = world.ask(world.to(&agent, "quiero hablar con una persona")).await;
        assert_eq!(heard.answer().text, "Ya viene Ana.");
        let without = world.agent(&[ToolKind::Datastore], |_| {}).await;
        let heard = world.ask(world.to(&without, "quiero hablar con una persona")).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Smalltalk));
        assert_eq!(heard.answer().handler, Handler::Bot);
    }
}

#[tokio::test]
async fn contact_details_are_noted_once_on_the_customers_contact() {
    for test_db in databases("lead capture").await {
        let world = World::builtin(test_db).await;
        let request =
            TurnRequest { visitor: visitor("v-1"), ..world.request("mi correo es Ana@Ejemplo.cl") };
        let heard = world.ask(request).await;
        let answer = heard.answer();
        assert_eq!(answer.outcome, Some(Outcome::LeadCaptured));
        let conversation = world.conversation(answer.conversation).await;
        let contact = conversation.contact_id.expect("the conversation has a contact");
        let phone = world.in_conversation(conversation.id, "mi teléfono es +56 9 8765 4321");
        assert_eq!(world.ask(phone).await.answer().outcome, Some(Outcome::LeadCaptured));
        let mut conn = world.test_db.db.read().await.unwrap();
        let workspace = world.born.workspace.id;
        let known = storage::contacts::get(&mut conn, workspace, contact).await.unwrap().unwrap();
        assert_eq!(known.email.as_deref(), Some("ana@ejemplo.cl"));
        assert_eq!(known.phone.as_deref(), Some("+56987654321"));
        let events = world.events("lead.captured").await;
        assert_eq!(events.len(), 2);
        assert!(events.iter().all(|event| event.payload["contactId"] == contact.to_string()));
        let without = world.agent(&[ToolKind::Datastore], |_| {}).await;
        let heard = world.ask(world.to(&without, "mi correo es otra@ejemplo.cl")).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Smalltalk));
        assert_eq!(world.events("lead.captured").await.len(), 2);
    }
}

#[tokio::test]
async fn small_talk_is_answered_in_the_customers_language_and_cites_nothing() {
    for test_db in databases("small talk").await {
        let world = World::builtin(test_db).await;
        for (said, expected) in [
            ("¡Hola!", "¡Hola! ¿En qué puedo ayudarte?"),
            ("thank you", "You're welcome! I'm here if you need anything else."),
            ("obrigado", "De nada! Se precisar de mais alguma coisa, estou aqui."),
        ] {
            let heard = world.ask(world.request(said)).await;
            assert_eq!(heard.answer().text, expected);
            assert_eq!(heard.answer().outcome, Some(Outcome::Smalltalk));
            assert!(heard.sources.is_empty());
        }
        assert!(world.gaps().await.is_empty());
    }
}

#[tokio::test]
async fn an_agent_without_datastores_retrieves_nothing() {
    for test_db in databases("no datastore").await {
        let world = World::builtin(test_db).await;
        let agent = world.agent(&[], |_| {}).await;
        let question = "¿Qué horario tiene la tienda los sábados?";
        let heard = world.ask(world.to(&agent, question)).await;
        assert_eq!(heard.answer().outcome, Some(Outcome::Abstained));
        assert!(heard.answer().citations.is_empty());
    }
}

#[tokio::test]
async fn a_follow_up_is_understood_by_what_was_asked_before_it() {
    for test_db in databases("builtin follow-up").await {
        let world = World::builtin(test_db).await;
        let first = world.ask(world.request("¿Qué horario tiene la tienda el lunes?")).await;
        let conversation = first.answer().conversation;
        let heard = world.ask(world.in_conversation(conversation, "¿y los sábados?")).await;
        assert!(heard.answer().text.contains("de 10 a 14 horas"));
        let trace = world.trace(heard.answer().message).await;
        assert_eq!(trace["question"], "horario tienda lunes ¿y los sábados?");
        // In a conversation of its own the same words lean on nothing.
        let alone = world.ask(world.request("¿y los sábados?")).await;
        assert_eq!(world.trace(alone.answer().message).await["question"], "¿y los sábados?");
    }
}
