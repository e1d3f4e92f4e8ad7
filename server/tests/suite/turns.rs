//! Turns that are cut off, by whomever: what is stored is right, it is counted once, and the conversation goes on.

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::model_server::{ModelServer, Reply};

use crate::vocero::{Installation, Server, events, http, until};

const QUESTION: &str = "¿Cuáles son los horarios de atención?";
const WHOLE: &str = "De 9 a 18 horas [1].";

/// Talks with the agent of an installation, all in one conversation.
struct Talk {
    key: String,
    agent: String,
    conversation: Option<String>,
}

impl Talk {
    async fn begin(installation: &Installation, server: &Server) -> Self {
        let setup = installation.json(&["init"]);
        let text = |key: &str| setup[key].as_str().expect("a text").to_owned();
        let talk = Self { key: text("apiKey"), agent: text("agentId"), conversation: None };
        let path = format!("datastores/{}/sources/text", text("datastoreId"));
        let content =
            json!({ "name": "Horarios", "content": "Los horarios de atención son de 9 a 18." });
        let added = talk.post(server, &path, &content).header("prefer", "wait=30").send().await;
        assert_eq!(added.expect("an answer").status(), 202);
        let budget = json!({
            "scope": "workspace", "unit": "answers", "period": "month", "limit": 100,
        });
        let budget = talk.post(server, "budgets", &budget).send().await.expect("an answer");
        assert_eq!(budget.status(), 201);
        talk
    }

    fn post(&self, server: &Server, path: &str, body: &Value) -> reqwest::RequestBuilder {
        http().post(format!("{}/api/v2/{path}", server.url)).bearer_auth(&self.key).json(body)
    }

