//! What a turn adds to the first token of a model that answers at once: 9,000 chunks, remote embeddings.

use std::path::Path;

use crate::http::{Stream, chat_directly, client, concurrently};
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
    for callers in [1, 8] {
        let ask = |index: usize| async move {
            api.chat(agent, &questions[index % questions.len()]).await
        };
        let through_relay = |index: usize| {
            chat_directly(direct, &relay.base_url, &questions[index % questions.len()])
        };
        let to_model = |index: usize| {
            chat_directly(direct, &model.base_url, &questions[index % questions.len()])
        };
        first_tokens(callers, 50, ask).await?;
        let mut ours = first_tokens(callers, CALLS, ask).await?;
        let mut floor = first_tokens(callers, CALLS, through_relay).await?;
        let mut plain = first_tokens(callers, CALLS, to_model).await?;
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
    server.stop().await?;
    Ok(figures)
}

async fn first_tokens<F>(
    callers: usize,
    count: usize,
    ask: impl Fn(usize) -> F,
) -> anyhow::Result<Latencies>
where
    F: Future<Output = anyhow::Result<Stream>>,
{
    let ask = &ask;
    let times = concurrently(callers, count, |index| async move {
        ask(index).await?.time_to_first_token().await
    })
    .await?;
    Ok(times.into_iter().collect())
}
