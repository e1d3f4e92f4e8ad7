//! Gates of agents, publications under way, and results that are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::agent_version::{AgentConfig, Publication};
use domain::gate::{
    AgentPublication, Finding, Gate, GateMode, PublicationProgress, PublicationStatus, Verdict,
};
use serde_json::json;
use storage::gates::{self, PublicationEnd, ReportKey};
use storage::{StorageError, agents, secrets, versions};

use crate::support::{Place, places};

fn gate(place: &Place) -> Gate {
    Gate {
        dataset: place.ambient.new_id(),
        mode: GateMode::Warn,
        floors: BTreeMap::from([("answered".to_owned(), 0.8)]),
        tolerances: BTreeMap::new(),
    }
}

fn verdict() -> Verdict {
    let finding = Finding {
        metric: Some("answered".to_owned()),
        value: Some(0.5),
        floor: Some(0.8),
        previous: None,
        message: "misses the floor".to_owned(),
    };
    Verdict {
        cases: 2,
        errors: 0,
        compared_with: Some(1),
        findings: vec![finding],
        metrics: vec![],
    }
}

impl Place {
    fn publication(&self, config: AgentConfig) -> AgentPublication {
        self.later(Duration::from_millis(1));
        AgentPublication {
            id: self.ambient.new_id(),
            agent_id: self.home.agent.id,
            status: PublicationStatus::Pending,
            config,
            base_version: 1,
            draft_revision: Some(3),
            publication: Publication {
                by: Some(self.ambient.new_id()),
                note: Some("x".to_owned()),
                restored_from: None,
                verdict: None,
            },
            gate: gate(self),
            progress: PublicationProgress::default(),
            verdict: None,
            error: None,
            version: None,
            created_at: self.now(),
            ended_at: None,
        }
    }
}

