//! Opening the widget: who a visitor is.

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Site;
use crate::support::{TestApp, read};

/// The text's own body.
fn opening() -> Value {
    json!({"visitorId": "abc123", "pageUrl": "https://cliente.cl/producto/123", "userAgent": "..."})
}

#[tokio::test]
async fn a_bare_visitor_id_is_a_new_visit_and_a_token_is_the_same_visitor() {
    for app in TestApp::on_each_database("widget visits").await {
        let site = Site::new(&app).await;
        let opened = site.open(&app, &opening()).await.expect(200);
        assert_ne!(opened["visitorId"], "abc123");
        assert_eq!(opened["project"], json!({"id": site.id, "name": "Funpark.cl"}));
        assert_eq!(opened["widgetConfig"]["welcomeMessage"], "¡Hola! ¿En qué te ayudamos?");
        assert!(opened.get("activeConversation").is_none(), "{opened}");
        let visitor = site.visitor_of(&opened);
        let said = visitor.say(&app, "Hola").await;

        let claimed = site.open(&app, &json!({"visitorId": visitor.id})).await.expect(200);
        assert_ne!(claimed["visitorId"], visitor.id.as_str());
        assert!(claimed.get("activeConversation").is_none(), "{claimed}");
        let stranger = site.visitor_of(&claimed);
        assert_eq!(stranger.get(&app, "/conversations").await.expect(200), json!({"data": []}));

        let again = visitor.post(&app, "/init", &opening()).await.expect(200);
        assert_eq!(again["visitorId"], visitor.id.as_str());
        assert_eq!(again["activeConversation"]["id"], said["conversationId"]);
        let renewed = site.visitor_of(&again);
        let list = renewed.get(&app, "/conversations").await.expect(200);
        assert_eq!(list["data"][0]["id"], said["conversationId"]);
        let end = json!({"conversationId": said["conversationId"]});
        renewed.post(&app, "/end", &end).await.expect(200);
        let again = renewed.post(&app, "/init", &opening()).await.expect(200);
        assert!(again.get("activeConversation").is_none(), "{again}");

        let mut conn = app.db.read().await.unwrap();
        let (workspace, id) =
            (site.owner.workspace.parse().unwrap(), said["conversationId"].as_str().unwrap());
        let id = id.parse().unwrap();
        let begun = storage::visits::of_conversations(&mut conn, workspace, &[id]).await.unwrap();
        let page = begun[0].1.page_url.as_deref();
        assert_eq!(page, Some("https://cliente.cl/producto/123"));
        let conversation = storage::conversations::get(&mut conn, workspace, id).await.unwrap();
        let conversation = conversation.unwrap();
        assert_eq!(conversation.project_id.unwrap().to_string(), site.id);
        assert_eq!(conversation.channel.name(), "web");
    }
}

#[tokio::test]
async fn the_widget_reads_as_its_people_set_it_in_the_visitors_language() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    let days = json!({"timeZone": "America/Santiago", "days": {}});
    let change = json!({
        "theme": "dark", "primaryColor": "#00AEEF", "position": "top-left", "hours": days, "poweredBy": false,
        "texts": {"pt": {"title": "Parque"}}, "leadForm": {"when": "never"},
    });
    site.change_widget(&app, &change).await;
    let address = format!("{}/v1/widget/init?siteKey={}", app.base, site.key);
    let request = app.client.post(address).json(&json!({})).header("accept-language", "pt-BR");
    let config = read(request).await.expect(200)["widgetConfig"].clone();
    for (name, value) in [
        ("theme", json!("dark")),
        ("primaryColor", json!("#00AEEF")),
        ("position", json!("top-left")),
        ("language", json!("pt")),
        ("welcomeMessage", json!("Olá! Como podemos ajudar?")),
        ("online", json!(false)),
        ("poweredBy", json!(false)),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    assert_eq!(config["texts"]["pt"]["title"], "Parque");
    assert_eq!(config["leadForm"]["when"], "never");
    assert!(config.get("agentId").is_none() && config.get("warnings").is_none(), "{config}");
}

