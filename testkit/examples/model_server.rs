//! The scripted server as a process, for load tests: answers every chat with a number of tokens at a rate.
//!
//! `cargo run -p testkit --example model_server -- --port 0 --tokens 50 --rate 50` prints its base URL and
//! serves until it is stopped. `--rate 0` sends all tokens at once.

use std::time::Duration;

use anyhow::{Context, bail};
use testkit::model_server::{Behaviour, ModelServer};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut port = 0;
    let mut behaviour = Behaviour { record: false, ..Behaviour::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => port = value.parse()?,
            "--tokens" => behaviour.tokens = Some(value.parse()?),
            "--rate" => {
                let rate: f64 = value.parse()?;
                behaviour.pace = if rate > 0.0 {
                    Duration::try_from_secs_f64(1.0 / rate)?
                } else {
                    Duration::ZERO
                };
            }
            "--dimension" => behaviour.embeddings.dimension = value.parse()?,
            _ => bail!("unknown option {name}; known: --port --tokens --rate --dimension"),
        }
    }
    let server = ModelServer::start_with(port, behaviour).await?;
    println!("{}", server.base_url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
