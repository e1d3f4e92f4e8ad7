//! Signing in with an account elsewhere: against a scripted provider over real HTTP, whose tokens are really signed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::StatusCode as Status;
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::settings::Registration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use url::Url;

use super::{PASSWORD, Person, open};
use crate::support::{Reply, TestApp, read};

/// The private key of the provider: RSA, 2048 bits, PKCS#1.
const KEY: &[u8] = include_bytes!("provider_key.der");
/// The modulus of the key, as a JSON Web Key says it.
const MODULUS: &str = include_str!("provider_key.n");
const CLIENT: &str = "vocero-panel";

/// An identity provider with one person at its door.
#[derive(Clone)]
struct Provider {
    issuer: String,
    state: Arc<Mutex<Scripted>>,
}

/// Whom it vouches for, and what is wrong with its tokens.
struct Scripted {
    claims: Value,
    /// Challenges by code.
    codes: HashMap<String, String>,
    nonce: String,
    key: EncodingKey,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = EncodingKey::from_rsa_der(KEY);
        let claims =
            json!({"sub": "1", "email": "ana@ejemplo.com", "email_verified": true, "name": "Ana"});
        let scripted = Scripted { claims, codes: HashMap::new(), nonce: String::new(), key };
        let provider = Self { issuer, state: Arc::new(Mutex::new(scripted)) };
        let router = axum::Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/jwks", get(keys))
            .route("/token", post(token))
            .with_state(provider.clone());
        // It ends with the test's runtime.
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    fn vouch(&self, claims: Value) {
        self.state.lock().unwrap().claims = claims;
    }

    /// What a person does who is sent there: signs in, and is sent back with a code.
    fn sign_in(&self, url: &str) -> (String, String) {
        let url = Url::parse(url).unwrap();
        assert!(url.as_str().starts_with(&format!("{}/authorize", self.issuer)), "{url}");
        let query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(
            (query["response_type"].as_str(), query["client_id"].as_str()),
            ("code", CLIENT)
        );
        assert_eq!(query["code_challenge_method"], "S256");
        assert!(query["redirect_uri"].ends_with("/v1/auth/oidc/callback"));
        assert!(query["scope"].contains("openid") && query["scope"].contains("email"));
        let mut state = self.state.lock().unwrap();
        let code = format!("code{}", state.codes.len());
        state.codes.insert(code.clone(), query["code_challenge"].clone());
        state.nonce.clone_from(&query["nonce"]);
        (query["state"].clone(), code)
    }
}

async fn discovery(State(provider): State<Provider>) -> axum::Json<Value> {
    let issuer = &provider.issuer;
    axum::Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }))
}

async fn keys() -> axum::Json<Value> {
    let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": MODULUS.trim(), "e": "AQAB"});
    axum::Json(json!({"keys": [key]}))
}

