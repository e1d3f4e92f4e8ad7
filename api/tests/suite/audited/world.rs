//! A workspace with an owner and a key, and what routes ask for.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::datastore::{Source, SourceOrigin};
use domain::{Role, WorkspaceId};
use http::Method;
use parking_lot::Mutex;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use storage::audit::{self, AuditFilter, AuditRecord};
use testkit::mail_server::MailServer;

use crate::support::{Reply, TestApp, read};
use crate::v1::invitations::with_mail;
use crate::v1::{PASSWORD, Person, open};

/// Given with everything that takes a secret.
pub const PLANTED: &str = "planted-secret-9f2c";

pub struct World {
    pub app: TestApp,
    pub owner: Person,
    mail: MailServer,
    number: AtomicUsize,
    secrets: Mutex<Vec<String>>,
}

/// How a route is asked, and what is to be written down.
pub struct Ask {
    pub by: By,
    pub path: String,
    pub body: Body,
    pub action: &'static str,
    /// In the log of this one.
    pub workspace: String,
}

pub enum By {
    Person(Person),
    Key,
    Nobody,
}

pub enum Body {
    None,
    Json(Value),
    File(&'static str, &'static str),
}

impl World {
    pub async fn on_each_database(test: &str) -> Vec<Self> {
        let mut worlds = Vec::new();
        for (app, mail) in with_mail(test).await {
            let owner = Person::register(&app, "owner").await;
            let (number, secrets) = (AtomicUsize::new(0), Mutex::default());
            let mut world = Self { app, owner, mail, number, secrets };
            world.owner = world.in_workspace(&world.owner, Role::Owner).await;
            // A provider that is made is asked by no agent.
            let agent = format!("/api/v2/agents/{}", world.app.tenant.agent);
            let model = json!({"modelName": "builtin-extractive"});
            world.app.put(&agent, &model).await.expect(200);
            worlds.push(world);
        }
        worlds
    }

    pub fn workspace(&self) -> String {
        self.app.tenant.workspace.to_string()
    }

