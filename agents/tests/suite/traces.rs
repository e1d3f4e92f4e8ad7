//! What is kept of how a turn went, and who is told of it.

use std::sync::Arc;

use agents::{Agents, EndedTurn, TraceStep, TurnEvent, TurnObserver, TurnTrace};
use domain::agent::{AgentTool, ToolKind};
use parking_lot::Mutex;
use testkit::db::databases;
use testkit::model_server::Reply;

use crate::world::{World, hear};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

#[derive(Debug, Default)]
struct Noted(Mutex<Vec<EndedTurn>>);

impl TurnObserver for Noted {
    fn turn_ended(&self, turn: EndedTurn) {
        self.0.lock().push(turn);
    }
}

/// Turns of the world that are told to somebody, with other days of retention.
fn observed(world: &World, days: u32) -> (Agents, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let mut options = world.options.clone();
    options.observer = Some(noted.clone());
    options.defaults.trace_retention_days = days;
    let agents = Agents::new(
        world.test_db.db.clone(),
        world.retrieval.clone(),
        world.ambient.clone(),
        options,
        world.tracker.clone(),
        world.stop.clone(),
    );
    (agents, noted)
}

/// Names of the steps.
fn names(trace: &TurnTrace) -> Vec<&str> {
    let mut names = Vec::new();
    for step in trace.steps() {
        names.push(match step {
            TraceStep::Phase(phase) => phase.name.as_str(),
            TraceStep::Call(_) => "model",
            TraceStep::Tool(_) => "tool",
        });
    }
    names
}

#[tokio::test]
async fn a_trace_has_every_step_in_order_with_tokens_cost_and_what_was_cited() {
    for test_db in databases("steps of a trace").await {
        let world = World::scripted(test_db).await;
        world.teach("Garantía", "La garantía legal de los productos dura seis meses.").await;
        world.model().enqueue(
            Reply::text("")
                .tool_call("call_7", "search_knowledge", &["{\"query\": \"garantía productos\"}"])
                .finish("tool_calls")
                .usage(1_000, 20),
        );
        world.model().enqueue(Reply::text("Dura seis meses [2].").usage(1_200, 30));
        let (agents, noted) = observed(&world, 30);
        let mut agent = world.born.agent.clone();
        agent.id = world.ambient.new_id();
        agent.tools = vec![AgentTool::plain(ToolKind::Datastore)];
        agent.model_name = Some("gpt-4o-mini".to_owned());
        let agent = world.store_agent(agent).await;
        let heard = hear(agents.start(world.to(&agent, QUESTION)).await.unwrap()).await;
        let answer = heard.answer();
        world.quiet().await;

        let stored = TurnTrace::read(world.trace(answer.message).await).unwrap();
        let expected =
            ["accept", "wait", "context", "search", "prompt", "model", "tool", "model", "store"];
        assert_eq!(names(&stored), expected);
        let starts: Vec<f64> = stored.steps().iter().map(|step| step.start_ms().unwrap()).collect();
        assert!(starts.is_sorted(), "{starts:?}");
        assert_eq!(stored.phases.last().unwrap().ms, None, "it is part of what is stored");
        assert_eq!(
            (stored.turn_id, stored.agent_id, stored.conversation_id),
            (Some(answer.message), Some(agent.id), Some(answer.conversation))
        );
        assert_eq!(stored.asked.as_deref(), Some(QUESTION));
        let calls: Vec<_> = stored
            .calls
            .iter()
            .map(|call| (call.prompt_tokens, call.completion_tokens, call.finish_reason.as_deref()))
            .collect();
        let first = (Some(1_000), Some(20), Some("tool_calls"));
        assert_eq!(calls, [first, (Some(1_200), Some(30), Some("stop"))]);
        let mut conn = world.test_db.db.read().await.unwrap();
        let charge = storage::charges::get(&mut conn, agent.workspace_id, answer.message).await;
        let charge = charge.unwrap().expect("the turn is in the ledger");
        assert_eq!((stored.cost, stored.prompt_tokens), (Some(charge.cost), Some(2_200)));
        assert!(charge.cost > 0 && stored.calls.iter().all(|call| call.cost > Some(0)));
        let tool = &stored.tools[0];
        assert_eq!((tool.call_id.as_deref(), tool.status.as_str()), (Some("call_7"), "done"));
        assert_eq!(tool.arguments["query"], "garantía productos");
        assert!(tool.result.contains("Passage [2]"), "{}", tool.result);
        let cited: Vec<_> = stored.hits.iter().filter(|hit| hit.cited == Some(true)).collect();
        assert_eq!(cited.len(), 1);
        assert_eq!(cited[0].source.as_deref(), Some("Garantía"));
        assert!(stored.hits.iter().any(|hit| hit.found_by.as_deref() == Some("question")));

        let told = noted.0.lock();
        let [told] = told.as_slice() else { panic!("one turn was told: {told:?}") };
        assert_eq!(told.answer.as_deref(), Some(answer.text.as_str()));
        assert_eq!((told.trace.end.as_deref(), told.error), (Some("answered"), None));
        assert!(told.trace.phases.last().unwrap().ms > Some(0.0), "storing was measured");
        assert!(told.trace.total_ms >= stored.total_ms);
    }
}

