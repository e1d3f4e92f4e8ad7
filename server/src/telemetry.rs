//! Logs and metrics.

use std::io::{self, IsTerminal};

use anyhow::Context;
use domain::settings::{LogFormat, LogSettings};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// Upper bounds of latency buckets, in seconds: from a cached answer to a long turn.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Sends logs to standard error, so that standard output is the command's own.
pub fn start_logs(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&settings.filter).context("log.filter is not a filter")?;
    // A filter that names an engine of the index is taken as it is.
    let unnamed =
        retrieval::LOG_NOISE.iter().filter(|(engine, _)| !settings.filter.contains(engine));
    let filter = unnamed.flat_map(|(_, noise)| *noise).try_fold(filter, |filter, directive| {
        Ok::<_, anyhow::Error>(filter.add_directive(directive.parse()?))
    });
    let filter = filter.context("a directive is wrong")?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_span_events(FmtSpan::NONE);
    let started = match settings.format {
        LogFormat::Text => logs.compact().try_init(),
        LogFormat::Json => logs.json().flatten_event(true).with_current_span(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start the logs: {error}"))
}

/// Begins to count. What was counted is rendered by the handle.
pub fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .context("the metric buckets are wrong")?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("cannot start the metrics")?;
    Ok(handle)
}
