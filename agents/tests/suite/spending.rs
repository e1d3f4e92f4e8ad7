//! What turns cost, whatever becomes of them, and the budgets that they are held to.

use domain::agent::Agent;
use domain::budget::{Budget, BudgetPeriod, BudgetScope, BudgetUnit, Purpose};
use domain::message::MessageState;
use domain::{ErrorKind, MessageId};
use serde_json::json;
use storage::charges::{self, Charge};
use storage::{Db, budgets};
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};

use crate::world::{World, hear, next_token};

const QUESTION: &str = "¿Qué horario tiene la tienda los sábados?";

impl World {
    /// An agent of a model that has a price.
    async fn priced(&self, fallbacks: &[&str]) -> Agent {
        let mut agent = self.born.agent.clone();
        agent.id = self.ambient.new_id();
        agent.model_name = Some("gpt-4o-mini".to_owned());
        agent.settings.fallback_models = fallbacks.iter().map(|name| (*name).to_owned()).collect();
        self.store_agent(agent).await
    }

    async fn charge(&self, answer: MessageId) -> Option<Charge> {
        let mut conn = self.test_db.db.read().await.unwrap();
        charges::get(&mut conn, self.born.workspace.id, answer).await.unwrap()
    }

    async fn budget(&self, unit: BudgetUnit, limit: i64) -> Budget {
        let budget = Budget {
            id: self.ambient.new_id(),
            workspace_id: self.born.workspace.id,
            scope: BudgetScope::Workspace,
            subject: None,
            unit,
            period: BudgetPeriod::Month,
            limit,
            created_at: self.ambient.now(),
        };
        let mut tx = self.test_db.db.write().await.unwrap();
        assert!(budgets::insert(&mut tx, budget.workspace_id, &budget).await.unwrap());
        tx.commit().await.unwrap();
        budget
    }

    async fn used(&self, budget: &Budget) -> i64 {
        used(&self.test_db.db, budget, self.ambient.now()).await
    }
}

async fn used(db: &Db, budget: &Budget, now: domain::Timestamp) -> i64 {
    let mut conn = db.read().await.unwrap();
    let (starts, _) = budget.period.around(now);
    budgets::used(&mut conn, budget.workspace_id, budget.id, "", starts).await.unwrap()
}

#[tokio::test]
async fn an_answer_has_one_line_in_the_ledger_and_is_taken_from_each_budget() {
    for test_db in databases("one line in the ledger").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&[]).await;
        let of_tokens = world.budget(BudgetUnit::Tokens, 100_000).await;
        let of_cost = world.budget(BudgetUnit::Cost, 100_000).await;
        let of_answers = world.budget(BudgetUnit::Answers, 10).await;
        world.model().enqueue(Reply::text("De 10 a 14 [1].").usage(1_000, 200));
        let request = agents::TurnRequest {
            api_key: Some(world.ambient.new_id()),
            ..world.to(&agent, QUESTION)
        };
        let key = request.api_key;
        let heard = world.ask(request).await;
        let charge = world.charge(heard.answer().message).await.unwrap();
        let expected = Charge {
            message_id: heard.answer().message,
            purpose: Purpose::Answer,
            conversation_id: Some(heard.answer().conversation),
            agent_id: Some(agent.id),
            api_key_id: key,
            contact_id: None,
            visitor_id: None,
            model: "gpt-4o-mini".to_owned(),
            provider: "installation".to_owned(),
            calls: 1,
            prompt_tokens: 1_000,
            completion_tokens: 200,
            cached_tokens: 0,
            cost: 270,
            estimated: false,
            answered: true,
            at: charge.at,
        };
        assert_eq!(charge, expected);
        assert_eq!(world.used(&of_tokens).await, 1_200);
        assert_eq!(world.used(&of_cost).await, 270);
        assert_eq!(world.used(&of_answers).await, 1);
        // The built-in answerer's answers are answers too, and cost nothing.
        let greeting = world.ask(world.to(&agent, "quiero hablar con una persona")).await;
        let charge = world.charge(greeting.answer().message).await.unwrap();
        assert_eq!((charge.calls, charge.cost, charge.provider.as_str()), (0, 0, "builtin"));
        assert_eq!((world.used(&of_tokens).await, world.used(&of_answers).await), (1_200, 2));
    }
}

