//! The knowledge base and the help centre.

use domain::datastore::SourceStatus;
use domain::settings::ProcessRole;
use http::Method;
use serde_json::{Value, json};

use super::Person;
use crate::support::{PATIENCE, Reply, TestApp, read, woken};

const QUESTION: &str = "¿Hasta cuándo puedo cambiar mis entradas?";

fn the_texts_own() -> Value {
    json!({
        "title": "Política de cambios y devoluciones",
        "content": "Podrás cambiar tus entradas hasta 24h antes...",
        "tags": ["devoluciones", "cambios"],
    })
}

async fn patch(app: &TestApp, id: &str, body: &Value) -> Reply {
    let request = app.request(Method::PATCH, &format!("/v1/kb/articles/{id}"));
    read(request.json(body)).await
}

/// Waits until the source that mirrors an article holds `version` of it, or (`None`) there is no such source.
async fn mirrored(app: &TestApp, article: &str, version: Option<i64>) {
    let mut wakeups = app.db.wakeups();
    let (workspace, article) = (app.tenant.workspace, article.parse().unwrap());
    let waiting = async {
        loop {
            let mut conn = app.db.read().await.unwrap();
            let mirror = storage::articles::mirror(&mut conn, workspace, article).await.unwrap();
            let ready = match mirror {
                None => false,
                Some(mirror) => {
                    let source = storage::sources::get_any(&mut conn, workspace, mirror.source);
                    let source = source.await.unwrap();
                    source.is_some_and(|source| source.status == SourceStatus::Ready)
                }
            };
            drop(conn);
            let held = mirror.filter(|_| ready).map(|mirror| mirror.version);
            if held == version
                && ready == version.is_some()
                && (version.is_some() || mirror.is_none())
            {
                return;
            }
            woken(&mut wakeups).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the article is mirrored");
}

async fn asked(app: &TestApp, question: &str) -> Value {
    app.post(&app.chat_path(), &json!({"query": question})).await.expect(200)
}

#[tokio::test]
async fn what_is_published_is_answered_and_cited_until_it_is_not() {
    for app in TestApp::on_each_database("articles as knowledge").await {
        let body = json!({
            "title": "Cambio de entradas",
            "content": "Puedes cambiar tus entradas hasta 24 horas antes de la función, en la boletería.",
        });
        let made = app.post("/v1/kb/articles", &body).await.expect(201);
        let id = made["id"].as_str().unwrap().to_owned();
        mirrored(&app, &id, Some(1)).await;
        let answer = asked(&app, QUESTION).await;
        assert!(answer["answer"].as_str().unwrap().contains("24 horas"), "{answer}");
        assert_eq!(answer["sources"][0]["source"], "Cambio de entradas", "{answer}");

        let content =
            "Puedes cambiar tus entradas hasta 72 horas antes de la función, en la boletería.";
        patch(&app, &id, &json!({"content": content})).await.expect(200);
        mirrored(&app, &id, Some(2)).await;
        let answer = asked(&app, QUESTION).await;
        assert!(answer["answer"].as_str().unwrap().contains("72 horas"), "{answer}");
        patch(&app, &id, &json!({"title": "Cambiar entradas"})).await.expect(200);
        mirrored(&app, &id, Some(3)).await;
        let answer = asked(&app, QUESTION).await;
        assert_eq!(answer["sources"][0]["source"], "Cambiar entradas", "{answer}");

        let all = app.get("/api/v2/datastores").await.expect(200);
        let system = all["data"].as_array().unwrap().iter().find(|one| one["isSystem"] == true);
        let path = format!("/api/v2/datastores/{}", system.unwrap()["id"].as_str().unwrap());
        app.get(&path).await.expect(200);
        let sources = app.get(&format!("{path}/sources")).await.expect(200);
        assert_eq!(sources["data"].as_array().unwrap().len(), 1, "{sources}");
        app.delete(&path).await.expect_error(409, "SYSTEM_DATASTORE");
        app.put(&path, &json!({"name": "mío"})).await.expect_error(409, "SYSTEM_DATASTORE");
        let text = json!({"name": "x", "content": "y"});
        let refused = app.post(&format!("{path}/sources/text"), &text).await;
        refused.expect_error(409, "SYSTEM_DATASTORE");
        let source = sources["data"][0]["id"].as_str().unwrap();
        let refused = app.delete(&format!("{path}/sources/{source}")).await;
        refused.expect_error(409, "SYSTEM_DATASTORE");

        patch(&app, &id, &json!({"status": "draft"})).await.expect(200);
        mirrored(&app, &id, None).await;
        let answer = asked(&app, QUESTION).await;
        assert_eq!(answer["sources"], json!([]), "{answer}");
        patch(&app, &id, &json!({"status": "published"})).await.expect(200);
        mirrored(&app, &id, Some(5)).await;
        app.delete(&format!("/v1/kb/articles/{id}")).await.expect(204);
        mirrored(&app, &id, None).await;
        let answer = asked(&app, QUESTION).await;
        assert_eq!(answer["sources"], json!([]), "{answer}");
    }
}

#[tokio::test]
async fn the_texts_own_article_is_made_found_changed_and_deleted() {
    for app in TestApp::on_each_database("articles").await {
        let owner = Person::register(&app, "owner").await;
        let body = the_texts_own();
        let made = owner.post(&app, "/v1/kb/articles", &body).await.expect(201);
        assert_eq!((&made["title"], &made["content"]), (&body["title"], &body["content"]));
        assert_eq!(made["tags"], json!(["cambios", "devoluciones"]));
        assert_eq!((&made["status"], &made["language"]), (&json!("published"), &json!("es")));
        assert_eq!(made["slug"], "politica-de-cambios-y-devoluciones");
        assert_eq!(made["authorId"], json!(owner.id));
        let again = owner.post(&app, "/v1/kb/articles", &body).await.expect(201);
        assert_eq!(again["slug"], "politica-de-cambios-y-devoluciones-2");
        let path = format!("/v1/kb/articles/{}", made["id"].as_str().unwrap());
        let taken = json!({"slug": "politica-de-cambios-y-devoluciones-2"});
        let taken = owner.ask(&app, Method::PATCH, &path, &taken).await;
        taken.expect_error(409, "CONFLICT");

        let category = json!({"names": {"es": "Entradas", "en": "Tickets"}});
        let category = owner.post(&app, "/v1/kb/categories", &category).await.expect(201);
        let change = json!({"categoryId": category["id"], "status": "draft"});
        let changed = owner.ask(&app, Method::PATCH, &path, &change).await.expect(200);
        assert_eq!((&changed["version"], &changed["publishedAt"]), (&json!(2), &Value::Null));
        let of_category = format!("categoryId={}", category["id"].as_str().unwrap());
        for (query, count) in [
            ("criteria=ENTRADAS%20politica", 2),
            ("criteria=nada", 0),
            ("criteria=100%25", 0),
            ("status=draft", 1),
            ("status=published", 1),
            ("tag=cambios", 2),
            ("language=en", 0),
            (of_category.as_str(), 1),
        ] {
            let list = owner.get(&app, &format!("/v1/kb/articles?{query}")).await.expect(200);
            assert_eq!(list["meta"]["itemCount"], count, "{query}: {list}");
        }
        let read_tag = owner.get(&app, &path).await;
        let tag = read_tag.header("etag").to_owned();
        owner.ask(&app, Method::PATCH, &path, &json!({"tags": []})).await.expect(200);
        let request = app.request_as(&owner.token, Method::DELETE, &path).header("if-match", tag);
        read(request).await.expect_error(412, "STALE");
        let of_categories = format!("/v1/kb/categories/{}", category["id"].as_str().unwrap());
        owner.ask(&app, Method::PATCH, &of_categories, &json!({"order": 3})).await.expect(200);
        owner.ask(&app, Method::DELETE, &of_categories, &Value::Null).await.expect(204);
        assert_eq!(owner.get(&app, &path).await.expect(200)["categoryId"], Value::Null);
        owner.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        owner.get(&app, &path).await.expect_error(404, "NOT_FOUND");

        let long = "x".repeat(201);
        for (body, field) in [
            (json!({"title": "", "content": "x"}), "title"),
            (json!({"title": long, "content": "x"}), "title"),
            (json!({"title": "x", "content": " "}), "content"),
            (json!({"title": "x", "content": "x", "language": "fr"}), "language"),
            (json!({"title": "x", "content": "x", "slug": "No vale"}), "slug"),
            (json!({"title": "x", "content": "x", "status": "archived"}), "status"),
            (json!({"title": "x", "content": "x", "categoryId": category["id"]}), "categoryId"),
            (json!({"title": "x"}), "content"),
        ] {
            owner.post(&app, "/v1/kb/articles", &body).await.expect_field(field);
        }
        for (body, field) in [
            (json!({"names": {}}), "names"),
            (json!({"names": {"fr": "x"}}), "names"),
            (json!({"names": {"es": ""}}), "names.es"),
            (json!({"names": {"es": "x"}, "order": -1}), "order"),
        ] {
            owner.post(&app, "/v1/kb/categories", &body).await.expect_field(field);
        }
        let stranger = Person::register(&app, "stranger").await;
        let foreign = format!("/v1/kb/articles/{}", again["id"].as_str().unwrap());
        stranger.get(&app, &foreign).await.expect_error(404, "NOT_FOUND");
    }
}

/// A call without a credential.
fn public(app: &TestApp, method: Method, path: &str) -> reqwest::RequestBuilder {
    app.client.request(method, format!("{}{path}", app.base))
}

#[tokio::test]
async fn everybody_reads_what_is_published_and_nothing_else() {
    for app in TestApp::on_each_database("help centre").await {
        let owner = Person::register(&app, "owner").await;
        let place =
            owner.get(&app, &format!("/v1/workspaces/{}", owner.workspace)).await.expect(200);
        let code = place["code"].as_str().unwrap();
        let category = json!({"names": {"es": "Entradas", "en": "Tickets"}, "slug": "entradas"});
        let category = owner.post(&app, "/v1/kb/categories", &category).await.expect(201);
        let mut body = the_texts_own();
        body["categoryId"] = category["id"].clone();
        body["slug"] = json!("cambios");
        owner.post(&app, "/v1/kb/articles", &body).await.expect(201);
        let english = json!({"title": "Changes", "content": "You may change your tickets.", "slug": "cambios", "language": "en"});
        owner.post(&app, "/v1/kb/articles", &english).await.expect(201);
        let draft = json!({"title": "Secreto", "content": "borrador", "slug": "secreto", "status": "draft"});
        owner.post(&app, "/v1/kb/articles", &draft).await.expect(201);

        let get = async |rest: &str| {
            read(public(&app, Method::GET, &format!("/v1/help/{code}{rest}"))).await
        };
        let home = get("?language=en").await.expect(200);
        assert_eq!(home["articles"], json!({"es": 1, "en": 1}), "{home}");
        assert_eq!(
            home["categories"],
            json!([{"slug": "entradas", "name": "Tickets", "articles": {"es": 1}}])
        );
        let list = get("/articles").await.expect(200);
        assert_eq!(list["meta"]["itemCount"], 2, "{list}");
        assert!(!list.to_string().contains("Secreto"), "{list}");
        for (query, count) in [
            ("language=es", 1),
            ("criteria=tickets", 1),
            ("category=entradas", 1),
            ("tag=cambios", 1),
        ] {
            let list = get(&format!("/articles?{query}")).await.expect(200);
            assert_eq!(list["meta"]["itemCount"], count, "{query}: {list}");
        }
        get("/articles?category=nada").await.expect_error(404, "NOT_FOUND");
        assert_eq!(get("/articles/cambios?language=en").await.expect(200)["title"], "Changes");
        get("/articles/cambios?language=pt").await.expect_error(404, "NOT_FOUND");
        get("/articles/secreto").await.expect_error(404, "NOT_FOUND");
        let request = public(&app, Method::GET, &format!("/v1/help/{code}/articles/cambios"));
        let found =
            read(request.header("accept-language", "en").header("origin", "https://cliente.cl"))
                .await;
        assert_eq!(found.json()["language"], "en");
        assert_eq!(found.header("access-control-allow-origin"), "*");
        assert!(found.header("cache-control").contains("max-age"), "{:?}", found.headers);
        let tag = found.header("etag").to_owned();
        let request =
            public(&app, Method::GET, &format!("/v1/help/{code}/articles/cambios?language=en"));
        let same = read(request.header("if-none-match", &tag)).await;
        assert_eq!((same.status.as_u16(), same.text.as_str()), (304, ""));

        let path = format!("/v1/help/{code}/articles/cambios/feedback?language=es");
        for helpful in [true, true, false] {
            let request = public(&app, Method::POST, &path).json(&json!({"helpful": helpful}));
            read(request).await.expect(204);
        }
        let request = public(&app, Method::POST, &path).json(&json!({"helpful": "sí"}));
        read(request).await.expect_field("helpful");
        let list =
            owner.get(&app, "/v1/kb/articles?language=es&status=published").await.expect(200);
        assert_eq!(
            (&list["data"][0]["helpful"], &list["data"][0]["unhelpful"]),
            (&json!(2), &json!(1))
        );
        let nobody = read(public(&app, Method::GET, "/v1/help/nobody")).await;
        nobody.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn an_article_written_just_before_a_crash_is_mirrored_by_the_next_process() {
    for database in testkit::db::databases("articles after a crash").await {
        // It runs no jobs: as if it died as soon as the article was written. What wants its mirror is in the same transaction.
        let app = TestApp::with(database, |settings| {
            settings.server.roles = vec![ProcessRole::Api];
        })
        .await;
        let made = app.post("/v1/kb/articles", &the_texts_own()).await.expect(201);
        let next =
            app.beside_with(|settings| settings.server.roles.push(ProcessRole::Worker)).await;
        drop(app);
        mirrored(&next, made["id"].as_str().unwrap(), Some(1)).await;
    }
}
