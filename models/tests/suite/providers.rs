use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::Ambient;
use futures::StreamExt;
use models::openai::{Judge, OpenAi};
use models::{ChatModel, ChatRequest, ModelError};
use testkit::model_server::{Endpoint, ModelServer, Reply};

use crate::support::{Bench, KEY, options_for, question};

async fn target_for(base: &str, server: &ModelServer) -> String {
    let base = base.replace("SERVER", &server.azure_base_url());
    let model = OpenAi::new(&options_for(&base), &Ambient::system()).unwrap();
    model.chat(question()).await.unwrap().collect::<Vec<_>>().await;
    server.requests().pop().unwrap().target
}

#[tokio::test]
async fn a_base_address_may_end_in_a_slash() {
    let server = ModelServer::start().await.unwrap();
    assert_eq!(target_for("SERVER/v1", &server).await, "/v1/chat/completions");
    assert_eq!(target_for("SERVER/v1/", &server).await, "/v1/chat/completions");
}

#[tokio::test]
async fn azure_has_its_own_path_header_and_limit() {
    let server = ModelServer::start().await.unwrap();
    for base in ["SERVER", "SERVER/", "SERVER/openai", "SERVER/openai/deployments/gpt-test"] {
        let base = base.replace("SERVER", &server.azure_base_url());
        let mut options = options_for(&base);
        options.azure_api_version = Some("2024-10-21".to_owned());
        let model = OpenAi::new(&options, &Ambient::system()).unwrap();
        let request = ChatRequest { max_tokens: Some(5), ..question() };
        model.chat(request).await.unwrap().collect::<Vec<_>>().await;

        let seen = server.requests().pop().unwrap();
        let path = "/openai/deployments/gpt-test/chat/completions?api-version=2024-10-21";
        assert_eq!(seen.target, path, "{base}");
        assert_eq!((seen.header("api-key"), seen.header("authorization")), (KEY, ""));
        assert_eq!(seen.body["max_completion_tokens"], 5);
        assert!(model.knows("any-deployment").await.unwrap());
    }
}

#[tokio::test]
async fn a_server_of_ones_own_needs_no_key() {
    let bench = Bench::with(|options| options.key = None).await;
    bench.ask().await.unwrap();
    assert_eq!(bench.server.requests()[0].header("authorization"), "");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_once() {
    for base in ["ftp://host/v1", "mailto:someone@host"] {
        let options = options_for(base);
        let refused = OpenAi::new(&options, &Ambient::system());
        assert!(matches!(refused, Err(ModelError::Refused(_))), "{base}");
    }
}

#[tokio::test]
async fn known_models_are_those_that_the_provider_lists() {
    let bench = Bench::new().await;
    bench.server.behave(|behaviour| {
        let names = ["gpt-test", "llama3.2:latest", "models/gemini-pro"];
        behaviour.models = Some(names.map(str::to_owned).to_vec());
    });
    for name in ["gpt-test", "llama3.2", "llama3.2:latest", "gemini-pro"] {
        assert!(bench.model.knows(name).await.unwrap(), "{name}");
    }
    for name in ["gpt-tes", "", "llama3"] {
        assert!(!bench.model.knows(name).await.unwrap(), "{name}");
    }
    assert_eq!(bench.server.requests_to(Endpoint::Models).len(), 1, "the list is kept");

    bench.server.behave(|behaviour| behaviour.models = Some(vec!["new".to_owned()]));
    bench.clock.advance(Duration::from_secs(31));
    assert!(bench.model.knows("gpt-test").await.unwrap(), "still believed");
    assert!(bench.model.knows("new").await.unwrap(), "asked for again because it was missing");
    bench.clock.advance(Duration::from_mins(10));
    assert!(!bench.model.knows("gpt-test").await.unwrap());
}

#[tokio::test]
async fn an_operators_list_comes_before_the_providers() {
    let bench = Bench::with(|options| {
        options.allowed_models = vec!["mine".to_owned()];
        options.chat_model = Some("the-default".to_owned());
    })
    .await;
    assert!(bench.model.knows("mine").await.unwrap());
    assert!(bench.model.knows("the-default").await.unwrap());
    assert!(!bench.model.knows("gpt-test").await.unwrap());
    assert_eq!(bench.server.requests().len(), 0);
}

#[tokio::test]
async fn a_default_model_that_the_provider_does_not_list_is_not_known() {
    let bench = Bench::with(|options| options.chat_model = Some("gpt-typo".to_owned())).await;
    assert!(!bench.model.knows("gpt-typo").await.unwrap());
}

#[tokio::test]
async fn without_a_list_every_name_is_taken() {
    let bench = Bench::new().await;
    bench.server.behave(|behaviour| behaviour.models = None);
    assert!(bench.model.knows("whatever").await.unwrap());
    assert!(bench.model.knows("anything").await.unwrap());
    assert_eq!(bench.server.requests().len(), 1, "that there is none is remembered");
}

#[tokio::test]
async fn a_provider_that_fails_leaves_the_old_list_in_force() {
    let bench = Bench::new().await;
    bench.server.enqueue_for(Endpoint::Models, Reply::error(500, "no"));
    let unavailable = bench.model.knows("gpt-test").await;
    assert!(matches!(unavailable, Err(ModelError::Unavailable(_))), "nothing to go by");
    assert!(bench.model.knows("gpt-test").await.unwrap());
    bench.clock.advance(Duration::from_mins(11));
    bench.server.enqueue_for(Endpoint::Models, Reply::error(500, "no"));
    assert!(bench.model.knows("gpt-test").await.unwrap());
}

/// Knows one name.
#[derive(Debug)]
struct OneHost(SocketAddr);

#[async_trait]
impl Judge for OneHost {
    async fn addresses(&self, url: &url::Url) -> Result<Vec<SocketAddr>, String> {
        match url.host_str() {
            Some("provider.test") => Ok(vec![self.0]),
            _ => Err("the address is private".to_owned()),
        }
    }
}

#[tokio::test]
async fn a_provider_of_a_user_is_spoken_to_only_where_the_judge_says() {
    let server = ModelServer::start().await.unwrap();
    let judge: Arc<dyn Judge> = Arc::new(OneHost(server.address()));
    let with = |base: &str| {
        let mut options = options_for(base);
        options.judge = Some(judge.clone());
        OpenAi::new(&options, &Ambient::system()).unwrap()
    };
    let allowed = with("http://provider.test/v1");
    allowed.chat(question()).await.unwrap().collect::<Vec<_>>().await;
    assert_eq!(server.requests()[0].header("host"), "provider.test");
    let port = server.address().port();
    let refused = with(&format!("http://localhost:{port}/v1")).chat(question()).await;
    let error = refused.map(|_| ()).unwrap_err();
    assert!(
        matches!(&error, ModelError::Unavailable(reason) if reason.contains("private")),
        "{error}"
    );
    assert_eq!(server.requests().len(), 1);
}
