//! What every request meets: ids, errors, headers, limits.

use std::time::Duration;

use domain::Scope;
use http::Method;
use serde_json::json;

use crate::support::{TestApp, read};

#[tokio::test]
async fn health_and_description_need_no_key() {
    let app = TestApp::start().await;
    for (path, content) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/openapi/v2.json", "/api/v2/agents"),
        ("/openapi/v1.json", "/v1/conversations"),
        ("/docs/", "swagger-ui"),
        ("/docs/swagger-initializer.js", "/openapi/v2.json"),
        ("/docs/swagger-initializer.js", "/openapi/v1.json"),
    ] {
        let reply = read(app.client.get(format!("{}{path}", app.base))).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text.contains(content), "{path}: {}", reply.text);
        assert!(reply.header("x-request-id").starts_with("req_"), "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
    }
    let page = read(app.client.get(format!("{}/docs", app.base))).await;
    assert_eq!(page.status, 200, "/docs leads to the page");
    let outside = ["https://", "//cdn", "http://"];
    assert!(!outside.iter().any(|link| page.text.contains(link)), "the page needs the network");
}

#[tokio::test]
async fn unknown_routes_and_methods_answer_with_the_envelope() {
    let app = TestApp::start().await;
    for path in ["/", "/api/v2", "/api/v2/nothing", "/api/v2/agents/", "/api/v2/%FF", "/v1/agents"]
    {
        app.get(path).await.expect_error(404, "NOT_FOUND");
    }
    for (method, path, allowed) in [
        (Method::PATCH, "/api/v2/agents", "GET,HEAD,POST"),
        (Method::DELETE, app.chat_path().as_str(), "POST"),
        (Method::OPTIONS, "/api/v2/gaps", "GET,HEAD"),
    ] {
        let reply = read(app.request(method, path)).await;
        reply.expect_error(405, "METHOD_NOT_ALLOWED");
        let mut allow: Vec<&str> = reply.header("allow").split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{path}");
    }
}

#[tokio::test]
async fn the_clients_request_id_comes_back_and_a_strange_one_is_replaced() {
    let app = TestApp::start().await;
    for (sent, kept) in
        [("order-77_b.1", true), ("a b", false), ("é", false), (&"x".repeat(129), false)]
    {
        let request = app.request(Method::GET, "/api/v2/nothing").header("x-request-id", sent);
        let reply = read(request).await;
        reply.expect_error(404, "NOT_FOUND");
        assert_eq!(reply.header("x-request-id") == sent, kept, "{sent}");
    }
}

