//! What models are asked outside of turns: by whom it is paid, and what happens when nobody pays.

use domain::agent::{Agent, Rewrite};
use domain::budget::{Budget, BudgetPeriod, BudgetScope, BudgetUnit};
use domain::job::NewJob;
use domain::{ConversationId, ErrorKind, GapId};
use serde_json::json;
use storage::charges::{self, UsageGroup};
use storage::{budgets, conversations, gaps};
use testkit::db::databases;
use testkit::model_server::{Endpoint, Recorded, Reply};
use tokio_util::task::TaskTracker;

use crate::world::World;

const SUMMARY: &str = "El cliente pregunta por los sábados.";
const UNKNOWN: &str = "¿Aceptan criptomonedas?";

fn is_summary(request: &Recorded) -> bool {
    request.body["messages"][0]["content"].as_str().unwrap().contains("memory of a chat")
}

impl World {
    /// An agent whose first model cannot be asked, and which remembers little.
    async fn forgetful(&self) -> Agent {
        let mut agent = self.born.agent.clone();
        agent.id = self.ambient.new_id();
        agent.model_name = Some("gpt-4o-mini".to_owned());
        agent.settings.fallback_models = vec!["gpt-4o".to_owned()];
        agent.settings.history_tokens = 40;
        agent.settings.rewrite = Rewrite::Rule;
        self.store_agent(agent).await
    }

    /// A talk that is longer than the agent remembers.
    async fn long_talk(&self, agent: &Agent) -> ConversationId {
        let mut conversation = None;
        for round in 0..5 {
            let question =
                format!("¿Qué horario tiene la tienda los sábados de la semana {round}?");
            let request = agents::TurnRequest { conversation, ..self.to(agent, &question) };
            conversation = Some(self.ask(request).await.answer().conversation);
        }
        conversation.unwrap()
    }

