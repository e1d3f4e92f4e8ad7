//! Server-sent events as the protocol uses them.

use futures::Stream;
use rmcp::transport::common::client_side_sse::BoxedSseResponse;

/// What stands in a result.
pub(super) trait Item {
    type Ok;
}

impl<T, E> Item for Result<T, E> {
    type Ok = T;
}

/// An event, by the name that the protocol's library has for it.
pub(super) type Event = <<BoxedSseResponse as Stream>::Item as Item>::Ok;

/// Decodes a stream of bytes as the HTML standard says (section 9.2.6). What it keeps is bounded by who feeds it.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    /// A line feed that comes next belongs to the carriage return before it.
    after_return: bool,
    event: Event,
    /// The event has a field.
    begun: bool,
}

impl Decoder {
    /// The events that these bytes complete.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for &byte in bytes {
            if std::mem::take(&mut self.after_return) && byte == b'\n' {
                continue;
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.line.push(byte);
                continue;
            }
            self.after_return = byte == b'\r';
            let line = std::mem::take(&mut self.line);
            if !line.is_empty() {
                self.take_field(&String::from_utf8_lossy(&line));
            } else if std::mem::take(&mut self.begun) {
                events.push(std::mem::take(&mut self.event));
            }
        }
        events
    }

    fn take_field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.event.data = Some(value.to_owned()),
            },
            "event" => self.event.event = Some(value.to_owned()),
            "id" => self.event.id = Some(value.to_owned()),
            "retry" => self.event.retry = value.parse().ok(),
            _ => return,
        }
        self.begun = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_the_bytes_are_cut() {
        let stream = "\u{FEFF}: hi\r\nid: 7\rdata: {\"a\":\ndata: \"ñ\"}\n\n\n: ping\n\nevent: x\r\nretry: 5\r\n\r\ndata: cut";
        for size in [1, 2, 3, 7, 1_000] {
            let mut decoder = Decoder::default();
            let events: Vec<Event> =
                stream.as_bytes().chunks(size).flat_map(|piece| decoder.push(piece)).collect();
            assert_eq!(events.len(), 2, "{size}");
            assert_eq!(events[0].data.as_deref(), Some("{\"a\":\n\"ñ\"}"));
            assert_eq!(events[0].id.as_deref(), Some("7"));
            assert_eq!((events[1].event.as_deref(), events[1].retry), (Some("x"), Some(5)));
        }
    }
}
