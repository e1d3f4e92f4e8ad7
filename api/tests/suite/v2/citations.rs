//! Citations hold: what was shown stays, whatever becomes of its source, and every marker opens its span.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::routing::get;
use http::{Method, header};
use serde_json::{Value, json};
use testkit::db::databases;
use testkit::model_server::{ModelServer, Reply as ModelReply};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::events;
use crate::support::{TestApp, read};

/// A page on a loopback port whose content a test changes; ends with the test.
struct Site {
    url: String,
    page: Arc<Mutex<String>>,
    _server: JoinSet<()>,
}

impl Site {
    async fn start(body: String) -> Self {
        let page = Arc::new(Mutex::new(body));
        let shown = page.clone();
        let answer = move || {
            let body = shown.lock().unwrap().clone();
            async move { ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body) }
        };
        let routes = axum::Router::new().route("/ayuda", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/ayuda", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, page, _server: server }
    }
}

/// A page of several passages; the guarantee stands in the middle.
fn page(guarantee: &str) -> String {
    let mut body = String::from("<html><body><main>");
    for (title, sentence) in [
        ("Envíos", "Los paquetes salen del depósito cada mañana, temprano."),
        ("Garantía", guarantee),
        ("Cambios", "Aceptamos cambios con la boleta de compra original."),
    ] {
        let filler = "El reglamento interno describe cada procedimiento con calma. ".repeat(60);
        let _ = write!(body, "<h2>{title}</h2><p>{sentence} {filler}</p>");
    }
    body + "</main></body></html>"
}

fn slice(text: &str, highlight: &Value) -> String {
    let place = |name: &str| usize::try_from(highlight[name].as_i64().unwrap()).unwrap();
    text.chars().skip(place("start")).take(place("end") - place("start")).collect()
}

async fn citations(app: &TestApp, message: &Value) -> Value {
    let path = format!("/api/v2/messages/{}/citations", message.as_str().unwrap());
    let opened = app.get(&path).await.expect(200);
    assert_eq!(&opened["messageId"], message);
    opened["data"].clone()
}

/// A citation without what tells how its source is now.
fn as_shown(citation: &Value) -> Value {
    let mut shown = citation.clone();
    for name in ["before", "after", "current"] {
        shown.as_object_mut().unwrap().remove(name).unwrap();
    }
    shown
}

#[tokio::test]
async fn a_citation_opens_as_it_was_shown_when_its_source_is_replaced_reindexed_and_deleted() {
    for database in databases("a citation opens as it was shown").await {
        let app = TestApp::with(database, |settings| {
            settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
        })
        .await;
        let site = Site::start(page("La garantía del ñandú dura 24 meses corridos.")).await;
        let body = json!({"url": site.url, "name": "Ayuda"});
        let added = app.post(&app.in_datastore("/sources/url"), &body).await.expect(202);
        let source = added["id"].as_str().unwrap().to_owned();
        assert_eq!(app.ingested(&source).await["status"], "ready");

        let body = json!({"query": "¿Cuánto dura la garantía del ñandú?"});
        let answer = app.post(&app.chat_path(), &body).await.expect(200);
        let opened = citations(&app, &answer["messageId"]).await;
        let first = &opened[0];
        let passage = first["passage"].as_str().unwrap();
        assert!(first["quote"].as_str().unwrap().contains("dura 24 meses corridos."), "{first}");
        assert_eq!(slice(passage, &first["highlight"]), first["quote"].as_str().unwrap());
        assert_eq!((&first["marker"], &first["version"]), (&json!("[1]"), &json!(1)));
        assert_eq!((&first["url"], &first["current"]), (&json!(site.url), &json!(true)));
        assert!(first["heading"].as_str().unwrap().contains("Garantía"), "{first}");
        assert!(first["before"]["content"].as_str().unwrap().contains("procedimiento"));
        assert!(first["after"]["content"].is_string(), "{first}");
        let conversation = answer["conversationId"].as_str().unwrap();
        let path = format!("/api/v2/conversations/{conversation}/messages");
        let listed = app.get(&path).await.expect(200)["data"][1]["sources"].clone();
        assert_eq!(listed, answer["sources"], "equal on every surface");
        for (place, cited) in answer["sources"].as_array().unwrap().iter().enumerate() {
            for (name, value) in cited.as_object().unwrap() {
                assert_eq!(&opened[place][name], value, "{name}");
            }
        }

        *site.page.lock().unwrap() = page("La garantía del ñandú dura 6 meses.");
        let path = app.in_datastore(&format!("/sources/{source}"));
        app.post(&format!("{path}/sync"), &json!({})).await.expect(202);
        assert_eq!(app.ingested(&source).await["liveVersion"], 2);
        app.retrieval.rebuild(&|_, _| {}).await.unwrap();
        let again = app.post(&app.chat_path(), &body).await.expect(200);
        let new = citations(&app, &again["messageId"]).await;
        assert_eq!((&new[0]["current"], &new[0]["version"]), (&json!(true), &json!(2)));
        assert!(new[0]["quote"].as_str().unwrap().contains("6 meses"), "{new}");

        app.delete(&path).await.expect(204);
        for (message, before) in [(&answer["messageId"], &opened), (&again["messageId"], &new)] {
            let after = citations(&app, message).await;
            assert_eq!(as_shown(&after[0]), as_shown(&before[0]));
            assert_eq!(after[0]["current"], false);
            assert_eq!((&after[0]["before"], &after[0]["after"]), (&Value::Null, &Value::Null));
        }
        let listed =
            app.get(&format!("/api/v2/conversations/{conversation}/messages")).await.expect(200);
        assert_eq!(listed["data"][1]["sources"], answer["sources"]);
    }
}