    async fn get(&self, server: &Server, path: &str) -> Value {
        let request = http().get(format!("{}/api/v2/{path}", server.url)).bearer_auth(&self.key);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    fn ask(&self, server: &Server, more: &[(&str, Value)]) -> reqwest::RequestBuilder {
        let mut body = json!({ "query": QUESTION, "streaming": true });
        body["conversationId"] = json!(self.conversation);
        for (name, value) in more {
            body[*name] = value.clone();
        }
        self.post(server, &format!("agent/{}/chat", self.agent), &body)
    }

    /// Asks and reads up to the first word; the stream and the id of the answer.
    async fn ask_for_a_word(
        &self,
        server: &Server,
        more: &[(&str, Value)],
        key: &str,
    ) -> (reqwest::Response, String) {
        let request = self.ask(server, more).header("idempotency-key", key);
        let mut response = request.send().await.expect("an answer");
        let message = response.headers()["x-message-id"].to_str().expect("an id").to_owned();
        let mut seen = String::new();
        while !seen.contains("event: token") {
            let piece = response.chunk().await.expect("the stream goes on").expect("an event");
            seen.push_str(&String::from_utf8_lossy(&piece));
        }
        (response, message)
    }

    /// Asks and hears the whole answer; the last event.
    async fn ask_whole(&mut self, server: &Server, key: Option<&str>) -> (String, Value) {
        let request = self.ask(server, &[]);
        let request = match key {
            Some(key) => request.header("idempotency-key", key),
            None => request,
        };
        let response = request.send().await.expect("an answer");
        let id = response.headers()["x-conversation-id"].to_str().expect("an id").to_owned();
        self.conversation = Some(id);
        events(&response.text().await.expect("the stream ends")).pop().expect("events")
    }

    /// The author and the state of each message.
    async fn messages(&self, server: &Server) -> Vec<(String, String)> {
        let id = self.conversation.as_deref().expect("a conversation");
        let listed = self.get(server, &format!("conversations/{id}/messages?limit=100")).await;
        let messages = listed["data"].as_array().expect("messages").iter();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        messages.map(|message| (text(&message["role"]), text(&message["state"]))).collect()
    }

    /// That the last message of an agent has this state, and that there are so many answers, each counted once.
    async fn check(&self, server: &Server, state: &str, answers: usize) {
        let messages = self.messages(server).await;
        let replies: Vec<_> = messages.iter().filter(|(role, _)| role == "assistant").collect();
        assert_eq!(replies.len(), answers, "{messages:?}");
        assert_eq!(replies.last().expect("an answer").1, state, "{messages:?}");
        let usage = self.get(server, "usage").await;
        assert_eq!(usage["total"]["answers"], json!(answers), "{usage}");
        let budgets = self.get(server, "budgets").await;
        assert_eq!(budgets["data"][0]["used"], json!(answers), "{budgets}");
    }

    /// That the conversation goes on, with one more answer.
    async fn goes_on(&mut self, server: &Server, key: Option<&str>, answers: usize) {
        let (name, done) = self.ask_whole(server, key).await;
        assert_eq!((name.as_str(), &done["answer"]), ("done", &json!(WHOLE)), "{done}");
        self.check(server, "complete", answers).await;
    }
}

fn whole() -> Reply {
    Reply::tokens(&["De ", "9 a 18 ", "horas ", "[1]."]).usage(100, 8)
}

fn unfinished() -> Reply {
    Reply::tokens(&["De ", "9 a 18 "])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_is_cut_leaves_what_was_said_counts_once_and_holds_up_nobody() {
    for installation in Installation::on_each_database("turns that are cut") {
        let model = ModelServer::start().await.expect("the scripted model");
        let installation = installation
            .with("OPENAI_BASE_URL", &model.base_url())
            .with("VOCERO_CHAT_MODEL", "scripted")
            .with("VOCERO_SERVER__SHUTDOWN_GRACE", "0.3");
        let server = installation.serve();
        let mut talk = Talk::begin(&installation, &server).await;
        model.enqueue(whole());
        talk.goes_on(&server, None, 1).await;

        // By the model.
        model.enqueue(unfinished().then_cut());
        let (name, _) = talk.ask_whole(&server, None).await;
        assert_eq!(name, "error");
        talk.check(&server, "failed", 2).await;
        model.enqueue(whole());
        talk.goes_on(&server, None, 3).await;

        // By the client.
        model.enqueue(unfinished().then_hang());
        drop(talk.ask_for_a_word(&server, &[], "leaves").await);
        let is_stored =
            async || talk.messages(&server).await.last().expect("one").1 == "interrupted";
        until("what was said is stored", is_stored).await;
        talk.check(&server, "interrupted", 4).await;
        model.enqueue(whole());
        talk.goes_on(&server, None, 5).await;

        // By the end of its process: nothing of it is stored. The same request is answered after the next start, which
        // does not wait for the dead process.
        model.enqueue(unfinished().then_hang());
        let (stream, _) = talk.ask_for_a_word(&server, &[], "killed").await;
        server.kill();
        drop(stream);
        let server = installation.serve();
        talk.check(&server, "complete", 5).await;
        assert_eq!(talk.messages(&server).await.last().expect("the question").0, "user");
        model.enqueue(whole());
        talk.goes_on(&server, Some("killed"), 6).await;

        // The same for a turn that can be rejoined: who does is told.
        model.enqueue(unfinished().then_hang());
        let resumable = [("resumable", json!(true))];
        let (stream, message) = talk.ask_for_a_word(&server, &resumable, "killed again").await;
        server.kill();
        drop(stream);
        let server = installation.serve();
        let path = format!("agent/{}/chat/{message}/stream", talk.agent);
        let joined = http().get(format!("{}/api/v2/{path}", server.url)).bearer_auth(&talk.key);
        let joined = joined.send().await.expect("an answer").text().await.expect("it ends");
        let (name, error) = events(&joined).pop().expect("events");
        assert_eq!((name.as_str(), &error["code"]), ("error", &json!("TURN_LOST")), "{joined}");
        model.enqueue(whole());
        talk.goes_on(&server, Some("killed again"), 7).await;

        // By a shutdown.
        model.enqueue(unfinished().then_hang());
        let (stream, _) = talk.ask_for_a_word(&server, &[], "shut down").await;
        server.send(Signal::TERM);
        let rest = stream.text().await.expect("the stream ends in order");
        let (name, error) = events(&rest).pop().expect("events");
        assert_eq!((name.as_str(), &error["code"]), ("error", &json!("SHUTTING_DOWN")), "{rest}");
        let (exit, log) = server.wait();
        assert_eq!(exit.code(), Some(0), "{log}");
        let server = installation.serve();
        talk.check(&server, "interrupted", 8).await;
        model.enqueue(whole());
        talk.goes_on(&server, None, 9).await;
        server.stop();
    }
}

/// Two processes: one runs the turn, the other one stops it.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_stopped_and_rejoined_from_another_process() {
    let Some(first) = Installation::on_postgres("a turn of another process") else { return };
    let model = ModelServer::start().await.expect("the scripted model");
    let with_model = |installation: Installation| {
        installation
            .with("OPENAI_BASE_URL", &model.base_url())
            .with("VOCERO_CHAT_MODEL", "scripted")
    };
    let (first, second) = (with_model(first.beside()), with_model(first));
    let running = first.serve();
    let talk = Talk::begin(&first, &running).await;
    let other = second.serve();
    model.enqueue(unfinished().then_hang());
    let (stream, message) =
        talk.ask_for_a_word(&running, &[("resumable", json!(true))], "one").await;
    drop(stream);
    let path = format!("agent/{}/chat/{message}", talk.agent);
    let joined = http().get(format!("{}/api/v2/{path}/stream", other.url)).bearer_auth(&talk.key);
    let mut joined = joined.send().await.expect("an answer");
    let mut seen = String::new();
    while !seen.contains("9 a 18") {
        let piece = joined.chunk().await.expect("the stream goes on").expect("an event");
        seen.push_str(&String::from_utf8_lossy(&piece));
    }
    let stopped = talk.post(&other, &format!("{path}/stop"), &json!({})).send().await;
    assert_eq!(stopped.expect("an answer").status(), 202);
    model.wait_for_departures(1).await;
    seen.push_str(&joined.text().await.expect("it ends"));
    let (name, done) = events(&seen).pop().expect("events");
    assert_eq!((name.as_str(), &done["state"]), ("done", &json!("interrupted")), "{seen}");
    assert_eq!(done["answer"], "De 9 a 18", "{seen}");
    other.stop();
    running.stop();
}
