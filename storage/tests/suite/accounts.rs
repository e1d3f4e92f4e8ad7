//! Agents, API keys, contacts, vectors.

use std::time::Duration;

use domain::agent::{AgentSettings, AgentStatus, AgentTool, ToolKind};
use domain::api_key::{ApiKey, ApiKeySecret, FoundKey};
use domain::contact::ContactDetails;
use domain::principal::Scope;
use domain::{Ambient, VisitorId};
use storage::agents::{AgentAtWork, DefaultDatastore};
use storage::{StorageError, agents, api_keys, contacts, datastores, embeddings};
use tokio_util::task::TaskTracker;

use crate::support::{Place, ids, metadata, places};

#[tokio::test]
async fn agents_are_kept_listed_changed_and_removed() {
    for place in places("agents").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        place.later(Duration::from_millis(1));
        let mut tx = place.write().await;
        let mut agent = place.home.agent.clone();
        agent.id = place.ambient.new_id();
        agent.code = agents::next_code(&mut tx, ws).await.unwrap();
        assert_eq!(agent.code, "A-002");
        agents::insert(&mut tx, &agent).await.unwrap();
        tx.commit().await.unwrap();

        agent.name = "Ventas".to_owned();
        agent.model_name = Some("modelo".to_owned());
        agent.status = AgentStatus::Paused;
        agent.tools = vec![AgentTool {
            kind: ToolKind::Http,
            id: None,
            settings: metadata(serde_json::json!({ "url": "https://example.com/{id}" })),
        }];
        agent.settings = AgentSettings { min_evidence: Some(0.25), ..AgentSettings::default() };
        agent.updated_at = place.later(Duration::from_secs(1));
        let mut tx = place.write().await;
        assert!(agents::update(&mut tx, &agent).await.unwrap());
        agent.version = 2;
        let foreign = domain::agent::Agent { workspace_id: stranger, ..agent.clone() };
        assert!(!agents::update(&mut tx, &foreign).await.unwrap());
        tx.commit().await.unwrap();

        let mut conn = place.read().await;
        assert_eq!(agents::get(&mut conn, ws, agent.id).await.unwrap(), Some(agent.clone()));
        assert_eq!(agents::get(&mut conn, stranger, agent.id).await.unwrap(), None);
        let at_work = agents::at_work(&mut conn, ws, agent.id).await.unwrap().unwrap();
        let defaults = datastores::defaults(&mut conn, ws).await.unwrap();
        let rows = datastores::revisions(&mut conn, ws, &ids(&defaults, |found| found.id)).await;
        let rows = rows.unwrap();
        let defaults: Vec<_> = defaults
            .into_iter()
            .map(|found| {
                let revisions = *rows.iter().find(|row| row.id == found.id).unwrap();
                DefaultDatastore { name: found.name, is_default: found.is_default, revisions }
            })
            .collect();
        assert!(defaults.iter().any(|found| found.is_default));
        let expected = AgentAtWork { agent: agent.clone(), defaults, budgets: 0 };
        assert_eq!(at_work, expected);
        assert_eq!(agents::at_work(&mut conn, stranger, agent.id).await.unwrap(), None);
        let by_code = agents::get_by_code(&mut conn, ws, &agent.code).await.unwrap();
        assert_eq!(by_code, Some(agent.clone()));
        assert_eq!(agents::get_by_code(&mut conn, stranger, &agent.code).await.unwrap(), None);
        let first = agents::list(&mut conn, ws, None, 1).await.unwrap();
        assert_eq!(ids(&first, |a| a.id), [agent.id]);
        let rest = agents::list(&mut conn, ws, Some(agent.id), 9).await.unwrap();
        assert_eq!(ids(&rest, |a| a.id), [place.home.agent.id]);
        assert_eq!(
            agents::default(&mut conn, ws).await.unwrap().map(|a| a.id),
            Some(place.home.agent.id)
        );
        drop(conn);

        let mut tx = place.write().await;
        let mut archived = place.home.agent.clone();
        archived.status = AgentStatus::Archived;
        assert!(agents::update(&mut tx, &archived).await.unwrap());
        assert_eq!(agents::default(&mut tx, ws).await.unwrap().map(|a| a.id), Some(agent.id));
        assert!(!agents::delete(&mut tx, stranger, agent.id).await.unwrap());
        assert!(agents::delete(&mut tx, ws, agent.id).await.unwrap());
        assert!(!agents::delete(&mut tx, ws, agent.id).await.unwrap());
        assert_eq!(agents::next_code(&mut tx, ws).await.unwrap(), "A-003", "no code comes back");
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn the_same_agent_code_twice_is_a_conflict() {
    for place in places("agent codes").await {
        let mut twin = place.home.agent.clone();
        twin.id = place.ambient.new_id();
        let mut tx = place.write().await;
        let refused = agents::insert(&mut tx, &twin).await;
        assert!(matches!(refused, Err(StorageError::Conflict(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_api_key_is_found_by_its_hash_until_somebody_looks_whether_it_holds() {
    for place in places("api keys").await {
        let (ws, stranger) = (place.ws(), place.stranger());
        let secret = ApiKeySecret::generate(&place.ambient);
        let key = ApiKey {
            id: place.ambient.new_id(),
            workspace_id: ws,
            name: "web".to_owned(),
            prefix: secret.prefix().to_owned(),
            scopes: [Scope::Read, Scope::Chat].into_iter().collect(),
            created_by: None,
            created_at: place.now(),
            expires_at: Some(place.now().plus(Duration::from_mins(1))),
            last_used_at: None,
            revoked_at: None,
        };
        let mut tx = place.write().await;
        api_keys::insert(&mut tx, &key, &secret.hash()).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let found = api_keys::find_by_hash(&mut conn, &secret.hash()).await.unwrap();
        assert_eq!(found, Some(FoundKey { key: key.clone(), maker: None }));
        assert_eq!(api_keys::find_by_hash(&mut conn, &[0; 32]).await.unwrap(), None);
        assert_eq!(api_keys::get(&mut conn, ws, key.id).await.unwrap(), Some(key.clone()));
        assert_eq!(api_keys::get(&mut conn, stranger, key.id).await.unwrap(), None);
        assert_eq!(
            api_keys::list(&mut conn, ws, None, 9).await.unwrap(),
            std::slice::from_ref(&key)
        );
        assert_eq!(api_keys::all(&mut conn, ws).await.unwrap(), std::slice::from_ref(&key));
        assert!(api_keys::all(&mut conn, stranger).await.unwrap().is_empty());
        assert!(api_keys::list(&mut conn, ws, Some(key.id), 9).await.unwrap().is_empty());
        assert!(api_keys::list(&mut conn, stranger, None, 9).await.unwrap().is_empty());
        drop(conn);

        let first_use = place.later(Duration::from_secs(1));
        let soon = place.later(Duration::from_secs(59));
        let late = place.later(Duration::from_secs(1));
        for (now, noted) in [(first_use, first_use), (soon, first_use), (late, late)] {
            let mut tx = place.write().await;
            api_keys::touch(&mut tx, stranger, key.id, late).await.unwrap();
            api_keys::touch(&mut tx, ws, key.id, now).await.unwrap();
            let key = api_keys::get(&mut tx, ws, key.id).await.unwrap().unwrap();
            assert_eq!(key.last_used_at, Some(noted));
            tx.commit().await.unwrap();
        }

        let mut tx = place.write().await;
        assert!(!api_keys::revoke(&mut tx, stranger, key.id, late).await.unwrap());
        assert!(api_keys::revoke(&mut tx, ws, key.id, late).await.unwrap());
        assert!(!api_keys::revoke(&mut tx, ws, key.id, late).await.unwrap());
        let revoked = api_keys::find_by_hash(&mut tx, &secret.hash()).await.unwrap().unwrap().key;
        assert_eq!(revoked.revoked_at, Some(late));
        tx.commit().await.unwrap();
    }
}

fn details(email: Option<&str>, phone: Option<&str>) -> ContactDetails {
    ContactDetails {
        email: email.map(str::to_owned),
        phone: phone.map(str::to_owned),
        ..ContactDetails::default()
    }
}

async fn resolve(
    place: &Place,
    visitor: Option<&str>,
    details: &ContactDetails,
) -> Option<domain::contact::Contact> {
    let visitor = visitor.map(|text| VisitorId::parse(text).unwrap());
    place.later(Duration::from_millis(1));
    let mut tx = place.write().await;
    let contact = contacts::resolve(&mut tx, &place.ambient, place.ws(), visitor.as_ref(), details)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    contact
}

#[tokio::test]
async fn a_contact_is_matched_filled_in_and_never_merged() {
    for place in places("contacts").await {
        let nobody = ContactDetails::default();
        assert_eq!(resolve(&place, Some("v1"), &nobody).await, None);
        assert_eq!(resolve(&place, None, &nobody).await, None);

        let ana = resolve(&place, Some("v1"), &details(Some("ana@x.cl"), None)).await.unwrap();
        assert_eq!(
            resolve(&place, Some("v1"), &nobody).await.unwrap(),
            ana,
            "the visitor is known"
        );
        let mut named = details(None, Some("+56911111111"));
        named.first_name = Some("Ana".to_owned());
        let filled = resolve(&place, Some("v1"), &named).await.unwrap();
        assert_eq!(
            (filled.id, filled.email.as_deref(), filled.phone.as_deref(), filled.conflict),
            (ana.id, Some("ana@x.cl"), Some("+56911111111"), false)
        );
        named.first_name = Some("Otra".to_owned());
        let kept = resolve(&place, None, &named).await.unwrap();
        assert_eq!(
            kept.first_name.as_deref(),
            Some("Ana"),
            "matched by phone, nothing overwritten"
        );

        let bea = resolve(&place, Some("v2"), &details(Some("bea@x.cl"), None)).await.unwrap();
        assert_ne!(bea.id, ana.id);
        let torn = details(Some("bea@x.cl"), Some("+56911111111"));
        let by_visitor = resolve(&place, Some("v1"), &torn).await.unwrap();
        assert_eq!((by_visitor.id, by_visitor.conflict), (ana.id, true), "the visitor's is kept");
        let by_email = resolve(&place, None, &torn).await.unwrap();
        assert_eq!((by_email.id, by_email.conflict), (bea.id, true), "else the e-mail's");
        assert_eq!(by_email.phone, None, "another contact's phone is not taken");

        let fresh = resolve(&place, Some("v2"), &details(Some("nueva@x.cl"), None)).await.unwrap();
        assert_eq!((fresh.id, fresh.email.as_deref()), (bea.id, Some("bea@x.cl")));

        let mut conn = place.read().await;
        let got = contacts::get(&mut conn, place.ws(), ana.id).await.unwrap().unwrap();
        assert!(got.conflict);
        assert_eq!(contacts::get(&mut conn, place.stranger(), ana.id).await.unwrap(), None);
        let both = [ana.id, bea.id];
        assert_eq!(contacts::get_many(&mut conn, place.ws(), &both).await.unwrap().len(), 2);
        assert!(contacts::get_many(&mut conn, place.stranger(), &both).await.unwrap().is_empty());
        drop(conn);

        let mut tx = place.write().await;
        let visitor = VisitorId::parse("v1").unwrap();
        let elsewhere =
            contacts::resolve(&mut tx, &place.ambient, place.stranger(), Some(&visitor), &nobody);
        assert_eq!(elsewhere.await.unwrap(), None, "visitors are the workspace's own");
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_customer_who_writes_everywhere_at_once_is_one_contact() {
    for place in places("contacts at once").await {
        let tasks = TaskTracker::new();
        let running: Vec<_> = (0..20)
            .map(|number| {
                let (db, workspace) = (place.db().clone(), place.ws());
                tasks.spawn(async move {
                    let visitor = VisitorId::parse(&format!("v{}", number % 4)).unwrap();
                    let details = details(Some("todos@x.cl"), Some("+56922222222"));
                    let mut tx = db.write().await.unwrap();
                    let ambient = Ambient::system();
                    let contact =
                        contacts::resolve(&mut tx, &ambient, workspace, Some(&visitor), &details);
                    let contact = contact.await.unwrap().unwrap();
                    tx.commit().await.unwrap();
                    contact
                })
            })
            .collect();
        let mut found = Vec::new();
        for task in running {
            found.push(task.await.unwrap());
        }
        assert!(found.iter().all(|contact| *contact == found[0] && !contact.conflict), "{found:?}");
    }
}

#[tokio::test]
async fn vectors_are_kept_by_content_space_and_workspace() {
    for place in places("embeddings").await {
        let (ws, now) = (place.ws(), place.now());
        let vectors = [([1; 32], vec![0.5, -1.25, f32::MIN_POSITIVE]), ([2; 32], vec![])];
        let mut tx = place.write().await;
        embeddings::insert_many(&mut tx, ws, "m/3", &[], now).await.unwrap();
        embeddings::insert_many(&mut tx, ws, "m/3", &vectors, now).await.unwrap();
        let changed = [([1; 32], vec![9.0])];
        embeddings::insert_many(&mut tx, ws, "m/3", &changed, now).await.unwrap();
        tx.commit().await.unwrap();
        let mut conn = place.read().await;
        let asked = [[1; 32], [2; 32], [3; 32]];
        let found = embeddings::get_many(&mut conn, ws, "m/3", &asked).await.unwrap();
        assert_eq!(found, vectors.into_iter().collect());
        assert!(embeddings::get_many(&mut conn, ws, "m/4", &asked).await.unwrap().is_empty());
        assert!(embeddings::get_many(&mut conn, ws, "m/3", &[]).await.unwrap().is_empty());
        let elsewhere = embeddings::get_many(&mut conn, place.stranger(), "m/3", &asked).await;
        assert!(elsewhere.unwrap().is_empty());
    }
}
