//! The pages that links of mails lead to: by the links of real mails, with the forms that the pages have.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use testkit::mail_server::Mail;
use url::form_urlencoded;

use crate::support::{Reply, TestApp, read};
use crate::v1::invitations::{with_mail, with_mail_and_clock};
use crate::v1::second_factor::turn_on;
use crate::v1::{PASSWORD, Person, open};

const FORM: &str = "application/x-www-form-urlencoded";

/// What stands behind the public address in the link of a mail.
fn path_of(mail: &Mail) -> String {
    let link = mail.link();
    let path = link.strip_prefix("https://panel.ejemplo.com").unwrap();
    path.to_owned()
}

fn browse(app: &TestApp, method: Method, path: &str) -> reqwest::RequestBuilder {
    let request = app.client.request(method, format!("{}{path}", app.base));
    request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
}

async fn look(app: &TestApp, path: &str) -> Reply {
    read(browse(app, Method::GET, path)).await
}

/// Fills in the form of a page and sends it as a browser does.
async fn send(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> Reply {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = browse(app, Method::POST, path).header("content-type", FORM);
    let request = request.header("origin", "null").header("sec-fetch-site", "same-origin");
    read(request.body(body)).await
}

/// Checks that the answer is a page, that says some words, and that nothing can come out of it or into it.
fn expect_page(reply: &Reply, status: u16, words: &[&str]) {
    assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
    let style = reply.text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = STANDARD.encode(Sha256::digest(style.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", policy.as_str()),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("x-robots-tag", "noindex, nofollow"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("set-cookie", ""),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    for word in words {
        assert!(reply.text.contains(word), "{word} is not on the page: {}", reply.text);
    }
    for loaded in ["<script", "<img", "<link", "src=", "href=", "style=", "http://", "https://"] {
        assert!(!reply.text.contains(loaded), "{loaded}: {}", reply.text);
    }
    let labelled = reply.text.matches("<label for=").count();
    assert_eq!(reply.text.matches("<input ").count(), labelled, "{}", reply.text);
}

async fn log_in(app: &TestApp, email: &str, password: &str) -> Reply {
    open(app, "/v1/auth/login", &json!({"email": email, "password": password})).await
}

/// The link of an invitation, where no mail carries it.
async fn invite(app: &TestApp, by: &Person, email: &str) -> (String, Value) {
    let path = format!("/v1/workspaces/{}/members/invite", by.workspace);
    let made = by.post(app, &path, &json!({"email": email, "role": "agent"})).await.expect(201);
    let token = made["link"].as_str().unwrap().rsplit('/').next().unwrap();
    (format!("/invitations/{token}"), made)
}

async fn sessions(app: &TestApp, person: &Person) -> Value {
    person.get(app, "/v1/auth/sessions").await.expect(200)["meta"]["itemCount"].clone()
}

#[tokio::test]
async fn an_address_is_verified_by_the_button_and_not_by_looking() {
    for (app, mail) in with_mail("verify page").await {
        let ana = Person::register(&app, "ana").await;
        let path = path_of(&mail.mail(1).await);
        let verified = async || {
            ana.get(&app, "/v1/auth/me").await.expect(200)["user"]["emailVerified"].clone()
        };
        for _ in 0..2 {
            let page = look(&app, &path).await;
            let words = ["lang=\"es\"", "Confirma tu correo", "ana@ejemplo.com", "<form method"];
            expect_page(&page, 200, &words);
        }
        let head = read(browse(&app, Method::HEAD, &path)).await;
        assert_eq!(head.status, 200);
        assert_eq!(verified().await, false);
        // Nor does what another site's page sends, or what is no form.
        let foreign = browse(&app, Method::POST, &path).header("content-type", FORM);
        let foreign = read(foreign.header("sec-fetch-site", "cross-site")).await;
        expect_page(&foreign, 403, &["No se pudo hacer", "desde otro sitio"]);
        let foreign = browse(&app, Method::POST, &path).header("content-type", FORM);
        let foreign = read(foreign.header("origin", "https://evil.example")).await;
        expect_page(&foreign, 403, &["desde otro sitio"]);
        let json = read(browse(&app, Method::POST, &path).json(&json!({}))).await;
        expect_page(&json, 415, &["No se entendió"]);
        let large = browse(&app, Method::POST, &path).header("content-type", FORM);
        expect_page(&read(large.body("x".repeat(20_000))).await, 413, &["No se entendió"]);
        assert_eq!(verified().await, false);

        expect_page(&send(&app, &path, &[]).await, 200, &["Correo confirmado"]);
        assert_eq!(verified().await, true);
        for over in [send(&app, &path, &[]).await, look(&app, &path).await] {
            expect_page(&over, 409, &["Este enlace no sirve", "Ya se usó"]);
            assert!(!over.text.contains("ana@ejemplo.com"), "{}", over.text);
        }
    }
}

#[tokio::test]
async fn a_forgotten_password_is_chosen_on_the_page() {
    for (app, mail) in with_mail("reset page").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        let body = json!({"email": ana.email});
        open(&app, "/v1/auth/forgot-password", &body).await.expect(202);
        let path = path_of(&mail.mail(2).await);
        assert!(path.starts_with("/reset/"), "{path}");
        for _ in 0..2 {
            let page = look(&app, &path).await;
            let words = [
                "Elige una contraseña nueva",
                "De 8 a 200 caracteres",
                "minlength=\"8\"",
                "autocomplete=\"new-password\"",
            ];
            expect_page(&page, 200, &words);
        }
        ana.get(&app, "/v1/auth/me").await.expect(200);

        for refused in ["corta", "", "Ana@ejemplo.com"] {
            let page = send(&app, &path, &[("newPassword", refused)]).await;
            let words = ["role=\"alert\"", "aria-invalid=\"true\"", "La contraseña no sirve"];
            expect_page(&page, 400, &words);
        }
        let secret = "cuatro \"gatos\" & ñandúes +";
        let done = send(&app, &path, &[("newPassword", secret)]).await;
        expect_page(&done, 200, &["Contraseña cambiada", "Se cerraron todas tus sesiones"]);
        assert!(!done.text.contains("gatos"), "{}", done.text);
        ana.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        log_in(&app, &ana.email, PASSWORD).await.expect_error(401, "WRONG_CREDENTIALS");
        log_in(&app, &ana.email, secret).await.expect(200);

        let again = send(&app, &path, &[("newPassword", "cinco gatos")]).await;
        expect_page(&again, 409, &["Ya se usó"]);
        expect_page(&look(&app, &path).await, 409, &["Ya se usó"]);
        log_in(&app, &ana.email, secret).await.expect(200);
        // A link for one thing opens no other.
        let other = path.replace("/reset/", "/verify/");
        expect_page(&look(&app, &other).await, 404, &["No existe o está incompleto"]);
    }
}

#[tokio::test]
async fn who_is_invited_makes_an_account_on_the_page_and_names_are_only_text() {
    for (app, mail) in with_mail("invitation page").await {
        let name = "<script>alert(1)</script>";
        let body = json!({
            "name": "\"><b>Ana", "email": "ana@ejemplo.com", "password": PASSWORD,
            "workspaceName": name,
        });
        let ana = Person::of(&open(&app, "/v1/auth/register", &body).await.expect(201));
        mail.mail(1).await;
        let invite = format!("/v1/workspaces/{}/members/invite", ana.workspace);
        let body = json!({"email": "nuevo@ejemplo.com", "role": "agent"});
        ana.post(&app, &invite, &body).await.expect(201);
        let path = path_of(&mail.mail(2).await);
        let shown = [
            "&lt;script&gt;alert(1)&lt;&#x2f;script&gt;",
            "&quot;&gt;&lt;b&gt;Ana te invita",
            "como agente",
            "nuevo@ejemplo.com",
            "crea tu cuenta",
        ];
        expect_page(&look(&app, &path).await, 200, &shown);

        let nameless = send(&app, &path, &[("password", PASSWORD)]).await;
        expect_page(&nameless, 400, &["Falta un dato", "aria-invalid=\"true\""]);
        let fields = [("name", "<b>Eva</b>"), ("password", "corta")];
        let short = send(&app, &path, &fields).await;
        // What was typed is still there, but for the password.
        let words = ["La contraseña no sirve", "value=\"&lt;b&gt;Eva&lt;&#x2f;b&gt;\""];
        expect_page(&short, 400, &words);
        assert!(!short.text.contains("corta"), "{}", short.text);
        log_in(&app, "nuevo@ejemplo.com", PASSWORD).await.expect_error(401, "WRONG_CREDENTIALS");

        let fields = [("name", "Eva"), ("password", PASSWORD)];
        let joined = send(&app, &path, &fields).await;
        expect_page(&joined, 200, &["Invitación aceptada", "&lt;script&gt;", "como agente"]);
        assert!(!joined.text.contains("eyJ"), "no tokens: {}", joined.text);
        let entered = log_in(&app, "nuevo@ejemplo.com", PASSWORD).await.expect(200);
        assert_eq!(entered["workspace"]["id"], ana.workspace.as_str());
        assert_eq!(entered["workspace"]["role"], "agent");
        assert_eq!(entered["user"]["name"], "Eva");
        let eva = Person::of(&entered);
        assert_eq!(sessions(&app, &eva).await, 1, "the page has left no session behind");
        for over in [send(&app, &path, &fields).await, look(&app, &path).await] {
            expect_page(&over, 409, &["La invitación ya se aceptó"]);
        }
    }
}

#[tokio::test]
async fn who_has_an_account_joins_with_its_password_and_its_code() {
    for app in TestApp::on_each_database("invitation page with an account").await {
        let ana = Person::register(&app, "ana").await;
        let eva = Person::register(&app, "eva").await;
        let leo = Person::register(&app, "leo").await;
        let (path, _) = invite(&app, &ana, "eva@ejemplo.com").await;
        let page = look(&app, &path).await;
        expect_page(&page, 200, &["Ya tienes una cuenta", "autocomplete=\"current-password\""]);
        assert!(!page.text.contains("name=\"name\"") && !page.text.contains("name=\"code\""));
        for wrong in [&[("password", "no es esta")][..], &[]] {
            let page = send(&app, &path, wrong).await;
            expect_page(&page, 401, &["La contraseña no es correcta", "aria-invalid=\"true\""]);
        }
        let right = [("password", PASSWORD)];
        expect_page(&send(&app, &path, &right).await, 200, &["Invitación aceptada", "como agente"]);
        assert_eq!(sessions(&app, &eva).await, 1, "the page has left no session behind");
        let mine = eva.get(&app, "/v1/workspaces").await.expect(200);
        assert_eq!(mine["meta"]["itemCount"], 2);

        let (_, codes) = turn_on(&app, &leo).await;
        let (path, _) = invite(&app, &ana, "leo@ejemplo.com").await;
        let asked = send(&app, &path, &right).await;
        let words = ["Tu cuenta pide además un código", "autocomplete=\"one-time-code\""];
        expect_page(&asked, 401, &words);
        assert!(!asked.text.contains(PASSWORD), "{}", asked.text);
        let with = async |password: &str, code: &str| {
            send(&app, &path, &[("password", password), ("code", code)]).await
        };
        let wrong = with(PASSWORD, "0000000000000000").await;
        expect_page(&wrong, 401, &["El código no es correcto", "name=\"code\""]);
        let wrong = with("no es esta", &codes[0]).await;
        expect_page(&wrong, 401, &["La contraseña no es correcta", "name=\"code\""]);
        expect_page(&with(PASSWORD, &codes[0]).await, 200, &["Invitación aceptada"]);
        assert_eq!(sessions(&app, &leo).await, 1, "the page has left no session behind");
        expect_page(&with(PASSWORD, &codes[1]).await, 409, &["La invitación ya se aceptó"]);
    }
}

#[tokio::test]
async fn pages_are_in_the_language_of_the_mail_else_in_the_browsers() {
    for (app, mail) in with_mail("languages of pages").await {
        let ana = Person::register(&app, "ana").await;
        mail.mail(1).await;
        let mut number = 1;
        for (language, choose, used, invited) in [
            ("es", "Elige una contraseña nueva", "Ya se usó", "te invita al espacio"),
            ("en", "Choose a new password", "It was used already", "invites you to the workspace"),
            ("pt-BR", "Escolha uma nova senha", "Ele já foi usado", "convidou você para o espaço"),
        ] {
            let url = format!("{}/v1/auth/forgot-password", app.base);
            let request = app.client.post(url).json(&json!({"email": "ana@ejemplo.com"}));
            read(request.header("accept-language", language)).await.expect(202);
            number += 1;
            let path = path_of(&mail.mail(number).await);
            let lang = format!("<html lang=\"{}\">", &language[..2]);
            // The browser likes another one; the mail was for the person.
            let page = read(browse(&app, Method::GET, &path).header("accept-language", "fr, pt"));
            expect_page(&page.await, 200, &[lang.as_str(), choose]);
            let fields = [("newPassword", PASSWORD)];
            assert_eq!(send(&app, &path, &fields).await.status, 200);
            expect_page(&send(&app, &path, &fields).await, 409, &[lang.as_str(), used]);

            let ana = Person::of(&log_in(&app, &ana.email, PASSWORD).await.expect(200));
            let path = format!("/v1/workspaces/{}/members/invite", ana.workspace);
            let body = json!({"email": format!("n{number}@ejemplo.com"), "role": "viewer"});
            let request = app.request_as(&ana.token, Method::POST, &path).json(&body);
            read(request.header("accept-language", language)).await.expect(201);
            number += 1;
            let path = path_of(&mail.mail(number).await);
            expect_page(&look(&app, &path).await, 200, &[lang.as_str(), invited]);
        }
        for (language, words) in [
            ("pt-BR,en;q=0.5", ["lang=\"pt\"", "Ele não existe"]),
            ("en", ["lang=\"en\"", "It does not exist"]),
            ("fr", ["lang=\"es\"", "No existe"]),
        ] {
            let request = browse(&app, Method::GET, "/reset/x");
            expect_page(&read(request.header("accept-language", language)).await, 404, &words);
        }
    }
}

#[tokio::test]
async fn each_page_tells_strangers_nothing_and_as_often_as_their_address_may() {
    let paths = api::routes_of_pages();
    assert_eq!(paths, ["/verify/{token}", "/reset/{token}", "/invitations/{token}"]);
    let app = TestApp::start().await;
    for path in &paths {
        for garbage in ["x", &"0".repeat(64), "%00", "%FF", "%3Cscript%3E", &"z".repeat(3_000)] {
            let path = path.replace("{token}", garbage);
            expect_page(&look(&app, &path).await, 404, &["Este enlace no sirve", "No existe"]);
            let fields = [("name", "x"), ("password", PASSWORD), ("newPassword", PASSWORD)];
            expect_page(&send(&app, &path, &fields).await, 404, &["No existe"]);
            let fields = [("password", PASSWORD), ("code", "123456")];
            assert_eq!(send(&app, &path, &fields).await.status, 404, "{path}");
        }
        // No credential of the API makes a difference.
        let path = path.replace("{token}", "x");
        expect_page(&read(app.request(Method::GET, &path)).await, 404, &["No existe"]);
        let other = read(app.client.delete(format!("{}{path}", app.base))).await;
        other.expect_error(405, "METHOD_NOT_ALLOWED");
    }
    for path in paths {
        let app = TestApp::start_with(|settings| settings.server.rate_limit = 2).await;
        let path = path.replace("{token}", "x");
        assert_eq!(look(&app, &path).await.status, 404);
        assert_eq!(send(&app, &path, &[]).await.status, 404);
        let held_up = look(&app, &path).await;
        expect_page(&held_up, 429, &["Son demasiados intentos"]);
        assert_ne!(held_up.header("retry-after"), "");
    }
}

#[tokio::test]
async fn links_that_have_run_out_or_were_taken_back_say_so() {
    for (app, mail, clock) in with_mail_and_clock("pages run out").await {
        let ana = Person::register(&app, "ana").await;
        let verify = path_of(&mail.mail(1).await);
        open(&app, "/v1/auth/forgot-password", &json!({"email": ana.email})).await.expect(202);
        let reset = path_of(&mail.mail(2).await);
        let invite = format!("/v1/workspaces/{}/members/invite", ana.workspace);
        let mut invited = Vec::new();
        for (number, email) in [(3, "eva@ejemplo.com"), (4, "leo@ejemplo.com")] {
            let body = json!({"email": email, "role": "agent"});
            let made = ana.post(&app, &invite, &body).await.expect(201);
            invited.push((path_of(&mail.mail(number).await), made));
        }
        let [(expired, _), (revoked, made)] = &invited[..] else { panic!("two were invited") };
        let id = made["id"].as_str().unwrap();
        let of_id = format!("/v1/workspaces/{}/invitations/{id}", ana.workspace);
        ana.ask(&app, Method::DELETE, &of_id, &Value::Null).await.expect(204);

        clock.advance(Duration::from_hours(7 * 24));
        let fields = [("name", "Eva"), ("password", PASSWORD), ("newPassword", PASSWORD)];
        for (path, words) in [
            (&verify, "Venció"),
            (&reset, "Venció"),
            (expired, "La invitación venció"),
            (revoked, "La invitación se retiró"),
        ] {
            expect_page(&look(&app, path).await, 409, &["Este enlace no sirve", words]);
            expect_page(&send(&app, path, &fields).await, 409, &[words]);
        }
        let me = Person::of(&log_in(&app, &ana.email, PASSWORD).await.expect(200));
        let me = me.get(&app, "/v1/auth/me").await.expect(200);
        assert_eq!(me["user"]["emailVerified"], false, "{me}");
    }
}