#[tokio::test]
async fn messages_of_the_fixed_table_follow_accept_language() {
    let app = TestApp::start().await;
    for (language, words) in [
        (None, "API key inválida"),
        (Some("en"), "invalid API key"),
        (Some("pt-BR,en;q=0.5"), "API key inválida"),
    ] {
        let mut request =
            app.client.get(format!("{}/api/v2/agents", app.base)).bearer_auth("vk_no");
        if let Some(language) = language {
            request = request.header("accept-language", language);
        }
        let reply = read(request).await;
        assert_eq!(reply.expect_error(401, "UNAUTHORIZED"), words);
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
    let path = "/api/v2/agents/agent_00000000000000000000000000000000";
    let reply = read(app.request(Method::GET, path).header("accept-language", "es")).await;
    assert_eq!(reply.expect_error(404, "NOT_FOUND"), "Recurso no existe");
    let account = json!({"name": "Andrea", "email": "dos@ejemplo.com", "password": "cuatro gatos"});
    let register = |language: &str| {
        let request = app.client.post(format!("{}/v1/auth/register", app.base)).json(&account);
        read(request.header("accept-language", language))
    };
    register("es").await.expect(201);
    for (language, words) in [
        ("es", "Esa dirección ya tiene una cuenta"),
        ("pt", "Esse endereço já tem uma conta"),
        ("en", "`email` has an account already"),
    ] {
        let told = register(language).await.expect_error(409, "EMAIL_TAKEN");
        assert!(told.starts_with(words), "{told}");
    }
    // What a page lacks is the key of a site, not one of the API.
    let init = app.client.post(format!("{}/v1/widget/init", app.base)).json(&json!({}));
    let told = read(init.header("accept-language", "es")).await.expect_error(401, "UNAUTHORIZED");
    assert!(told.starts_with("Falta la clave del sitio"), "{told}");
}

#[tokio::test]
async fn only_configured_origins_are_answered() {
    let app = TestApp::start_with(|settings| {
        settings.server.cors_origins = vec!["https://shop.example.com".to_owned()];
    })
    .await;
    let ask = async |origin: &str| {
        let request = app.client.request(Method::OPTIONS, format!("{}/api/v2/agents", app.base));
        let request = request.header("origin", origin);
        read(request.header("access-control-request-method", "POST")).await
    };
    let known = ask("https://shop.example.com").await;
    assert_eq!(known.header("access-control-allow-origin"), "https://shop.example.com");
    assert!(known.header("access-control-allow-headers").contains("authorization"));
    assert_eq!(known.header("access-control-allow-credentials"), "");
    let unknown = ask("https://evil.example.com").await;
    assert_eq!(unknown.header("access-control-allow-origin"), "");
    let refused = read(
        app.client
            .get(format!("{}/api/v2/agents", app.base))
            .header("origin", "https://shop.example.com"),
    );
    let refused = refused.await;
    refused.expect_error(401, "UNAUTHORIZED");
    assert_eq!(refused.header("access-control-allow-origin"), "https://shop.example.com");
}

#[tokio::test]
async fn a_key_is_told_where_it_stands_and_when_to_come_back() {
    let app = TestApp::start_with(|settings| settings.server.rate_limit = 3).await;
    for remaining in ["2", "1", "0"] {
        let reply = app.get("/api/v2/agents").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-limit"), "3");
        assert_eq!(reply.header("ratelimit-remaining"), remaining);
        assert!(reply.header("ratelimit-reset").parse::<u32>().unwrap() <= 60);
    }
    let reply = app.get("/api/v2/agents").await;
    reply.expect_error(429, "RATE_LIMITED");
    assert_eq!(reply.header("ratelimit-remaining"), "0");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    // Another key has a limit of its own, and what is not allowed counts too.
    let reader = app.key(&[Scope::Read], None).await;
    let refused = read(app.request_as(&reader, Method::GET, "/api/v2/api-keys")).await;
    refused.expect_error(403, "FORBIDDEN");
    assert_eq!(refused.header("ratelimit-remaining"), "2");
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_held_up_and_good_keys_are_not() {
    let app = TestApp::start_with(|settings| settings.server.rate_limit = 2).await;
    let guess = async |key: &str| read(app.request_as(key, Method::GET, "/api/v2/agents")).await;
    let unknown = format!("vk_{}", "0".repeat(64));
    guess(&unknown).await.expect_error(401, "UNAUTHORIZED");
    guess("garbage").await.expect_error(401, "UNAUTHORIZED");
    let held_up = guess(&unknown).await;
    held_up.expect_error(429, "RATE_LIMITED");
    assert_ne!(held_up.header("retry-after"), "");
    assert_eq!(guess(&app.tenant.key).await.status, 200);
    let without = read(app.client.get(format!("{}/api/v2/agents", app.base))).await;
    without.expect_error(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn bodies_that_are_not_the_json_they_should_be_are_told_apart() {
    let app = TestApp::start_with(|settings| settings.server.max_json_bytes = 1_000).await;
    let path = "/api/v2/datastores";
    let send = async |content_type: Option<&str>, body: &[u8]| {
        let mut request = app.request(Method::POST, path).body(body.to_vec());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        read(request).await
    };
    let json = Some("application/json");
    for body in [
        &b""[..],
        b"  ",
        b"{",
        b"[]",
        b"\"x\"",
        b"null",
        b"{\"name\":\"a\"}}",
        b"{\"name\":\"\xff\"}",
    ] {
        send(json, body).await.expect_error(400, "INVALID_JSON");
    }
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(400), "]".repeat(400));
    assert_eq!(send(json, deep.as_bytes()).await.status, 400);
    send(json, b"{\"name\":\"a\\u0000b\"}").await.expect_field("name");
    send(json, b"{\"name\":\"a\\u0007b\"}").await.expect_field("name");
    send(json, b"{\"name\":7}").await.expect_field("name");
    send(json, b"{}").await.expect_field("name");
    send(json, b"{\"name\":\"a\",\"language\":\"fr\"}").await.expect_field("language");
    send(None, b"").await.expect_error(400, "INVALID_JSON");
    for content_type in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("nonsense")]
    {
        send(content_type, b"{\"name\":\"a\"}").await.expect_error(415, "UNSUPPORTED_MEDIA_TYPE");
    }
    let huge = format!("{{\"name\":\"{}\"}}", "a".repeat(3_000_000));
    send(json, huge.as_bytes()).await.expect_error(413, "PAYLOAD_TOO_LARGE");
    for content_type in ["application/json; charset=utf-8", "application/merge-patch+json"] {
        let reply = send(Some(content_type), b"{\"name\":\"a\",\"unknown\":true}").await;
        assert_eq!(reply.status, 201, "{content_type}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_stopping_server_is_not_ready_but_alive() {
    let app = TestApp::start().await;
    let ready = async || read(app.client.get(format!("{}/readyz", app.base))).await;
    assert_eq!(ready().await.status, 200);
    app.stopping.cancel();
    let reply = ready().await;
    reply.expect_error(503, "SERVER_UNAVAILABLE");
    assert_ne!(reply.header("retry-after"), "");
    assert_eq!(read(app.client.get(format!("{}/healthz", app.base))).await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_gone_answers_503_and_when_to_retry() {
    for app in
        TestApp::on_each_database("a_database_that_is_gone_answers_503_and_when_to_retry").await
    {
        app.get("/api/v2/agents").await.expect(200);
        app.db.close().await;
        let patience = Duration::from_secs(30);
        let reply = tokio::time::timeout(patience, app.get("/api/v2/agents")).await.unwrap();
        reply.expect_error(503, "STORAGE_UNAVAILABLE");
        assert_ne!(reply.header("retry-after"), "");
        let reply = app.post("/api/v2/datastores", &json!({"name": "a"})).await;
        reply.expect_error(503, "STORAGE_UNAVAILABLE");
    }
}
