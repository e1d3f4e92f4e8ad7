//! Who is let in: keys of sites, origins, tokens of visitors, on every route of the widget.

use std::sync::Arc;
use std::time::Duration;

use api::{RouteInfo, Surface};
use domain::vault::Vault;
use domain::{Ambient, ManualClock, SystemEntropy, Timestamp, VisitorId};
use http::{HeaderMap, Method};
use reqwest::RequestBuilder;
use serde_json::json;

use super::{ORIGIN, Site};
use crate::support::{Reply, TestApp, read};
use crate::v1::Person;

/// The routes of the widget, but for the one that becomes a WebSocket.
fn routes() -> Vec<RouteInfo> {
    let mut all = api::routes_v1();
    all.retain(|route| route.path.starts_with("/v1/widget/"));
    for route in &all {
        let is_own = matches!(route.surface, Surface::Sites | Surface::Visitors);
        assert!(is_own, "{} {} asks for no key of a site", route.method, route.path);
    }
    all.retain(|route| !route.path.ends_with("/ws"));
    all
}

#[test]
fn no_route_for_visitors_is_anywhere_else() {
    for route in api::routes_v1() {
        let is_own = matches!(route.surface, Surface::Sites | Surface::Visitors);
        assert_eq!(
            is_own,
            route.path.starts_with("/v1/widget/"),
            "{} {}",
            route.method,
            route.path
        );
    }
}

fn call(app: &TestApp, route: &RouteInfo) -> RequestBuilder {
    call_with(app, route, "")
}

fn call_with(app: &TestApp, route: &RouteInfo, query: &str) -> RequestBuilder {
    let address = format!("{}{}{query}", app.base, route.path);
    let request = app.client.request(route.method.clone(), address);
    if route.method == Method::POST { request.json(&json!({})) } else { request }
}

fn allowed(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn every_route_asks_for_the_key_of_a_site_and_for_one_of_its_pages() {
    for app in TestApp::on_each_database("widget doors").await {
        let site = Site::new(&app).await;
        let visitor = site.visitor(&app).await;
        for route in routes() {
            let name = format!("{} {}", route.method, route.path);
            let with = |key: &str| call(&app, &route).header("x-site-key", key);
            read(call(&app, &route)).await.expect_error(401, "UNAUTHORIZED");
            for wrong in ["", "x", "site_00000000000000000000000000000000", &site.owner.token] {
                read(with(wrong)).await.expect_error(401, "UNAUTHORIZED");
            }
            for origin in
                ["https://other.cl", "http://funpark.cl", "https://funpark.cl:8443", "null", ""]
            {
                let request = with(&site.key).header("x-visitor-token", &visitor.token);
                let reply = read(request.header("origin", origin)).await;
                assert_eq!(allowed(&reply.headers), None, "{name} from {origin}");
                reply.expect_error(403, "ORIGIN_NOT_ALLOWED");
            }
            if route.path.ends_with("/stream") {
                continue;
            }
            let request = with(&site.key).header("x-visitor-token", &visitor.token);
            let reply = read(request.header("origin", ORIGIN)).await;
            assert_eq!(allowed(&reply.headers), Some(ORIGIN), "{name}");
            assert_eq!(reply.header("vary"), "origin");
            assert!(![401, 403].contains(&reply.status.as_u16()), "{name}: {}", reply.text);
            let query = call_with(&app, &route, &format!("?siteKey={}", site.key));
            let reply =
                read(query.header("authorization", format!("Visitor {}", visitor.token))).await;
            assert!(![401, 403].contains(&reply.status.as_u16()), "{name}: {}", reply.text);
        }
    }
}

#[tokio::test]
async fn a_visitors_route_asks_for_a_token_that_holds_here_and_now() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000)));
    let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
    let app = TestApp::with_ambient(testkit::db::sqlite().await, ambient, |_| {}).await;
    let site = Site::new(&app).await;
    let neighbour = Site::owned_by(&app, site.owner.clone()).await;
    let foreign = Site::of(&app, "eva").await;
    let (visitor, next) = (site.visitor(&app).await, neighbour.visitor(&app).await);
    let forged = accounts::VisitorTokens::new(&Vault::parse(&"8".repeat(64)).unwrap());
    let ticket = accounts::VisitorTicket {
        workspace: site.owner.workspace.parse().unwrap(),
        project: site.id.parse().unwrap(),
        visitor: VisitorId::parse(&visitor.id).unwrap(),
        identity: None,
    };
    let forged = forged.sign(&ticket, app.ambient.now()).unwrap();
    let foreign = foreign.visitor(&app).await.token;
    let cut = visitor.token[..visitor.token.len() - 2].to_owned();
    let wrong = [
        String::new(),
        "garbage".to_owned(),
        cut,
        forged,
        next.token,
        foreign,
        site.owner.token.clone(),
        site.owner.refresh.clone(),
        visitor.id.clone(),
    ];
    for route in routes().iter().filter(|route| route.surface == Surface::Visitors) {
        let request = || call(&app, route).header("x-site-key", &site.key).header("origin", ORIGIN);
        read(request()).await.expect_error(401, "UNAUTHORIZED");
        for token in &wrong {
            let reply = read(request().header("x-visitor-token", token)).await;
            assert_eq!(allowed(&reply.headers), Some(ORIGIN), "a page may read why");
            reply.expect_error(401, "UNAUTHORIZED");
            let bearer = request().header("authorization", format!("Bearer {token}"));
            read(bearer).await.expect_error(401, "UNAUTHORIZED");
        }
        let in_address = format!("?visitorToken={}", visitor.token);
        if !route.path.ends_with("/stream") {
            read(call_with(&app, route, &in_address).header("x-site-key", &site.key))
                .await
                .expect_error(401, "UNAUTHORIZED");
        }
    }
    // A visitor's token opens nothing of the panel.
    let panel = app.request_as(&visitor.token, Method::GET, "/v1/projects");
    read(panel).await.expect_error(401, "UNAUTHORIZED");

    visitor.get(&app, "/messages").await.expect(200);
    clock.advance(Duration::from_hours(180 * 24));
    visitor.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
    let anew = visitor.post(&app, "/init", &json!({"visitorId": visitor.id})).await.expect(200);
    assert_ne!(anew["visitorId"], visitor.id.as_str(), "who they were is not known any more");
}

