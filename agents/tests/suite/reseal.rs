//! Secrets sealed anew after the key was changed, also by somebody who was interrupted.

use agents::{Agents, AgentsOptions, SealedSecrets, count_secrets};
use domain::agent::{AgentTool, ToolKind};
use domain::vault::{SecretPlace, Vault};
use secrecy::ExposeSecret;
use serde_json::json;
use storage::{providers, secrets};
use testkit::db::databases;

use crate::world::World;

const OLD: &str = "7777777777777777777777777777777777777777777777777777777777777777";
const NEW: &str = "8888888888888888888888888888888888888888888888888888888888888888";
const GONE: &str = "9999999999999999999999999999999999999999999999999999999999999999";

fn ring(keys: &[&str]) -> Vault {
    Vault::parse(&keys.join("\n")).unwrap()
}

impl World {
    /// A provider whose key was sealed with that vault.
    async fn provider_of(&self, name: &str, vault: &Vault) {
        let id: domain::ProviderId = self.ambient.new_id();
        let (workspace, now, row) = (self.born.workspace.id, self.ambient.now(), id.to_string());
        let place = SecretPlace { workspace, table: "providers", column: "api_key", row: &row };
        let sealed = vault.seal(&self.ambient, place, &format!("planted-{name}").into()).unwrap();
        let provider = providers::Provider {
            id,
            name: name.to_owned(),
            base_url: "https://models.ejemplo.com/v1".to_owned(),
            api_key: Some(sealed),
            azure_api_version: None,
            models: vec![name.to_owned()],
            priority: 0,
            created_at: now,
            updated_at: now,
        };
        let mut tx = self.test_db.db.write().await.unwrap();
        assert!(providers::insert(&mut tx, workspace, &provider, 9).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// An agent with a tool for each of the vaults, whose header was sealed with it.
    async fn tools_of(&self, vaults: &[&Vault]) {
        let mut agent = self.born.agent.clone();
        agent.id = self.ambient.new_id();
        let (workspace, row) = (agent.workspace_id, agent.id.to_string());
        let place = SecretPlace { workspace, table: "agents", column: "tools", row: &row };
        for (number, vault) in vaults.iter().enumerate() {
            let sealed = vault.seal(&self.ambient, place, &format!("planted-{number}").into());
            let header = json!({"name": "x-key", "secret": true, "sealed": sealed.unwrap()});
            let settings = json!({"name": format!("tool_{number}"), "headers": [header]});
            let settings = settings.as_object().unwrap().clone();
            agent.tools.push(AgentTool { kind: ToolKind::Http, id: None, settings });
        }
        self.store_agent(agent).await;
    }

    /// Another process, with that ring.
    fn with_ring(&mut self, vault: Vault) {
        self.options = AgentsOptions { vault, ..self.options.clone() };
        self.agents = Agents::new(
            self.test_db.db.clone(),
            self.retrieval.clone(),
            self.ambient.clone(),
            self.options.clone(),
            self.tracker.clone(),
            self.stop.clone(),
        );
    }

    async fn sealed(&self, vault: &Vault) -> (u64, u64, u64) {
        let found = count_secrets(&self.test_db.db, vault).await.unwrap();
        let SealedSecrets { current, older, lost } = found;
        (current, older, lost)
    }
}

#[tokio::test]
async fn what_an_older_key_sealed_is_sealed_anew_by_a_job_that_goes_on_where_it_was() {
    for test_db in databases("reseal").await {
        let mut world = World::builtin(test_db).await;
        let (old, both, new) = (ring(&[OLD]), ring(&[NEW, OLD]), ring(&[NEW]));
        // As somebody left it who was interrupted: some are sealed anew, some are not, in a row too.
        world.provider_of("first", &both).await;
        world.provider_of("second", &old).await;
        world.tools_of(&[&both, &old]).await;
        world.tools_of(&[&old]).await;
        // Each tool's secret twice: of the agent, and of its first version.
        assert_eq!(world.sealed(&both).await, (3, 5, 0));
        assert_eq!(world.sealed(&new).await, (3, 0, 5));
        world.with_ring(both.clone());
        assert_eq!(world.agents.want_resealing().await.unwrap(), 1);
        assert_eq!(world.agents.want_resealing().await.unwrap(), 1);
        assert_eq!(world.run_jobs().await, 1, "once");
        assert_eq!(world.sealed(&both).await, (8, 0, 0));
        assert_eq!(world.sealed(&new).await, (8, 0, 0), "the old key is needed no more");
        assert_eq!(world.agents.want_resealing().await.unwrap(), 0);
        let mut conn = world.test_db.db.read().await.unwrap();
        let workspace = world.born.workspace.id;
        for (id, sealed) in secrets::provider_keys(&mut conn, workspace).await.unwrap() {
            let row = id.to_string();
            let place = SecretPlace { workspace, table: "providers", column: "api_key", row: &row };
            assert!(new.open(place, &sealed).unwrap().expose_secret().starts_with("planted-"));
        }
    }
}

#[tokio::test]
async fn what_no_key_opens_stays_as_it_is_and_stops_nobody() {
    for test_db in databases("reseal without a key").await {
        let mut world = World::builtin(test_db).await;
        let (old, both, gone) = (ring(&[OLD]), ring(&[NEW, OLD]), ring(&[GONE]));
        world.provider_of("lost", &gone).await;
        world.provider_of("found", &old).await;
        world.tools_of(&[&gone, &old]).await;
        world.with_ring(both.clone());
        assert_eq!(world.agents.want_resealing().await.unwrap(), 1);
        world.run_jobs().await;
        assert_eq!(world.sealed(&both).await, (3, 0, 3));
        let all = ring(&[NEW, OLD, GONE]);
        assert_eq!(world.sealed(&all).await, (3, 3, 0), "with its key it opens again");
    }
}