#[tokio::test]
async fn what_is_wrong_with_an_opening_is_named() {
    let app = TestApp::start().await;
    let site = Site::new(&app).await;
    for (body, field) in [
        (json!({"pageUrl": "javascript:alert(1)"}), "pageUrl"),
        (json!({"pageUrl": "x".repeat(4_001)}), "pageUrl"),
        (json!({"userAgent": "x".repeat(1_001)}), "userAgent"),
        (json!({"identity": {"userId": "1"}}), "identity.hash"),
        (json!({"identity": {"userId": " 1", "hash": ""}}), "identity.userId"),
        (json!({"identity": {"userId": "", "hash": ""}}), "identity.userId"),
    ] {
        site.open(&app, &body).await.expect_field(field);
    }
}

/// HMAC-SHA256 (RFC 2104) of a text by a secret that is longer than a block, in hexadecimal.
fn vouch(secret: &str, user: &str) -> String {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&Sha256::digest(secret.as_bytes()));
    let pad = |byte: u8| key.map(|k| k ^ byte);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(user).finalize();
    hex::encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}

#[tokio::test]
async fn a_site_vouches_for_its_users_and_their_history_follows_them() {
    for app in TestApp::on_each_database("widget identity").await {
        let site = Site::new(&app).await;
        let identity =
            |user: &str, hash: String| json!({"identity": {"userId": user, "hash": hash}});
        let unknown = identity("user_1", "0".repeat(64));
        site.open(&app, &unknown).await.expect_error(403, "IDENTITY_REFUSED");
        let secret_path = site.path("/widget/identity-secret");
        let secret = async || {
            let made = site.owner.post(&app, &secret_path, &Value::Null).await.expect(201);
            made["secret"].as_str().unwrap().to_owned()
        };
        let first = secret().await;
        let ana = identity("user_1", vouch(&first, "user_1"));
        let phone = site.visitor_of(&site.open(&app, &ana).await.expect(200));
        let said = phone.say(&app, "Hola").await;
        let laptop = site.open(&app, &ana).await.expect(200);
        assert_eq!(laptop["visitorId"], phone.id.as_str());
        assert_eq!(laptop["activeConversation"]["id"], said["conversationId"]);
        for wrong in [
            identity("user_2", vouch(&first, "user_1")),
            identity("user_1", vouch("wis_other", "user_1")),
            identity("user_1", "no hex".to_owned()),
        ] {
            site.open(&app, &wrong).await.expect_error(403, "IDENTITY_REFUSED");
        }

        let anybody = site.visitor(&app).await;
        site.change_widget(&app, &json!({"identity": {"required": true}})).await;
        site.open(&app, &json!({})).await.expect_error(403, "IDENTITY_REQUIRED");
        anybody.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
        phone.get(&app, "/messages").await.expect(200);

        let second = secret().await;
        phone.get(&app, "/messages").await.expect_error(401, "UNAUTHORIZED");
        site.open(&app, &ana).await.expect_error(403, "IDENTITY_REFUSED");
        let ana = identity("user_1", vouch(&second, "user_1"));
        let again = site.open(&app, &ana).await.expect(200);
        assert_eq!(again["visitorId"], phone.id.as_str());
        assert_eq!(again["activeConversation"]["id"], said["conversationId"]);

        let other = Site::owned_by(&app, site.owner.clone()).await;
        let request =
            app.request_as(&site.owner.token, Method::POST, &other.path("/widget/identity-secret"));
        let secret = read(request).await.expect(201)["secret"].as_str().unwrap().to_owned();
        let there = identity("user_1", vouch(&secret, "user_1"));
        let there = other.open(&app, &there).await.expect(200);
        assert_ne!(there["visitorId"], phone.id.as_str(), "another site's user is somebody else");
        assert!(there.get("activeConversation").is_none(), "{there}");
    }
}