    /// A number that nobody was given.
    pub fn next(&self) -> usize {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    /// Somebody new, in a workspace of their own.
    pub async fn person(&self) -> Person {
        let person = Person::register(&self.app, &format!("somebody{}", self.next())).await;
        self.secrets.lock().extend([person.token.clone(), person.refresh.clone()]);
        person
    }

    /// Somebody new, in the workspace.
    pub async fn member(&self, role: Role) -> Person {
        let person = self.person().await;
        self.in_workspace(&person, role).await
    }

    async fn in_workspace(&self, person: &Person, role: Role) -> Person {
        let mut tx = self.app.db.write().await.unwrap();
        let (workspace, user) = (self.app.tenant.workspace, person.id.parse().unwrap());
        let now = self.app.ambient.now();
        storage::members::insert(&mut tx, workspace, user, role, now).await.unwrap();
        tx.commit().await.unwrap();
        let switch = format!("/v1/workspaces/{workspace}/switch");
        Person::of(&person.post(&self.app, &switch, &Value::Null).await.expect(200))
    }

    /// What stands at the end of the link that they were sent.
    pub async fn mailed(&self, email: &str, kind: &str) -> String {
        for number in 1.. {
            let mail = self.mail.mail(number).await;
            if mail.to == email && mail.link().contains(kind) {
                let token = mail.token();
                self.secrets.lock().push(token.clone());
                return token;
            }
        }
        unreachable!("it waits for the next one")
    }

    /// Makes something on the panel; its id.
    pub async fn made(&self, path: &str, body: Value) -> String {
        let made = self.owner.post(&self.app, path, &body).await.expect(201);
        self.keep_secrets(&made);
        made["id"].as_str().unwrap().to_owned()
    }

    /// Makes something with the key; its id.
    pub async fn made_by_key(&self, path: &str, body: Value) -> String {
        let reply = self.app.post(path, &body).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text);
        self.keep_secrets(&reply.json());
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    /// An answer in a new conversation.
    pub async fn answer(&self, query: &str) -> Value {
        let visitor = format!("v-{}", self.next());
        let body = json!({"query": query, "visitorId": visitor});
        let mut answer = self.app.post(&self.app.chat_path(), &body).await.expect(200);
        answer["visitorId"] = json!(visitor);
        answer
    }

    pub async fn conversation(&self) -> String {
        self.answer("hola").await["conversationId"].as_str().unwrap().to_owned()
    }

    /// A source that nobody works at.
    pub async fn pending_source(&self) -> String {
        let (tenant, ambient) = (&self.app.tenant, &self.app.ambient);
        let url = format!("https://models.invalid/?key={PLANTED}");
        let place = (tenant.workspace, tenant.datastore.parse().unwrap());
        let called = (url.clone(), SourceOrigin::Url { url });
        let source = Source::pending(ambient.new_id(), place, called, ambient.now());
        let mut tx = self.app.db.write().await.unwrap();
        let sources = std::slice::from_ref(&source);
        storage::sources::insert(&mut tx, tenant.workspace, sources).await.unwrap();
        tx.commit().await.unwrap();
        source.id.to_string()
    }

    pub async fn send(&self, method: &Method, ask: &Ask) -> Reply {
        let app = &self.app;
        let request = match &ask.by {
            By::Person(person) => app.request_as(&person.token, method.clone(), &ask.path),
            By::Key => app.request(method.clone(), &ask.path),
            By::Nobody => app.client.request(method.clone(), format!("{}{}", app.base, ask.path)),
        };
        read(match &ask.body {
            Body::None => request,
            Body::Json(body) => request.json(body),
            Body::File(name, content) => {
                let part = Part::bytes(content.as_bytes().to_vec()).file_name(*name);
                request.multipart(Form::new().part("file", part))
            }
        })
        .await
    }

    /// The whole log of a workspace.
    pub async fn entries(&self, workspace: &str) -> Vec<AuditRecord> {
        let workspace: WorkspaceId = workspace.parse().unwrap();
        let mut conn = self.app.db.read().await.unwrap();
        let all = AuditFilter::default();
        audit::list(&mut conn, workspace, &all, 0, 100_000).await.unwrap()
    }

    /// Remembers what an answer shows this once.
    pub fn keep_secrets(&self, answer: &Value) {
        let words = ["key", "secret", "token", "refreshToken", "uri", "link"];
        for word in words {
            self.secrets.lock().extend(answer[word].as_str().map(ToOwned::to_owned));
        }
        let codes = answer["recoveryCodes"].as_array().into_iter().flatten();
        self.secrets.lock().extend(codes.filter_map(Value::as_str).map(ToOwned::to_owned));
    }

    /// Nothing that was kept stands in the log of any workspace.
    pub async fn check_secrets(&self) {
        let mut kept = self.secrets.lock().clone();
        assert!(kept.len() > 20, "{}", kept.len());
        kept.extend([PLANTED.to_owned(), PASSWORD.to_owned(), self.owner.token.clone()]);
        let mut conn = self.app.db.read().await.unwrap();
        let workspaces = storage::workspaces::list(&mut conn).await.unwrap();
        drop(conn);
        for workspace in workspaces {
            for entry in self.entries(&workspace.id.to_string()).await {
                let text = format!("{entry:?}");
                for secret in &kept {
                    assert!(!text.contains(secret), "{secret} stands in {text}");
                }
            }
        }
    }

    /// Asked by the owner.
    pub fn by_owner(&self, path: String, body: Body, action: &'static str) -> Ask {
        by(&self.owner, path, body, action)
    }

    /// Asked with the key.
    pub fn by_key(&self, path: String, body: Body, action: &'static str) -> Ask {
        Ask { by: By::Key, path, body, action, workspace: self.workspace() }
    }

    /// Without a credential, as a step on the way.
    pub async fn open(&self, path: &str, body: Value, status: u16) -> Value {
        open(&self.app, path, &body).await.expect(status)
    }
}

/// Asked by somebody, in the workspace that they are in.
pub fn by(person: &Person, path: String, body: Body, action: &'static str) -> Ask {
    let workspace = person.workspace.clone();
    Ask { by: By::Person(person.clone()), path, body, action, workspace }
}

/// Asked by nobody who is signed in, about somebody.
pub fn about(person: &Person, path: &str, body: Value, action: &'static str) -> Ask {
    let (path, workspace) = (path.to_owned(), person.workspace.clone());
    Ask { by: By::Nobody, path, body: Body::Json(body), action, workspace }
}

/// For a route that the tables have and this test does not.
pub fn unknown(name: &str) -> Ask {
    panic!("{name} is new: say here how it is asked, or among NO_CHANGES why it changes nothing")
}