    async fn limit(&self, unit: BudgetUnit, scope: BudgetScope, limit: i64) -> Budget {
        let budget = Budget {
            id: self.ambient.new_id(),
            workspace_id: self.born.workspace.id,
            scope,
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

    /// What was used for each purpose, key or agent: its name, calls, tokens and cost.
    async fn spent(&self, group: UsageGroup) -> Vec<(Option<String>, i64, i64, i64)> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let (from, to) = (domain::Timestamp::from_micros(0), self.ambient.now());
        let workspace = self.born.workspace.id;
        let all = charges::used_by(&mut conn, workspace, from, to, group, 10).await.unwrap();
        let line = |used: charges::Used| {
            (used.key, used.calls, used.prompt_tokens + used.completion_tokens, used.cost)
        };
        all.into_iter().map(line).collect()
    }

    async fn spent_for(&self, purpose: &str) -> Option<(i64, i64, i64)> {
        let all = self.spent(UsageGroup::Purpose).await;
        let found = all.into_iter().find(|(key, ..)| key.as_deref() == Some(purpose));
        found.map(|(_, calls, tokens, cost)| (calls, tokens, cost))
    }

    async fn used_of(&self, budget: &Budget, counter: &str) -> i64 {
        let mut conn = self.test_db.db.read().await.unwrap();
        let (starts, _) = budget.period.around(self.ambient.now());
        let workspace = budget.workspace_id;
        budgets::used(&mut conn, workspace, budget.id, counter, starts).await.unwrap()
    }

    /// Asks what nobody knows, then teaches it; the gap.
    async fn gap_that_can_be_closed(&self, agent: &Agent) -> GapId {
        self.ask(self.to(agent, UNKNOWN)).await.answer();
        self.teach("Pagos", "Aceptamos criptomonedas: bitcoin y ether.").await;
        let group = self.gaps().await.last().unwrap().group_id;
        let mut tx = self.test_db.db.write().await.unwrap();
        let payload = json!({"datastore": self.born.datastore.id});
        let job = NewJob::now(gaps::RECHECK, payload, self.ambient.now());
        storage::jobs::enqueue(&mut tx, &self.ambient, self.born.workspace.id, &job).await.unwrap();
        tx.commit().await.unwrap();
        group
    }

    async fn answer_of_gap(&self, id: GapId) -> Option<String> {
        let mut conn = self.test_db.db.read().await.unwrap();
        let group = gaps::group(&mut conn, self.born.workspace.id, id).await.unwrap();
        group.unwrap().answer
    }
}

/// The first model is down, the second answers.
fn second_answers(world: &World, otherwise: &'static str) {
    world.model().respond_with(move |request| match request.model() {
        "gpt-4o" if is_summary(request) => Some(Reply::text(SUMMARY).usage(1_000, 100)),
        "gpt-4o" => Some(Reply::text(otherwise).usage(10, 10)),
        _ => Some(Reply::error(503, "overloaded")),
    });
}

#[tokio::test]
async fn a_summary_is_paid_by_the_agent_and_by_no_customer() {
    for test_db in databases("a summary is paid").await {
        let world = World::scripted(test_db).await;
        let agent = world.forgetful().await;
        let of_agent = world.limit(BudgetUnit::Tokens, BudgetScope::Agent, 100_000).await;
        let of_answers = world.limit(BudgetUnit::Answers, BudgetScope::Workspace, 100).await;
        second_answers(&world, "De 10 a 14 horas los sábados, como le decía [1].");
        let conversation = world.long_talk(&agent).await;
        let before = world.used_of(&of_agent, &agent.id.to_string()).await;
        assert_eq!(world.spent_for("summary").await, None);
        assert_eq!(world.run_jobs().await, 1);
        let mut conn = world.test_db.db.read().await.unwrap();
        let workspace = world.born.workspace.id;
        let summary = conversations::summary(&mut conn, workspace, conversation).await.unwrap();
        assert_eq!(summary.unwrap().0, SUMMARY, "the fallback wrote it");
        drop(conn);
        // 1,000 at $2.50 and 100 at $10.00 a million.
        assert_eq!(world.spent_for("summary").await, Some((1, 1_100, 3_500)));
        let after = world.used_of(&of_agent, &agent.id.to_string()).await;
        assert_eq!(after - before, 1_100);
        assert_eq!(world.used_of(&of_answers, "").await, 5, "it is no answer");
        let by_agent = world.spent(UsageGroup::Agent).await;
        assert_eq!(by_agent.len(), 1, "{by_agent:?}");
        assert_eq!(by_agent[0].0, Some(agent.id.to_string()));
    }
}

#[tokio::test]
async fn nothing_is_summarised_once_the_budget_is_used_up() {
    for test_db in databases("no summary without money").await {
        let world = World::scripted(test_db).await;
        let agent = world.forgetful().await;
        second_answers(&world, "De 10 a 14 horas los sábados, como le decía [1].");
        let conversation = world.long_talk(&agent).await;
        let budget = world.limit(BudgetUnit::Tokens, BudgetScope::Workspace, 1).await;
        // What is below its limit is granted; the next one is not.
        assert_eq!(world.run_jobs().await, 1);
        assert_eq!(world.used_of(&budget, "").await, 1_100);
        let mut tx = world.test_db.db.write().await.unwrap();
        let payload = json!({"agent": agent.id, "conversation": conversation, "upto": 9});
        let job = NewJob::now("agents.summary", payload, world.ambient.now());
        let workspace = world.born.workspace.id;
        storage::jobs::enqueue(&mut tx, &world.ambient, workspace, &job).await.unwrap();
        tx.commit().await.unwrap();
        let asked = world.model().requests_to(Endpoint::Chat).len();
        assert_eq!(world.run_jobs().await, 1);
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), asked, "nobody is asked");
        assert_eq!(world.spent_for("summary").await, Some((1, 1_100, 3_500)));
    }
}

