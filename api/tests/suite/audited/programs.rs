//! How the routes for programs are asked.

use domain::eval::EvalTarget;
use serde_json::{Value, json};
use storage::evals::NewEvalRun;

use super::world::{Ask, Body, PLANTED, World, unknown};
use crate::v2::matrix::{publication_under_way, waiting_call};

pub async fn ask(world: &World, name: &str) -> Ask {
    let (_, path) = name.split_once(' ').unwrap();
    match path.split('/').nth(3).unwrap() {
        "agents" => Box::pin(agents(world, name)).await,
        "datastores" if path.contains("/sources/") => Box::pin(sources(world, name)).await,
        "evals" => Box::pin(evals(world, name)).await,
        _ => Box::pin(others(world, name)).await,
    }
}

async fn agents(world: &World, name: &str) -> Ask {
    let header = json!({"name": "x-key", "value": PLANTED, "secret": true});
    let tool = json!({
        "type": "http",
        "name": "find_order",
        "description": "Finds an order.",
        "url": "https://api.example.com/orders/{order}",
        "parameters": [{"name": "order"}],
        "headers": [header],
    });
    let new = json!({"name": "Pedidos", "tools": [tool]});
    let list = "/api/v2/agents";
    if name == "POST /api/v2/agents" {
        return world.by_key(list.to_owned(), Body::Json(new), "agent.created");
    }
    let id = world.made_by_key(list, new).await;
    let at = |rest: &str| format!("{list}/{id}{rest}");
    let tone = || Body::Json(json!({"tone": "amable"}));
    let drafted = async || {
        world.app.put(&at("/draft"), &json!({"tone": "amable"})).await.expect(200);
    };
    let (method, path) = name.split_once(' ').unwrap();
    match (method, path.strip_prefix("/api/v2/agents/{agentId}").unwrap()) {
        ("PUT", "") => world.by_key(at(""), tone(), "agent.updated"),
        ("DELETE", "") => world.by_key(at(""), Body::None, "agent.deleted"),
        ("PUT", "/draft") => world.by_key(at("/draft"), tone(), "draft.updated"),
        ("DELETE", "/draft") => {
            drafted().await;
            world.by_key(at("/draft"), Body::None, "draft.deleted")
        }
        ("POST", "/publish") => {
            drafted().await;
            world.by_key(at("/publish"), Body::Json(json!({})), "agent.updated")
        }
        ("POST", "/versions/{version}/restore") => {
            world.app.put(&at(""), &json!({"tone": "amable"})).await.expect(200);
            world.by_key(at("/versions/1/restore"), Body::Json(json!({})), "agent.updated")
        }
        ("PUT", "/gate") => {
            let body = json!({"dataset": dataset(world).await, "mode": "off"});
            world.by_key(at("/gate"), Body::Json(body), "gate.updated")
        }
        ("DELETE", "/gate") => {
            let body = json!({"dataset": dataset(world).await, "mode": "off"});
            world.app.put(&at("/gate"), &body).await.expect(200);
            world.by_key(at("/gate"), Body::None, "gate.deleted")
        }
        ("POST", "/publications/{publicationId}/cancel") => {
            let wanted = publication_under_way(&world.app, &dataset(world).await).await;
            let agent = &world.app.tenant.agent;
            let path = format!("{list}/{agent}/publications/{wanted}/cancel");
            world.by_key(path, Body::None, "publication.cancelled")
        }
        _ => unknown(name),
    }
}

async fn sources(world: &World, name: &str) -> Ask {
    let at = |rest: &str| world.app.in_datastore(&format!("/sources/{rest}"));
    let added = |rest: &str, body| world.by_key(at(rest), body, "source.created");
    let (method, path) = name.split_once(' ').unwrap();
    let rest = path.strip_prefix("/api/v2/datastores/{datastoreId}/sources/").unwrap();
    match rest {
        "file" => return added(rest, Body::File("a.txt", "hola")),
        "text" => return added(rest, Body::Json(json!({"name": "x", "content": "x"}))),
        "url" => {
            let url = format!("https://models.invalid/?key={PLANTED}");
            return added(rest, Body::Json(json!({"url": url})));
        }
        _ => {}
    }
    let id = world.pending_source().await;
    let cancelled = async || {
        let path = at(&format!("{id}/cancel"));
        world.app.post(&path, &Value::Null).await.expect(202);
    };
    match (method, rest) {
        ("DELETE", "{sourceId}") => world.by_key(at(&id), Body::None, "source.deleted"),
        (_, "{sourceId}/cancel") => {
            world.by_key(at(&format!("{id}/cancel")), Body::None, "source.cancelled")
        }
        (_, "{sourceId}/retry") => {
            cancelled().await;
            world.by_key(at(&format!("{id}/retry")), Body::None, "source.retried")
        }
        (_, "{sourceId}/sync") => {
            cancelled().await;
            world.by_key(at(&format!("{id}/sync")), Body::None, "source.synced")
        }
        _ => unknown(name),
    }
}

