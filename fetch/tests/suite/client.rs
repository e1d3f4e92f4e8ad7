//! The client against real servers.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{any, get, post};
use domain::settings::FetchSettings;
use fetch::{Answer, Client, FetchError, Limits, Method, Request, check_header};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

const LIMITS: Limits =
    Limits { timeout: Duration::from_secs(20), max_bytes: 10_000, content_types: &[] };

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

fn client() -> Client {
    Client::new(FetchSettings {
        allow: vec!["127.0.0.1/32".parse().expect("a network")],
        max_bytes: 100_000,
        timeout: Duration::from_secs(20),
    })
}

fn request(method: Method, url: Url, headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut request =
        Request { method, body: Bytes::from_static(body.as_bytes()), ..Request::get(url) };
    for (name, value) in headers {
        let (name, value) = check_header(name, value).expect("a header");
        request.headers.insert(name, value);
    }
    request
}

/// Tells what reached it.
fn echo() -> Router {
    async fn tell(method: Method, headers: HeaderMap, body: Bytes) -> String {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        format!(
            "{method} {:?} {:?} {:?} {}",
            header("user-agent"),
            header("x-api-key"),
            header("accept"),
            String::from_utf8_lossy(&body),
        )
    }
    Router::new().route("/echo", any(tell))
}

fn text(answer: Result<Answer, FetchError>) -> String {
    String::from_utf8(answer.expect("an answer").body.to_vec()).expect("text")
}

#[tokio::test]
async fn method_headers_and_body_arrive() {
    let site = Site::start(echo()).await;
    let product = concat!("Vocero/", env!("CARGO_PKG_VERSION"));
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let headers = [("X-Api-Key", "k1"), ("Accept", "application/json")];
        let sent = request(method.clone(), site.url("/echo"), &headers, "{}");
        let expected =
            format!("{method} Some({product:?}) Some(\"k1\") Some(\"application/json\") {{}}");
        assert_eq!(text(client().send(sent, &LIMITS).await), expected);
    }
    let named = request(Method::GET, site.url("/echo"), &[("User-Agent", "Mine")], "");
    assert!(text(client().send(named, &LIMITS).await).starts_with("GET Some(\"Mine\")"));
}

#[tokio::test]
async fn a_status_and_its_headers_are_given_not_judged() {
    let routes = Router::new().route(
        "/no",
        post(|| async { (StatusCode::PAYMENT_REQUIRED, [("x-left", "0")], "pay first") }),
    );
    let site = Site::start(routes).await;
    let sent = request(Method::POST, site.url("/no"), &[], "");
    let answer = client().send(sent, &LIMITS).await.expect("an answer");
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(answer.headers["x-left"], "0");
    assert_eq!(answer.content_type.as_deref(), Some("text/plain"));
    assert_eq!(answer.body, "pay first");
}

