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
use crate::openai;
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

/// What a model writes, what is to reach the customer (`SAME`: just that), and which passages that cites, in order of
/// first use.
const MARKED: [(&str, &str, &[i64]); 48] = [
    // Where they stand.
    ("De 9 a 18 hs [1]. Cuesta 3.500 [2].", SAME, &[1, 2]),
    ("[1] De 9 a 18 hs", SAME, &[1]),
    ("[9] De 9 a 18 hs [2]", "De 9 a 18 hs [2]", &[2]),
    ("De 9[1]a 18[2]", SAME, &[1, 2]),
    ("Sí 👍🏽[1] ñandú [2]… ¡ya [9]!", "Sí 👍🏽[1] ñandú [2]… ¡ya!", &[1, 2]),
    ("**De 9 a 18 [1]** y _[2]_ (ver [1], [9])", "**De 9 a 18 [1]** y _[2]_ (ver [1],)", &[1, 2]),
    ("\n\n De 9 a 18 [1] \n\n", "De 9 a 18 [1]", &[1]),
    // Repeated, out of order, adjacent, several in one.
    ("Sale 3.500 [2], de 9 a 18 [1][2] [1].", SAME, &[2, 1]),
    ("De 9 [1][1] a 18 [1].", SAME, &[1]),
    ("De 9 [1][9][2]", "De 9 [1][2]", &[1, 2]),
    ("De 9 [1],[2];[1]", SAME, &[1, 2]),
    ("De 9 [2, 1] a 18 [1-2]", "De 9 [2][1] a 18 [1][2]", &[2, 1]),
    ("De 9 [^1] a 18 [01]", "De 9 [1] a 18 [1]", &[1]),
    // Unknown.
    ("De 9 [3] a 18 [77] hs [1, 9].", "De 9 a 18 hs [1].", &[1]),
    ("Ninguno [0] de [99].", "Ninguno de.", &[]),
    ("De 9 [99999999999999999999999] [7]\n\nFin [8] [1]", "De 9\n\nFin [1]", &[1]),
    // What is no marker.
    ("De [9-18] y [sic] [2-1] [1 de 2] [a, b] [2]", SAME, &[2]),
    ("[ver [1]] y [[2]] y [x[1]", SAME, &[1, 2]),
    ("Fin [1] y [2", SAME, &[1]),
    ("Fin [1] y [", SAME, &[1]),
    // Code in a line.
    ("`a[1]` y [2]", SAME, &[2]),
    ("`[9]` y `b[1] = c[2]` [9] fin [1]", "`[9]` y `b[1] = c[2]` fin [1]", &[1]),
    ("``a` [9]`` y [1]", SAME, &[1]),
    ("la tecla ` y [9]\nsigue [9] aquí [1]", "la tecla ` y [9]\nsigue aquí [1]", &[1]),
    ("[1]`x[2]`[9]`y`", "[1]`x[2]``y`", &[1]),
    // Code of its own.
    ("`a[1]` y [2]:\n```\nlet x = b[1];\n```\nfin [1]", SAME, &[2, 1]),
    (
        "Así [1]:\n\n```rust\nlet x = b[9]; // [2]\n```\n\ny [9] [2]",
        "Así [1]:\n\n```rust\nlet x = b[9]; // [2]\n```\n\ny [2]",
        &[1, 2],
    ),
    ("````\n```\nb[9]\n```\n````\nfin [1]", SAME, &[1]),
    ("Así:\n~~~\nb[9] ` [2]\n~~~\nfin [1]", SAME, &[1]),
    ("~~De 8~~ [9] De 9 [1]", "~~De 8~~ De 9 [1]", &[1]),
    ("Así [1]:\n```\nlet x = b[9];", SAME, &[1]),
    // Tables.
    (
        "| Día | Horas |\n|---|---|\n| lunes | 9 a 18 [1] |\n| sábado | no [8] |\n\nFin [2].",
        "| Día | Horas |\n|---|---|\n| lunes | 9 a 18 [1] |\n| sábado | no |\n\nFin [2].",
        &[1, 2],
    ),
    (
        "| Día [2] | Horas [9] |\n|:--|--:|\n| lunes [1] | [2] |",
        "| Día [2] | Horas |\n|:--|--:|\n| lunes [1] | [2] |",
        &[2, 1],
    ),
    ("|[1]|[9]|\n|-|-|\n|x[2]|[9]y|", "|[1]||\n|-|-|\n|x[2]|y|", &[1, 2]),
    ("| [9] | x [1] |\n|---|---|\n|[1]| [9]|", "| | x [1] |\n|---|---|\n|[1]| |", &[1]),
    ("| `a[9]` | x\\|y [1] |\n|---|---|\n| ` | [2] |", SAME, &[1]),
    ("Día | Horas [1]\n--- | ---\nlunes | 9 a 18 [1][2]", SAME, &[1, 2]),
    // Lists, headings, quotations.
    ("- uno [1]\n- dos [9]\n- tres [2]", "- uno [1]\n- dos\n- tres [2]", &[1, 2]),
    ("1. uno [2]\n2. dos [1]\n   - tres [9][2]", "1. uno [2]\n2. dos [1]\n   - tres [2]", &[2, 1]),
    ("* [1] uno\n* [9] dos\n* [2]", "* [1] uno\n* dos\n* [2]", &[1, 2]),
    ("- [ ] uno [1]\n- [x] dos [2]", SAME, &[1, 2]),
    (
        "# Horario [1]\n\nDe 9 [9].\n\n## Envío\n[2]",
        "# Horario [1]\n\nDe 9.\n\n## Envío\n[2]",
        &[1, 2],
    ),
    ("> De 9 a 18 [1]\n> y [9]\n>\n> fin [2]", "> De 9 a 18 [1]\n> y\n>\n> fin [2]", &[1, 2]),
    // Links.
    ("Horas [1](https://x.example/?q=1) y [9](https://x.example) [2]", "Horas [1] y [2]", &[1, 2]),
    ("Ver [la tienda](https://x.example/a) [1].", SAME, &[1]),
    ("Ver [[1]](https://x.example/a) y [2](ver abajo)", SAME, &[1, 2]),
    ("Ver https://x.example/?a[2]=1&b[9]=2 y [1] [2]", SAME, &[1, 2]),
    ("¡Mira![1] ![foto](https://x.example/a.png) [2]", "¡Mira! [1] foto [2]", &[1, 2]),
];