#[tokio::test]
async fn a_question_asked_again_is_paid_and_answered_by_the_next_model() {
    for test_db in databases("a recheck is paid").await {
        let world = World::scripted(test_db).await;
        let agent = world.forgetful().await;
        let budget = world.limit(BudgetUnit::Cost, BudgetScope::Workspace, 1_000_000).await;
        second_answers(&world, "Sí, bitcoin y ether [1].");
        let gap = world.gap_that_can_be_closed(&agent).await;
        let before = world.used_of(&budget, "").await;
        assert_eq!(world.run_jobs().await, 1);
        assert_eq!(world.answer_of_gap(gap).await.as_deref(), Some("Sí, bitcoin y ether [1]."));
        let (calls, tokens, cost) = world.spent_for("recheck").await.unwrap();
        assert_eq!((calls, tokens), (1, 20));
        assert_eq!(world.used_of(&budget, "").await - before, cost);
        // Asked for by a key it is the key's.
        let key = world.ambient.new_id();
        let workspace = world.born.workspace.id;
        let again = world.agents.recheck(workspace, gap, Some(key)).await.unwrap().unwrap();
        assert!(again.answered);
        let by_key = world.spent(UsageGroup::ApiKey).await;
        let of_key = by_key.iter().find(|(name, ..)| *name == Some(key.to_string())).unwrap();
        assert_eq!((of_key.1, of_key.2), (1, 20));
    }
}

#[tokio::test]
async fn gaps_wait_for_the_day_that_there_is_money_again() {
    for test_db in databases("no recheck without money").await {
        let world = World::scripted(test_db).await;
        let agent = world.forgetful().await;
        second_answers(&world, "Sí, bitcoin y ether [1].");
        let gap = world.gap_that_can_be_closed(&agent).await;
        let budget = world.limit(BudgetUnit::Tokens, BudgetScope::Agent, 1).await;
        let workspace = world.born.workspace.id;
        // What is below its limit is granted; the next one is not.
        world.ask(world.to(&agent, "¿Qué horario tiene la tienda los sábados?")).await.answer();
        let refused = world.agents.recheck(workspace, gap, None).await.unwrap_err();
        assert_eq!((refused.kind, refused.code), (ErrorKind::UsageLimit, "USAGE_LIMIT"));
        assert!(refused.message.contains(&budget.id.to_string()), "{refused}");
        let asked = world.model().requests_to(Endpoint::Chat).len();
        assert_eq!(world.run_jobs().await, 1);
        assert_eq!(world.model().requests_to(Endpoint::Chat).len(), asked, "nobody is asked");
        let mut conn = world.test_db.db.read().await.unwrap();
        let due = storage::jobs::next_due(&mut conn, &[gaps::RECHECK]).await.unwrap().unwrap();
        let (_, resets) = budget.period.around(world.ambient.now());
        assert!(due >= resets, "it waits for the next month");
        assert!(due.since(resets) <= std::time::Duration::from_secs(10));
    }
}

#[tokio::test]
async fn what_a_cut_errand_used_is_written_down() {
    for test_db in databases("a cut recheck is counted").await {
        let world = World::scripted(test_db).await;
        let agent = world.forgetful().await;
        let budget = world.limit(BudgetUnit::Tokens, BudgetScope::Workspace, 1_000_000).await;
        second_answers(&world, "Sí, bitcoin y ether [1].");
        let gap = world.gap_that_can_be_closed(&agent).await;
        let before = world.used_of(&budget, "").await;
        world.model().respond_with(|request| match request.model() {
            "gpt-4o" => Some(Reply::tokens(&["Sí, ", "bit"]).then_hang()),
            _ => Some(Reply::error(503, "overloaded")),
        });
        let asked = world.model().requests_to(Endpoint::Chat).len();
        let workspace = world.born.workspace.id;
        let agents = world.agents.clone();
        let asking = async move { agents.recheck(workspace, gap, None).await };
        let recheck = TaskTracker::new().spawn(asking);
        world.model().wait_for_requests(asked + 2).await;
        recheck.abort();
        world.model().wait_for_departures(1).await;
        world.quiet().await;
        // Whether the answer had begun is a matter of time; what is written down is what was taken.
        let tokens = world.spent_for("recheck").await.map_or(0, |(_, tokens, _)| tokens);
        assert_eq!(world.used_of(&budget, "").await - before, tokens);
        let refused = world.limit(BudgetUnit::Tokens, BudgetScope::Agent, 1).await;
        assert_eq!(world.used_of(&refused, &agent.id.to_string()).await, 0);
    }
}
