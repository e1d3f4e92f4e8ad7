//! Removing a workspace: it is absent at once, and nothing of it is left.

use std::path::Path;

use domain::{Role, WorkspaceId};
use http::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Person, open};
use crate::support::{PATIENCE, TestApp, read, woken};

async fn key_of(app: &TestApp, person: &Person) -> String {
    let made = person.post(app, "/v1/api-keys", &json!({"name": "web"})).await.expect(201);
    made["key"].as_str().unwrap().to_owned()
}

/// Adds a text and a file and waits until questions are answered from both; the datastore and the sources.
async fn learn(app: &TestApp, key: &str) -> (String, Vec<domain::SourceId>) {
    let list = app.request_as(key, Method::GET, "/api/v2/datastores");
    let list = read(list).await.expect(200);
    let datastore = list["data"][0]["id"].as_str().unwrap().to_owned();
    let path = |rest: &str| format!("/api/v2/datastores/{datastore}/sources{rest}");
    let body = json!({"name": "horario", "content": "La tienda abre a las nueve de la mañana."});
    let text = app.request_as(key, Method::POST, &path("/text")).json(&body);
    let text = read(text).await.expect(202);
    let file =
        reqwest::multipart::Part::text("El envío cuesta cinco euros.").file_name("envio.txt");
    let form = reqwest::multipart::Form::new().part("file", file);
    let file = read(app.request_as(key, Method::POST, &path("/file")).multipart(form)).await;
    let file = file.expect(202);
    let mut sources = Vec::new();
    let mut wakeups = app.db.wakeups();
    for source in [text, file] {
        let id = source["id"].as_str().unwrap().to_owned();
        let waiting = async {
            loop {
                let look = app.request_as(key, Method::GET, &path(&format!("/{id}")));
                let status = read(look).await.expect(200)["status"].as_str().unwrap().to_owned();
                if status == "ready" {
                    break;
                }
                woken(&mut wakeups).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the ingestion ends");
        sources.push(id.parse().unwrap());
    }
    (datastore, sources)
}

/// Waits until the last of the workspace has gone, the row, which wakes up who waits for it.
async fn gone(app: &TestApp) {
    let mut wakeups = app.db.wakeups();
    let waiting = async {
        loop {
            let mut conn = app.db.read().await.unwrap();
            if storage::workspaces::closing(&mut conn).await.unwrap().is_empty() {
                break;
            }
            drop(conn);
            woken(&mut wakeups).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the removal ends");
}

async fn points(app: &TestApp, workspace: WorkspaceId, sources: &[domain::SourceId]) -> i64 {
    let mut points = 0;
    for source in sources {
        let found = app.retrieval.count_points(workspace, *source).await.unwrap();
        points += found.values().sum::<i64>();
    }
    points
}

fn files(folder: &Path, workspace: WorkspaceId) -> usize {
    let entries = std::fs::read_dir(folder.join("blobs").join(workspace.to_string()));
    entries.map_or(0, |entries| entries.flatten().count())
}

#[tokio::test]
async fn a_removed_workspace_is_absent_at_once_and_nothing_of_it_is_left() {
    for app in TestApp::on_each_database("removal").await {
        let (ana, eva) = (Person::register(&app, "ana").await, Person::register(&app, "eva").await);
        ana.admit(&app, &eva, Role::Admin).await;
        let workspace: WorkspaceId = ana.workspace.parse().unwrap();
        let path = format!("/v1/workspaces/{workspace}");
        let key = key_of(&app, &ana).await;
        let (datastore, sources) = learn(&app, &key).await;
        assert_eq!(points(&app, workspace, &sources).await, 2);
        assert_eq!(files(app.folder(), workspace), 1);
        let invite = json!({"email": "leo@ejemplo.com", "role": "agent"});
        let invited = ana.post(&app, &format!("{path}/members/invite"), &invite).await.expect(201);
        let token = invited["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();

        let help = app.client.get(format!("{}/v1/help/ana", app.base));
        read(help).await.expect(200);
        let remove = async |person: &Person, confirm: &str| {
            let body = json!({"confirm": confirm});
            person.ask(&app, Method::DELETE, &path, &body).await
        };
        remove(&eva, "ana").await.expect_error(403, "FORBIDDEN");
        remove(&ana, "Ana").await.expect_field("confirm");
        ana.ask(&app, Method::DELETE, &path, &json!({})).await.expect_field("confirm");
        ana.get(&app, &path).await.expect(200);
        remove(&ana, " ana ").await.expect(204);

        for person in [&ana, &eva] {
            person.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        }
        remove(&ana, "ana").await.expect_error(404, "NOT_FOUND");
        let query = format!("/api/v2/datastores/{datastore}/query");
        let query = app.request_as(&key, Method::POST, &query).json(&json!({"query": "tienda"}));
        read(query).await.expect_error(401, "UNAUTHORIZED");
        let look = app.client.get(format!("{}/v1/invitations/{token}", app.base));
        read(look).await.expect_error(404, "NOT_FOUND");
        let help = app.client.get(format!("{}/v1/help/ana", app.base));
        read(help).await.expect_error(404, "NOT_FOUND");
        let places = eva.get(&app, "/v1/workspaces").await.expect(200);
        assert!(!places.to_string().contains(&ana.workspace), "{places}");

        gone(&app).await;
        assert_eq!(points(&app, workspace, &sources).await, 0);
        assert_eq!(files(app.folder(), workspace), 0);
        let mut conn = app.db.read().await.unwrap();
        for state in domain::job::JobState::ALL {
            assert!(storage::jobs::list(&mut conn, workspace, state, 9).await.unwrap().is_empty());
        }
        assert!(storage::datastores::list(&mut conn, workspace, None, 9).await.unwrap().is_empty());
        let kept = storage::sources::get_many(&mut conn, workspace, &sources).await.unwrap();
        assert!(kept.is_empty());
        drop(conn);
        // She signs in to a workspace of her own again, and what others know is as it was.
        let login = json!({"email": ana.email, "password": PASSWORD});
        let again = open(&app, "/v1/auth/login", &login).await.expect(200);
        assert_ne!(again["workspace"]["id"], ana.workspace.as_str());
        assert_eq!(again["workspace"]["role"], "owner");
        app.learn("otra", "Los lunes está cerrado.").await;
    }
}

#[tokio::test]
async fn a_removal_that_was_cut_off_is_ended_by_the_next_process() {
    for app in TestApp::on_each_database("removal cut off").await {
        let ana = Person::register(&app, "ana").await;
        let key = key_of(&app, &ana).await;
        let (_, sources) = learn(&app, &key).await;
        let workspace: WorkspaceId = ana.workspace.parse().unwrap();
        // As a process leaves it that dies between the two halves, whose job was lost, too.
        let mut tx = app.db.write().await.unwrap();
        assert!(storage::workspaces::close(&mut tx, workspace, app.ambient.now()).await.unwrap());
        tx.commit().await.unwrap();
        let path = format!("/v1/workspaces/{workspace}");
        ana.get(&app, &path).await.expect_error(404, "NOT_FOUND");
        assert_eq!(points(&app, workspace, &sources).await, 2);
        app.start_again().await;
        gone(&app).await;
        assert_eq!(points(&app, workspace, &sources).await, 0);
        assert_eq!(files(app.folder(), workspace), 0);
    }
}

#[tokio::test]
async fn what_is_done_once_for_all_workspaces_goes_on_without_the_oldest() {
    for app in TestApp::on_each_database("removal of the oldest").await {
        let ana = Person::register(&app, "ana").await;
        let next: WorkspaceId = ana.workspace.parse().unwrap();
        let mut wakeups = app.db.wakeups();
        let mut tx = app.db.write().await.unwrap();
        let (oldest, now) = (app.tenant.workspace, app.ambient.now());
        assert!(storage::workspaces::close(&mut tx, oldest, now).await.unwrap());
        tx.commit().await.unwrap();
        app.start_again().await;
        let waiting = async {
            while !wanted(&app, next, "agents.retention").await
                || !wanted(&app, next, "ingest.sweep").await
            {
                woken(&mut wakeups).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the next one has the jobs");
    }
}

/// Whether a workspace has a job of a kind, done or to be done.
async fn wanted(app: &TestApp, workspace: WorkspaceId, kind: &str) -> bool {
    let mut conn = app.db.read().await.unwrap();
    for state in domain::job::JobState::ALL {
        let jobs = storage::jobs::list(&mut conn, workspace, state, 100).await.unwrap();
        if jobs.iter().any(|job| job.kind == kind) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn what_the_owner_takes_for_another_state_is_not_removed() {
    let app = TestApp::start().await;
    let ana = Person::register(&app, "ana").await;
    let path = format!("/v1/workspaces/{}", ana.workspace);
    let read_before = ana.get(&app, &path).await;
    let tag = read_before.header("etag").to_owned();
    ana.ask(&app, Method::PATCH, &path, &json!({"name": "Sol"})).await.expect(200);
    let stale = app.request_as(&ana.token, Method::DELETE, &path).header("if-match", tag);
    read(stale.json(&json!({"confirm": "Sol"}))).await.expect_error(412, "STALE");
    let untold = ana.ask(&app, Method::DELETE, &path, &Value::Null).await;
    untold.expect_error(400, "INVALID_JSON");
    ana.get(&app, &path).await.expect(200);
}
