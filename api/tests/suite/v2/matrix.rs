//! Each route × {no credential, garbage, expired, revoked, another tenant, each scope, each role of a key's maker}. The
//! routes come from the router's own table: a new one is here by itself.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use api::RouteInfo;
use domain::agent::ToolKind;
use domain::agent_version::{AgentConfig, Publication};
use domain::approval::{Approval, ApprovalStatus};
use domain::gate::{AgentPublication, Gate, GateMode, PublicationProgress, PublicationStatus};
use domain::{PublicationId, Role, Scope};
use http::{Method, StatusCode};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::openai;
use crate::support::{Reply, Tenant, TestApp, read};
use crate::v1::Person;

/// Ids of the first workspace that paths are filled with.
struct Ids(HashMap<&'static str, String>);

impl Ids {
    async fn of(app: &TestApp) -> Self {
        let source = app.learn("FAQ", "Abrimos de 9 a 18.").await;
        let chunks = app.get(&app.in_datastore("/chunks")).await.expect(200);
        let answer =
            app.post(&app.chat_path(), &json!({"query": "¿A qué hora abren?"})).await.expect(200);
        let keys = app.get("/api/v2/api-keys").await.expect(200);
        let budget =
            json!({"scope": "agent", "unit": "tokens", "period": "day", "limit": 1_000_000});
        let budget = app.post("/api/v2/budgets", &budget).await.expect(201);
        app.post(&app.chat_path(), &json!({"query": "¿Venden submarinos nucleares?"}))
            .await
            .expect(200);
        let gaps = app.get("/api/v2/gaps").await.expect(200);
        let provider =
            json!({"name": "x", "baseUrl": "https://models.invalid/v1", "models": ["x"]});
        let provider = app.post("/api/v2/providers", &provider).await.expect(201);
        let dataset = json!({"name": "x", "cases": [{"id": "a", "input": "hola"}]});
        let dataset = app.post("/api/v2/evals/datasets", &dataset).await.expect(201);
        let run = json!({
            "datasetId": dataset["id"],
            "target": {"type": "datastore", "id": app.tenant.datastore},
        });
        let run = app.post("/api/v2/evals/runs", &run).await.expect(202);
        // Nothing is asked of it.
        let agent = format!("/api/v2/agents/{}", app.tenant.agent);
        app.put(&agent, &json!({"modelName": "builtin-extractive"})).await.expect(200);
        app.put(&format!("{agent}/draft"), &json!({"tone": "x"})).await.expect(200);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self(HashMap::from([
            ("{agentId}", app.tenant.agent.clone()),
            ("{version}", "1".to_owned()),
            ("{publicationId}", publication_under_way(app, &text(&dataset["id"])).await),
            ("{datastoreId}", app.tenant.datastore.clone()),
            ("{sourceId}", source),
            ("{chunkId}", text(&chunks["data"][0]["id"])),
            ("{conversationId}", text(&answer["conversationId"])),
            ("{messageId}", text(&answer["messageId"])),
            ("{gapId}", text(&gaps["data"][0]["id"])),
            ("{keyId}", text(&keys["data"][0]["id"])),
            ("{budgetId}", text(&budget["id"])),
            ("{approvalId}", waiting_call(app, &text(&answer["conversationId"])).await),
            ("{providerId}", text(&provider["id"])),
            ("{evalDatasetId}", text(&dataset["id"])),
            ("{evalRunId}", text(&run["id"])),
            ("{model}", app.tenant.agent.clone()),
        ]))
    }

    /// The path with its parameters filled in.
    fn fill(&self, path: &str) -> String {
        let mut filled = path.to_owned();
        for (parameter, id) in &self.0 {
            filled = filled.replace(parameter, id);
        }
        assert!(!filled.contains('{'), "{path} has a parameter that this test does not know");
        filled
    }
}

/// A publication that nobody works at, and the gate that wants it; its id.
pub async fn publication_under_way(app: &TestApp, dataset: &str) -> String {
    let path = format!("/api/v2/agents/{}/gate", app.tenant.agent);
    app.put(&path, &json!({"dataset": dataset, "mode": "off"})).await.expect(200);
    let id: PublicationId = app.ambient.new_id();
    let publication = AgentPublication {
        id,
        agent_id: app.tenant.agent.parse().unwrap(),
        status: PublicationStatus::Pending,
        config: AgentConfig::default(),
        base_version: 1,
        draft_revision: None,
        publication: Publication::default(),
        gate: Gate {
            dataset: dataset.parse().unwrap(),
            mode: GateMode::Warn,
            floors: BTreeMap::new(),
            tolerances: BTreeMap::new(),
        },
        progress: PublicationProgress::default(),
        verdict: None,
        error: None,
        version: None,
        created_at: app.ambient.now(),
        ended_at: None,
    };
    let mut tx = app.db.write().await.unwrap();
    let workspace = app.tenant.workspace;
    storage::gates::insert_publication(&mut tx, workspace, &publication).await.unwrap();
    tx.commit().await.unwrap();
    id.to_string()
}

/// A call that waits for a person's word; its id.
pub async fn waiting_call(app: &TestApp, conversation: &str) -> String {
    let now = app.ambient.now();
    let approval = Approval {
        id: app.ambient.new_id(),
        workspace_id: app.tenant.workspace,
        agent_id: app.tenant.agent.parse().unwrap(),
        conversation_id: conversation.parse().unwrap(),
        question_id: app.ambient.new_id(),
        message_id: app.ambient.new_id(),
        kind: ToolKind::Http,
        tool: "book".to_owned(),
        target: "POST https://api.example.com/".to_owned(),
        arguments: json!({}),
        status: ApprovalStatus::Waiting,
        error: None,
        decided_by: None,
        note: None,
        decided_at: None,
        answer_id: None,
        created_at: now,
        expires_at: now.plus(Duration::from_hours(1)),
    };
    let mut tx = app.db.write().await.unwrap();
    let workspace = app.tenant.workspace;
    storage::approvals::insert(&mut tx, workspace, &approval, &json!({})).await.unwrap();
    tx.commit().await.unwrap();
    approval.id.to_string()
}

/// What a run is compared with.
const NO_RUN: &str = "?base=evalrun_00000000000000000000000000000000";

/// A body that the route would accept.
fn request_to(
    app: &TestApp,
    key: Option<&str>,
    method: &Method,
    path: &str,
) -> reqwest::RequestBuilder {
    let query = if path.ends_with("/compare") { NO_RUN } else { "" };
    let request = app.client.request(method.clone(), format!("{}{path}{query}", app.base));
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    let last = path.rsplit('/').next().unwrap_or_default();
    let body = match (method.as_str(), last) {
        ("GET" | "DELETE", _) | ("POST", "stop" | "retry" | "cancel" | "sync" | "recheck") => {
            return request;
        }
        (_, "file") if path.contains("/evals/") => {
            let line = b"{\"id\": \"a\", \"input\": \"hola\"}".to_vec();
            let part = Part::bytes(line).file_name("a.jsonl");
            return request.multipart(Form::new().part("file", part));
        }
        ("POST", "file") => {
            let part = Part::bytes(b"hola".to_vec()).file_name("a.txt");
            return request.multipart(Form::new().part("file", part));
        }
        (_, "chat" | "query") => json!({"query": "hola"}),
        (_, "url") => json!({"url": "https://ejemplo.com/"}),
        (_, "text") => json!({"name": "x", "content": "x"}),
        ("PUT", last) if last.starts_with("gap_") || path.contains("/gaps/") => {
            json!({"status": "open"})
        }
        (_, "status") => json!({"status": "open"}),
        _ if path.contains("/approvals/") => json!({"decision": "deny"}),
        (_, "tuning") => json!({"threshold": null, "denseWeight": null}),
        (_, "glossary") => json!({"text": "es: carpa, toldo"}),
        (_, "rating") => json!({"rating": 5}),
        (_, "feedback") => json!({"rating": "up"}),
        (_, "completions") => {
            json!({"model": app.tenant.agent, "messages": [{"role": "user", "content": "hola"}]})
        }
        (_, "collect") => json!({"from": "gaps"}),
        (_, "embeddings") => json!({"model": "any", "input": "hola"}),
        _ => json!({"name": "x"}),
    };
    request.json(&body)
}

async fn ask(app: &TestApp, key: Option<&str>, method: &Method, path: &str) -> Reply {
    read(request_to(app, key, method, path)).await
}

/// MCP has one route, whose tools ask for their scopes themselves: `mcp` tests them.
fn mcp() -> RouteInfo {
    let path = "/mcp".to_owned();
    RouteInfo {
        method: Method::POST,
        path,
        action: None,
        surface: api::Surface::Programs,
        callers: api::Callers::Known,
    }
}

/// The routes of every surface for programs.
fn all_routes() -> Vec<RouteInfo> {
    let mut routes = api::routes_v2();
    routes.extend(api::routes_openai());
    routes
}

/// Checks a refusal in the shape of the route's surface; its message.
fn refusal(path: &str, reply: &Reply, status: u16, code: &str) -> String {
    if !path.starts_with("/openai/") {
        return reply.expect_error(status, code);
    }
    let (code, param) = match code {
        "UNAUTHORIZED" => ("invalid_api_key", None),
        "FORBIDDEN" => ("insufficient_permissions", None),
        _ => ("model_not_found", Some("model")),
    };
    openai::expect_error(reply, status, code, param)
}

#[test]
fn the_table_is_of_every_route_that_is_described() {
    let document = serde_json::to_value(api::openapi_v2()).unwrap();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let table = api::routes_v2().into_iter();
    let mut table: Vec<_> = table.map(|route| format!("{} {}", route.method, route.path)).collect();
    described.sort();
    table.sort();
    assert_eq!(table, described);
}

#[tokio::test]
async fn no_route_answers_without_a_key_that_holds() {
    for app in TestApp::on_each_database("no_route_answers_without_a_key_that_holds").await {
        let ids = Ids::of(&app).await;
        let past = app.ambient.now().minus(Duration::from_secs(1));
        let expired = app.key(&Scope::ALL, Some(past)).await;
        let made = app.post("/api/v2/api-keys", &json!({"name": "x"})).await.expect(201);
        app.delete(&format!("/api/v2/api-keys/{}", made["id"].as_str().unwrap())).await.expect(204);
        let revoked = made["key"].as_str().unwrap().to_owned();
        // Its maker is a member no more; nor does a person's own token open anything here.
        let person = Person::register(&app, "ana").await;
        let orphaned = app.key_by(person.id.parse().unwrap(), &Scope::ALL).await;
        let unknown = format!("vk_{}", "a".repeat(64));
        let mut routes = all_routes();
        routes.push(mcp());
        let mut bodies = Vec::new();
        for route in &routes {
            let path = ids.fill(&route.path);
            for key in [
                None,
                Some("garbage"),
                Some(""),
                Some(&*unknown),
                Some(&*expired),
                Some(&*revoked),
                Some(&*orphaned),
                Some(&*person.token),
                Some(&*person.refresh),
            ] {
                let reply = ask(&app, key, &route.method, &path).await;
                let message = refusal(&path, &reply, 401, "UNAUTHORIZED");
                // One surface speaks Spanish to whom names no language, as specified; the other English.
                bodies.push(message.replace("API key inválida", "invalid API key"));
            }
            for header in ["Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", &app.tenant.key] {
                let request =
                    app.client.request(route.method.clone(), format!("{}{path}", app.base));
                let reply = read(request.header("authorization", header)).await;
                refusal(&path, &reply, 401, "UNAUTHORIZED");
            }
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "a refusal tells why: {bodies:?}");
    }
}

#[tokio::test]
async fn each_route_needs_its_scope_and_no_other() {
    for app in TestApp::on_each_database("each_route_needs_its_scope_and_no_other").await {
        let ids = Ids::of(&app).await;
        let mut keys = HashMap::new();
        for scope in Scope::ALL {
            keys.insert(scope.name(), app.key(&[scope], None).await);
        }
        // What deletes comes last, so that the others find what they name.
        let mut routes = all_routes();
        routes.sort_by_key(|route| (route.method == Method::DELETE, route.path.len()));
        for route in routes {
            let path = ids.fill(&route.path);
            let needed = route.action.expect("each of these needs a caller").needs().1;
            for scope in [Scope::Read, Scope::Chat] {
                let reply = ask(&app, Some(&keys[scope.name()]), &route.method, &path).await;
                let name = format!("{} {path} with {scope}: {}", route.method, reply.text);
                if scope == needed {
                    assert!(
                        !matches!(reply.status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED),
                        "{name}"
                    );
                    assert!(!reply.status.is_server_error(), "{name}");
                } else {
                    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}");
                    refusal(&path, &reply, 403, "FORBIDDEN");
                }
            }
            if needed == Scope::Manage && route.method != Method::DELETE {
                let reply = ask(&app, Some(&keys["manage"]), &route.method, &path).await;
                let name = format!("{} {path}: {}", route.method, reply.text);
                assert_ne!(reply.status, StatusCode::FORBIDDEN, "{name}");
                // The provider of this test is nowhere.
                let is_nowhere = reply.status == StatusCode::SERVICE_UNAVAILABLE
                    && route.path.ends_with("/providers/{providerId}/models");
                assert!(!reply.status.is_server_error() || is_nowhere, "{name}");
            }
        }
    }
}