#[tokio::test]
async fn a_message_without_citations_opens_none_and_strangers_see_nothing() {
    for app in TestApp::on_each_database("a message without citations").await {
        let hello = app.post(&app.chat_path(), &json!({"query": "hola"})).await.expect(200);
        assert_eq!(citations(&app, &hello["messageId"]).await, json!([]));
        let path = format!("/api/v2/messages/{}/citations", hello["messageId"].as_str().unwrap());
        let other = app.other_tenant().await;
        read(app.request_as(&other.key, Method::GET, &path)).await.expect_error(404, "NOT_FOUND");
    }
}

const HOURS: &str = "Nuestros horarios de atención son de 9 a 18 hs.";
const SHIPPING: &str = "El envío de atención a domicilio cuesta 3.500 pesos.";
const QUESTION: &str = "¿Cuáles son los horarios de atención y cuánto cuesta el envío a domicilio?";

/// What a model writes, what is to reach the customer, and which passages that cites in order.
const MARKED: [(&str, &str, &[i64]); 7] = [
    ("De 9 a 18 hs [1]. Cuesta 3.500 [2].", "De 9 a 18 hs [1]. Cuesta 3.500 [2].", &[1, 2]),
    ("Sale 3.500 [2], de 9 a 18 [1][2] [1].", "Sale 3.500 [2], de 9 a 18 [1][2] [1].", &[2, 1]),
    ("De 9 [3] a 18 [77] hs [1, 9].", "De 9 a 18 hs [1].", &[1]),
    (
        "`a[1]` y [2]:\n```\nlet x = b[1];\n```\nfin [1]",
        "`a[1]` y [2]:\n```\nlet x = b[1];\n```\nfin [1]",
        &[2, 1],
    ),
    (
        "| Día | Horas |\n|---|---|\n| lunes | 9 a 18 [1] |\n| sábado | no [8] |\n\nFin [2].",
        "| Día | Horas |\n|---|---|\n| lunes | 9 a 18 [1] |\n| sábado | no |\n\nFin [2].",
        &[1, 2],
    ),
    (
        "Horas [1](https://x.example/?q=1) y [sic] [2-1] [1-2]",
        "Horas [1] y [sic] [2-1] [1][2]",
        &[1, 2],
    ),
    ("Ninguno [0] de [99].", "Ninguno de.", &[]),
];

#[tokio::test]
async fn markers_cut_anywhere_give_one_text_and_citations_that_open_their_span() {
    let server = ModelServer::start().await.unwrap();
    let base_url = server.base_url().parse().unwrap();
    let app = TestApp::with(testkit::db::sqlite().await, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await;
    app.learn("Horarios", HOURS).await;
    app.learn("Envíos", SHIPPING).await;
    for (written, expected, cited) in MARKED {
        let mut cuts: Vec<Vec<String>> = vec![written.chars().map(String::from).collect()];
        for (at, _) in written.char_indices() {
            let (head, tail) = written.split_at(at);
            cuts.push(
                [head, tail].into_iter().filter(|p| !p.is_empty()).map(str::to_owned).collect(),
            );
        }
        for pieces in cuts {
            server.enqueue(ModelReply::tokens(&pieces));
            check_turn(&app, expected, cited).await;
        }
    }
}

/// Asks as a stream: what is streamed, answered, stored and opened agrees.
async fn check_turn(app: &TestApp, expected: &str, cited: &[i64]) {
    let body = json!({"query": QUESTION, "streaming": true});
    let reply = app.post(&app.chat_path(), &body).await;
    let told = events::parse(&reply.text);
    let done = events::check(&told);
    assert_eq!(done["answer"], expected);
    let path =
        format!("/api/v2/conversations/{}/messages", done["conversationId"].as_str().unwrap());
    let stored = app.get(&path).await.expect(200)["data"][1].clone();
    assert_eq!((&stored["content"], &stored["sources"]), (&done["answer"], &done["sources"]));
    let opened = citations(app, &done["messageId"]).await;
    let opened = opened.as_array().unwrap();
    let indexes: Vec<i64> = opened.iter().map(|open| open["index"].as_i64().unwrap()).collect();
    assert_eq!(indexes, cited, "{expected}");
    for open in opened {
        let passage = open["passage"].as_str().unwrap();
        let quote = open["quote"].as_str().unwrap();
        assert_eq!(slice(passage, &open["highlight"]), quote);
        assert!([HOURS, SHIPPING].contains(&passage) && !quote.is_empty(), "{open}");
        let source = told.iter().find(|e| e.name == "source" && e.data["index"] == open["index"]);
        assert_eq!(source.unwrap().data["chunkId"], open["chunkId"]);
    }
}
