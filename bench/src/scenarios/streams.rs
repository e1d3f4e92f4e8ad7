//! Many streams: tokens at a steady rate, and silence.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::http::{Api, Stream, chat_directly, client, concurrently};
use crate::measure::{Figure, Latencies, cpu_time, resident_bytes};
use crate::server::{Helper, Installation};

const STREAMS: usize = 256;
const TOKENS: usize = 500;
const IDLE: usize = 5_000;

struct Outcome {
    gaps: Latencies,
    tokens: usize,
}

pub async fn measure(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let tokens = TOKENS.to_string();
    let model = Helper::model(&["--tokens", &tokens, "--rate", "50"]).await?;
    let relay = Helper::relay(&model.base_url).await?;
    let installation = installation_with(binary, &model).await?;
    let server = installation.start().await?;
    prepare(&server.api, &installation).await?;

    let (api, agent, pid) = (&server.api, &installation.ids.agent_id, server.pid()?);
    let (mut ours, our_cpu) =
        all_at_once(pid, |_| async move { api.chat(agent, "¿Cuáles son los horarios?").await })
            .await?;
    let (direct, base, pid) = (&client()?, &relay.base_url, relay.pid()?);
    let (mut floor, floor_cpu) =
        all_at_once(pid, |_| async move { chat_directly(direct, base, "hola").await }).await?;
    server.stop().await?;

    let expected = STREAMS * TOKENS;
    Ok(vec![
        Figure::new("tokens lost", (expected - ours.tokens) as f64, ""),
        Figure::new("gap p50", ours.gaps.percentile(50.0), "ms"),
        Figure::new("gap p99", ours.gaps.percentile(99.0), "ms"),
        Figure::new("CPU per token", our_cpu.as_secs_f64() * 1e6 / expected as f64, "µs"),
        Figure::new("bare relay: tokens lost", (expected - floor.tokens) as f64, ""),
        Figure::new("bare relay: gap p99", floor.gaps.percentile(99.0), "ms"),
        Figure::new(
            "bare relay: CPU per token",
            floor_cpu.as_secs_f64() * 1e6 / expected as f64,
            "µs",
        ),
    ])
}

/// Resident memory of each of 5,000 streams that wait for their first token.
pub async fn measure_idle(binary: &Path) -> anyhow::Result<Vec<Figure>> {
    let model = Helper::model(&["--silent"]).await?;
    let relay = Helper::relay(&model.base_url).await?;
    let installation = installation_with(binary, &model).await?;
    let server = installation.start().await?;
    prepare(&server.api, &installation).await?;
    let (api, agent) = (&server.api, &installation.ids.agent_id);

    let before = resident_bytes(server.pid()?)?;
    let open = |_| async move { api.chat(agent, "¿Cuáles son los horarios?").await };
    let streams = concurrently(64, IDLE, open).await?;
    let ours = resident_bytes(server.pid()?)?.saturating_sub(before);
    drop(streams);

    let (direct, base) = (&client()?, &relay.base_url);
    let before = resident_bytes(relay.pid()?)?;
    let open = |_| async move { chat_directly(direct, base, "hola").await };
    let streams = concurrently(64, IDLE, open).await?;
    let floor = resident_bytes(relay.pid()?)?.saturating_sub(before);
    drop(streams);
    server.stop().await?;
    Ok(vec![
        Figure::new("resident per idle stream", ours as f64 / IDLE as f64 / 1_000.0, "kB"),
        Figure::new(
            "bare relay: resident per idle stream",
            floor as f64 / IDLE as f64 / 1_000.0,
            "kB",
        ),
    ])
}

async fn installation_with(binary: &Path, model: &Helper) -> anyhow::Result<Installation> {
    let settings = [
        ("OPENAI_BASE_URL", model.base_url.as_str()),
        ("OPENAI_API_KEY", "sk-bench"),
        ("VOCERO_CHAT_MODEL", "gpt-test"),
    ];
    Installation::create(binary, &settings).await
}

async fn prepare(api: &Api, installation: &Installation) -> anyhow::Result<()> {
    let text =
        "Nuestros horarios son de lunes a viernes de 9 a 18 horas y los sábados de 10 a 14 horas.";
    api.add_text(&installation.ids.datastore_id, "Horarios", text).await?;
    super::wait_until_searchable(api, &installation.ids.datastore_id).await
}

async fn all_at_once<F>(pid: u32, ask: impl Fn(usize) -> F) -> anyhow::Result<(Outcome, Duration)>
where
    F: Future<Output = anyhow::Result<Stream>>,
{
    let before = cpu_time(pid)?;
    let ask = &ask;
    let outcomes =
        concurrently(STREAMS, STREAMS, |index| async move { read(ask(index).await?).await });
    let outcomes = outcomes.await?;
    let cpu = cpu_time(pid)?.saturating_sub(before);
    let mut all = Outcome { gaps: Latencies::default(), tokens: 0 };
    for outcome in outcomes {
        all.gaps.extend(outcome.gaps);
        all.tokens += outcome.tokens;
    }
    Ok((all, cpu))
}

/// Reads a stream of numbered tokens; each must be there once, in order.
async fn read(mut stream: Stream) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome { gaps: Latencies::default(), tokens: 0 };
    let mut last: Option<Instant> = None;
    let mut text = String::new();
    while let Some(event) = stream.next().await? {
        ensure!(event.name != "error", "the stream failed: {}", event.data);
        if !matches!(event.name.as_str(), "" | "token") || event.data == "[DONE]" {
            continue;
        }
        let data: serde_json::Value = serde_json::from_str(&event.data).context("not JSON")?;
        let piece =
            data["text"].as_str().or_else(|| data["choices"][0]["delta"]["content"].as_str());
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else { continue };
        text.push_str(piece);
        let now = Instant::now();
        if let Some(last) = last.replace(now) {
            outcome.gaps.push(now - last);
        }
    }
    for (number, word) in text.split_whitespace().enumerate() {
        ensure!(word == format!("t{number}"), "token {number} is out of place: {word}");
        outcome.tokens += 1;
    }
    Ok(outcome)
}