/// What is written is what is to reach the customer.
const SAME: &str = "=";

/// An answer in pieces of `size` characters, the first one of `first`.
fn pieces(written: &str, first: usize, size: usize) -> Vec<String> {
    let letters: Vec<char> = written.chars().collect();
    let (head, tail) = letters.split_at(first.min(letters.len()));
    let rest = tail.chunks(size).map(String::from_iter);
    std::iter::once(head.iter().collect()).chain(rest).filter(|piece| !piece.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_cut_anywhere_give_one_text_and_citations_that_open_their_span() {
    for database in databases("markers cut anywhere").await {
        let server = ModelServer::start().await.unwrap();
        let base_url = server.base_url().parse().unwrap();
        let is_first = database.name == "sqlite";
        let app = TestApp::with(database, |settings| {
            settings.models.openai_base_url = Some(base_url);
            settings.models.chat_model = Some("gpt-test".to_owned());
            settings.fetch.allow = vec!["127.0.0.1/32".parse().unwrap()];
        })
        .await;
        let site =
            Site::start(format!("<html><body><main><p>{HOURS}</p></main></body></html>")).await;
        let body = json!({"url": site.url, "name": "Horarios"});
        let page = app.post(&app.in_datastore("/sources/url"), &body).await.expect(202);
        let page = page["id"].as_str().unwrap().to_owned();
        assert_eq!(app.ingested(&page).await["status"], "ready");
        let text = app.learn("Envíos", SHIPPING).await;
        let mut shown = Vec::new();
        for (written, expected, cited) in MARKED {
            let expected = if expected == SAME { written } else { expected };
            let say = |first, size| {
                server.enqueue(ModelReply::tokens(&pieces(written, first, size)));
            };
            say(1, 1);
            shown.push(check_turn(&app, expected, cited).await);
            say(1, 1);
            check_openai(&app, expected, cited, true).await;
            say(usize::MAX, 1);
            check_openai(&app, expected, cited, false).await;
            say(usize::MAX, 1);
            let whole = app.post(&app.chat_path(), &json!({"query": QUESTION})).await.expect(200);
            assert_eq!(whole["answer"], expected);
            assert_eq!(indexes(&whole["sources"]), cited, "{expected}");
            // However it is cut it is one text, wherever that is kept: one database is enough.
            let cuts: &[_] = if is_first { &[(2, 2), (1, 2), (3, 3), (2, 7)] } else { &[] };
            for &(first, size) in cuts {
                say(first, size);
                let body = json!({"query": QUESTION, "streaming": true});
                let told = events::parse(&app.post(&app.chat_path(), &body).await.text);
                let done = events::check(&told);
                assert_eq!(done["answer"], expected, "{first} {size}");
                assert_eq!(indexes(&done["sources"]), cited, "{first} {size} {expected}");
            }
        }
        // Immutable: whatever becomes of the sources.
        *site.page.lock().unwrap() =
            "<html><body><main><p>Cerrado.</p></main></body></html>".to_owned();
        let path = app.in_datastore(&format!("/sources/{page}"));
        app.post(&format!("{path}/sync"), &json!({})).await.expect(202);
        assert_eq!(app.ingested(&page).await["liveVersion"], 2);
        for answer in &shown {
            still_opens(&app, answer).await;
        }
        app.delete(&path).await.expect(204);
        app.delete(&app.in_datastore(&format!("/sources/{text}"))).await.expect(204);
        for answer in &shown {
            still_opens(&app, answer).await;
        }
    }
}

fn indexes(sources: &Value) -> Vec<i64> {
    sources.as_array().unwrap().iter().map(|source| source["index"].as_i64().unwrap()).collect()
}

/// An answer as it was shown: where it is stored, and its citations as they opened.
struct Shown {
    messages: String,
    stored: Value,
    opened: Value,
}

/// Asks as a stream: what is streamed, answered, stored and opened agrees.
async fn check_turn(app: &TestApp, expected: &str, cited: &[i64]) -> Shown {
    let body = json!({"query": QUESTION, "streaming": true});
    let reply = app.post(&app.chat_path(), &body).await;
    let told = events::parse(&reply.text);
    let done = events::check(&told);
    assert_eq!(done["answer"], expected);
    let messages =
        format!("/api/v2/conversations/{}/messages", done["conversationId"].as_str().unwrap());
    let stored = app.get(&messages).await.expect(200)["data"][1].clone();
    assert_eq!((&stored["content"], &stored["sources"]), (&done["answer"], &done["sources"]));
    let opened = citations(app, &done["messageId"]).await;
    assert_eq!(indexes(&opened), cited, "{expected}");
    for open in opened.as_array().unwrap() {
        let passage = open["passage"].as_str().unwrap();
        let quote = open["quote"].as_str().unwrap();
        assert_eq!(slice(passage, &open["highlight"]), quote);
        assert!([HOURS, SHIPPING].contains(&passage) && !quote.is_empty(), "{open}");
        let source = told.iter().find(|e| e.name == "source" && e.data["index"] == open["index"]);
        assert_eq!(source.unwrap().data["chunkId"], open["chunkId"]);
    }
    Shown { messages, stored, opened }
}

/// Asks as `OpenAI`'s clients do: the same text, and each marker of it annotated where it stands.
async fn check_openai(app: &TestApp, expected: &str, cited: &[i64], stream: bool) {
    let messages = json!([{"role": "user", "content": QUESTION}]);
    let body = json!({"model": app.tenant.agent, "messages": messages, "stream": stream});
    let reply = app.post("/openai/v1/chat/completions", &body).await;
    let (text, annotations, sources) = if stream {
        let chunks = openai::chunks(&reply.text);
        let deltas =
            chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        let last = chunks.last().unwrap();
        let annotations = last["choices"][0]["delta"]["annotations"].clone();
        (deltas.collect::<String>(), annotations, last["vocero"]["sources"].clone())
    } else {
        let answer = reply.expect(200);
        let message = &answer["choices"][0]["message"];
        let text = message["content"].as_str().unwrap().to_owned();
        (text, message["annotations"].clone(), answer["vocero"]["sources"].clone())
    };
    assert_eq!(text, expected);
    assert_eq!(indexes(&sources), cited, "{expected}");
    let mut annotated = Vec::new();
    for annotation in annotations.as_array().unwrap_or(&Vec::new()) {
        let place = &annotation[annotation["type"].as_str().unwrap()];
        let at = |name: &str| usize::try_from(place[name].as_i64().unwrap()).unwrap();
        let (start, end) = (at("start_index"), at("end_index"));
        let marker: String = text.chars().skip(start).take(end - start).collect();
        let before: String = text.chars().take(start).collect();
        let number = marker.trim_matches(['[', ']']).parse::<i64>().unwrap();
        assert_eq!(marker, format!("[{number}]"));
        assert!(!before.ends_with(['a', 'b', 'c']), "code cites nothing: {before}{marker}");
        if !annotated.contains(&number) {
            annotated.push(number);
        }
    }
    assert_eq!(annotated, cited, "in order of first use: {expected}");
}

/// An answer reads and opens as it did when it was new.
async fn still_opens(app: &TestApp, answer: &Shown) {
    let stored = app.get(&answer.messages).await.expect(200)["data"][1].clone();
    assert_eq!(stored, answer.stored);
    let opened = citations(app, &answer.stored["id"]).await;
    let (now, then) = (opened.as_array().unwrap(), answer.opened.as_array().unwrap());
    assert_eq!(now.len(), then.len());
    for (now, then) in now.iter().zip(then) {
        assert_eq!(as_shown(now), as_shown(then));
    }
}