#[tokio::test]
async fn a_replaced_key_lets_pages_in_for_its_grace() {
    let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_760_000_000_000_000)));
    let ambient = Ambient::new(clock.clone(), Arc::new(SystemEntropy));
    let app = TestApp::with_ambient(testkit::db::sqlite().await, ambient, |_| {}).await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    let rotate = async |body: serde_json::Value| {
        let token = login(&app, &site.owner).await;
        let request = app.request_as(&token, Method::POST, &site.path("/site-key/rotate"));
        read(request.json(&body)).await
    };
    let rotated = rotate(json!({})).await.expect(200);
    assert_ne!(rotated["siteKey"], site.key.as_str());
    assert_eq!(rotated["retiredSiteKeys"][0]["siteKey"], site.key.as_str());
    visitor.get(&app, "/messages").await.expect(200);
    clock.advance(Duration::from_secs(24 * 3_600 - 1));
    visitor.get(&app, "/messages").await.expect(200);
    clock.advance(Duration::from_secs(1));
    visitor.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
    let key = rotated["siteKey"].as_str().unwrap().to_owned();
    let now = Site { owner: site.owner.clone(), id: site.id.clone(), key };
    let renewed = super::Visitor { key: now.key.clone(), ..visitor.clone() };
    renewed.get(&app, "/messages").await.expect(200);
    for bad in [-1, 721] {
        rotate(json!({"graceHours": bad})).await.expect_field("graceHours");
    }
    rotate(json!({"graceHours": 0})).await.expect(200);
    renewed.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
}

/// A token of now: those of before have ended with the clock.
async fn login(app: &TestApp, person: &Person) -> String {
    let body = json!({"email": person.email, "password": crate::v1::PASSWORD});
    let signed_in = crate::v1::open(app, "/v1/auth/login", &body).await.expect(200);
    signed_in["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_deleted_project_opens_nothing() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let visitor = site.visitor(&app).await;
    let said = visitor.say(&app, "Hola").await;
    site.owner.ask(&app, Method::DELETE, &site.path(""), &json!(null)).await.expect(204);
    visitor.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
    let mut conn = app.db.read().await.unwrap();
    let id = said["conversationId"].as_str().unwrap().parse().unwrap();
    let workspace = site.owner.workspace.parse().unwrap();
    let kept = storage::conversations::get(&mut conn, workspace, id).await.unwrap().unwrap();
    assert_eq!(kept.project_id, None);
}

async fn preflight(app: &TestApp, path: &str, origin: &str) -> Reply {
    let request = app.client.request(Method::OPTIONS, format!("{}{path}", app.base));
    let request = request.header("origin", origin).header("access-control-request-method", "POST");
    read(request.header("access-control-request-headers", "content-type,x-site-key")).await
}

#[tokio::test]
async fn browsers_are_told_which_pages_may_call() {
    for app in TestApp::on_each_database("widget preflight").await {
        let site = Site::new(&app).await;
        for route in routes() {
            let path = format!("{}?siteKey={}", route.path, site.key);
            let yes = preflight(&app, &path, ORIGIN).await;
            assert_eq!((yes.status.as_u16(), allowed(&yes.headers)), (204, Some(ORIGIN)));
            let headers = yes.header("access-control-allow-headers");
            for header in ["content-type", "x-site-key", "x-visitor-token", "last-event-id"] {
                assert!(headers.contains(header), "{header}");
            }
            let no = preflight(&app, &path, "https://other.cl").await;
            assert_eq!(allowed(&no.headers), None);
            no.expect_error(403, "ORIGIN_NOT_ALLOWED");
        }
        // Without the key every page is told yes that some site lets in: the born ones let every page in.
        let any = preflight(&app, "/v1/widget/messages", "https://other.cl").await;
        assert_eq!(allowed(&any.headers), Some("https://other.cl"));
        let panel = preflight(&app, "/v1/projects", ORIGIN).await;
        assert_eq!(allowed(&panel.headers), None, "the panel is for the configured origins");
    }
}

#[tokio::test]
async fn a_site_without_origins_lets_every_page_in() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let change = json!({"allowedOrigins": []});
    let open = site.owner.patch(&app, &site.path(""), &change).await.expect(200);
    assert_eq!(open["warnings"][0]["field"], "allowedOrigins");
    let request = app.client.post(format!("{}/v1/widget/init", app.base)).json(&json!({}));
    let request = request.header("x-site-key", &site.key).header("origin", "https://other.cl");
    let reply = read(request).await;
    assert_eq!(allowed(&reply.headers), Some("https://other.cl"));
    reply.expect(200);
}
