//! The ledger and the budgets.

use std::time::Duration;

use domain::agent::{AgentTool, ToolKind};
use domain::budget::{Budget, BudgetPeriod, BudgetScope, BudgetUnit, MAX_BUDGETS, Payer, Purpose};
use domain::{ApiKeyId, ContactId, MessageId, Timestamp, VisitorId};
use serde_json::{Value, json};
use storage::budgets::Hold;
use storage::charges::{Charge, UsageGroup, Used};
use storage::providers::Provider;
use storage::spending::{Amounts, Spent};
use storage::{Db, StorageError, agents, budgets, charges, events, providers, secrets, spending};

use crate::support::{Place, places};

const HOUR: Duration = Duration::from_hours(1);

fn charge(place: &Place) -> Charge {
    Charge {
        message_id: place.ambient.new_id(),
        purpose: Purpose::Answer,
        conversation_id: Some(place.ambient.new_id()),
        agent_id: Some(place.home.agent.id),
        api_key_id: None,
        contact_id: None,
        visitor_id: VisitorId::parse("user 456"),
        model: "gpt-4o".to_owned(),
        provider: "installation".to_owned(),
        calls: 1,
        prompt_tokens: 100,
        completion_tokens: 20,
        cached_tokens: 64,
        cost: 450,
        estimated: false,
        answered: true,
        at: place.later(Duration::from_millis(1)),
    }
}

async fn write_down(place: &Place, charge: &Charge) -> bool {
    let mut tx = place.write().await;
    let written = charges::insert(&mut tx, place.ws(), charge).await.unwrap();
    tx.commit().await.unwrap();
    written
}

#[tokio::test]
async fn a_turn_is_written_down_once() {
    for place in places("a_turn_is_written_down_once").await {
        let once = charge(&place);
        assert!(write_down(&place, &once).await);
        let again = Charge { cost: 9_999, ..once.clone() };
        assert!(!write_down(&place, &again).await);
        let mut conn = place.read().await;
        let stored = charges::get(&mut conn, place.ws(), once.message_id).await.unwrap();
        assert_eq!(stored.as_ref(), Some(&once));
        let theirs = charges::get(&mut conn, place.stranger(), once.message_id).await.unwrap();
        assert_eq!(theirs, None);
    }
}

