//! Verifying an address, choosing another password, who may register.

use domain::settings::Registration;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::invitations::with_mail;
use super::{PASSWORD, Person, open};
use crate::support::{PATIENCE, TestApp, read};

#[tokio::test]
async fn an_address_is_verified_by_the_link_of_the_mail() {
    for (app, mail) in with_mail("verify").await {
        let ana = Person::register(&app, "ana").await;
        let sent = mail.mail(1).await;
        assert_eq!(
            (sent.to.as_str(), sent.header("Subject").as_str()),
            ("ana@ejemplo.com", "Confirma tu correo")
        );
        assert!(sent.link().starts_with("https://panel.ejemplo.com/verify/"), "{}", sent.link());
        let verified = async || {
            ana.get(&app, "/v1/auth/me").await.expect(200)["user"]["emailVerified"] == true
        };
        assert!(!verified().await);
        ana.post(&app, "/v1/auth/verify/resend", &Value::Null).await.expect(202);
        let again = mail.mail(2).await;
        assert_ne!(sent.token(), again.token());
        for garbage in ["", "x", &"0".repeat(64)] {
            let body = json!({"token": garbage});
            open(&app, "/v1/auth/verify", &body).await.expect_error(404, "NOT_FOUND");
        }
        // A link for one thing opens no other.
        let body = json!({"token": sent.token(), "newPassword": "cuatro gatos"});
        open(&app, "/v1/auth/reset-password", &body).await.expect_error(404, "NOT_FOUND");
        open(&app, "/v1/auth/verify", &json!({"token": sent.token()})).await.expect(204);
        assert!(verified().await);
        for token in [sent.token(), again.token()] {
            let body = json!({"token": token});
            open(&app, "/v1/auth/verify", &body).await.expect_error(409, "LINK_USED");
        }
        let late = ana.post(&app, "/v1/auth/verify/resend", &Value::Null).await;
        late.expect_error(409, "EMAIL_VERIFIED");
    }
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_once_and_ends_every_session() {
    for (app, mail) in with_mail("reset").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        let forgot = async |email: &str| {
            open(&app, "/v1/auth/forgot-password", &json!({"email": email})).await
        };
        let unknown = forgot("nadie@ejemplo.com").await;
        let known = forgot(" Ana@ejemplo.com").await;
        assert_eq!((unknown.status.as_u16(), known.status.as_u16()), (202, 202));
        assert_eq!(unknown.text, known.text);
        forgot("x").await.expect_field("email");
        let sent = mail.mail(2).await;
        assert_eq!((sent.to.as_str(), mail.mails().len()), ("ana@ejemplo.com", 2));
        assert!(sent.link().starts_with("https://panel.ejemplo.com/reset/"), "{}", sent.link());

        let reset = async |token: &str, password: &str| {
            let body = json!({"token": token, "newPassword": password});
            open(&app, "/v1/auth/reset-password", &body).await
        };
        reset(&sent.token(), "corta").await.expect_field("newPassword");
        let (token, password) = (sent.token(), "cuatro gatos");
        let (one, other) = tokio::join!(reset(&token, password), reset(&token, password));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 409], "{} {}", one.text, other.text);
        reset(&token, "cinco gatos").await.expect_error(409, "LINK_USED");

        ana.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        let refresh = json!({"refreshToken": ana.refresh});
        open(&app, "/v1/auth/refresh", &refresh).await.expect_error(401, "SESSION_ENDED");
        let login = json!({"email": ana.email, "password": PASSWORD});
        open(&app, "/v1/auth/login", &login).await.expect_error(401, "WRONG_CREDENTIALS");
        let login = json!({"email": ana.email, "password": password});
        let again = open(&app, "/v1/auth/login", &login).await.expect(200);
        assert_eq!(again["user"]["emailVerified"], true, "the mail reached them");

        // Another password makes the links useless that were asked for before.
        forgot("ana@ejemplo.com").await.expect(202);
        let late = mail.mail(3).await.token();
        let ana = Person::of(&again);
        let change = json!({"currentPassword": password, "newPassword": "seis gatos"});
        ana.post(&app, "/v1/auth/change-password", &change).await.expect(204);
        reset(&late, "siete gatos").await.expect_error(409, "LINK_USED");
    }
}

#[tokio::test]
async fn nobody_fills_a_mailbox() {
    for app in TestApp::on_each_database("too many mails").await {
        let ana = Person::register(&app, "ana").await;
        for email in ["ana@ejemplo.com", "nadie@ejemplo.com"] {
            let body = json!({"email": email});
            for _ in 0..5 {
                open(&app, "/v1/auth/forgot-password", &body).await.expect(202);
            }
            let refused = open(&app, "/v1/auth/forgot-password", &body).await;
            refused.expect_error(429, "RATE_LIMITED");
            assert_eq!(refused.header("retry-after"), "900");
        }
        let resend = ana.post(&app, "/v1/auth/verify/resend", &Value::Null).await;
        resend.expect_error(429, "RATE_LIMITED");
    }
}

