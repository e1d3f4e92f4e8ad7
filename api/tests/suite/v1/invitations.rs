//! Asking people into a workspace: by real mails, over a real socket.

use std::sync::Arc;
use std::time::Duration;

use domain::{Ambient, ManualClock, Role, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};
use testkit::db::TestDb;
use testkit::mail_server::MailServer;

use super::{PASSWORD, Person, open};
use crate::support::{TestApp, read};

/// The product with a mail server, and that, on each database.
pub async fn with_mail(test: &str) -> Vec<(TestApp, MailServer)> {
    let mut apps = Vec::new();
    for database in testkit::db::databases(test).await {
        apps.push(mailing(database, Ambient::system()).await);
    }
    apps
}

/// The same, with the clock that it goes by.
pub async fn with_mail_and_clock(test: &str) -> Vec<(TestApp, MailServer, Arc<ManualClock>)> {
    let mut apps = Vec::new();
    for database in testkit::db::databases(test).await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        let (app, mail) = mailing(database, ambient).await;
        apps.push((app, mail, clock));
    }
    apps
}

async fn mailing(database: TestDb, ambient: Ambient) -> (TestApp, MailServer) {
    let mail = MailServer::start().await.unwrap();
    let url = mail.url();
    let app = TestApp::with_ambient(database, ambient, |settings| {
        settings.mail.smtp_url = Some(url.parse().unwrap());
        settings.mail.from = Some("Vocero <vocero@ejemplo.com>".to_owned());
        settings.server.public_url = Some("https://panel.ejemplo.com".parse().unwrap());
    });
    (app.await, mail)
}

fn invite_path(person: &Person) -> String {
    format!("/v1/workspaces/{}/members/invite", person.workspace)
}

#[tokio::test]
async fn who_is_invited_by_mail_joins_with_a_new_account() {
    for (app, mail) in with_mail("invited").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        // The text's own body.
        let body = json!({"email": "nuevo@ejemplo.com", "role": "agent"});
        let made = ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        assert_eq!(
            (made["role"].as_str(), made["status"].as_str()),
            (Some("agent"), Some("pending"))
        );
        assert_eq!(made["invitedBy"], ana.id.as_str());
        assert!(made.get("link").is_none(), "the mail carries it: {made}");

        let sent = mail.mail(2).await;
        assert_eq!(
            (sent.from.as_str(), sent.to.as_str()),
            ("vocero@ejemplo.com", "nuevo@ejemplo.com")
        );
        assert_eq!(sent.header("Subject"), "ana te invita a ana");
        let link = sent.link();
        assert!(link.starts_with("https://panel.ejemplo.com/invitations/"), "{link}");
        assert!(sent.html().contains(&link), "{}", sent.html());

        let path = format!("/v1/invitations/{}", sent.token());
        let shown = read(app.client.get(format!("{}{path}", app.base))).await.expect(200);
        assert_eq!(shown["workspace"], "ana");
        assert_eq!(shown["email"], "nuevo@ejemplo.com");
        assert_eq!((shown["role"].as_str(), &shown["hasAccount"]), (Some("agent"), &json!(false)));

        let accept = format!("{path}/accept");
        open(&app, &accept, &json!({"password": PASSWORD})).await.expect_field("name");
        open(&app, &accept, &json!({"name": "Nuevo", "password": "corta"}))
            .await
            .expect_field("password");
        let body = json!({"name": "Nuevo", "password": PASSWORD});
        let joined = open(&app, &accept, &body).await.expect(200);
        assert_eq!(joined["workspace"]["id"], ana.workspace.as_str());
        assert_eq!(joined["workspace"]["role"], "agent");
        assert_eq!(joined["user"]["emailVerified"], true, "the mail reached them");
        let nuevo = Person::of(&joined);
        let me = nuevo.get(&app, "/v1/auth/me").await.expect(200);
        assert_eq!(me["workspaces"].as_array().unwrap().len(), 1);
        let list = format!("/v1/workspaces/{}/invitations", ana.workspace);
        assert_eq!(ana.get(&app, &list).await.expect(200)["meta"]["itemCount"], 0);

        open(&app, &accept, &body).await.expect_error(409, "INVITATION_ACCEPTED");
        read(app.client.get(format!("{}{path}", app.base)))
            .await
            .expect_error(409, "INVITATION_ACCEPTED");
        let again = json!({"email": "nuevo@ejemplo.com", "role": "agent"});
        ana.post(&app, &invite_path(&ana), &again).await.expect_error(409, "ALREADY_MEMBER");
    }
}

