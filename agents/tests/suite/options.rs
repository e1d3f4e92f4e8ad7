//! What an agent's settings ask of the model.

use serde_json::json;
use testkit::db::databases;
use testkit::model_server::{Endpoint, Reply};

use crate::world::World;

#[tokio::test]
async fn seed_stop_and_json_mode_reach_the_provider() {
    for test_db in databases("request options").await {
        let world = World::scripted(test_db).await;
        let agent = world
            .agent(&[], |settings| {
                settings.seed = Some(41);
                settings.stop = vec!["\n\n".to_owned()];
                settings.json_mode = true;
            })
            .await;
        world.model().enqueue(Reply::text(r#"{"answer": "Hola."}"#));
        let heard = world.ask(world.to(&agent, "¿Me ayudas con una receta?")).await;
        assert_eq!(heard.answer().text, r#"{"answer": "Hola."}"#);
        let seen = world.model().requests_to(Endpoint::Chat).remove(0).body;
        assert_eq!((&seen["seed"], &seen["stop"]), (&json!(41), &json!(["\n\n"])));
        assert_eq!(seen["response_format"], json!({"type": "json_object"}));
        assert!(seen["messages"][0]["content"].as_str().unwrap().contains("JSON"));
    }
}