/// What a key may do is bounded by what its maker may.
#[tokio::test]
async fn each_route_asks_for_the_role_of_who_made_the_key() {
    for app in TestApp::on_each_database("each_route_asks_for_the_role_of_who_made_the_key").await {
        let ids = Ids::of(&app).await;
        let mut keys = Vec::new();
        for role in Role::ALL {
            let person = Person::register(&app, &format!("some-{role}")).await;
            let workspace = app.tenant.workspace.to_string();
            let there = Person { workspace, ..person.clone() };
            there.admit(&app, &person, role).await;
            keys.push((role, app.key_by(person.id.parse().unwrap(), &Scope::ALL).await));
        }
        for route in all_routes() {
            let needed = route.action.expect("each of these needs a caller").needs().0;
            for (role, key) in &keys {
                // What deletes is asked for what is not there: the others go on finding what they name.
                let path = if route.method == Method::DELETE {
                    ids.fill(&absent_path(&route.path, "00000000000000000000000000000000"))
                } else {
                    ids.fill(&route.path)
                };
                let reply = ask(&app, Some(key), &route.method, &path).await;
                let name = format!("{} {path} by a key of a {role}: {}", route.method, reply.text);
                assert_ne!(reply.status, StatusCode::UNAUTHORIZED, "{name}");
                assert_eq!(reply.status == StatusCode::FORBIDDEN, *role < needed, "{name}");
                // The provider of this test is nowhere; agents may be asked to use it by then.
                let asks_provider = route.path.ends_with("/providers/{providerId}/models")
                    || reply.text.to_uppercase().contains("MODEL_UNAVAILABLE");
                let is_nowhere = reply.status == StatusCode::SERVICE_UNAVAILABLE && asks_provider;
                assert!(!reply.status.is_server_error() || is_nowhere, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn what_belongs_to_another_tenant_is_absent() {
    for app in TestApp::on_each_database("what_belongs_to_another_tenant_is_absent").await {
        let ids = Ids::of(&app).await;
        let other: Tenant = app.other_tenant().await;
        for route in all_routes() {
            let path = ids.fill(&route.path);
            if path == route.path {
                continue;
            }
            let reply = ask(&app, Some(&other.key), &route.method, &path).await;
            let foreign = refusal(&path, &reply, 404, "NOT_FOUND");
            // Absent and malformed ids answer in the same words.
            for id in ["00000000000000000000000000000000", "x"] {
                let absent = absent_path(&route.path, id);
                let reply = ask(&app, Some(&other.key), &route.method, &absent).await;
                assert_eq!(
                    refusal(&path, &reply, 404, "NOT_FOUND"),
                    foreign,
                    "{} {absent}",
                    route.method
                );
            }
        }
        let agents =
            read(app.request_as(&other.key, Method::GET, "/api/v2/agents")).await.expect(200);
        assert_eq!(agents["data"].as_array().unwrap().len(), 1);
        assert_eq!(agents["data"][0]["id"], other.agent.as_str());
        app.get(&app.in_datastore("")).await.expect(200);
        app.get(&format!("/api/v2/chunks/{}", ids.0["{chunkId}"])).await.expect(200);
    }
}

fn absent_path(path: &str, id: &str) -> String {
    let prefixes = [
        ("{agentId}", "agent_"),
        ("{datastoreId}", "ds_"),
        ("{sourceId}", "src_"),
        ("{chunkId}", "chunk_"),
        ("{conversationId}", "conv_"),
        ("{messageId}", "msg_"),
        ("{gapId}", "gap_"),
        ("{keyId}", "key_"),
        ("{budgetId}", "budget_"),
        ("{evalDatasetId}", "evalset_"),
        ("{evalRunId}", "evalrun_"),
        ("{publicationId}", "pub_"),
        ("{providerId}", "prov_"),
        ("{approvalId}", "appr_"),
        ("{model}", "agent_"),
    ];
    prefixes.into_iter().fold(path.to_owned(), |path, (parameter, prefix)| {
        path.replace(parameter, &format!("{prefix}{id}"))
    })
}