const CASES: &str = "{\"id\": \"a\", \"input\": \"hola\"}";

async fn dataset(world: &World) -> String {
    let body = json!({"name": "x", "cases": [{"id": "a", "input": "hola"}]});
    world.made_by_key("/api/v2/evals/datasets", body).await
}

/// A run that nobody works at.
async fn run(world: &World) -> String {
    let id = dataset(world).await;
    let stored = world.app.get(&format!("/api/v2/evals/datasets/{id}")).await.expect(200);
    let ambient = &world.app.ambient;
    let run = NewEvalRun {
        id: ambient.new_id(),
        dataset_id: id.parse().unwrap(),
        version: stored["version"].as_str().unwrap().to_owned(),
        target: EvalTarget::Datastore,
        target_id: world.app.tenant.datastore.clone(),
        options: json!({
            "concurrency": 4,
            "per_minute": null,
            "timeout_seconds": 60,
            "max_cost": null,
            "depth": 10,
            "judge": null,
        }),
        api_key_id: None,
        created_at: ambient.now(),
    };
    let mut tx = world.app.db.write().await.unwrap();
    storage::evals::insert_run(&mut tx, world.app.tenant.workspace, &run).await.unwrap();
    tx.commit().await.unwrap();
    run.id.to_string()
}

async fn evals(world: &World, name: &str) -> Ask {
    let (method, path) = name.split_once(' ').unwrap();
    let list = "/api/v2/evals/datasets";
    let cases = Body::File("a.jsonl", CASES);
    match (method, path.strip_prefix("/api/v2/evals/").unwrap()) {
        ("POST", "datasets") => {
            let body = json!({"name": "x", "cases": [{"id": "a", "input": "hola"}]});
            world.by_key(path.to_owned(), Body::Json(body), "eval-dataset.created")
        }
        ("POST", "datasets/file") => world.by_key(path.to_owned(), cases, "eval-dataset.created"),
        ("PUT", "datasets/{evalDatasetId}") => {
            let path = format!("{list}/{}", dataset(world).await);
            world.by_key(path, Body::Json(json!({"name": "otro"})), "eval-dataset.updated")
        }
        ("PUT", "datasets/{evalDatasetId}/file") => {
            let path = format!("{list}/{}/file", dataset(world).await);
            let cases = Body::File("b.jsonl", "{\"id\": \"b\", \"input\": \"chau\"}");
            world.by_key(path, cases, "eval-dataset.updated")
        }
        ("DELETE", "datasets/{evalDatasetId}") => {
            let path = format!("{list}/{}", dataset(world).await);
            world.by_key(path, Body::None, "eval-dataset.deleted")
        }
        ("POST", "datasets/{evalDatasetId}/collect") => {
            gap(world).await;
            let path = format!("{list}/{}/collect", dataset(world).await);
            world.by_key(path, Body::Json(json!({"from": "gaps"})), "eval-dataset.updated")
        }
        ("POST", "runs") => {
            let target = json!({"type": "datastore", "id": world.app.tenant.datastore});
            let body = json!({"datasetId": dataset(world).await, "target": target});
            world.by_key(path.to_owned(), Body::Json(body), "eval-run.created")
        }
        ("DELETE", "runs/{evalRunId}") => {
            let path = format!("/api/v2/evals/runs/{}", run(world).await);
            world.by_key(path, Body::None, "eval-run.deleted")
        }
        ("POST", "runs/{evalRunId}/cancel") => {
            let path = format!("/api/v2/evals/runs/{}/cancel", run(world).await);
            world.by_key(path, Body::None, "eval-run.cancelled")
        }
        _ => unknown(name),
    }
}

async fn gap(world: &World) -> String {
    world.answer("¿Venden submarinos nucleares?").await;
    let gaps = world.app.get("/api/v2/gaps").await.expect(200);
    gaps["data"][0]["id"].as_str().unwrap().to_owned()
}

