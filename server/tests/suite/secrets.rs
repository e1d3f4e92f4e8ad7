//! Secrets are planted wherever one can be, everything that can go wrong goes wrong with them, all of it is logged,
//! and none comes out: not in a log line, an error, `config print`, `doctor` or `/metrics`.
//!
//! Beside this, every server that a test of this suite starts has its log searched for its secrets at its end
//! (`vocero::Secrets`).

use std::fs;
use std::net::TcpListener;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::model_server::{Endpoint, ModelServer, Reply};
use tokio::task::JoinSet;

use crate::vocero::{Installation, Secrets, Server, http};

/// The provider's key.
const PROVIDER: &str = "sk-planted-7f3a9c51d2e8b640a1";
/// Of an address: `user:password@`.
const PASSWORD: &str = "planted-password-4be1907c";
/// Of the vector server.
const QDRANT: &str = "planted-qdrant-66c0d1f2a9";
/// As a webhook's, in bodies and paths.
const WEBHOOK: &str = "whsec_planted5f0c8e2b7d41";
/// As a signed link has one, in query strings.
const SIGNATURE: &str = "planted-signature-90a7be35";
/// A key of ours that opens nothing: `vk_` and 64 digits.
const STRANGE_KEY: &str = "vk_00000000deadbeef00000000deadbeef00000000deadbeef00000000deadbeef";

/// Of a link that came by mail: it stands in the path.
const LINK: &str = "00000000feedface00000000feedface00000000feedface00000000feedface";

/// `vocero:` and `PASSWORD`, as `Authorization: Basic` carries them.
const BASIC: &str = "dm9jZXJvOnBsYW50ZWQtcGFzc3dvcmQtNGJlMTkwN2M=";

/// Everything that must come out nowhere.
fn planted(installation: &Installation) -> Secrets {
    let mut secrets = installation.secrets();
    let more = [PROVIDER, PASSWORD, QDRANT, WEBHOOK, SIGNATURE, STRANGE_KEY, LINK, BASIC];
    secrets.values.extend(more.map(str::to_owned));
    secrets
}

/// On SQLite the provider's key is a bearer, and logs are JSON. On PostgreSQL the provider is Azure's, behind a
/// proxy with a password, and logs are text.
fn with_secrets(installation: Installation, model: &ModelServer, metrics: &str) -> Installation {
    let with_password = |url: &str| url.replacen("://", &format!("://vocero:{PASSWORD}@"), 1);
    let installation = installation
        .with("OPENAI_API_KEY", PROVIDER)
        .with("VOCERO_CHAT_MODEL", "scripted")
        .with("VOCERO_EMBEDDING_MODEL", "scripted-embedding")
        .with("QDRANT_API_KEY", QDRANT)
        .with("META_APP_SECRET", WEBHOOK)
        .with("VOCERO_FETCH_ALLOW", "127.0.0.1/32")
        .with("VOCERO_SERVER__METRICS_LISTEN", metrics)
        .with("VOCERO_LOG", "trace");
    let Some(database) = installation.variable("DATABASE_URL").map(str::to_owned) else {
        let base_url = format!("{}?signature={SIGNATURE}", model.base_url());
        return installation.with("OPENAI_BASE_URL", &base_url).with("VOCERO_LOG__FORMAT", "json");
    };
    let base_url = format!("{}?signature={SIGNATURE}", with_password(&model.azure_base_url()));
    installation
        // The cluster of the tests trusts everybody, whatever the password.
        .with("DATABASE_URL", &database.replacen('@', &format!(":{PASSWORD}@"), 1))
        .with("OPENAI_BASE_URL", &base_url)
        .with("VOCERO_MODELS__AZURE_API_VERSION", "2024-10-21")
}

/// A site whose only page leads to one that is not there.
async fn site() -> (String, JoinSet<()>) {
    let routes = Router::new().route(
        "/moved",
        get(async || (StatusCode::FOUND, [("location", format!("/gone?token={SIGNATURE}"))])),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, routes).await.expect("serving goes on") });
    (format!("http://{address}"), tasks)
}

/// Says the provider's key back, as providers do.
fn provider_tells_the_key(model: &ModelServer) {
    let told = format!("Incorrect API key provided: {PROVIDER} with signature={SIGNATURE}");
    model.enqueue(Reply::error(401, &told));
    for _ in 0..3 {
        model.enqueue(Reply::error(500, &told));
    }
    let frame = json!({ "error": { "message": told } });
    model.enqueue(Reply::tokens(&["De "]).frame(&frame.to_string()));
    // The first meets a text, the second a question.
    for status in [400, 401] {
        model.enqueue_for(Endpoint::Embeddings, Reply::error(status, &told));
    }
    model.enqueue_for(Endpoint::Models, Reply::error(401, &told));
}

