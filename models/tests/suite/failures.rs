use std::time::Duration;

use futures::StreamExt;
use models::{ChatEvent, ChatModel, ModelError};
use testkit::model_server::{Reply, Step};
use tokio::net::TcpListener;

use crate::support::{Bench, question, tokens, whole};

#[tokio::test]
async fn a_busy_provider_is_asked_again_when_it_says() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::error(429, "slow down").header("retry-after", "3"));
    let date = "Thu, 01 Jan 2026 00:00:05 GMT";
    bench.server.enqueue(Reply::error(429, "slow down").header("retry-after", date));
    bench.server.enqueue(Reply::tokens(&["ya"]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["ya"]));
    let expected = [Duration::from_secs(3), Duration::from_secs(5)];
    assert_eq!(bench.pauses.taken(), expected);
}

#[tokio::test]
async fn a_provider_that_asks_for_a_long_wait_is_not_waited_for() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::error(429, "slow down").header("retry-after", "3600"));
    let error = bench.ask().await.unwrap_err();
    let asked = Some(Duration::from_hours(1));
    assert!(matches!(error, ModelError::RateLimited { retry_after } if retry_after == asked));
    assert_eq!(bench.server.requests().len(), 1);
}

#[tokio::test]
async fn a_used_up_quota_is_not_asked_again() {
    let bench = Bench::new().await;
    let body = serde_json::json!({"error": {"message": "pay", "code": "insufficient_quota"}});
    bench.server.enqueue(Reply::json_with(429, &body));
    assert!(matches!(bench.ask().await, Err(ModelError::Refused(_))));
    assert_eq!(bench.server.requests().len(), 1);
}

#[tokio::test]
async fn a_failing_provider_is_given_up_after_the_tries_allowed() {
    let bench = Bench::new().await;
    bench.server.respond_with(|_| Some(Reply::error(500, "the machine is on fire")));
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("the machine is on fire"), "{error}");
    assert_eq!(bench.server.requests().len(), 3);
    let pauses = bench.pauses.taken();
    assert_eq!(pauses.len(), 2);
    assert!((250..=500).contains(&pauses[0].as_millis()), "{pauses:?}");
    assert!((500..=1_000).contains(&pauses[1].as_millis()), "{pauses:?}");
}

#[tokio::test]
async fn one_bad_moment_is_not_seen_by_the_caller() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::error(503, "restarting"));
    bench.server.enqueue(Reply::tokens::<&str>(&[]).then_cut());
    bench.server.enqueue(Reply::tokens(&["ya"]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["ya"]), "a 503, then a cut before any token");
    assert_eq!(bench.server.requests().len(), 3);
}

#[tokio::test]
async fn refusals_are_told_apart_and_not_repeated() {
    let bench = Bench::new().await;
    for status in [401, 403] {
        bench.server.enqueue(Reply::error(status, "no"));
        assert!(matches!(bench.ask().await, Err(ModelError::Credential(_))), "{status}");
    }
    for status in [400, 404, 422, 302] {
        bench.server.enqueue(Reply::error(status, "no").header("location", "http://127.0.0.1:1/"));
        assert!(matches!(bench.ask().await, Err(ModelError::Refused(_))), "{status}");
    }
    assert_eq!(bench.server.requests().len(), 6);
}

