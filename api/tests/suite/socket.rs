//! A WebSocket client.

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::support::{PATIENCE, TestApp};

/// One end of a live connection. Dropping it cuts the line without a word.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects to a path of the product, with further headers.
    pub async fn open(
        app: &TestApp,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tungstenite::Error> {
        let address = format!("{}{path}", app.base.replacen("http", "ws", 1));
        let mut request = address.into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(stream, _)| Self(stream))
    }

    pub async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame; `Err` with the code and the reason when the server closed.
    pub async fn next(&mut self) -> Result<Value, (u16, String)> {
        // Pings keep a line alive, and do not count as saying something.
        let heard = tokio::time::timeout(PATIENCE, self.next_but_pings()).await;
        heard.expect("the server says something")
    }

    async fn next_but_pings(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => return Err((0, format!("{other:?}"))),
            }
        }
    }

    /// The next frame, which there is.
    pub async fn hear(&mut self) -> Value {
        self.next().await.unwrap()
    }

    /// The first frame from here on that is what is looked for.
    pub async fn hear_until(&mut self, looked_for: impl Fn(&Value) -> bool) -> Value {
        loop {
            let heard = self.hear().await;
            if looked_for(&heard) {
                return heard;
            }
        }
    }

    /// The code that the server closes with, whatever it says before.
    pub async fn closed(&mut self) -> u16 {
        loop {
            if let Err((code, _)) = self.next().await {
                return code;
            }
        }
    }
}