#[tokio::test]
async fn an_inner_address_is_never_connected_to_whatever_the_method() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let settings = FetchSettings { allow: Vec::new(), ..client().settings().clone() };
    let closed = Client::new(settings);
    for host in ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let url = Url::parse(&format!("http://{host}:{port}/")).expect("an address");
        for method in [Method::GET, Method::POST] {
            let sent = request(method, url.clone(), &[], "");
            let error = closed.send(sent.clone(), &LIMITS).await.expect_err("refused");
            assert_eq!(error.code, "FETCH_REFUSED");
            let error = closed.open(sent, LIMITS.timeout).await.expect_err("refused");
            assert_eq!(error.code, "FETCH_REFUSED");
        }
    }
    let waiting = listener.into_std().expect("a listener").accept();
    let nobody = waiting.expect_err("nobody connected");
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_get_is_followed_for_three_hops_and_judged_at_each() {
    let routes = echo()
        .route("/4", get(|| async { Redirect::to("/3") }))
        .route("/3", get(|| async { Redirect::to("/2") }))
        .route("/2", get(|| async { Redirect::to("/1") }))
        .route("/1", get(|| async { Redirect::to("/echo") }))
        .route("/in", get(|| async { Redirect::to("http://169.254.169.254/latest/") }));
    let site = Site::start(routes).await;
    let answer = client().send(Request::get(site.url("/3")), &LIMITS).await.expect("three hops");
    assert_eq!(answer.url, site.url("/echo"));
    for path in ["/4", "/in"] {
        let error = client().send(Request::get(site.url(path)), &LIMITS).await.expect_err(path);
        assert_eq!(error.code, "FETCH_REFUSED", "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_not_followed() {
    let routes = echo().route("/moved", any(|| async { Redirect::temporary("/echo") }));
    let site = Site::start(routes).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let sent = request(method, site.url("/moved"), &[], "{}");
        let answer = client().send(sent, &LIMITS).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(answer.url, site.url("/moved"));
    }
}

#[tokio::test]
async fn a_secret_header_stays_with_its_site() {
    let other = Site::start(echo()).await;
    let away = other.url("/echo").to_string();
    let routes = echo()
        .route("/away", get(move || async move { Redirect::to(&away) }))
        .route("/here", get(|| async { Redirect::to("/echo") }));
    let site = Site::start(routes).await;
    let headers = [("X-Api-Key", "secret"), ("Accept", "application/json")];
    let here = request(Method::GET, site.url("/here"), &headers, "");
    assert!(text(client().send(here, &LIMITS).await).contains("Some(\"secret\")"));
    let away = request(Method::GET, site.url("/away"), &headers, "");
    let arrived = text(client().send(away, &LIMITS).await);
    assert!(arrived.contains("None Some(\"application/json\")"), "{arrived}");
}

#[test]
fn a_header_that_belongs_to_the_client_or_is_none_is_refused() {
    for (name, value) in [
        ("Host", "inner"),
        ("Content-Length", "3"),
        ("transfer-encoding", "chunked"),
        ("Connection", "upgrade"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("with space", "x"),
        ("", "x"),
        ("X-Split", "a\r\nHost: inner"),
        ("X-Zero", "a\0b"),
    ] {
        assert_eq!(check_header(name, value).expect_err(name).code, "FETCH_REFUSED", "{name}");
    }
    let (name, value) = check_header(" Authorization ", " Bearer planted ").expect("a header");
    assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer planted"[..]));
    assert!(!format!("{value:?}").contains("planted"));
}

#[tokio::test]
async fn a_reserved_header_is_refused_also_when_it_was_not_checked() {
    let site = Site::start(echo()).await;
    let mut sent = Request::get(site.url("/echo"));
    sent.headers.insert(header::HOST, "inner".parse().expect("a value"));
    let error = client().send(sent, &LIMITS).await.expect_err("refused");
    assert!(error.message.contains("host"), "{error}");
}

#[tokio::test]
async fn the_limits_of_a_call_hold() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b'a'; 1 << 20]).expect("memory takes all");
    let bomb = bomb.finish().expect("memory takes all");
    let routes = echo()
        .route(
            "/bomb",
            get(
                move || async move { ([(header::CONTENT_ENCODING, "gzip")], bomb).into_response() },
            ),
        )
        .route("/silent", get(|| async { std::future::pending::<()>().await }));
    let site = Site::start(routes).await;

    let error = client().send(Request::get(site.url("/bomb")), &LIMITS).await.expect_err("large");
    assert_eq!(error.code, "FETCH_TOO_LARGE");

    let short = Limits { timeout: Duration::from_millis(200), ..LIMITS };
    let error = client().send(Request::get(site.url("/silent")), &short).await.expect_err("slow");
    assert_eq!((error.code, error.retry), ("FETCH_TIMEOUT", true));

    let echo = || Request::get(site.url("/echo"));
    let json = Limits { content_types: &["application/json"], ..LIMITS };
    let error = client().send(echo(), &json).await.expect_err("text");
    assert_eq!(error.code, "FETCH_TYPE");
    assert!(error.message.contains("application/json"), "{error}");
    let texts = Limits { content_types: &["application/json", "text/*"], ..LIMITS };
    client().send(echo(), &texts).await.expect("text is taken");
}

#[tokio::test]
async fn a_stream_is_read_piece_by_piece_within_its_limits() {
    let routes = Router::new().route(
        "/stream",
        post(|| async {
            let pieces = futures::stream::iter(["data: 1\n\n", "data: 2\n\n"])
                .map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes())));
            // Nothing more comes, but the stream does not end.
            Body::from_stream(pieces.chain(futures::stream::pending()))
        }),
    );
    let site = Site::start(routes).await;
    let open = || async {
        let sent = request(Method::POST, site.url("/stream"), &[], "");
        client().open(sent, LIMITS.timeout).await.expect("a head")
    };

    let mut pieces = Box::pin(open().await.into_stream(1_000, Duration::from_millis(200)));
    let mut seen = Vec::new();
    let error = loop {
        match pieces.next().await.expect("an item") {
            Ok(piece) => seen.extend_from_slice(&piece),
            Err(error) => break error,
        }
    };
    assert_eq!(seen, b"data: 1\n\ndata: 2\n\n");
    assert_eq!(error.code, "FETCH_TIMEOUT");
    assert!(pieces.next().await.is_none());

    let pieces = open().await.into_stream(10, Duration::from_secs(20));
    let pieces: Vec<_> = pieces.collect().await;
    let error = pieces.last().expect("an item").as_ref().expect_err("too much");
    assert_eq!(error.code, "FETCH_TOO_LARGE");
}
