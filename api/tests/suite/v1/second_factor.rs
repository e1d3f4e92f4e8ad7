//! The second factor: codes of an app, recovery codes, who guesses.

use std::sync::Arc;
use std::time::Duration;

use domain::{Ambient, ManualClock, SystemEntropy, Timestamp};
use http::Method;
use serde_json::{Value, json};
use totp_rs::{Builder, Secret};

use super::{PASSWORD, Person, open};
use crate::support::{Reply, TestApp};

const STEP: Duration = Duration::from_secs(30);

/// A product by a clock of the test's, on each database.
async fn apps(test: &str) -> Vec<(TestApp, Arc<ManualClock>)> {
    let mut apps = Vec::new();
    for database in testkit::db::databases(test).await {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
        apps.push((TestApp::with_ambient(database, ambient, |_| {}).await, clock));
    }
    apps
}

/// What an app shows at the time of the product's clock.
fn code(app: &TestApp, secret: &str) -> String {
    let secret = Secret::try_from_base32(secret).unwrap();
    let totp = Builder::new().with_secret(secret).build_noncompliant();
    let seconds = app.ambient.now().micros() / 1_000_000;
    totp.generate(u64::try_from(seconds).unwrap()).to_string()
}

/// Turns the second factor on; the secret and the recovery codes.
pub async fn turn_on(app: &TestApp, person: &Person) -> (String, Vec<String>) {
    let path = "/v1/auth/second-factor/setup";
    let made = person.post(app, path, &json!({"password": PASSWORD})).await.expect(200);
    let secret = made["secret"].as_str().unwrap().to_owned();
    let uri = made["uri"].as_str().unwrap();
    assert!(uri.starts_with("otpauth://totp/Vocero:") && uri.contains(&secret), "{uri}");
    let body = json!({"code": code(app, &secret)});
    let codes = person.post(app, "/v1/auth/second-factor/confirm", &body).await.expect(200);
    let codes: Vec<String> = serde_json::from_value(codes["recoveryCodes"].clone()).unwrap();
    assert_eq!(codes.len(), 10);
    (secret, codes)
}

async fn challenge(app: &TestApp, person: &Person) -> String {
    let body = json!({"email": person.email, "password": PASSWORD});
    let reply = open(app, "/v1/auth/login", &body).await;
    reply.expect_error(401, "SECOND_FACTOR_REQUIRED");
    reply.json()["error"]["challenge"].as_str().unwrap().to_owned()
}

async fn answer(app: &TestApp, challenge: &str, code: &str) -> Reply {
    open(app, "/v1/auth/second-factor", &json!({"challenge": challenge, "code": code})).await
}

#[tokio::test]
async fn who_has_a_second_factor_signs_in_with_a_code_that_is_good_once() {
    for (app, clock) in apps("second factor").await {
        let ana = Person::register(&app, "ana").await;
        let path = "/v1/auth/second-factor/setup";
        ana.post(&app, path, &json!({"password": "no es esta"})).await.expect_field("password");
        let early = json!({"code": "123456"});
        let early = ana.post(&app, "/v1/auth/second-factor/confirm", &early).await;
        early.expect_error(409, "CONFLICT");
        let (secret, _) = turn_on(&app, &ana).await;
        let me = ana.get(&app, "/v1/auth/me").await.expect(200);
        assert_eq!(me["user"]["secondFactor"], true);
        let again = ana.post(&app, path, &json!({"password": PASSWORD})).await;
        again.expect_error(409, "SECOND_FACTOR_ON");

        let first = challenge(&app, &ana).await;
        // The code that confirmed is used up.
        let used = answer(&app, &first, &code(&app, &secret)).await;
        used.expect_error(401, "WRONG_CODE");
        clock.advance(STEP);
        let now = code(&app, &secret);
        let (one, other) = tokio::join!(answer(&app, &first, &now), answer(&app, &first, &now));
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "{} {}", one.text, other.text);
        let winner = if one.status == 200 { one } else { other };
        Person::of(&winner.json()).get(&app, "/v1/auth/me").await.expect(200);

        let next = challenge(&app, &ana).await;
        answer(&app, &next, &now).await.expect_error(401, "WRONG_CODE");
        clock.advance(STEP);
        answer(&app, &next, &code(&app, &secret)).await.expect(200);
        answer(&app, &next, &code(&app, &secret)).await.expect_error(401, "CHALLENGE_OVER");
        answer(&app, "vc_x", "123456").await.expect_error(401, "CHALLENGE_OVER");
    }
}

#[tokio::test]
async fn a_recovery_code_works_once_and_turning_it_off_takes_password_and_code() {
    for (app, clock) in apps("recovery codes").await {
        let ana = Person::register(&app, "ana").await;
        let (secret, codes) = turn_on(&app, &ana).await;
        let first = challenge(&app, &ana).await;
        answer(&app, &first, &codes[0].to_uppercase()).await.expect(200);
        let second = challenge(&app, &ana).await;
        answer(&app, &second, &codes[0]).await.expect_error(401, "WRONG_CODE");
        answer(&app, &second, &codes[9].replace('-', " ")).await.expect(200);

        let path = "/v1/auth/second-factor";
        let off = async |password: &str, code: &str| {
            let body = json!({"password": password, "code": code});
            ana.ask(&app, Method::DELETE, path, &body).await
        };
        clock.advance(STEP);
        off("no es esta", &code(&app, &secret)).await.expect_field("password");
        off(PASSWORD, "000000").await.expect_field("code");
        off(PASSWORD, &code(&app, &secret)).await.expect(204);
        off(PASSWORD, &code(&app, &secret)).await.expect_error(409, "SECOND_FACTOR_OFF");
        let login = json!({"email": ana.email, "password": PASSWORD});
        open(&app, "/v1/auth/login", &login).await.expect(200);
        let log = ana.get(&app, "/v1/audit?action=second-factor&order=ASC").await.expect(200);
        let actions: Vec<&Value> =
            log["data"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
        assert_eq!(actions, ["second-factor.on", "second-factor.off"]);
        assert!(!log.to_string().contains(&secret));
    }
}

#[tokio::test]
async fn nobody_guesses_codes() {
    for (app, clock) in apps("guessing codes").await {
        let ana = Person::register(&app, "ana").await;
        let (secret, _) = turn_on(&app, &ana).await;
        clock.advance(STEP);
        let right = code(&app, &secret);
        let wrong = if right == "000000" { "000001" } else { "000000" };
        let first = challenge(&app, &ana).await;
        for _ in 0..5 {
            answer(&app, &first, wrong).await.expect_error(401, "WRONG_CODE");
        }
        answer(&app, &first, &right).await.expect_error(401, "CHALLENGE_OVER");
        // A new challenge gives no new ten guesses.
        let second = challenge(&app, &ana).await;
        for _ in 0..5 {
            answer(&app, &second, wrong).await.expect_error(401, "WRONG_CODE");
        }
        let third = challenge(&app, &ana).await;
        answer(&app, &third, &right).await.expect_error(429, "RATE_LIMITED");

        let eva = Person::register(&app, "eva").await;
        let (secret, _) = turn_on(&app, &eva).await;
        let slow = challenge(&app, &eva).await;
        clock.advance(Duration::from_mins(5));
        answer(&app, &slow, &code(&app, &secret)).await.expect_error(401, "CHALLENGE_OVER");
    }
}