struct Client<'a> {
    server: &'a Server,
    secrets: &'a Secrets,
    key: String,
    agent: String,
    datastore: String,
}

impl Client<'_> {
    /// Sends a request; its status and body. The body of an error tells no secret.
    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        if !status.is_success() {
            self.secrets.assert_absent(&format!("an answer of {status}"), &text);
        }
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn to(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        http().request(method, format!("{}{path}", self.server.url))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.to(Method::POST, path).bearer_auth(&self.key).json(body)).await
    }

    fn sources(&self, kind: &str) -> String {
        format!("/api/v2/datastores/{}/sources{kind}", self.datastore)
    }

    /// Credentials of every kind, most of them in the wrong place.
    async fn knock(&self) {
        let agents = "/api/v2/agents";
        let get = |path: &str| self.to(Method::GET, path);
        assert_eq!(self.send(get(agents).bearer_auth(&self.key)).await.0, 200);
        for request in [
            get(agents).bearer_auth(STRANGE_KEY),
            get(agents).basic_auth("vocero", Some(PASSWORD)),
            get(agents).header("x-api-key", STRANGE_KEY),
            get(agents).header("authorization", format!("Token {WEBHOOK}")),
            get(&format!("{agents}?api_key={STRANGE_KEY}&signature={SIGNATURE}")),
            get(agents).header("cookie", format!("session={SIGNATURE}")),
        ] {
            assert_eq!(self.send(request).await.0, 401);
        }
        for path in [format!("/hooks/{WEBHOOK}"), format!("{agents}/{STRANGE_KEY}")] {
            assert_eq!(self.send(get(&path).bearer_auth(&self.key)).await.0, 404);
        }
        for page in ["verify", "reset", "invitations"] {
            let path = format!("/{page}/{LINK}");
            assert_eq!(self.send(get(&path)).await.0, 404);
            let form = self.to(Method::POST, &path);
            let form = form.header("content-type", "application/x-www-form-urlencoded");
            let fields = format!("newPassword={PASSWORD}&password={PASSWORD}&name=x");
            assert_eq!(self.send(form.body(fields)).await.0, 404);
        }
        let limit = get(&format!("{agents}?limit=many&token={SIGNATURE}"));
        assert_eq!(self.send(limit.bearer_auth(&self.key)).await.0, 400);
    }

    /// Bodies that are refused, with secrets in them.
    async fn send_nonsense(&self) {
        for body in [
            json!({ "name": "x", "settings": WEBHOOK }),
            json!({ "name": "x", "status": WEBHOOK }),
            json!({ "name": { "secret": WEBHOOK } }),
            json!([{ "name": WEBHOOK }]),
            json!(WEBHOOK),
        ] {
            assert_eq!(self.post("/api/v2/agents", &body).await.0, 400, "{body}");
        }
        let broken = format!("{{\"secret\": \"{WEBHOOK}");
        let request = self.to(Method::POST, "/api/v2/agents").bearer_auth(&self.key);
        let request = request.header("content-type", "application/json").body(broken);
        assert_eq!(self.send(request).await.0, 400);
        let form = reqwest::multipart::Form::new().text("metadata", WEBHOOK);
        let request = self.to(Method::POST, &self.sources("/file")).bearer_auth(&self.key);
        assert_eq!(self.send(request.multipart(form)).await.0, 400);
        let url = format!("https://vocero:{PASSWORD}@ejemplo.com/?signature={SIGNATURE}");
        assert_eq!(self.post(&self.sources("/url"), &json!({ "url": url })).await.0, 400);
    }

    /// Keys are made, used and revoked; each must stay between server and client.
    async fn make_a_key(&self) -> String {
        let (status, made) = self.post("/api/v2/api-keys", &json!({ "name": "otra" })).await;
        assert_eq!(status, 201, "{made}");
        let key = made["key"].as_str().expect("a key").to_owned();
        let get = self.to(Method::GET, "/api/v2/agents").bearer_auth(&key);
        assert_eq!(self.send(get).await.0, 200);
        let path = format!("/api/v2/api-keys/{}", made["id"].as_str().expect("an id"));
        let delete = self.to(Method::DELETE, &path).bearer_auth(&self.key);
        assert_eq!(self.send(delete).await.0, 204);
        key
    }

    /// Adds a source and waits for its end; what is shown of it then.
    async fn add(&self, kind: &str, body: &Value) -> Value {
        let request = self.to(Method::POST, &self.sources(kind)).bearer_auth(&self.key);
        let (status, added) = self.send(request.header("prefer", "wait=30").json(body)).await;
        assert_eq!(status, 202, "{added}");
        let path = self.sources(&format!("/{}", added["id"].as_str().expect("an id")));
        let (_, source) = self.send(self.to(Method::GET, &path).bearer_auth(&self.key)).await;
        // The address is the owner's own and shown as given; the failure is not to repeat it.
        self.secrets.assert_absent("the failure of a source", &source["error"].to_string());
        source
    }

    /// Ingestion fails at the provider and on the web, then the chat fails.
    async fn work_with_a_provider_that_tells(&self, model: &ModelServer, site: &str) {
        let text = |name: &str| json!({ "name": name, "content": "Los horarios de atención son de 9 a 18." });
        assert_eq!(self.add("/text", &text("good")).await["status"], "ready");
        provider_tells_the_key(model);
        assert_eq!(self.add("/text", &text("bad")).await["error"]["code"], "MODEL_REFUSED");
        for page in ["moved", "gone"] {
            let url = format!("{site}/{page}?token={SIGNATURE}");
            assert_eq!(
                self.add("/url", &json!({ "url": url, "name": page })).await["status"],
                "failed"
            );
        }

        let path = format!("/api/v2/agent/{}/chat", self.agent);
        for streaming in [false, false, true] {
            let question = json!({ "query": "¿Cuáles son los horarios?", "streaming": streaming });
            let (_, answer) = self.post(&path, &question).await;
            self.secrets.assert_absent("an answer of the chat", &answer.to_string());
        }
        let agent = format!("/api/v2/agents/{}", self.agent);
        let change = self.to(Method::PUT, &agent).bearer_auth(&self.key);
        let (_, told) = self.send(change.json(&json!({ "modelName": "unknown" }))).await;
        self.secrets.assert_absent("an answer about models", &told.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_comes_out_anywhere() {
    for installation in Installation::on_each_database("no planted secret comes out") {
        let model = ModelServer::start().await.expect("the scripted model");
        let (site, _site) = site().await;
        let metrics = free_address();
        let installation = with_secrets(installation, &model, &metrics);
        // Quiet, because it prints the key that it makes.
        let setup = installation.json(&["init"]);
        let secrets = planted(&installation);

        let server = installation.serve();
        let text = |name: &str| setup[name].as_str().expect("a text").to_owned();
        let client = Client {
            server: &server,
            secrets: &secrets,
            key: text("apiKey"),
            agent: text("agentId"),
            datastore: text("datastoreId"),
        };
        client.knock().await;
        client.send_nonsense().await;
        let key = client.make_a_key().await;
        client.work_with_a_provider_that_tells(&model, &site).await;
        let header = if installation.database == "sqlite" { "authorization" } else { "api-key" };
        let asked = model.requests();
        assert!(asked.iter().any(|asked| asked.header(header).contains(PROVIDER)), "it is used");

        for arguments in [
            &["config", "print"][..],
            &["config", "print", "--json"],
            &["config", "check"],
            &["doctor"],
            &["-vv", "key", "list"],
        ] {
            let output = installation.run(arguments);
            let text = [output.stdout, output.stderr].concat();
            secrets.assert_absent(&arguments.join(" "), &String::from_utf8_lossy(&text));
        }
        let counted =
            http().get(format!("http://{metrics}/metrics")).send().await.expect("an answer");
        let counted = counted.text().await.expect("a text");
        assert!(counted.contains("vocero_http_requests_total"), "{counted}");
        secrets.assert_absent("/metrics", &counted);

        server.send(rustix::process::Signal::TERM);
        let (status, log) =
            tokio::task::spawn_blocking(move || server.wait()).await.expect("it ends");
        assert!(status.success(), "{status}");
        // Trace was really on, and what failed was really logged.
        for word in ["TRACE", "401", "refuses the key", "[key]"] {
            assert!(log.contains(word), "{word} is not in the log");
        }
        secrets.assert_absent("the log", &log);
        assert!(!log.contains(&key), "a key that was made is in the log");
    }
}

#[test]
fn mistakes_in_the_settings_are_told_without_the_secrets_beside_them() {
    for (file, text) in [
        (".env", format!("VOCERO_LOG=info\nOPENAI_API_KEY = {PROVIDER} {PASSWORD}\n")),
        ("vocero.toml", format!("[models]\nopenai_api_key = \"{PROVIDER}\n")),
        ("vocero.toml", format!("[models]\nopenai_api_key = [\"{PROVIDER}\"]\n")),
        ("vocero.toml", format!("[models]\nopenai_base_url = \"vocero:{PASSWORD}@host\"\n")),
        (
            "vocero.toml",
            format!("[storage]\ndatabase_url = \"mysql://vocero:{PASSWORD}@host/db\"\n"),
        ),
    ] {
        let installation = Installation::new();
        fs::write(installation.folder().join(file), &text).expect("a file");
        for arguments in [&["config", "check"][..], &["config", "check", "--json"], &["serve"]] {
            let output = installation.run(arguments);
            assert!(!output.status.success(), "{text}");
            let told = [output.stdout, output.stderr].concat();
            planted(&installation).assert_absent(file, &String::from_utf8_lossy(&told));
        }
    }
}

/// An address that was free a moment ago.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}
