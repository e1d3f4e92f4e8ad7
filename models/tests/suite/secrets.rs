use std::io;
use std::sync::{Arc, Mutex};

use domain::Ambient;
use models::ChatModel;
use models::openai::OpenAi;
use testkit::model_server::{Endpoint, Reply};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{Bench, KEY, options_for};

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn the_key_is_in_no_error_and_no_log() {
    // For the whole process, so that what the tests beside this one log is looked at too.
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_writer(log.clone())
        .init();
    let errors = provoke_errors().await;
    assert_eq!(errors.len(), 9);
    for error in &errors {
        assert!(!error.contains(KEY), "{error}");
        assert!(error.chars().count() < 450, "an error is short: {error}");
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(log.contains("llm.chat"), "the log was captured");
    assert!(log.contains("trying again"), "the log was captured");
    assert!(!log.contains(KEY), "the key is in the log");
}

/// Each way in which a provider or the network could throw the key back.
async fn provoke_errors() -> Vec<String> {
    let bench = Bench::new().await;
    let mut errors = Vec::new();
    let echo = format!("Incorrect API key provided: {KEY}. {}", "Lorem ipsum. ".repeat(200));
    for status in [401, 400, 500] {
        bench.server.respond_with({
            let echo = echo.clone();
            move |_| Some(Reply::error(status, &echo))
        });
        let error = bench.ask().await.unwrap_err();
        errors.extend([error.to_string(), format!("{error:?}")]);
    }
    bench.server.respond_with(|_| None);
    bench.server.enqueue(
        Reply::tokens(&["a"]).frame(&serde_json::json!({"error": {"message": echo}}).to_string()),
    );
    let (_, error) = bench.ask_and_keep().await;
    errors.push(format!("{error:?}"));
    bench.server.enqueue_for(Endpoint::Models, Reply::error(401, &echo));
    errors.push(format!("{:?}", bench.model.knows("x").await.unwrap_err()));

    let closed = format!("http://user:{KEY}@127.0.0.1:1/v1?key={KEY}");
    let options = options_for(&closed);
    let model = OpenAi::new(&options, &Ambient::system()).unwrap();
    let error = model.chat(crate::support::question()).await.err().unwrap();
    errors.push(format!("{error} {error:?} {model:?} {options:?}"));
    errors
}

#[tokio::test]
async fn a_key_that_no_header_can_carry_is_named_but_not_shown() {
    let mut options = options_for("http://127.0.0.1:1/v1");
    options.key = Some(format!("{KEY}\n").into());
    let error = OpenAi::new(&options, &Ambient::system()).unwrap_err();
    assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
    assert!(!error.to_string().contains(KEY), "{error}");
}