#[tokio::test]
async fn where_registration_is_closed_the_first_person_and_the_invited_come_in() {
    for database in testkit::db::databases("closed registration").await {
        let app = TestApp::with(database, |settings| {
            settings.accounts.registration = Registration::Closed;
        });
        let app = app.await;
        let ana = Person::register(&app, "ana").await;
        let body = json!({"name": "Eva", "email": "eva@ejemplo.com", "password": PASSWORD});
        let refused = open(&app, "/v1/auth/register", &body).await;
        let message = refused.expect_error(403, "REGISTRATION_CLOSED");
        assert!(message.contains("invite"), "{message}");
        let path = format!("/v1/workspaces/{}/members/invite", ana.workspace);
        let invitation = json!({"email": "eva@ejemplo.com", "role": "agent"});
        let made = ana.post(&app, &path, &invitation).await.expect(201);
        let token = made["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let path = format!("/v1/invitations/{token}/accept");
        open(&app, &path, &json!({"name": "Eva", "password": PASSWORD})).await.expect(200);
    }
}

#[tokio::test]
async fn people_of_one_name_who_come_at_once_all_come_in() {
    for app in TestApp::on_each_database("one name").await {
        let come = async |n: usize| {
            let email = format!("{n}@ejemplo.com");
            let body = json!({"name": "Ana", "email": email, "password": PASSWORD});
            open(&app, "/v1/auth/register", &body).await.expect(201)
        };
        let places = futures::future::join_all((0..6).map(come)).await;
        let codes = places.iter().map(|one| one["workspace"]["code"].as_str().unwrap());
        assert_eq!(codes.collect::<std::collections::BTreeSet<_>>().len(), 6);
    }
}

#[tokio::test]
async fn of_those_who_come_first_at_once_one_is_the_first_person() {
    for database in testkit::db::databases("first of many").await {
        let app = TestApp::with(database, |settings| {
            settings.accounts.registration = Registration::Closed;
        });
        let app = app.await;
        let come = async |n: usize| {
            let (name, email) = (format!("Persona {n}"), format!("{n}@ejemplo.com"));
            let body = json!({"name": name, "email": email, "password": PASSWORD});
            open(&app, "/v1/auth/register", &body).await
        };
        let replies = futures::future::join_all((0..8).map(come)).await;
        let (came_in, refused): (Vec<_>, Vec<_>) =
            replies.into_iter().partition(|reply| reply.status == 201);
        assert_eq!(came_in.len(), 1);
        for reply in refused {
            reply.expect_error(403, "REGISTRATION_CLOSED");
        }
    }
}

#[tokio::test]
async fn mails_are_in_the_language_of_who_asked_for_them() {
    for (app, mail) in with_mail("languages of mails").await {
        let ask = async |language: &str, path: &str, body: &Value| {
            let request = app.client.post(format!("{}{path}", app.base)).json(body);
            read(request.header("accept-language", language)).await
        };
        let mut count = 0;
        for (language, code, verify, reset, greeting) in [
            ("en", "en", "Confirm your e-mail address", "Choose a new password", "Hello ana"),
            ("pt-BR,en;q=0.5", "pt", "Confirme seu e-mail", "Escolha uma nova senha", "Olá, ana"),
            ("es-CL", "es", "Confirma tu correo", "Elige una contraseña nueva", "Hola, ana"),
        ] {
            let email = format!("ana-{code}@ejemplo.com");
            let body = json!({"name": "ana", "email": email, "password": PASSWORD});
            ask(language, "/v1/auth/register", &body).await.expect(201);
            let verifying = mail.mail(count + 1).await;
            ask(language, "/v1/auth/forgot-password", &json!({"email": email})).await.expect(202);
            let resetting = mail.mail(count + 2).await;
            count += 2;
            for (sent, subject) in [(&verifying, verify), (&resetting, reset)] {
                assert_eq!((sent.to.as_str(), sent.header("Subject").as_str()), (&*email, subject));
                assert!(sent.text().starts_with(greeting), "{}", sent.text());
                let html = sent.html();
                assert!(html.contains(&format!("lang=\"{code}\"")), "{html}");
                assert!(html.contains(greeting) && html.contains(&sent.link()), "{html}");
            }
            let body = json!({"token": verifying.token()});
            open(&app, "/v1/auth/verify", &body).await.expect(204);
            let body = json!({"token": resetting.token(), "newPassword": "cuatro gatos"});
            open(&app, "/v1/auth/reset-password", &body).await.expect(204);
        }
    }
}

/// Hears what is warned of, on the thread that it is set for.
struct Warnings(mpsc::UnboundedSender<String>);

/// The fields of an event, a line.
struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.0.push_str(&format!("{field}={value} "));
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let _ = self.0.send(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn without_a_mail_server_the_log_has_the_links() {
    let (sender, mut warnings) = mpsc::unbounded_channel();
    // While there is only one subscriber, a thread without one that comes to a warning first has it never told to anybody.
    let _another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    // The product's tasks run on this thread.
    let _hears = tracing::subscriber::set_default(Warnings(sender));
    let app = TestApp::start_with(|settings| {
        settings.server.public_url = Some("https://panel.ejemplo.com".parse().unwrap());
    })
    .await;
    let mut link = async |page: &str| {
        let begins = format!("link=https://panel.ejemplo.com/{page}/");
        let waiting = async {
            loop {
                let line = warnings.recv().await.unwrap();
                if let Some((_, rest)) = line.split_once(&begins) {
                    assert!(line.contains("to=ana@ejemplo.com"), "{line}");
                    return rest.split_whitespace().next().unwrap().to_owned();
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the link is in the log")
    };
    let ana = Person::register(&app, "ana").await;
    let token = link("verify").await;
    open(&app, "/v1/auth/verify", &json!({"token": token})).await.expect(204);
    let me = ana.get(&app, "/v1/auth/me").await.expect(200);
    assert_eq!(me["user"]["emailVerified"], true);
    let forgot = json!({"email": "ana@ejemplo.com"});
    open(&app, "/v1/auth/forgot-password", &forgot).await.expect(202);
    let token = link("reset").await;
    let reset = json!({"token": token, "newPassword": "cuatro gatos"});
    open(&app, "/v1/auth/reset-password", &reset).await.expect(204);
}
