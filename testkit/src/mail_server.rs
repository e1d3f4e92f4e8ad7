//! A scripted SMTP server on a port of its own: it keeps the mails that it gets, and refuses when it is told to.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest that a test waits for a mail.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mail as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// Whom the envelope names as sender.
    pub from: String,
    /// Whom the envelope names as recipient.
    pub to: String,
    /// Headers and body, as sent.
    pub raw: String,
}

impl Mail {
    /// A header, unfolded and decoded; empty when absent.
    pub fn header(&self, name: &str) -> String {
        let head = self.raw.split("\r\n\r\n").next().unwrap_or_default();
        header_of(head, name)
    }

    /// The plain text.
    pub fn text(&self) -> String {
        self.part("text/plain")
    }

    /// The HTML.
    pub fn html(&self) -> String {
        self.part("text/html")
    }

    /// The first address in the plain text.
    pub fn link(&self) -> String {
        let text = self.text();
        let link = text.split_whitespace().find(|word| word.starts_with("http"));
        link.unwrap_or_default().to_owned()
    }

    /// What stands at the end of the link.
    pub fn token(&self) -> String {
        self.link().rsplit('/').next().unwrap_or_default().to_owned()
    }

    fn part(&self, kind: &str) -> String {
        let content_type = self.header("Content-Type");
        let boundary = content_type.split("boundary=").nth(1).unwrap_or_default();
        let boundary = format!("--{}", boundary.trim_matches('"'));
        for part in self.raw.split(&boundary) {
            let Some((head, body)) = part.trim_start().split_once("\r\n\r\n") else { continue };
            if header_of(head, "Content-Type").starts_with(kind) {
                return decoded(body, &header_of(head, "Content-Transfer-Encoding"));
            }
        }
        String::new()
    }
}

/// The server. It ends when it is dropped.
pub struct MailServer {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    mails: Mutex<Vec<Mail>>,
    refusals: Mutex<VecDeque<String>>,
    count: watch::Sender<usize>,
    refused: watch::Sender<usize>,
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl MailServer {
    /// Starts one on a free port.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for mails")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            mails: Mutex::default(),
            refusals: Mutex::default(),
            count: watch::Sender::new(0),
            refused: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (kept, stopped) = (state.clone(), stop.clone());
        let tracker = TaskTracker::new();
        let connections = tracker.clone();
        tracker.spawn(stopped.run_until_cancelled_owned(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = kept.clone();
                // A client that breaks off sends no mail.
                connections.spawn(async move { serve(socket, &state).await.ok() });
            }
        }));
        Ok(Self { address, state, stop })
    }

    /// Its address, for the settings.
    pub fn url(&self) -> String {
        format!("smtp://{}", self.address)
    }

    /// The next mail is refused with this answer: `451 try later`, `550 no such mailbox`. Several refuse several.
    pub fn refuse(&self, answer: &str) {
        self.state.refusals.lock().push_back(answer.to_owned());
    }

    /// Every mail so far, oldest first.
    pub fn mails(&self) -> Vec<Mail> {
        self.state.mails.lock().clone()
    }

    /// Waits until so many mails have arrived; the last of them.
    ///
    /// # Panics
    /// When they do not arrive.
    pub async fn mail(&self, number: usize) -> Mail {
        let mut count = self.state.count.subscribe();
        let waiting = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= number));
        let arrived = waiting.await.is_ok();
        assert!(arrived, "{number} mails should have arrived: {:?}", self.mails());
        self.mails()[number - 1].clone()
    }

    /// Waits until so many mails were refused.
    ///
    /// # Panics
    /// When they are not.
    pub async fn refused(&self, number: usize) {
        let mut count = self.state.refused.subscribe();
        let waiting = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count >= number));
        assert!(waiting.await.is_ok(), "{number} mails should have been refused");
    }
}

async fn serve(socket: TcpStream, state: &State) -> std::io::Result<()> {
    let (reader, mut writer) = socket.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 mail.test ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-mail.test\r\n250 8BITMIME".to_owned(),
            "MAIL" => {
                from = angled(&line);
                "250 ok".to_owned()
            }
            "RCPT" => {
                to = angled(&line);
                let refusal = state.refusals.lock().pop_front();
                if refusal.is_some() {
                    state.refused.send_modify(|count| *count += 1);
                }
                refusal.unwrap_or_else(|| "250 ok".to_owned())
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await?;
                let mut raw = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    raw.push_str(line.strip_prefix('.').unwrap_or(&line));
                    raw.push_str("\r\n");
                }
                state.mails.lock().push(Mail { from: from.clone(), to: to.clone(), raw });
                state.count.send_modify(|count| *count += 1);
                "250 kept".to_owned()
            }
            "QUIT" => {
                writer.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok".to_owned(),
        };
        writer.write_all(answer.as_bytes()).await?;
        writer.write_all(b"\r\n").await?;
    }
    Ok(())
}

fn angled(line: &str) -> String {
    let inner = line.split('<').nth(1).and_then(|rest| rest.split('>').next());
    inner.unwrap_or_default().to_owned()
}

fn header_of(head: &str, name: &str) -> String {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    let prefix = format!("{}:", name.to_ascii_lowercase());
    let line = unfolded.lines().find(|line| line.to_ascii_lowercase().starts_with(&prefix));
    let value = line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim());
    words_of(value.unwrap_or_default())
}

/// Decodes the encoded words of RFC 2047 that are base64; the space between two of them is none.
fn words_of(value: &str) -> String {
    let mut text = String::new();
    let mut after_encoded = false;
    for word in value.split(' ') {
        let inner = word.strip_prefix("=?utf-8?b?").and_then(|rest| rest.strip_suffix("?="));
        let bytes = inner.and_then(|inner| STANDARD.decode(inner).ok());
        let joined = after_encoded && bytes.is_some();
        if !text.is_empty() && !joined {
            text.push(' ');
        }
        after_encoded = bytes.is_some();
        match bytes {
            Some(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            None => text.push_str(word),
        }
    }
    text
}

fn decoded(body: &str, encoding: &str) -> String {
    match encoding.to_ascii_lowercase().as_str() {
        "base64" => {
            let digits: String = body.split_whitespace().collect();
            let bytes = STANDARD.decode(digits).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        "quoted-printable" => unquoted(body),
        _ => body.to_owned(),
    }
}

fn unquoted(body: &str) -> String {
    let joined = body.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(joined.len());
    let mut rest = joined.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        if let Some(byte) = byte.filter(|_| *first == b'=') {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