#[tokio::test]
async fn turns_without_an_answer_are_told_too() {
    for test_db in databases("turns without an answer are told").await {
        let world = World::scripted(test_db).await;
        let (agents, noted) = observed(&world, 30);
        world.model().enqueue(Reply::error(400, "no"));
        hear(agents.start(world.request(QUESTION)).await.unwrap()).await.error();
        world.quiet().await;
        let failed = noted.0.lock().remove(0);
        assert_eq!(failed.error, Some("MODEL_REFUSED"));
        assert_eq!(failed.trace.end.as_deref(), Some("MODEL_REFUSED"));
        assert_eq!(failed.trace.calls[0].error_type.as_deref(), Some("refused"));

        world.model().enqueue(Reply::tokens(&["De 10"]).then_hang());
        let mut turn = agents.start(world.request(QUESTION)).await.unwrap();
        while !matches!(turn.events.recv().await.expect("a token comes"), TurnEvent::Token(_)) {}
        drop(turn);
        world.quiet().await;
        let left = noted.0.lock().remove(0);
        assert_eq!((left.trace.end.as_deref(), left.answer), (Some("left"), None));
        assert_eq!(left.trace.calls.len(), 1);
        assert!(left.trace.calls[0].estimated, "nobody counted what was cut off");

        world.model().enqueue(Reply::silence());
        let turn = agents.start(world.request(QUESTION)).await.unwrap();
        world.model().wait_for_requests(3).await;
        drop(turn);
        world.quiet().await;
        let left = noted.0.lock().remove(0);
        assert_eq!(left.trace.calls[0].error_type.as_deref(), Some("cancelled"));
        assert_eq!(left.trace.calls[0].prompt_tokens, None);
    }
}

#[tokio::test]
async fn no_trace_is_kept_where_the_operator_wants_none() {
    for test_db in databases("no trace is kept").await {
        let world = World::builtin(test_db).await;
        let (agents, noted) = observed(&world, 0);
        let heard = hear(agents.start(world.request(QUESTION)).await.unwrap()).await;
        let workspace = world.born.workspace.id;
        let mut conn = world.test_db.db.read().await.unwrap();
        let kept = storage::messages::trace(&mut conn, workspace, heard.answer().message).await;
        assert_eq!(kept.unwrap(), None);
        world.quiet().await;
        let told = noted.0.lock().remove(0);
        assert_eq!((told.trace.calls.len(), told.trace.cost), (0, Some(0)));
        assert!(names(&told.trace).contains(&"extract"));
    }
}