#[tokio::test]
async fn a_cut_after_the_first_token_keeps_the_tokens_and_is_not_tried_again() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["uno", " dos"]).then_cut());
    let (events, error) = bench.ask_and_keep().await;
    assert_eq!(events, tokens(&["uno", " dos"]));
    assert!(matches!(error, Some(ModelError::Broken(_))), "{error:?}");
    assert_eq!(bench.server.requests().len(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_without_a_reason_is_broken() {
    let bench = Bench::new().await;
    bench.server.enqueue(Reply::tokens(&["uno"]).without_finish().without_done());
    let (events, error) = bench.ask_and_keep().await;
    assert_eq!(events, tokens(&["uno"]));
    assert!(matches!(error, Some(ModelError::Broken(_))), "{error:?}");
}

#[tokio::test]
async fn a_malformed_frame_breaks_the_answer_after_what_came_before() {
    let bench = Bench::new().await;
    for frame in ["{\"choices\":[{\"del", "nonsense", "{\"choices\":7}", "\u{1}"] {
        bench.server.enqueue(Reply::tokens(&["uno"]).frame(frame).then(&["dos"]));
        let (events, error) = bench.ask_and_keep().await;
        assert_eq!(events, tokens(&["uno"]), "{frame}");
        assert!(matches!(error, Some(ModelError::Broken(_))), "{frame}: {error:?}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_utf8_break_the_answer() {
    let bench = Bench::new().await;
    let mut frame = b"data: {\"choices\":[{\"delta\":{\"content\":\"a".to_vec();
    frame.extend([0xff, 0xfe]);
    frame.extend(b"\"}}]}\n\n");
    bench.server.respond_with(move |_| Some(Reply::steps(vec![Step::Send(frame.clone().into())])));
    assert!(matches!(bench.ask().await, Err(ModelError::Broken(_))));
}

#[tokio::test]
async fn a_frame_without_end_is_refused() {
    let bench = Bench::new().await;
    bench.server.respond_with(|_| {
        let mut steps = vec![Step::Send("data: ".into())];
        steps.extend((0..40).map(|_| Step::Send(vec![b'x'; 64 * 1024].into())));
        steps.push(Step::Hang);
        Some(Reply::steps(steps))
    });
    let error = bench.ask().await.unwrap_err();
    assert!(error.to_string().contains("1 MiB"), "{error}");
}

#[tokio::test]
async fn an_error_in_the_stream_is_an_error() {
    let bench = Bench::new().await;
    let frame = r#"{"error":{"message":"upstream is gone","code":502},"choices":[]}"#;
    bench.server.enqueue(Reply::tokens(&["uno"]).frame(frame));
    let (events, error) = bench.ask_and_keep().await;
    assert_eq!(events, tokens(&["uno"]));
    assert!(error.unwrap().to_string().contains("upstream is gone"));

    bench.server.enqueue(Reply::tokens::<&str>(&[]).frame(frame));
    bench.server.enqueue(Reply::tokens(&["ya"]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["ya"]), "before the first token it is repeated");
}

#[tokio::test]
async fn silence_before_the_first_token_is_given_up() {
    let bench = Bench::with(|options| {
        options.first_token_timeout = Duration::from_millis(50);
    })
    .await;
    bench.server.enqueue(Reply::silence());
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "{error:?}");
    bench.server.wait_for_departures(1).await;

    bench.server.enqueue(Reply::tokens::<&str>(&[]).then_hang());
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "a head alone: {error:?}");
    bench.server.wait_for_departures(2).await;
    assert_eq!(bench.server.requests().len(), 2, "waiting longer is not tried again");
}

#[tokio::test]
async fn silence_between_tokens_breaks_the_answer_even_when_kept_alive() {
    let bench = Bench::with(|options| options.idle_timeout = Duration::from_millis(50)).await;
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"uno\"}}]}\n\n";
    let mut steps = vec![Step::Send(token.into())];
    for _ in 0..2_000 {
        steps.push(Step::Send(": keep-alive\n\n".into()));
        steps.push(Step::Wait(Duration::from_millis(5)));
    }
    bench.server.enqueue(Reply::steps(steps));
    let (events, error) = bench.ask_and_keep().await;
    assert_eq!(events, tokens(&["uno"]));
    assert!(matches!(error, Some(ModelError::Broken(_))), "{error:?}");
    bench.server.wait_for_departures(1).await;
}

#[tokio::test]
async fn a_provider_that_forgets_to_close_does_not_hold_the_end_back_for_ever() {
    let bench = Bench::with(|options| options.idle_timeout = Duration::from_millis(50)).await;
    let frame =
        "data: {\"choices\":[{\"delta\":{\"content\":\"uno\"},\"finish_reason\":\"stop\"}]}\n\n";
    bench.server.enqueue(Reply::steps(vec![Step::Send(frame.into()), Step::Hang]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["uno"]));
}

#[tokio::test]
async fn nobody_listening_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = Bench::with(|options| {
        options.base_url = format!("http://{address}/v1").parse().unwrap();
    })
    .await;
    let error = bench.ask().await.unwrap_err();
    assert!(matches!(error, ModelError::Unavailable(_)), "{error:?}");
    assert_eq!(bench.pauses.taken().len(), 2, "three tries");
}

#[tokio::test]
async fn a_provider_that_keeps_failing_is_left_alone_for_a_while() {
    let bench = Bench::with(|options| options.max_attempts = 1).await;
    for _ in 0..5 {
        bench.server.enqueue(Reply::error(500, "no"));
        assert!(matches!(bench.ask().await, Err(ModelError::Unavailable(_))));
    }
    let error = bench.ask().await.unwrap_err();
    let pause = Duration::from_secs(15);
    assert!(matches!(error, ModelError::BreakerOpen { retry_after } if retry_after == pause));
    assert_eq!(bench.server.requests().len(), 5, "the sixth call never left");

    bench.clock.advance(pause);
    bench.server.enqueue(Reply::error(500, "still no"));
    assert!(matches!(bench.ask().await, Err(ModelError::Unavailable(_))), "the probe");
    let error = bench.ask().await.unwrap_err();
    let doubled = Duration::from_secs(30);
    assert!(matches!(error, ModelError::BreakerOpen { retry_after } if retry_after == doubled));

    bench.clock.advance(doubled);
    let mut probe = {
        bench.server.enqueue(Reply::tokens(&["ya"]).then_hang());
        bench.model.chat(question()).await.unwrap()
    };
    assert_eq!(probe.next().await.unwrap().unwrap(), ChatEvent::Token("ya".to_owned()));
    bench.server.enqueue(Reply::tokens(&["ya"]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["ya"]), "a begun probe closes it");
}

#[tokio::test]
async fn a_busy_provider_does_not_open_the_breaker() {
    let bench = Bench::with(|options| options.max_attempts = 1).await;
    bench.server.respond_with(|_| Some(Reply::error(429, "slow down")));
    for _ in 0..10 {
        assert!(matches!(bench.ask().await, Err(ModelError::RateLimited { .. })));
    }
}

#[tokio::test]
async fn a_probe_whose_caller_leaves_does_not_block_the_next() {
    let bench = Bench::with(|options| options.max_attempts = 1).await;
    for _ in 0..5 {
        bench.server.enqueue(Reply::error(500, "no"));
        bench.ask().await.unwrap_err();
    }
    bench.clock.advance(Duration::from_secs(15));
    bench.server.enqueue(Reply::silence());
    tokio::select! {
        _ = bench.model.chat(question()) => panic!("a silent server answered"),
        () = bench.server.wait_for_requests(6) => {}
    }
    bench.server.enqueue(Reply::tokens(&["ya"]));
    assert_eq!(bench.ask().await.unwrap(), whole(&["ya"]));
}
