//! Gates: a version is evaluated before it is published.

use http::Method;
use serde_json::{Value, json};
use testkit::db::{TestDb, databases};
use testkit::model_server::{ModelServer, Reply as ModelReply};

use crate::support::{TestApp, read};

const FAQ: &str = "# Horarios\n\nAtendemos de lunes a viernes de 9 a 18 hs en el local de Palermo.\n\n\
                   # Envíos\n\nLos envíos a domicilio en la ciudad cuestan 5.490 pesos y demoran dos días hábiles.\n\n\
                   # Cambios\n\nLos cambios se hacen dentro de los 30 días con la factura de compra.";
const QUESTIONS: [&str; 4] = [
    "¿Cuáles son los horarios de atención del local?",
    "¿Cuánto cuestan los envíos a domicilio en la ciudad?",
    "¿Dentro de cuántos días se hacen los cambios?",
    "¿Cuánto demoran los envíos a domicilio?",
];

impl TestApp {
    fn agents_path(&self, rest: &str) -> String {
        format!("/api/v2/agents/{}{rest}", self.tenant.agent)
    }

    /// A dataset of questions that the knowledge answers, and of some that it does not; the id.
    async fn questions(&self) -> String {
        let answerable = (0..12).map(|number| {
            let question = QUESTIONS[number % QUESTIONS.len()];
            json!({"id": format!("yes-{number:02}"), "input": question, "expect": "answer"})
        });
        let unanswerable = (0..3).map(|number| {
            let input = format!("¿Venden submarinos nucleares del modelo {number}?");
            json!({"id": format!("no-{number}"), "input": input, "expect": "abstain"})
        });
        let cases: Vec<Value> = answerable.chain(unanswerable).collect();
        let body = json!({"name": "Preguntas", "cases": cases});
        let made = self.post("/api/v2/evals/datasets", &body).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    async fn gate(&self, gate: &Value) -> Value {
        self.put(&self.agents_path("/gate"), gate).await.expect(200)
    }

    async fn patiently(&self, method: Method, rest: &str, body: &Value) -> crate::support::Reply {
        let request = self.request(method, &self.agents_path(rest)).json(body);
        read(request.header("prefer", "wait=30")).await
    }

    /// Waits until the publication is evaluated.
    async fn running(&self, wanted: &Value) {
        let path = self.agents_path(&format!("/publications/{}", wanted["id"].as_str().unwrap()));
        let mut wakeups = self.db.wakeups();
        while self.get(&path).await.expect(200)["status"] != "running" {
            crate::support::woken(&mut wakeups).await;
        }
    }

    /// The publication once it is over.
    async fn over(&self, wanted: &Value) -> Value {
        let path = self.agents_path(&format!("/publications/{}", wanted["id"].as_str().unwrap()));
        let mut wakeups = self.db.wakeups();
        loop {
            let found = self.get(&path).await.expect(200);
            if !matches!(found["status"].as_str().unwrap(), "pending" | "running") {
                return found;
            }
            crate::support::woken(&mut wakeups).await;
        }
    }

    async fn published_version(&self) -> i64 {
        self.get(&self.agents_path("")).await.expect(200)["version"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn what_is_worse_is_refused_with_metric_values_and_remedy() {
    for app in TestApp::on_each_database("what_is_worse_is_refused").await {
        app.learn("FAQ", FAQ).await;
        let dataset = app.questions().await;
        let gate = json!({"dataset": dataset, "mode": "refuse", "floors": {"answered": 0.9}});
        assert_eq!(app.gate(&gate).await["tolerances"], json!({}));
        // With so much evidence asked for it answers nothing.
        let worse = json!({"settings": {"minEvidence": 1.0}});
        let reply = app.put(&app.agents_path(""), &worse).await;
        let location = reply.header("location").to_owned();
        let wanted = reply.expect(202);
        assert_eq!(
            location,
            app.agents_path(&format!("/publications/{}", wanted["id"].as_str().unwrap()))
        );
        let refused = app.over(&wanted).await;
        assert_eq!(refused["status"], "refused", "{refused}");
        let (verdict, progress) = (&refused["verdict"], &refused["progress"]);
        assert_eq!((&verdict["passed"], &verdict["cases"]), (&json!(false), &json!(15)));
        assert_eq!(
            (&progress["done"], &progress["all"]),
            (&json!(30), &json!(30)),
            "both were asked"
        );
        let findings = verdict["findings"].as_array().unwrap();
        let finding = |field: &str| {
            findings
                .iter()
                .find(|finding| finding["metric"] == "answered" && !finding[field].is_null())
                .unwrap_or_else(|| panic!("{field} in {findings:?}"))
        };
        let floor = finding("floor");
        assert_eq!((&floor["value"], &floor["floor"]), (&json!(0.0), &json!(0.9)));
        assert!(floor["message"].as_str().unwrap().contains("change the floor"));
        let fell = finding("previous");
        assert_eq!((&fell["value"], &fell["previous"]), (&json!(0.0), &json!(1.0)));
        assert!(fell["message"].as_str().unwrap().contains("tolerance"));
        assert_eq!(app.published_version().await, 1, "nothing is published");

        // The same of a draft; who waits is told at once. The published version is not asked again.
        app.put(&app.agents_path("/draft"), &worse).await.expect(200);
        let reply = app.patiently(Method::POST, "/publish", &json!({"note": "x"})).await;
        let message = reply.expect_error(409, "GATE_REFUSED");
        assert!(message.contains("answered") && message.contains("floor"), "{message}");
        let all = app.get(&app.agents_path("/publications")).await.expect(200);
        assert_eq!(all["data"][0]["progress"]["all"], 15);
        app.get(&app.agents_path("/draft")).await.expect(200);

        // What is as good passes.
        app.put(
            &app.agents_path("/draft"),
            &json!({"settings": {"minEvidence": null}, "voice": "clara"}),
        )
        .await
        .expect(200);
        let reply = app.patiently(Method::POST, "/publish", &json!({"note": "mejor"})).await;
        let version = reply.expect(200);
        assert_eq!((&version["number"], &version["note"]), (&json!(2), &json!("mejor")));
        assert_eq!(version["verdict"]["passed"], true);
        app.get(&app.agents_path("/draft")).await.expect_error(404, "NOT_FOUND");
        // It left neither conversations nor gaps.
        let conversations = app.get("/api/v2/conversations").await.expect(200);
        assert_eq!(conversations["data"], json!([]));
        assert_eq!(app.get("/api/v2/gaps").await.expect(200)["data"], json!([]));
        // What is the same, or no configuration, is not evaluated.
        app.put(&app.agents_path(""), &json!({"status": "paused"})).await.expect(200);
        let reply =
            app.patiently(Method::PUT, "", &json!({"tone": "seco", "status": "active"})).await;
        let agent = reply.expect(200);
        assert_eq!((&agent["version"], &agent["status"]), (&json!(3), &json!("active")));
    }
}

#[tokio::test]
async fn a_warning_is_published_with_the_version() {
    for app in TestApp::on_each_database("a_warning_is_published").await {
        app.learn("FAQ", FAQ).await;
        let dataset = app.questions().await;
        app.gate(&json!({"dataset": dataset, "mode": "warn", "floors": {"answered": 0.9}})).await;
        let worse = json!({"settings": {"minEvidence": 1.0}});
        let agent = app.patiently(Method::PUT, "", &worse).await.expect(200);
        assert_eq!(agent["version"], 2);
        let version = app.get(&app.agents_path("/versions/2")).await.expect(200);
        assert_eq!(version["verdict"]["passed"], false);
        assert_eq!(version["verdict"]["findings"][0]["metric"], "answered");
        assert_eq!(
            app.get(&app.agents_path("/versions/1")).await.expect(200)["verdict"],
            Value::Null
        );
        // An old version goes back at once.
        let restored =
            app.post(&app.agents_path("/versions/1/restore"), &json!({})).await.expect(200);
        assert_eq!(restored["version"]["number"], 3);
        app.gate(&json!({"mode": "off"})).await;
        app.put(&app.agents_path(""), &worse).await.expect(200);
        assert_eq!(app.published_version().await, 4);
        app.delete(&app.agents_path("/gate")).await.expect(204);
        app.delete(&app.agents_path("/gate")).await.expect_error(404, "NOT_FOUND");
        app.get(&app.agents_path("/gate")).await.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_publication_is_cancelled_and_one_at_a_time() {
    for database in databases("a publication is cancelled").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        app.learn("FAQ", FAQ).await;
        let dataset = app.questions().await;
        app.gate(&json!({"dataset": dataset})).await;
        server.respond_with(|_| Some(ModelReply::text("De").then_hang()));
        let wanted = app.put(&app.agents_path(""), &json!({"tone": "seco"})).await.expect(202);
        assert_eq!((&wanted["status"], &wanted["baseVersion"]), (&json!("pending"), &json!(1)));
        let again = app.put(&app.agents_path(""), &json!({"tone": "otro"})).await;
        again.expect_error(409, "CONFLICT");
        let path = app.agents_path(&format!("/publications/{}", wanted["id"].as_str().unwrap()));
        let cancelled = app.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
        assert_eq!(
            (&cancelled["status"], &cancelled["version"]),
            (&json!("cancelled"), &Value::Null)
        );
        app.post(&format!("{path}/cancel"), &json!({})).await.expect_error(409, "CONFLICT");
        assert_eq!(app.published_version().await, 1);
        // The next one may begin at once; what is published beside it does not end it.
        let next = app.put(&app.agents_path(""), &json!({"tone": "seco"})).await.expect(202);
        app.running(&next).await;
        app.delete(&app.agents_path("/gate")).await.expect(204);
        app.put(&app.agents_path(""), &json!({"purpose": "Vender"})).await.expect(200);
        let cancel =
            app.agents_path(&format!("/publications/{}/cancel", next["id"].as_str().unwrap()));
        app.post(&cancel, &json!({})).await.expect(202);
    }
}

async fn with_model(database: TestDb, server: &ModelServer) -> TestApp {
    let base_url = server.base_url().parse().unwrap();
    TestApp::with(database, |settings| {
        settings.models.openai_base_url = Some(base_url);
        settings.models.chat_model = Some("gpt-test".to_owned());
    })
    .await
}

#[tokio::test]
async fn a_publication_goes_on_in_the_next_process() {
    for database in databases("a publication goes on").await {
        let server = ModelServer::start().await.unwrap();
        let app = with_model(database, &server).await;
        app.learn("FAQ", FAQ).await;
        let dataset = app.questions().await;
        app.gate(&json!({"dataset": dataset})).await;
        server.respond_with(|_| Some(ModelReply::text("Es así").then_hang()));
        let wanted = app.put(&app.agents_path(""), &json!({"tone": "seco"})).await.expect(202);
        app.running(&wanted).await;
        server.respond_with(|_| Some(ModelReply::text("Es así. [1]")));
        let next = app.succeeded_by(async |database| with_model(database, &server).await).await;
        let over = next.over(&wanted).await;
        assert_eq!((&over["status"], &over["version"]), (&json!("published"), &json!(2)), "{over}");
        assert_eq!(next.published_version().await, 2);
    }
}

#[tokio::test]
async fn a_gate_that_cannot_be_is_refused_by_name_and_one_without_its_dataset_says_so() {
    for app in TestApp::on_each_database("a_gate_that_cannot_be").await {
        app.learn("FAQ", FAQ).await;
        let path = app.agents_path("/gate");
        app.put(&path, &json!({"mode": "warn"})).await.expect_field("dataset");
        let absent = format!("evalset_{}", "0".repeat(32));
        let message = app.put(&path, &json!({"dataset": absent})).await;
        message.expect_error(404, "NOT_FOUND");
        let dataset = app.questions().await;
        for (field, changes) in [
            ("floors.beauty", json!({"floors": {"beauty": 1}})),
            ("tolerances.answered", json!({"tolerances": {"answered": -7}})),
            ("mode", json!({"mode": "maybe"})),
        ] {
            let mut body = changes;
            body["dataset"] = json!(dataset);
            app.put(&path, &body).await.expect_field(field);
        }
        app.gate(&json!({"dataset": dataset})).await;
        app.delete(&format!("/api/v2/evals/datasets/{dataset}")).await.expect(204);
        let reply = app.patiently(Method::PUT, "", &json!({"tone": "seco"})).await;
        let message = reply.expect_error(409, "GATE_REFUSED");
        assert!(message.contains(&dataset) && message.contains("another one"), "{message}");
        assert_eq!(app.published_version().await, 1);
    }
}
