//! Published versions of agents, and their drafts.

use std::time::Duration;

use domain::ApiKeyId;
use domain::agent::{Agent, AgentStatus, AgentTool, ToolKind};
use domain::agent_version::{AgentDraft, NamedDatastore, Publication};
use serde_json::json;
use sqlx::Connection as _;
use storage::agents::{self, Written};
use storage::{secrets, versions};

use crate::support::{Place, places};

impl Place {
    async fn agent(&self) -> Agent {
        let id = self.home.agent.id;
        agents::get(&mut self.read().await, self.ws(), id).await.unwrap().unwrap()
    }

    async fn published(&self, agent: &Agent, publication: &Publication) -> Written {
        let mut tx = self.write().await;
        let written = agents::publish(&mut tx, agent, publication).await.unwrap();
        tx.commit().await.unwrap();
        written
    }

    async fn put(&self, draft: &AgentDraft) -> Option<i64> {
        let mut tx = self.write().await;
        let revision = versions::put_draft(&mut tx, self.ws(), draft).await.unwrap();
        tx.commit().await.unwrap();
        revision
    }
}

#[tokio::test]
async fn what_is_different_is_a_version_and_what_is_not_is_none() {
    for place in places("versions").await {
        let (ws, by) = (place.ws(), place.ambient.new_id::<ApiKeyId>());
        let born = place.agent().await;
        assert_eq!(born.version, 1);
        let mut conn = place.read().await;
        let first = versions::get(&mut conn, ws, born.id, 1).await.unwrap().unwrap();
        let named =
            NamedDatastore { id: place.home.datastore.id, name: place.home.datastore.name.clone() };
        assert_eq!((first.config.clone(), first.datastores), (born.config(), vec![named]));
        assert_eq!(first.publication, Publication::default());
        drop(conn);

        let note = Some("más corto".to_owned());
        let publication = Publication { by: Some(by), note, restored_from: Some(1), verdict: None };
        let now = place.later(Duration::from_millis(1));
        let changed = Agent { tone: "seco".to_owned(), updated_at: now, ..born.clone() };
        assert_eq!(place.published(&changed, &publication).await, Written::Version(2));
        assert_eq!(place.published(&changed, &publication).await, Written::Stale);
        let paused = Agent { status: AgentStatus::Paused, ..place.agent().await };
        assert_eq!(place.published(&paused, &publication).await, Written::Version(2));
        assert_eq!(place.agent().await.status, AgentStatus::Paused);
        let foreign = Agent { workspace_id: place.stranger(), ..paused };
        assert_eq!(place.published(&foreign, &publication).await, Written::Absent);

        let mut conn = place.read().await;
        let second = versions::get(&mut conn, ws, born.id, 2).await.unwrap().unwrap();
        assert_eq!((second.config.tone.as_str(), second.created_at), ("seco", now));
        assert_eq!(second.publication, publication);
        let all = versions::list(&mut conn, ws, born.id, None, 9).await.unwrap();
        assert_eq!(all.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(all[1].config, born.config(), "what was published stays as it was");
        let older = versions::list(&mut conn, ws, born.id, Some(2), 9).await.unwrap();
        assert_eq!(older.iter().map(|version| version.number).collect::<Vec<_>>(), [1]);
        let stranger = place.stranger();
        assert!(versions::list(&mut conn, stranger, born.id, None, 9).await.unwrap().is_empty());
        assert_eq!(versions::get(&mut conn, stranger, born.id, 1).await.unwrap(), None);
        drop(conn);

        let mut tx = place.write().await;
        let code = agents::next_code(&mut tx, ws).await.unwrap();
        let id = place.ambient.new_id();
        agents::insert_as(&mut tx, &Agent { id, code, version: 1, ..born }, &publication)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let of_key = versions::get(&mut conn, ws, id, 1).await.unwrap().unwrap();
        assert_eq!(of_key.publication.by, Some(by));
    }
}

#[tokio::test]
async fn a_draft_takes_the_place_of_the_one_that_was_read_only() {
    for place in places("drafts").await {
        let (ws, agent) = (place.ws(), place.agent().await);
        let mut draft = AgentDraft {
            agent_id: agent.id,
            revision: 0,
            base_version: 1,
            config: agent.config(),
            updated_by: Some(place.ambient.new_id()),
            updated_at: place.now(),
        };
        draft.config.tone = "seco".to_owned();
        assert_eq!(place.put(&draft).await, Some(1));
        assert_eq!(place.put(&draft).await, None, "there is one by now");
        draft.revision = 1;
        draft.config.tone = "amable".to_owned();
        let revision = place.put(&draft).await.unwrap();
        assert!(revision > 1);
        draft.revision = revision;
        let mut conn = place.read().await;
        assert_eq!(versions::draft(&mut conn, ws, agent.id).await.unwrap(), Some(draft.clone()));
        let stranger = place.stranger();
        assert_eq!(versions::draft(&mut conn, stranger, agent.id).await.unwrap(), None);
        drop(conn);
        assert_eq!(place.agent().await, agent, "nothing is published");

        let mut tx = place.write().await;
        let foreign = versions::put_draft(&mut tx, stranger, &draft).await.unwrap();
        assert_eq!(foreign, None);
        for (workspace, which, was_there) in [
            (stranger, None, false),
            (ws, Some(revision - 1), false),
            (ws, Some(revision), true),
            (ws, None, false),
        ] {
            let deleted = versions::delete_draft(&mut tx, workspace, agent.id, which);
            assert_eq!(deleted.await.unwrap(), was_there, "{which:?}");
        }
        tx.commit().await.unwrap();
        assert_eq!(place.put(&draft).await, None, "it is gone");
        draft.revision = 0;
        assert!(place.put(&draft).await.unwrap() > revision, "no revision comes twice");
    }
}

#[tokio::test]
async fn secrets_of_versions_and_drafts_are_sealed_anew_too() {
    for place in places("secrets of versions").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let mut agent = place.agent().await;
        let header = json!({"headers": [{"name": "x-key", "secret": true, "sealed": "v1:old"}]});
        let settings = header.as_object().unwrap().clone();
        agent.tools.push(AgentTool { kind: ToolKind::Http, id: None, settings });
        place.published(&agent, &Publication::default()).await;
        let draft = AgentDraft {
            agent_id: agent.id,
            revision: 0,
            base_version: 2,
            config: agent.config(),
            updated_by: None,
            updated_at: place.now(),
        };
        place.put(&draft).await.unwrap();
        let mut conn = place.read().await;
        let mut found = secrets::agent_configs(&mut conn, ws).await.unwrap();
        found.sort();
        let numbers: Vec<i64> = found.iter().map(|(_, number, _)| *number).collect();
        assert_eq!(numbers, [0, 2], "the draft and the version that has one");
        assert!(secrets::agent_configs(&mut conn, stranger).await.unwrap().is_empty());
        drop(conn);
        let mut anew = agent.config();
        anew.tools.last_mut().unwrap().settings["headers"][0]["sealed"] = json!("v1:new");
        let mut tx = place.write().await;
        for (id, number, before) in &found {
            let place = (*id, *number);
            for (workspace, old, replaces) in
                [(stranger, before.as_str(), false), (ws, "{}", false), (ws, before, true)]
            {
                let replaced = secrets::replace_agent_config(&mut tx, workspace, place, old, &anew);
                assert_eq!(replaced.await.unwrap(), replaces);
            }
        }
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let version = versions::get(&mut conn, ws, agent.id, 2).await.unwrap().unwrap();
        let draft = versions::draft(&mut conn, ws, agent.id).await.unwrap().unwrap();
        assert_eq!((&version.config, &draft.config), (&anew, &anew));
    }
}