/// A code is good once, and for whoever knows what its challenge was made of.
async fn token(State(provider): State<Provider>, body: String) -> (Status, axum::Json<Value>) {
    let form: HashMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let mut state = provider.state.lock().unwrap();
    let challenge = state.codes.get_mut(&form["code"]).map(std::mem::take).unwrap_or_default();
    let verifier = form.get("code_verifier").cloned().unwrap_or_default();
    let made = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    if challenge.is_empty() || challenge != made {
        return (Status::BAD_REQUEST, axum::Json(json!({"error": "invalid_grant"})));
    }
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut claims = json!({
        "iss": provider.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": state.nonce,
    });
    let claims_map = claims.as_object_mut().unwrap();
    claims_map.extend(state.claims.as_object().unwrap().clone());
    let mut header = Header::new(Algorithm::RS256);
    header.kid = Some("1".to_owned());
    let mut id_token = jsonwebtoken::encode(&header, &claims, &state.key).unwrap();
    if state.claims.get("forged").is_some() {
        let (head, _) = id_token.rsplit_once('.').unwrap();
        id_token = format!("{head}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    }
    let body = json!({"access_token": "x", "token_type": "Bearer", "id_token": id_token});
    (Status::OK, axum::Json(body))
}

async fn apps(test: &str, registration: Registration) -> Vec<(TestApp, Provider)> {
    let mut apps = Vec::new();
    for database in testkit::db::databases(test).await {
        let provider = Provider::start().await;
        let issuer = provider.issuer.clone();
        let app = TestApp::with(database, |settings| {
            settings.oidc.issuer = Some(issuer);
            settings.oidc.client_id = Some(CLIENT.to_owned());
            settings.oidc.client_secret = Some("geheim".into());
            settings.accounts.registration = registration;
        });
        apps.push((app.await, provider));
    }
    apps
}

/// Leaves for the provider: where to, and the cookie that is kept.
async fn leave(app: &TestApp) -> (String, String) {
    let request = app.stay().get(format!("{}/v1/auth/oidc/start", app.base));
    let reply = read(request).await;
    assert_eq!(reply.status, 303, "{}", reply.text);
    let cookie = reply.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    (reply.header("location").to_owned(), cookie)
}

async fn arrive(app: &TestApp, state: &str, code: &str, cookie: &str) -> Reply {
    let url = format!("{}/v1/auth/oidc/callback?state={state}&code={code}", app.base);
    read(app.client.get(url).header("cookie", cookie)).await
}

/// All the way there and back.
async fn sign_in(app: &TestApp, provider: &Provider) -> Reply {
    let (url, cookie) = leave(app).await;
    let (state, code) = provider.sign_in(&url);
    arrive(app, &state, &code, &cookie).await
}

#[tokio::test]
async fn who_comes_from_the_provider_has_an_account_and_the_same_one_the_next_time() {
    for (app, provider) in apps("oidc", Registration::Open).await {
        let first = sign_in(&app, &provider).await.expect(200);
        assert_eq!(
            (&first["user"]["name"], &first["user"]["emailVerified"]),
            (&json!("Ana"), &json!(true))
        );
        assert_eq!(first["workspace"]["role"], "owner");
        // The account is known by its subject, whatever address it has by then.
        provider.vouch(json!({"sub": "1", "email": "otra@ejemplo.com", "email_verified": false}));
        let again = sign_in(&app, &provider).await.expect(200);
        assert_eq!(again["user"]["id"], first["user"]["id"]);
        assert_eq!(again["workspace"]["id"], first["workspace"]["id"]);
        // Nobody signs in to it by a password that it does not have.
        for password in ["", "none", PASSWORD] {
            let body = json!({"email": "ana@ejemplo.com", "password": password});
            open(&app, "/v1/auth/login", &body).await.expect_error(401, "WRONG_CREDENTIALS");
        }
    }
}

#[tokio::test]
async fn a_verified_address_links_and_an_unverified_one_never_does() {
    for (app, provider) in apps("oidc links", Registration::Open).await {
        // Somebody registered with an address that may not be theirs.
        let squatter = Person::register(&app, "ana").await;
        for unverified in [
            json!({"sub": "1", "email": "ana@ejemplo.com", "email_verified": false}),
            json!({"sub": "1", "email": "ana@ejemplo.com"}),
            json!({"sub": "1"}),
        ] {
            provider.vouch(unverified);
            sign_in(&app, &provider).await.expect_error(403, "EMAIL_NOT_VERIFIED");
        }
        squatter.get(&app, "/v1/auth/me").await.expect(200);
        provider.vouch(json!({"sub": "1", "email": "Ana@ejemplo.com", "email_verified": true}));
        let owner = sign_in(&app, &provider).await.expect(200);
        assert_eq!(owner["user"]["id"], squatter.id.as_str());
        squatter.get(&app, "/v1/auth/me").await.expect_error(401, "UNAUTHORIZED");
        let login = json!({"email": squatter.email, "password": PASSWORD});
        open(&app, "/v1/auth/login", &login).await.expect_error(401, "WRONG_CREDENTIALS");
    }
}

#[tokio::test]
async fn what_is_forged_reused_or_of_another_browser_signs_nobody_in() {
    for (app, provider) in apps("oidc forged", Registration::Open).await {
        let (url, cookie) = leave(&app).await;
        let (state, code) = provider.sign_in(&url);
        let elsewhere = arrive(&app, &state, &code, "vocero_oidc=x").await;
        elsewhere.expect_error(401, "SIGN_IN_FAILED");
        arrive(&app, &state, &code, &cookie).await.expect_error(401, "SIGN_IN_FAILED");

        let (url, cookie) = leave(&app).await;
        let (state, code) = provider.sign_in(&url);
        arrive(&app, &state, "code99", &cookie).await.expect_error(401, "SIGN_IN_FAILED");
        arrive(&app, &state, &code, &cookie).await.expect_error(401, "SIGN_IN_FAILED");

        let base = json!({"sub": "1", "email": "ana@ejemplo.com", "email_verified": true});
        for (claim, value) in [
            ("forged", json!(true)),
            ("nonce", json!("another")),
            ("aud", json!("somebody-else")),
            ("iss", json!("https://evil.example")),
            ("exp", json!(1)),
        ] {
            let mut claims = base.clone();
            claims[claim] = value;
            provider.vouch(claims);
            let refused = sign_in(&app, &provider).await;
            assert_eq!(refused.status, 401, "{claim}: {}", refused.text);
        }
        provider.vouch(base);
        let (url, cookie) = leave(&app).await;
        let (state, code) = provider.sign_in(&url);
        arrive(&app, &state, &code, &cookie).await.expect(200);
        arrive(&app, &state, &code, &cookie).await.expect_error(401, "SIGN_IN_FAILED");
        let callback = format!("{}/v1/auth/oidc/callback", app.base);
        read(app.client.get(&callback)).await.expect_field("state");
        let denied = app.client.get(format!("{callback}?state=x&error=access_denied"));
        read(denied).await.expect_field("error");
    }
}

#[tokio::test]
async fn closed_registration_and_no_provider_are_told() {
    for (app, provider) in apps("oidc closed", Registration::Closed).await {
        Person::register(&app, "eva").await;
        sign_in(&app, &provider).await.expect_error(403, "REGISTRATION_CLOSED");
        provider.vouch(json!({"sub": "2", "email": "eva@ejemplo.com", "email_verified": true}));
        sign_in(&app, &provider).await.expect(200);
    }
    let app = TestApp::start().await;
    let start = read(app.client.get(format!("{}/v1/auth/oidc/start", app.base))).await;
    let message = start.expect_error(404, "NOT_CONFIGURED");
    assert!(message.contains("VOCERO_OIDC_ISSUER"), "{message}");
}

#[tokio::test]
async fn a_browser_that_comes_back_is_shown_a_page_without_tokens() {
    for (app, provider) in apps("oidc page", Registration::Open).await {
        let browse = async |language: &str| {
            let (url, cookie) = leave(&app).await;
            let (state, code) = provider.sign_in(&url);
            let url = format!("{}/v1/auth/oidc/callback?state={state}&code={code}", app.base);
            let request = app.client.get(url).header("cookie", cookie);
            let request = request.header("accept-language", language);
            read(request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")).await
        };
        let page = browse("en").await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(page.header("cache-control"), "no-store");
        assert!(page.header("content-security-policy").starts_with("default-src 'none'"));
        assert!(page.header("set-cookie").contains("Max-Age=0"), "{:?}", page.headers);
        for words in ["Identity confirmed", "ana@ejemplo.com", "opens no session"] {
            assert!(page.text.contains(words), "{words}: {}", page.text);
        }
        // Tokens of ours begin with these, and the page has none.
        for token in ["eyJ", "vr_", "<script"] {
            assert!(!page.text.contains(token), "{token}: {}", page.text);
        }
        // The account is there, and the page has left no session behind.
        let signed_in = sign_in(&app, &provider).await.expect(200);
        let ana = Person::of(&signed_in);
        let sessions = ana.get(&app, "/v1/auth/sessions").await.expect(200);
        assert_eq!(sessions["meta"]["itemCount"], 1, "{sessions}");

        provider.vouch(json!({"sub": "2", "email": "<b>@ejemplo.com", "email_verified": false}));
        let refused = browse("pt").await;
        assert_eq!(refused.status, 403, "{}", refused.text);
        assert!(refused.text.contains("O provedor não confirma"), "{}", refused.text);
        let denied = format!("{}/v1/auth/oidc/callback?state=x&error=access_denied", app.base);
        let denied = read(app.client.get(denied).header("accept", "text/html")).await;
        assert_eq!(denied.status, 400, "{}", denied.text);
        assert_eq!(denied.header("content-type"), "text/html; charset=utf-8");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_not_the_persons_fault() {
    for database in testkit::db::databases("oidc unavailable").await {
        // Nobody listens at a port that was given back.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let app = TestApp::with(database, |settings| {
            settings.oidc.issuer = Some(issuer);
            settings.oidc.client_id = Some(CLIENT.to_owned());
        });
        is_unavailable(&app.await).await;
    }
    // One that is there, but is no provider.
    let elsewhere = TestApp::start().await;
    let issuer = elsewhere.base.clone();
    let app = TestApp::start_with(|settings| {
        settings.oidc.issuer = Some(issuer);
        settings.oidc.client_id = Some(CLIENT.to_owned());
    });
    is_unavailable(&app.await).await;
}

async fn is_unavailable(app: &TestApp) {
    let start = app.stay().get(format!("{}/v1/auth/oidc/start", app.base));
    let reply = read(start).await;
    reply.expect_error(503, "IDENTITY_PROVIDER_UNAVAILABLE");
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!((reply.header("location"), reply.header("set-cookie")), ("", ""));
    // Whoever has a password is not kept out.
    Person::register(app, "ana").await;
    let login = json!({"email": "ana@ejemplo.com", "password": PASSWORD});
    open(app, "/v1/auth/login", &login).await.expect(200);
}