#[tokio::test]
async fn who_has_an_account_joins_signed_in_or_with_its_password() {
    for (app, mail) in with_mail("invited with an account").await {
        let [ana, eva, leo] = [
            Person::register(&app, "ana").await,
            Person::register(&app, "eva").await,
            Person::register(&app, "leo").await,
        ];
        mail.mail(3).await;
        let invite = async |email: &str, number| {
            let body = json!({"email": email, "role": "viewer"});
            ana.post(&app, &invite_path(&ana), &body).await.expect(201);
            format!("/v1/invitations/{}/accept", mail.mail(number).await.token())
        };
        let of_eva = invite("Eva@ejemplo.com", 4).await;
        let of_leo = invite("leo@ejemplo.com", 5).await;

        leo.post(&app, &of_eva, &Value::Null).await.expect_error(409, "INVITATION_OF_ANOTHER");
        let expired = app.client.post(format!("{}{of_eva}", app.base)).bearer_auth("x.y.z");
        read(expired).await.expect_error(401, "UNAUTHORIZED");
        let joined = eva.post(&app, &of_eva, &Value::Null).await.expect(200);
        assert_eq!(joined["workspace"]["id"], ana.workspace.as_str());
        let eva = Person::of(&joined);
        let members = format!("/v1/workspaces/{}/members", ana.workspace);
        assert_eq!(eva.get(&app, &members).await.expect(200)["meta"]["itemCount"], 2);

        open(&app, &of_leo, &json!({})).await.expect_field("password");
        let wrong = json!({"password": "no es esta"});
        open(&app, &of_leo, &wrong).await.expect_error(401, "WRONG_CREDENTIALS");
        let right = json!({"password": PASSWORD});
        let joined = open(&app, &of_leo, &right).await.expect(200);
        assert_eq!(joined["user"]["id"], leo.id.as_str());
        assert_eq!(joined["workspace"]["role"], "viewer");
    }
}