/// The statement of a migration that begins so.
fn statement<'a>(migration: &'a str, beginning: &str) -> &'a str {
    let statement = &migration[migration.find(beginning).unwrap()..];
    &statement[..=statement.find(';').unwrap()]
}

#[tokio::test]
async fn agents_from_before_there_were_versions_have_their_first_one() {
    let sqlite = include_str!("../../../migrations/sqlite/0017_versions.sql");
    let postgres = include_str!("../../../migrations/postgres/0017_versions.sql");
    let filling = "INSERT INTO agent_versions";
    for place in places("versions of old agents").await {
        let (ws, agent) = (place.ws(), place.agent().await);
        let mut conn = place.read().await;
        let made = versions::get(&mut conn, ws, agent.id, 1).await.unwrap().unwrap();
        drop(conn);
        let url = place.test.guard.url();
        let forget = "DELETE FROM agent_versions";
        if url.starts_with("postgres") {
            let mut raw = sqlx::PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(forget).execute(&mut raw).await.unwrap();
            sqlx::raw_sql(statement(postgres, filling)).execute(&mut raw).await.unwrap();
        } else {
            let mut raw = sqlx::SqliteConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(forget).execute(&mut raw).await.unwrap();
            sqlx::raw_sql(statement(sqlite, filling)).execute(&mut raw).await.unwrap();
        }
        let mut conn = place.read().await;
        let filled = versions::get(&mut conn, ws, agent.id, 1).await.unwrap().unwrap();
        assert_eq!(filled, made);
    }
}
