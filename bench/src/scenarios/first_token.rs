//! What a turn adds to the first token of a model that answers at once: 9,000 chunks, remote embeddings.

use std::path::Path;

use anyhow::ensure;
use serde_json::json;

use crate::http::{Api, Stream, chat_directly, client, concurrently};
use crate::measure::{Figure, Latencies};
use crate::server::{Helper, Installation};

const CHUNKS: usize = 9_000;
const CALLS: usize = 300;

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let model = Helper::model(&["--tokens", "20"]).await?;
    let relay = Helper::relay(&model.base_url).await?;
    let settings = [
        ("OPENAI_BASE_URL", model.base_url.as_str()),
        ("OPENAI_API_KEY", "sk-bench"),
        ("VOCERO_CHAT_MODEL", "gpt-test"),
        ("VOCERO_EMBEDDING_MODEL", "embed-test"),
    ];
    let installation = Installation::create(binary, &settings).await?;
    let server = installation.start().await?;
    let questions = super::fill(&server.api, &installation.ids.datastore_id, 0..CHUNKS).await?;
    super::settle(&server).await?;
    let questions = &questions;
    let (api, agent) = (&server.api, &installation.ids.agent_id);
    let direct = &client()?;

    let mut figures = Vec::new();
    // Whatever was found is an answer: what is measured is a stream that the model writes.
    set_evidence(api, agent, 0.05).await?;
    let ask =
        |index: usize| async move { api.chat(agent, &questions[index % questions.len()]).await };
    for callers in [1, 8] {
        let through_relay = |index: usize| {
            chat_directly(direct, &relay.base_url, &questions[index % questions.len()])
        };
        let to_model = |index: usize| {
            chat_directly(direct, &model.base_url, &questions[index % questions.len()])
        };
        first_tokens(callers, 50, false, ask).await?;
        let mut ours = first_tokens(callers, CALLS, false, ask).await?;
        let mut floor = first_tokens(callers, CALLS, false, through_relay).await?;
        let mut plain = first_tokens(callers, CALLS, false, to_model).await?;
        let at = format!("{callers} at once");
        let (ours, floor, plain) =
            (ours.percentile(50.0), floor.percentile(50.0), plain.percentile(50.0));
        figures.push(Figure::new(format!("first token p50, {at}"), ours, "ms"));
        figures.push(Figure::new(format!("direct call p50, {at}"), plain, "ms"));
        figures.push(Figure::new(format!("added by the turn p50, {at}"), ours - plain, "ms"));
        figures.push(Figure::new(
            format!("added by the bare relay p50, {at}"),
            floor - plain,
            "ms",
        ));
    }
    // What the knowledge does not hold: judged whole, stored with its gap, then told.
    set_evidence(api, agent, 1.0).await?;
    first_tokens(1, 50, true, ask).await?;
    let mut unknown = first_tokens(1, CALLS, true, ask).await?;
    figures.push(Figure::new("\"don't know\" p50, 1 at once", unknown.percentile(50.0), "ms"));
    server.stop().await?;
    Ok(figures)
}

async fn set_evidence(api: &Api, agent: &str, least: f64) -> anyhow::Result<()> {
    let settings = json!({"settings": {"minEvidence": least}});
    api.put(&format!("/api/v2/agents/{agent}"), &settings).await?;
    Ok(())
}

async fn first_tokens<F>(
    callers: usize,
    count: usize,
    abstains: bool,
    ask: impl Fn(usize) -> F,
) -> anyhow::Result<Latencies>
where
    F: Future<Output = anyhow::Result<Stream>>,
{
    let ask = &ask;
    let times = concurrently(callers, count, |index| async move {
        let told = ask(index).await?.told().await?;
        ensure!(told.abstained == abstains, "an answer was not what is to be measured");
        Ok(told.first_token)
    })
    .await?;
    Ok(times.into_iter().collect())
}