#[tokio::test]
async fn a_gate_is_put_replaced_and_taken_away() {
    for place in places("gates").await {
        let (ws, stranger, agent) = (place.ws(), place.stranger(), place.home.agent.id);
        let (first, now) = (gate(&place), place.now());
        let second = Gate { mode: GateMode::Refuse, ..first.clone() };
        let mut tx = place.write().await;
        assert!(gates::put(&mut tx, ws, agent, &first, now).await.unwrap());
        assert!(!gates::put(&mut tx, stranger, agent, &first, now).await.unwrap());
        assert_eq!(gates::get(&mut tx, ws, agent).await.unwrap(), Some(first));
        assert!(gates::put(&mut tx, ws, agent, &second, now).await.unwrap());
        assert_eq!(gates::get(&mut tx, ws, agent).await.unwrap(), Some(second));
        assert_eq!(gates::get(&mut tx, stranger, agent).await.unwrap(), None);
        assert!(!gates::delete(&mut tx, stranger, agent).await.unwrap());
        assert!(gates::delete(&mut tx, ws, agent).await.unwrap());
        assert!(!gates::delete(&mut tx, ws, agent).await.unwrap());
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn one_publication_at_a_time_is_worked_at_by_the_newest_attempt_and_ends_once() {
    for place in places("publications").await {
        let (ws, stranger, agent) = (place.ws(), place.stranger(), place.home.agent.id);
        let mut config = place.home.agent.config();
        config.tone = "seco".to_owned();
        let first = place.publication(config.clone());
        let mut tx = place.write().await;
        gates::insert_publication(&mut tx, ws, &first).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = place.write().await;
        let another = place.publication(config.clone());
        let refused = gates::insert_publication(&mut tx, ws, &another).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
        drop(tx);
        let mut conn = place.read().await;
        let found = gates::publication(&mut conn, ws, first.id).await.unwrap();
        assert_eq!(found, Some(first.clone()));
        assert_eq!(gates::publication(&mut conn, stranger, first.id).await.unwrap(), None);
        drop(conn);

        let progress = PublicationProgress { done: 1, all: 2, errors: 0, cost: 7 };
        let mut tx = place.write().await;
        for (workspace, attempt, noted) in
            [(stranger, 1, false), (ws, 2, true), (ws, 1, false), (ws, 2, true)]
        {
            let which = (first.id, attempt);
            let noting = gates::note_progress(&mut tx, workspace, which, progress);
            assert_eq!(noting.await.unwrap(), noted, "{attempt}");
        }
        let verdict = verdict();
        let end = || PublicationEnd { verdict: Some(&verdict), error: Some("x"), version: Some(2) };
        let status = PublicationStatus::Refused;
        for (workspace, attempt, ended) in
            [(stranger, None, false), (ws, Some(1), false), (ws, Some(2), true), (ws, None, false)]
        {
            let (which, now) = ((first.id, attempt), place.now());
            let ending = gates::end_publication(&mut tx, workspace, which, status, end(), now);
            assert_eq!(ending.await.unwrap(), ended, "{attempt:?}");
        }
        assert!(!gates::note_progress(&mut tx, ws, (first.id, 3), progress).await.unwrap());
        gates::insert_publication(&mut tx, ws, &another).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let over = gates::publication(&mut conn, ws, first.id).await.unwrap().unwrap();
        assert_eq!((over.status, over.progress, over.version), (status, progress, Some(2)));
        assert_eq!((over.verdict.as_ref(), over.error.as_deref()), (Some(&verdict), Some("x")));
        assert_eq!((over.config, over.ended_at), (AgentConfig::default(), Some(place.now())));
        let all = gates::publications(&mut conn, ws, agent, None, 9).await.unwrap();
        assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [another.id, first.id]);
        let older = gates::publications(&mut conn, ws, agent, Some(another.id), 9).await.unwrap();
        assert_eq!(older.len(), 1);
        assert!(gates::publications(&mut conn, stranger, agent, None, 9).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_result_is_kept_for_the_same_questions_and_the_same_knowledge() {
    for place in places("results of gates").await {
        let (ws, stranger, agent) = (place.ws(), place.stranger(), place.home.agent.id);
        let dataset = place.ambient.new_id();
        let key = ReportKey { agent, number: 1, dataset, dataset_version: "a", knowledge: "k" };
        let now = place.now();
        let mut tx = place.write().await;
        gates::keep_report(&mut tx, ws, key, b"{\"one\": 1}", now).await.unwrap();
        gates::keep_report(&mut tx, ws, key, b"{\"two\": 2}", now).await.unwrap();
        let found = gates::report(&mut tx, ws, key).await.unwrap();
        assert_eq!(found.as_deref(), Some(&b"{\"two\": 2}"[..]));
        for (workspace, other) in [
            (stranger, key),
            (ws, ReportKey { number: 2, ..key }),
            (ws, ReportKey { dataset_version: "b", ..key }),
            (ws, ReportKey { knowledge: "l", ..key }),
        ] {
            assert_eq!(gates::report(&mut tx, workspace, other).await.unwrap(), None);
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_version_keeps_its_verdict_and_a_publication_its_secrets_sealed_anew() {
    for place in places("verdicts of versions").await {
        let ws = place.ws();
        let mut agent = place.home.agent.clone();
        agent.tone = "seco".to_owned();
        let publication = Publication { verdict: Some(verdict()), ..Publication::default() };
        let mut tx = place.write().await;
        agents::publish(&mut tx, &agent, &publication).await.unwrap();
        let version = versions::get(&mut tx, ws, agent.id, 2).await.unwrap().unwrap();
        assert_eq!(version.publication, publication);
        let mut config = agent.config();
        let header = json!({"headers": [{"name": "x-key", "secret": true, "sealed": "v1:old"}]});
        config.tools[0].settings = header.as_object().unwrap().clone();
        let under_way = place.publication(config.clone());
        gates::insert_publication(&mut tx, ws, &under_way).await.unwrap();
        let found = secrets::agent_configs(&mut tx, ws).await.unwrap();
        let (id, number, before) = &found[0];
        assert_eq!((found.len(), *number), (1, -1));
        config.tools[0].settings["headers"][0]["sealed"] = json!("v1:new");
        let which = (*id, *number);
        let replacing = secrets::replace_agent_config(&mut tx, ws, which, before, &config);
        assert!(replacing.await.unwrap());
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = gates::publication(&mut conn, ws, under_way.id).await.unwrap().unwrap();
        assert_eq!(found.config, config);
    }
}
