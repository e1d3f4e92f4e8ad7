//! Pages of real servers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::get;
use domain::settings::FetchSettings;
use fetch::{Client, FetchError, check_url};
use flate2::Compression;
use flate2::write::GzEncoder;
use ingest::pages::{FetchOutcome, Fetched, Fetcher};
use storage::sources::Validators;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

/// A site on a loopback port; ends with the test.
struct Site {
    address: SocketAddr,
    _server: JoinSet<()>,
}

impl Site {
    async fn start(routes: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, routes).await.expect("serving goes on");
        });
        Self { address, _server: server }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).expect("an address")
    }
}

fn settings() -> FetchSettings {
    FetchSettings {
        allow: vec!["127.0.0.1/32".parse().expect("a network")],
        max_bytes: 100_000,
        timeout: Duration::from_secs(20),
    }
}

fn fetcher(settings: FetchSettings) -> Fetcher {
    Fetcher::new(Client::new(settings))
}

async fn fetch(site: &Site, path: &str) -> Result<Fetched, FetchError> {
    match fetcher(settings()).fetch(&site.url(path), &Validators::default()).await? {
        FetchOutcome::Fetched(fetched) => Ok(*fetched),
        FetchOutcome::NotModified => panic!("nothing was asked conditionally"),
    }
}

fn html(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=ISO-8859-1")], text)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

#[tokio::test]
async fn a_page_comes_with_its_type_charset_and_validators() {
    let routes = Router::new().route(
        "/page",
        get(|headers: HeaderMap| async move {
            let agent = headers[header::USER_AGENT].to_str().expect("text").to_owned();
            let found = [
                (header::CONTENT_TYPE, "Text/HTML; Charset=\"ISO-8859-1\""),
                (header::ETAG, "\"v1\""),
                (header::LAST_MODIFIED, "Sun, 21 Jan 2024 10:00:00 GMT"),
            ];
            (found, agent)
        }),
    );
    let site = Site::start(routes).await;
    let page = fetch(&site, "/page").await.expect("the page");
    assert_eq!(page.url, site.url("/page"));
    assert_eq!(page.content_type.as_deref(), Some("text/html"));
    assert_eq!(page.charset.as_deref(), Some("ISO-8859-1"));
    assert_eq!(page.etag.as_deref(), Some("\"v1\""));
    assert_eq!(page.last_modified.as_deref(), Some("Sun, 21 Jan 2024 10:00:00 GMT"));
    assert_eq!(page.body, format!("VoceroBot/{}", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_site_that_is_not_allowed_is_never_connected_to() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let closed = fetcher(FetchSettings { allow: Vec::new(), ..settings() });
    for host in ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let url = Url::parse(&format!("http://{host}:{}/", address.port())).expect("an address");
        let error = closed.fetch(&url, &Validators::default()).await.expect_err("refused");
        assert_eq!(error.code, "FETCH_REFUSED");
        assert!(!error.message.contains("127.0.0.1"), "{error}");
    }
    let waiting = listener.into_std().expect("a listener").accept();
    let nobody = waiting.expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_resolves_to() {
    // The machine's own hosts file names loopback, in most systems also under other names than localhost.
    let closed = FetchSettings { allow: Vec::new(), ..settings() };
    let name = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let names = name
        .lines()
        .filter(|line| {
            line.starts_with("127.") || line.starts_with("::1") || line.starts_with("10.")
        })
        .flat_map(|line| line.split_whitespace().skip(1));
    let mut judged = 0;
    for name in names {
        let url = Url::parse(&format!("http://{name}/")).expect("an address");
        let error =
            fetcher(closed.clone()).fetch(&url, &Validators::default()).await.expect_err("refused");
        assert_eq!(error.code, "FETCH_REFUSED", "{name}");
        judged += 1;
    }
    assert!(judged > 0, "no name of a private address in /etc/hosts");
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let routes = Router::new()
        .route("/out", get(|| async { Redirect::to("http://169.254.169.254/latest/") }))
        .route("/scheme", get(|| async { Redirect::to("file:///etc/passwd") }))
        .route("/spelled", get(|| async { Redirect::to("http://0x0a000001/") }));
    let site = Site::start(routes).await;
    for path in ["/out", "/scheme", "/spelled"] {
        let error = fetch(&site, path).await.expect_err("refused");
        assert_eq!(error.code, "FETCH_REFUSED", "{path}");
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let routes = Router::new()
        .route("/4", get(|| async { Redirect::permanent("/3") }))
        .route("/3", get(|| async { Redirect::to("2") }))
        .route("/2", get(|| async { Redirect::temporary("/1#part") }))
        .route("/1", get(|| async { Redirect::to("/0") }))
        .route("/0", get(|| async { html("here") }));
    let site = Site::start(routes).await;
    let page = fetch(&site, "/3").await.expect("three hops");
    assert_eq!((page.url, &page.body[..]), (site.url("/0"), &b"here"[..]));
    let error = fetch(&site, "/4").await.expect_err("four hops");
    assert_eq!(error.code, "FETCH_REFUSED");
    assert!(error.message.contains("more than 3 times"), "{error}");
}

#[tokio::test]
async fn a_decompression_bomb_stops_at_the_limit() {
    let bomb = Bytes::from(gzip(&vec![b'a'; 50_000_000]));
    assert!(bomb.len() < 100_000, "the bomb is small on the wire");
    let fits = Bytes::from(gzip(&b"b".repeat(100_000)));
    let serve = |body: Bytes| {
        get(move || async move {
            let headers =
                [(header::CONTENT_TYPE, "text/plain"), (header::CONTENT_ENCODING, "gzip")];
            (headers, body)
        })
    };
    let site =
        Site::start(Router::new().route("/bomb", serve(bomb)).route("/fits", serve(fits))).await;
    let error = fetch(&site, "/bomb").await.expect_err("too large");
    assert_eq!((error.code, error.retry), ("FETCH_TOO_LARGE", false));
    let page = fetch(&site, "/fits").await.expect("just fits");
    assert_eq!(page.body.len(), 100_000);
}

#[tokio::test]
async fn an_endless_body_stops_at_the_limit() {
    let endless = || async {
        let pieces = futures::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 999]))
        });
        ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(pieces))
    };
    let site = Site::start(Router::new().route("/", get(endless))).await;
    assert_eq!(fetch(&site, "/").await.expect_err("too large").code, "FETCH_TOO_LARGE");
}