/// What is made, changed and removed in the same way.
async fn one_of(world: &World, name: &str, [new, change]: [Value; 2], thing: Thing) -> Ask {
    let (method, path) = name.split_once(' ').unwrap();
    let list = path.split("/{").next().unwrap();
    if method == "POST" {
        return world.by_key(list.to_owned(), Body::Json(new), thing.created);
    }
    let path = format!("{list}/{}", world.made_by_key(list, new).await);
    match method {
        "PUT" => world.by_key(path, Body::Json(change), thing.updated),
        _ => world.by_key(path, Body::None, thing.deleted),
    }
}

struct Thing {
    created: &'static str,
    updated: &'static str,
    deleted: &'static str,
}

const KEY: Thing = Thing { created: "api-key.created", updated: "", deleted: "api-key.revoked" };
const BUDGET: Thing =
    Thing { created: "budget.created", updated: "budget.updated", deleted: "budget.deleted" };
const DATASTORE: Thing = Thing {
    created: "datastore.created",
    updated: "datastore.updated",
    deleted: "datastore.deleted",
};
const PROVIDER: Thing =
    Thing { created: "provider.created", updated: "provider.updated", deleted: "provider.deleted" };

async fn others(world: &World, name: &str) -> Ask {
    let (_, path) = name.split_once(' ').unwrap();
    let number = world.next();
    let filled = |id: &str| {
        let (before, rest) = path.split_once('{').unwrap();
        format!("{before}{id}{}", rest.split_once('}').unwrap().1)
    };
    match path.strip_prefix("/api/v2/").unwrap() {
        "api-keys" | "api-keys/{keyId}" => {
            one_of(world, name, [json!({"name": "x"}), Value::Null], KEY).await
        }
        "budgets" | "budgets/{budgetId}" => {
            let agent = world.made_by_key("/api/v2/agents", json!({"name": "x"})).await;
            let new = json!({
                "scope": "agent",
                "subject": agent,
                "unit": "tokens",
                "period": "day",
                "limit": 1_000,
            });
            one_of(world, name, [new, json!({"limit": 2_000})], BUDGET).await
        }
        "datastores" | "datastores/{datastoreId}" => {
            let (new, change) = (json!({"name": "x"}), json!({"name": "y"}));
            one_of(world, name, [new, change], DATASTORE).await
        }
        "datastores/{datastoreId}/tuning" => {
            let body = Body::Json(json!({"threshold": 0.4, "denseWeight": null}));
            world.by_key(world.app.in_datastore("/tuning"), body, "datastore.tuned")
        }
        "providers" | "providers/{providerId}" => {
            let new = json!({
                "name": format!("p{number}"),
                "baseUrl": format!("https://models.invalid/{PLANTED}/v1"),
                "apiKey": PLANTED,
                "models": ["x"],
            });
            one_of(world, name, [new, json!({"priority": 3})], PROVIDER).await
        }
        "glossary" => {
            let text = Body::Json(json!({"text": "es: carpa, toldo"}));
            if name.starts_with("PUT") {
                return world.by_key(path.to_owned(), text, "glossary.updated");
            }
            world.app.put(path, &json!({"text": "es: carpa, toldo"})).await.expect(200);
            world.by_key(path.to_owned(), Body::None, "glossary.deleted")
        }
        "gaps/{gapId}" => {
            let body = Body::Json(json!({"status": "dismissed"}));
            world.by_key(filled(&gap(world).await), body, "gap.updated")
        }
        "gaps/{gapId}/recheck" => {
            world.by_key(filled(&gap(world).await), Body::None, "gap.rechecked")
        }
        "conversations/{conversationId}/status" => {
            let path = filled(&world.conversation().await);
            let body = Body::Json(json!({"status": "resolved"}));
            world.by_key(path, body, "conversation.updated")
        }
        "conversations/{conversationId}/rating" => {
            let path = filled(&world.conversation().await);
            world.by_key(path, Body::Json(json!({"rating": 5})), "conversation.rated")
        }
        "messages/{messageId}/feedback" => {
            let answer = world.answer("hola").await;
            let path = filled(answer["messageId"].as_str().unwrap());
            world.by_key(path, Body::Json(json!({"rating": "up"})), "message.rated")
        }
        "approvals/{approvalId}" => {
            let waiting = waiting_call(&world.app, &world.conversation().await).await;
            let body = Body::Json(json!({"decision": "deny"}));
            world.by_key(filled(&waiting), body, "approval.decided")
        }
        _ => unknown(name),
    }
}