#[tokio::test]
async fn a_cut_answer_is_counted_once_and_estimated() {
    for test_db in databases("a cut answer is counted once").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&[]).await;
        let budget = world.budget(BudgetUnit::Answers, 1).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1].", " Y ade"]).then_hang());
        let mut turn = world.agents.start(world.to(&agent, QUESTION)).await.unwrap();
        next_token(&mut turn).await;
        let (answer, conversation) = (turn.message, turn.conversation);
        // While it is under way nothing is left for another one.
        let refused = world.agents.start(world.to(&agent, QUESTION)).await.unwrap_err();
        assert_eq!((refused.kind, refused.code), (ErrorKind::UsageLimit, "USAGE_LIMIT"));
        drop(turn);
        world.model().wait_for_departures(1).await;
        world.quiet().await;
        assert_eq!(world.replies(conversation).await[0].state, MessageState::Interrupted);
        let charge = world.charge(answer).await.unwrap();
        assert!(charge.estimated && charge.answered && charge.calls == 1, "{charge:?}");
        assert!(charge.prompt_tokens > 100 && (1..50).contains(&charge.completion_tokens));
        assert_eq!(world.used(&budget).await, 1);
        let refused = world.agents.start(world.to(&agent, QUESTION)).await.unwrap_err();
        assert!(refused.message.contains(&budget.id.to_string()), "{refused}");
        assert_eq!(world.messages(conversation).await.len(), 2, "a refused message is not stored");
    }
}

#[tokio::test]
async fn a_turn_that_fails_before_its_first_word_costs_nothing() {
    for test_db in databases("a failed turn costs nothing").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&[]).await;
        let budget = world.budget(BudgetUnit::Answers, 1).await;
        world.model().enqueue(Reply::error(500, "down"));
        let turn = world.agents.start(world.to(&agent, QUESTION)).await.unwrap();
        let answer = turn.message;
        assert_eq!(hear(turn).await.error().code, "MODEL_UNAVAILABLE");
        world.quiet().await;
        assert_eq!(world.charge(answer).await, None);
        assert_eq!(world.used(&budget).await, 0);
        world.ask(world.to(&agent, QUESTION)).await.answer();
        assert_eq!(world.used(&budget).await, 1);
    }
}

#[tokio::test]
async fn tokens_of_an_answer_that_nobody_heard_are_spent_all_the_same() {
    for test_db in databases("tokens of an unheard answer").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&[]).await;
        let of_tokens = world.budget(BudgetUnit::Tokens, 100_000).await;
        let of_answers = world.budget(BudgetUnit::Answers, 1).await;
        world.model().enqueue(Reply::tokens(&["[NO_ANS"]).then_hang());
        let turn = world.agents.start(world.to(&agent, QUESTION)).await.unwrap();
        let answer = turn.message;
        world.model().wait_for_requests(1).await;
        drop(turn);
        world.model().wait_for_departures(1).await;
        world.quiet().await;
        // Whether the answer had begun when its reader left is a matter of time.
        if let Some(charge) = world.charge(answer).await {
            assert!(charge.estimated && !charge.answered, "{charge:?}");
            assert_eq!(
                world.used(&of_tokens).await,
                charge.prompt_tokens + charge.completion_tokens
            );
        }
        assert_eq!(world.used(&of_answers).await, 0);
    }
}

#[tokio::test]
async fn another_model_answers_when_the_first_one_cannot_be_asked() {
    for test_db in databases("fallback").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&["gpt-test", "gpt-4o"]).await;
        world.model().respond_with(|request| match request.model() {
            "gpt-4o" => Some(Reply::text("De 10 a 14 [1].").usage(100, 10)),
            _ => Some(Reply::error(503, "overloaded")),
        });
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        let answer = heard.answer();
        assert_eq!((answer.model.as_str(), answer.text.as_str()), ("gpt-4o", "De 10 a 14 [1]."));
        assert_eq!(world.replies(answer.conversation).await[0].model.as_deref(), Some("gpt-4o"));
        let charge = world.charge(answer.message).await.unwrap();
        assert_eq!((charge.model.as_str(), charge.calls, charge.cost), ("gpt-4o", 1, 350));
        let trace = world.trace(answer.message).await;
        let failed: Vec<&str> = trace["fallbacks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|failed| failed["model"].as_str().unwrap())
            .collect();
        assert_eq!(failed, ["gpt-4o-mini", "gpt-test"]);
        assert_eq!(trace["answeredBy"], json!("gpt-4o"));
    }
}

#[tokio::test]
async fn what_was_said_is_not_said_again_by_another_model() {
    for test_db in databases("no fallback after the first word").await {
        let world = World::scripted(test_db).await;
        let agent = world.priced(&["gpt-4o"]).await;
        world.model().enqueue(Reply::tokens(&["De 10 a 14 [1]. "]).then_cut());
        let heard = world.ask(world.to(&agent, QUESTION)).await;
        assert_eq!(heard.error().code, "MODEL_UNAVAILABLE");
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), 1);
    }
}