#[tokio::test]
async fn a_body_that_never_ends_runs_into_the_time_limit() {
    let stalled = || async {
        let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from("begin")) });
        let body = futures::StreamExt::chain(first, futures::stream::pending());
        ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(body))
    };
    let site = Site::start(Router::new().route("/", get(stalled))).await;
    let hasty = fetcher(FetchSettings { timeout: Duration::from_millis(300), ..settings() });
    let error = hasty.fetch(&site.url("/"), &Validators::default()).await.expect_err("too slow");
    assert_eq!((error.code, error.retry), ("FETCH_TIMEOUT", true));
    assert!(error.message.contains("0.3 seconds"), "{error}");
}

#[tokio::test]
async fn only_text_and_documents_are_taken() {
    let typed = |content_type: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, content_type)], "x") })
    };
    let site = Site::start(
        Router::new()
            .route("/image", typed("image/png"))
            .route("/program", typed("application/octet-stream"))
            .route("/manual.PDF", typed("application/octet-stream"))
            .route("/data", typed("application/json"))
            .route("/untyped", get(|| async { axum::http::Response::new(Body::from("x")) })),
    )
    .await;
    for path in ["/image", "/program"] {
        let error = fetch(&site, path).await.expect_err("refused");
        assert_eq!((error.code, error.retry), ("FETCH_TYPE", false), "{path}");
    }
    for path in ["/manual.PDF", "/data", "/untyped"] {
        assert_eq!(fetch(&site, path).await.expect(path).body, "x");
    }
}