#[tokio::test]
async fn an_invitation_is_sent_again_taken_back_and_runs_out() {
    for (app, mail, clock) in with_mail_and_clock("invitations end").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        let body = json!({"email": "eva@ejemplo.com", "role": "admin"});
        let made = ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        let first = mail.mail(2).await.token();
        ana.post(&app, &invite_path(&ana), &body).await.expect_error(409, "ALREADY_INVITED");
        let list = format!("/v1/workspaces/{}/invitations", ana.workspace);
        let path = format!("{list}/{}", made["id"].as_str().unwrap());
        let again = ana.post(&app, &format!("{path}/resend"), &Value::Null).await.expect(200);
        assert_eq!(again["sent"], 2);
        let second = mail.mail(3).await.token();
        assert_ne!(first, second);
        let look = async |token: &str| {
            read(app.client.get(format!("{}/v1/invitations/{token}", app.base))).await
        };
        look(&first).await.expect_error(404, "NOT_FOUND");
        look(&second).await.expect(200);

        clock.advance(Duration::from_hours(7 * 24));
        look(&second).await.expect_error(409, "INVITATION_EXPIRED");
        let login = json!({"email": ana.email, "password": PASSWORD});
        let ana = Person::of(&open(&app, "/v1/auth/login", &login).await.expect(200));
        assert_eq!(ana.get(&app, &list).await.expect(200)["data"][0]["status"], "expired");
        // Who is invited again after that gets a new one.
        let other = ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        let third = mail.mail(4).await.token();
        look(&third).await.expect(200);
        look(&second).await.expect_error(409, "INVITATION_REVOKED");

        let path = format!("{list}/{}", other["id"].as_str().unwrap());
        ana.ask(&app, Method::DELETE, &path, &Value::Null).await.expect(204);
        let accept = json!({"name": "Eva", "password": PASSWORD});
        let accepted = open(&app, &format!("/v1/invitations/{third}/accept"), &accept).await;
        accepted.expect_error(409, "INVITATION_REVOKED");
        let twice = ana.ask(&app, Method::DELETE, &path, &Value::Null).await;
        twice.expect_error(409, "INVITATION_REVOKED");
        let resent = ana.post(&app, &format!("{path}/resend"), &Value::Null).await;
        resent.expect_error(409, "INVITATION_REVOKED");
        for garbage in ["x", &"0".repeat(64), "%00", &"z".repeat(64)] {
            look(garbage).await.expect_error(404, "NOT_FOUND");
        }
        let stranger = Person::register(&app, "stranger").await;
        let foreign = format!("/v1/workspaces/{}/invitations", stranger.workspace);
        let foreign = format!("{foreign}/{}", other["id"].as_str().unwrap());
        let removed = stranger.ask(&app, Method::DELETE, &foreign, &Value::Null).await;
        removed.expect_error(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn nobody_invites_above_their_own_role_and_bad_ones_are_named() {
    for app in TestApp::on_each_database("roles of invitations").await {
        let (ana, eva, leo) = (
            Person::register(&app, "ana").await,
            Person::register(&app, "eva").await,
            Person::register(&app, "leo").await,
        );
        ana.admit(&app, &eva, Role::Admin).await;
        ana.admit(&app, &leo, Role::Agent).await;
        let path = invite_path(&ana);
        let body = |role: &str| json!({"email": "nuevo@ejemplo.com", "role": role});
        leo.post(&app, &path, &body("viewer")).await.expect_error(403, "FORBIDDEN");
        eva.post(&app, &path, &body("owner")).await.expect_error(403, "FORBIDDEN");
        eva.post(&app, &path, &body("god")).await.expect_field("role");
        eva.post(&app, &path, &json!({"email": "x", "role": "agent"})).await.expect_field("email");
        eva.post(&app, &path, &json!({"role": "agent"})).await.expect_field("email");
        // Without a mail server the link is shown to those who may give it on.
        let made = ana.post(&app, &path, &body("owner")).await.expect(201);
        let link = made["link"].as_str().unwrap().to_owned();
        let list = format!("/v1/workspaces/{}/invitations", ana.workspace);
        let listed = eva.get(&app, &list).await.expect(200);
        assert_eq!(listed["data"][0]["link"], link);
        leo.get(&app, &list).await.expect_error(403, "FORBIDDEN");
        let token = link.rsplit('/').next().unwrap();
        let body = json!({"name": "Nuevo", "password": PASSWORD});
        let joined =
            open(&app, &format!("/v1/invitations/{token}/accept"), &body).await.expect(200);
        assert_eq!(joined["workspace"]["role"], "owner");
        assert_eq!(joined["user"]["emailVerified"], false, "nobody knows whose address it is");
    }
}

#[tokio::test]
async fn of_two_who_accept_at_once_one_joins() {
    for app in TestApp::on_each_database("accept at once").await {
        let ana = Person::register(&app, "ana").await;
        let body = json!({"email": "nuevo@ejemplo.com", "role": "agent"});
        let made = ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        let token = made["link"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let path = format!("/v1/invitations/{token}/accept");
        let body = json!({"name": "Nuevo", "password": PASSWORD});
        let (one, other) = tokio::join!(open(&app, &path, &body), open(&app, &path, &body));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", one.text, other.text);
        let members = format!("/v1/workspaces/{}/members", ana.workspace);
        assert_eq!(ana.get(&app, &members).await.expect(200)["meta"]["itemCount"], 2);
    }
}

#[tokio::test]
async fn mails_are_in_the_language_of_who_asks_and_refused_ones_are_tried_again() {
    for (app, mail) in with_mail("languages of mails").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        for (number, language, word) in
            [(2, "en-US,en;q=0.9", "invites you to"), (3, "pt-BR", "convidou você para")]
        {
            let body = json!({"email": format!("n{number}@ejemplo.com"), "role": "agent"});
            let request = app.request_as(&ana.token, Method::POST, &invite_path(&ana)).json(&body);
            read(request.header("accept-language", language)).await.expect(201);
            let sent = mail.mail(number).await;
            assert!(sent.header("Subject").contains(word), "{}", sent.header("Subject"));
            assert!(sent.text().contains(word), "{}", sent.text());
        }
        mail.refuse("550 no such mailbox");
        let body = json!({"email": "nadie@ejemplo.com", "role": "agent"});
        ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        mail.refused(1).await;
        let body = json!({"email": "otro@ejemplo.com", "role": "agent"});
        ana.post(&app, &invite_path(&ana), &body).await.expect(201);
        assert_eq!(mail.mail(4).await.to, "otro@ejemplo.com", "the refused one is given up");
    }
}