#[tokio::test]
async fn usage_adds_up_by_day_agent_model_key_and_contact() {
    for place in places("usage_adds_up").await {
        let key: ApiKeyId = place.ambient.new_id();
        let contact: ContactId = place.ambient.new_id();
        let first = charge(&place);
        write_down(&place, &first).await;
        let of_contact = Charge {
            contact_id: Some(contact),
            api_key_id: Some(key),
            estimated: true,
            answered: false,
            ..charge(&place)
        };
        write_down(&place, &of_contact).await;
        place.later(24 * HOUR);
        let other_model = Charge {
            model: "gpt-4o-mini".to_owned(),
            cost: 1,
            api_key_id: Some(key),
            ..charge(&place)
        };
        write_down(&place, &other_model).await;

        let (from, to) = (first.at, other_model.at.plus(Duration::from_micros(1)));
        let mut conn = place.read().await;
        let all = charges::used(&mut conn, place.ws(), from, to).await.unwrap();
        let expected = Used {
            key: None,
            answers: 2,
            calls: 3,
            prompt_tokens: 300,
            completion_tokens: 60,
            cached_tokens: 192,
            cost: 901,
        };
        assert_eq!(all, expected);
        let nothing = charges::used(&mut conn, place.stranger(), from, to).await.unwrap();
        assert_eq!(nothing, Used::default());
        let before = charges::used(&mut conn, place.ws(), from, other_model.at).await.unwrap();
        assert_eq!(before.cost, 900, "the end is excluded");

        let mut by = async |group| {
            let found = charges::used_by(&mut conn, place.ws(), from, to, group, 10).await.unwrap();
            found.into_iter().map(|used| (used.key, used.cost)).collect::<Vec<_>>()
        };
        let day = first.at.micros() / 86_400_000_000;
        let days = [(Some(day.to_string()), 900), (Some((day + 1).to_string()), 1)];
        assert_eq!(by(UsageGroup::Day).await, days);
        assert_eq!(by(UsageGroup::Agent).await, [(Some(place.home.agent.id.to_string()), 901)]);
        let models = [(Some("gpt-4o".to_owned()), 900), (Some("gpt-4o-mini".to_owned()), 1)];
        assert_eq!(by(UsageGroup::Model).await, models);
        let keys = by(UsageGroup::ApiKey).await;
        assert_eq!(keys, [(Some(key.to_string()), 451), (None, 450)]);
        let contacts = by(UsageGroup::Contact).await;
        assert_eq!(contacts, [(None, 451), (Some(contact.to_string()), 450)]);
        let purposes = by(UsageGroup::Purpose).await;
        assert_eq!(purposes, [(Some("answer".to_owned()), 901)]);
        let one = charges::used_by(&mut conn, place.ws(), from, to, UsageGroup::Model, 1).await;
        assert_eq!(one.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_is_held_together_is_settled_once_and_belongs_to_whom_it_may() {
    for place in places("held_and_settled").await {
        let of_tokens = budget(&place, BudgetUnit::Tokens, 100);
        let of_answers = budget(&place, BudgetUnit::Answers, 1);
        let mut tx = place.write().await;
        for budget in [&of_tokens, &of_answers] {
            assert!(budgets::insert(&mut tx, place.ws(), budget).await.unwrap());
        }
        tx.commit().await.unwrap();
        let all = [of_tokens.clone(), of_answers];
        let expected = Amounts { answers: 0, tokens: 60, cost: 5 };
        let job = charge(&place);
        let job = Charge { agent_id: None, conversation_id: None, answered: false, ..job };
        let job = Charge { purpose: Purpose::Ingest, ..job };
        let (now, until) = (place.now(), place.now().plus(HOUR));
        let holds = spending::plan(&all, &Payer::default(), expected, now);
        assert_eq!(holds.len(), 1, "it is no answer");
        let take = async |id| {
            let mut tx = place.write().await;
            let held = spending::hold_all(&mut tx, place.ws(), id, &holds, now, until).await;
            if held.is_ok() {
                tx.commit().await.unwrap();
            }
            held
        };
        take(job.message_id).await.unwrap();
        take(place.ambient.new_id()).await.unwrap();
        let refused = take(place.ambient.new_id()).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after.is_some()), ("USAGE_LIMIT", true));
        for _ in 0..2 {
            let mut tx = place.write().await;
            spending::settle(&mut tx, place.ws(), &job, &holds).await.unwrap();
            tx.commit().await.unwrap();
        }
        let mut conn = place.read().await;
        let (starts, _) = of_tokens.period.around(now);
        let used = budgets::used(&mut conn, place.ws(), of_tokens.id, "", starts).await.unwrap();
        assert_eq!(used, 120, "once");
        let stored = charges::get(&mut conn, place.ws(), job.message_id).await.unwrap();
        assert_eq!(stored, Some(job));
        drop(conn);

        // The same in one breath: nothing is left, and it is given back by whoever used nothing.
        let begin = async || {
            let who = (Purpose::Search, Payer::default(), None);
            spending::begin(place.db(), &place.ambient, place.ws(), who, expected, HOUR).await
        };
        assert_eq!(begin().await.unwrap_err().code, "USAGE_LIMIT");
        let mut tx = place.write().await;
        assert!(budgets::set_limit(&mut tx, place.ws(), of_tokens.id, 300).await.unwrap());
        tx.commit().await.unwrap();
        let unused = begin().await.unwrap();
        spending::end(place.db(), &place.ambient, unused, Spent::default()).await.unwrap();
        let spent = Spent {
            model: "embed".to_owned(),
            provider: "installation".to_owned(),
            calls: 2,
            prompt_tokens: 30,
            cost: 3,
            ..Spent::default()
        };
        let held = begin().await.unwrap();
        spending::end(place.db(), &place.ambient, held, spent).await.unwrap();
        let mut conn = place.read().await;
        let used = budgets::used(&mut conn, place.ws(), of_tokens.id, "", starts).await.unwrap();
        assert_eq!(used, 150);
        let (from, to) = (now, place.now().plus(HOUR));
        let group = UsageGroup::Purpose;
        let all = charges::used_by(&mut conn, place.ws(), from, to, group, 10).await.unwrap();
        let search = all.iter().find(|used| used.key.as_deref() == Some("search")).unwrap();
        assert_eq!((search.calls, search.prompt_tokens, search.cost), (2, 30, 3));
    }
}

fn budget(place: &Place, unit: BudgetUnit, limit: i64) -> Budget {
    let created_at = place.later(Duration::from_millis(1));
    Budget {
        id: place.ambient.new_id(),
        workspace_id: place.ws(),
        scope: BudgetScope::Workspace,
        subject: None,
        unit,
        period: BudgetPeriod::Day,
        limit,
        created_at,
    }
}

async fn store(place: &Place, budget: &Budget) {
    let mut tx = place.write().await;
    assert!(budgets::insert(&mut tx, place.ws(), budget).await.unwrap());
    tx.commit().await.unwrap();
}

fn hold_of(budget: &Budget, amount: i64, at: Timestamp) -> Hold {
    let (starts, resets) = budget.period.around(at);
    Hold { budget: budget.clone(), counter: String::new(), starts, resets, amount }
}

async fn take(db: &Db, hold: &Hold, turn: MessageId, now: Timestamp) -> bool {
    let mut tx = db.write().await.unwrap();
    let workspace = hold.budget.workspace_id;
    let until = now.plus(HOUR);
    let granted = budgets::hold(&mut tx, workspace, turn, hold, now, until).await.unwrap();
    tx.commit().await.unwrap();
    granted
}

async fn settle(place: &Place, hold: &Hold, turn: MessageId, spent: i64) {
    let mut tx = place.write().await;
    budgets::settle(&mut tx, place.ws(), hold, spent, place.now()).await.unwrap();
    budgets::release(&mut tx, place.ws(), turn).await.unwrap();
    tx.commit().await.unwrap();
}

async fn used(place: &Place, hold: &Hold) -> i64 {
    let mut conn = place.read().await;
    let (id, counter) = (hold.budget.id, &hold.counter);
    budgets::used(&mut conn, place.ws(), id, counter, hold.starts).await.unwrap()
}

#[tokio::test]
async fn budgets_are_stored_changed_and_removed() {
    for place in places("budgets_are_stored").await {
        let of_agent = Budget {
            scope: BudgetScope::Agent,
            subject: Some(place.home.agent.id.to_string()),
            period: BudgetPeriod::Month,
            ..budget(&place, BudgetUnit::Cost, 7)
        };
        store(&place, &of_agent).await;
        let of_all = budget(&place, BudgetUnit::Answers, 5);
        store(&place, &of_all).await;
        let mut tx = place.write().await;
        let twin = Budget { id: place.ambient.new_id(), ..of_all.clone() };
        let refused = budgets::insert(&mut tx, place.ws(), &twin).await.unwrap_err();
        assert!(matches!(refused, StorageError::Conflict(_)), "{refused}");
        drop(tx);

        let mut tx = place.write().await;
        assert!(budgets::set_limit(&mut tx, place.ws(), of_all.id, 6).await.unwrap());
        assert!(!budgets::set_limit(&mut tx, place.stranger(), of_all.id, 8).await.unwrap());
        assert!(!budgets::delete(&mut tx, place.stranger(), of_agent.id).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let changed = Budget { limit: 6, ..of_all.clone() };
        let all = budgets::list(&mut conn, place.ws()).await.unwrap();
        assert_eq!(all, [of_agent.clone(), changed]);
        assert!(budgets::list(&mut conn, place.stranger()).await.unwrap().is_empty());
        let found = budgets::get(&mut conn, place.ws(), of_agent.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&of_agent));
        assert_eq!(budgets::get(&mut conn, place.stranger(), of_agent.id).await.unwrap(), None);
        drop(conn);
        let mut tx = place.write().await;
        assert!(budgets::delete(&mut tx, place.ws(), of_agent.id).await.unwrap());
        assert!(!budgets::delete(&mut tx, place.ws(), of_agent.id).await.unwrap());
        for number in 1..MAX_BUDGETS {
            let subject = Some(format!("visitor {number}"));
            let scope = BudgetScope::Visitor;
            let more = Budget { scope, subject, ..budget(&place, BudgetUnit::Tokens, 1) };
            assert!(budgets::insert(&mut tx, place.ws(), &more).await.unwrap());
        }
        let one_too_many = budget(&place, BudgetUnit::Tokens, 1);
        assert!(!budgets::insert(&mut tx, place.ws(), &one_too_many).await.unwrap());
    }
}

#[tokio::test]
async fn of_many_turns_at_once_as_many_are_let_through_as_fit() {
    for place in places("many turns on a budget").await {
        let budget = budget(&place, BudgetUnit::Answers, 5);
        store(&place, &budget).await;
        let now = place.now();
        let hold = hold_of(&budget, 1, now);
        let turns: Vec<MessageId> = (0..20).map(|_| place.ambient.new_id()).collect();
        let taking = turns.iter().map(|turn| take(place.db(), &hold, *turn, now));
        let taken = futures::future::join_all(taking).await;
        assert_eq!(taken.iter().filter(|held| **held).count(), 5);
        let holders: Vec<MessageId> =
            turns.iter().zip(&taken).filter(|(_, held)| **held).map(|(turn, _)| *turn).collect();
        // One ends without an answer: its part is free again.
        let mut tx = place.write().await;
        budgets::release(&mut tx, place.ws(), holders[0]).await.unwrap();
        tx.commit().await.unwrap();
        let late: MessageId = place.ambient.new_id();
        assert!(take(place.db(), &hold, late, now).await);
        for turn in holders[1..].iter().chain([&late]) {
            settle(&place, &hold, *turn, 1).await;
        }
        assert_eq!(used(&place, &hold).await, 5);
        assert!(!take(place.db(), &hold, place.ambient.new_id(), now).await);
        // The next day begins anew.
        let tomorrow = place.later(24 * HOUR);
        let fresh = hold_of(&budget, 1, tomorrow);
        assert!(take(place.db(), &fresh, place.ambient.new_id(), tomorrow).await);
    }
}

#[tokio::test]
async fn what_a_lost_turn_held_ends_by_itself() {
    for place in places("what_a_lost_turn_held").await {
        let budget = budget(&place, BudgetUnit::Tokens, 1_000);
        store(&place, &budget).await;
        let now = place.now();
        let hold = hold_of(&budget, 4_000, now);
        assert!(take(place.db(), &hold, place.ambient.new_id(), now).await, "more than is left");
        assert!(!take(place.db(), &hold, place.ambient.new_id(), now).await);
        let later = place.later(HOUR);
        assert!(take(place.db(), &hold, place.ambient.new_id(), later).await);
        let mut tx = place.write().await;
        let much_later = later.plus(24 * 120 * HOUR);
        assert_eq!(budgets::delete_older(&mut tx, later, 10).await.unwrap(), 1, "the lost one");
        assert_eq!(budgets::delete_older(&mut tx, much_later, 10).await.unwrap(), 2);
    }
}

async fn alerts(place: &Place) -> Vec<Value> {
    let mut conn = place.read().await;
    let all = events::list(&mut conn, place.ws(), 0, 1_000).await.unwrap();
    let told = all.into_iter().filter(|event| event.kind == "budget.reached");
    told.map(|event| event.payload).collect()
}

#[tokio::test]
async fn each_part_of_a_budget_is_told_once_in_a_period() {
    for place in places("each_part_of_a_budget_is_told_once").await {
        let budget = budget(&place, BudgetUnit::Cost, 1_000);
        store(&place, &budget).await;
        let hold = hold_of(&budget, 10, place.now());
        let turn = place.ambient.new_id();
        assert!(take(place.db(), &hold, turn, place.now()).await);
        let mut told = Vec::new();
        for (spent, expected) in [(499, vec![]), (1, vec![50]), (10, vec![]), (700, vec![80, 100])]
        {
            settle(&place, &hold, turn, spent).await;
            let all = alerts(&place).await;
            let fresh: Vec<i64> =
                all[told.len()..].iter().map(|alert| alert["percent"].as_i64().unwrap()).collect();
            assert_eq!(fresh, expected, "after {spent}");
            told = all;
        }
        settle(&place, &hold, turn, 1_000).await;
        assert_eq!(alerts(&place).await.len(), 3);
        let expected = json!({
            "scope": "workspace", "subject": null, "unit": "cost", "period": "day",
            "limit": 1_000, "used": 1_210, "percent": 100,
            "resetsAt": hold.resets.to_rfc3339(),
        });
        assert_eq!(told[2], expected);
        // What is used of a budget that is gone is nobody's.
        let mut tx = place.write().await;
        assert!(budgets::delete(&mut tx, place.ws(), budget.id).await.unwrap());
        tx.commit().await.unwrap();
        assert!(take(place.db(), &hold, turn, place.now()).await, "nothing limits the turn");
        settle(&place, &hold, turn, 1_000).await;
        assert_eq!(alerts(&place).await.len(), 3);
    }
}

#[tokio::test]
async fn providers_are_stored_in_the_order_that_they_are_asked() {
    for place in places("providers_are_stored").await {
        let now = place.later(Duration::from_millis(1));
        let first = Provider {
            id: place.ambient.new_id(),
            name: "Ollama".to_owned(),
            base_url: "https://ollama.ejemplo.com/v1".to_owned(),
            api_key: Some("v1:planted".to_owned()),
            azure_api_version: None,
            models: vec!["llama3.1".to_owned()],
            priority: 2,
            created_at: now,
            updated_at: now,
        };
        let second = Provider {
            id: place.ambient.new_id(),
            name: "OpenRouter".to_owned(),
            api_key: None,
            azure_api_version: Some("2024-10-21".to_owned()),
            models: vec!["mistral-small".to_owned()],
            priority: 1,
            ..first.clone()
        };
        let mut tx = place.write().await;
        for provider in [&first, &second] {
            assert!(providers::insert(&mut tx, place.ws(), provider, 2).await.unwrap());
        }
        let third = Provider { id: place.ambient.new_id(), ..first.clone() };
        assert!(!providers::insert(&mut tx, place.ws(), &third, 2).await.unwrap());
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let refused = providers::insert(&mut tx, place.ws(), &third, 3).await.unwrap_err();
        assert!(matches!(refused, StorageError::Conflict(_)), "{refused}");
        drop(tx);
        let changed = Provider { priority: 0, api_key: None, ..first.clone() };
        let mut tx = place.write().await;
        assert!(providers::update(&mut tx, place.ws(), &changed).await.unwrap());
        assert!(!providers::update(&mut tx, place.stranger(), &first).await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let all = providers::list(&mut conn, place.ws()).await.unwrap();
        assert_eq!(all, [changed.clone(), second]);
        assert!(providers::list(&mut conn, place.stranger()).await.unwrap().is_empty());
        let found = providers::get(&mut conn, place.ws(), first.id).await.unwrap();
        assert_eq!(found, Some(changed));
        assert_eq!(providers::get(&mut conn, place.stranger(), first.id).await.unwrap(), None);
        drop(conn);
        assert!(!format!("{first:?}").contains("planted"));
        let mut tx = place.write().await;
        assert!(!providers::delete(&mut tx, place.stranger(), first.id).await.unwrap());
        assert!(providers::delete(&mut tx, place.ws(), first.id).await.unwrap());
    }
}

#[tokio::test]
async fn a_secret_sealed_anew_replaces_the_one_that_it_was_made_of_only() {
    for place in places("secrets").await {
        let now = place.later(Duration::from_millis(1));
        let provider = Provider {
            id: place.ambient.new_id(),
            name: "OpenRouter".to_owned(),
            base_url: "https://openrouter.ejemplo.com/v1".to_owned(),
            api_key: Some("v1:old".to_owned()),
            azure_api_version: None,
            models: vec!["mistral-small".to_owned()],
            priority: 1,
            created_at: now,
            updated_at: now,
        };
        let keyless = Provider {
            id: place.ambient.new_id(),
            name: "Ollama".to_owned(),
            api_key: None,
            ..provider.clone()
        };
        let mut agent = place.home.agent.clone();
        let header = json!({"headers": [{"name": "x-key", "secret": true, "sealed": "v1:old"}]});
        let settings = header.as_object().unwrap().clone();
        agent.tools.push(AgentTool { kind: ToolKind::Http, id: None, settings });
        let (ws, stranger, id) = (place.ws(), place.stranger(), provider.id);
        let mut tx = place.write().await;
        for provider in [&provider, &keyless] {
            assert!(providers::insert(&mut tx, ws, provider, 9).await.unwrap());
        }
        assert!(agents::update(&mut tx, &agent).await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        let keys = secrets::provider_keys(&mut conn, ws).await.unwrap();
        assert_eq!(keys, [(id, "v1:old".to_owned())]);
        assert!(secrets::provider_keys(&mut conn, stranger).await.unwrap().is_empty());
        let tools = secrets::agent_tools(&mut conn, ws).await.unwrap();
        assert_eq!((tools.len(), tools[0].0), (1, agent.id));
        assert!(secrets::agent_tools(&mut conn, stranger).await.unwrap().is_empty());
        drop(conn);
        let before = &tools[0].1;
        let mut anew = agent.tools.clone();
        let headers = anew.last_mut().unwrap().settings.get_mut("headers").unwrap();
        headers[0]["sealed"] = json!("v1:new");
        let mut tx = place.write().await;
        for (workspace, old, replaces) in
            [(stranger, "v1:old", false), (ws, "v1:other", false), (ws, "v1:old", true)]
        {
            let replaced =
                secrets::replace_provider_key(&mut tx, workspace, id, old, "v1:new").await.unwrap();
            assert_eq!(replaced, replaces);
        }
        for (workspace, old, replaces) in
            [(stranger, before.as_str(), false), (ws, "[]", false), (ws, before, true)]
        {
            let replaced = secrets::replace_agent_tools(&mut tx, workspace, agent.id, old, &anew);
            assert_eq!(replaced.await.unwrap(), replaces);
        }
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = providers::get(&mut conn, ws, id).await.unwrap().unwrap();
        assert_eq!(found, Provider { api_key: Some("v1:new".to_owned()), ..provider });
        assert_eq!(agents::get(&mut conn, ws, agent.id).await.unwrap().unwrap().tools, anew);
    }
}