#[tokio::test]
async fn robots_txt_is_respected_and_read_once() {
    let read = Arc::new(AtomicUsize::new(0));
    let count = read.clone();
    let rules = "User-agent: *\nDisallow: /\n\nUser-agent: VoceroBot\nDisallow: /private/\nAllow: /private/open\n";
    let routes = Router::new()
        .route(
            "/robots.txt",
            get(move || async move {
                count.fetch_add(1, Ordering::SeqCst);
                rules
            }),
        )
        .route("/to-private", get(|| async { Redirect::to("/private/page") }))
        .fallback(|| async { html("page") });
    let site = Site::start(routes).await;
    let fetcher = fetcher(settings());
    for (path, allowed) in [
        ("/public", true),
        ("/private/page", false),
        ("/private/open", true),
        ("/to-private", false),
        ("/public?again", true),
    ] {
        let outcome = fetcher.fetch(&site.url(path), &Validators::default()).await;
        match outcome {
            Ok(_) => assert!(allowed, "{path}"),
            Err(error) => {
                assert!(!allowed, "{path}: {error}");
                assert_eq!((error.code, error.retry), ("FETCH_ROBOTS", false), "{path}");
            }
        }
    }
    assert_eq!(read.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_site_without_robots_txt_is_open_and_one_that_fails_to_say_is_left_alone() {
    let open = Site::start(Router::new().route("/", get(|| async { html("page") }))).await;
    assert_eq!(fetch(&open, "/").await.expect("open").body, "page");

    let broken = Router::new()
        .route("/robots.txt", get(|| async { StatusCode::INTERNAL_SERVER_ERROR }))
        .route("/", get(|| async { html("page") }));
    let site = Site::start(broken).await;
    let error = fetch(&site, "/").await.expect_err("left alone");
    assert_eq!((error.code, error.retry), ("FETCH_ROBOTS", true));
}

#[tokio::test]
async fn a_robots_txt_that_redirects_inward_is_refused() {
    let routes = Router::new()
        .route("/robots.txt", get(|| async { Redirect::to("http://10.0.0.1/robots.txt") }))
        .route("/", get(|| async { html("page") }));
    let site = Site::start(routes).await;
    assert_eq!(fetch(&site, "/").await.expect_err("refused").code, "FETCH_REFUSED");
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again() {
    let routes = Router::new().route(
        "/",
        get(|headers: HeaderMap| async move {
            let given = |name| headers.get(name).and_then(|value| value.to_str().ok());
            let same = given(header::IF_NONE_MATCH) == Some("\"v1\"")
                || given(header::IF_MODIFIED_SINCE) == Some("Sun, 21 Jan 2024 10:00:00 GMT");
            if same {
                StatusCode::NOT_MODIFIED.into_response()
            } else {
                html("new").into_response()
            }
        }),
    );
    let site = Site::start(routes).await;
    let fetcher = fetcher(settings());
    let by_etag = Validators { etag: Some("\"v1\"".into()), last_modified: None };
    let by_date =
        Validators { etag: None, last_modified: Some("Sun, 21 Jan 2024 10:00:00 GMT".into()) };
    let stale = Validators { etag: Some("\"v0\"".into()), last_modified: None };
    for (validators, unchanged) in [(by_etag, true), (by_date, true), (stale, false)] {
        let outcome = fetcher.fetch(&site.url("/"), &validators).await.expect("an outcome");
        assert_eq!(matches!(outcome, FetchOutcome::NotModified), unchanged, "{validators:?}");
    }
}

#[tokio::test]
async fn a_refusing_server_and_a_closed_port_say_whether_to_try_again() {
    let routes = Router::new()
        .route("/gone", get(|| async { StatusCode::NOT_FOUND }))
        .route("/busy", get(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/limit", get(|| async { StatusCode::TOO_MANY_REQUESTS }));
    let site = Site::start(routes).await;
    for (path, retry) in [("/gone", false), ("/busy", true), ("/limit", true)] {
        let error = fetch(&site, path).await.expect_err(path);
        assert_eq!((error.code, error.retry), ("FETCH_STATUS", retry), "{path}");
    }

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let url = check_url(&format!("http://{address}/"), &settings()).expect("allowed");
    let error =
        fetcher(settings()).fetch(&url, &Validators::default()).await.expect_err("nobody listens");
    assert_eq!((error.code, error.retry), ("FETCH_UNREACHABLE", true));
}
