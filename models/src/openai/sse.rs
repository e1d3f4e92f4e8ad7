//! Server-sent events, from bytes in any pieces to the data of each event.
//!
//! `eventsource-stream` would do but for two things: it lets a line grow without bound, and it scans an unfinished
//! line again with every piece that arrives. The tests hold this decoder against it.

/// Longest line, and longest data of one event, in bytes.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Decodes a stream of bytes as the HTML standard says (section 9.2.6), but for `event`, `id` and
/// `retry`, which no chat API gives a meaning to.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The data of the event that has not ended yet, each line followed by a line feed.
    data: Vec<u8>,
    /// A line feed that comes next belongs to the carriage return before it.
    after_return: bool,
    /// Whether a line has ended yet: a byte order mark may stand before the first.
    begun: bool,
}

/// A line or an event that is longer than `MAX_LINE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Decoder {
    /// Takes the next bytes and gives the data of every event that they complete to `on_event`, until it
    /// answers `false`.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        on_event: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<(), TooLong> {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) else {
                return self.keep(bytes);
            };
            self.after_return = bytes[end] == b'\r';
            let (head, tail) = (&bytes[..end], &bytes[end + 1..]);
            bytes = tail;
            let goes_on = if self.line.is_empty() {
                self.take_line(head, on_event)?
            } else {
                self.keep(head)?;
                let line = std::mem::take(&mut self.line);
                let goes_on = self.take_line(&line, on_event)?;
                self.line = line;
                self.line.clear();
                goes_on
            };
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The stream has ended. An event without its empty line is given all the same: servers forget it after the last.
    pub fn end(&mut self, on_event: &mut impl FnMut(&[u8]) -> bool) -> Result<(), TooLong> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() && !self.take_line(&line, on_event)? {
            return Ok(());
        }
        self.take_line(b"", on_event).map(drop)
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_LINE {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(
        &mut self,
        mut line: &[u8],
        on_event: &mut impl FnMut(&[u8]) -> bool,
    ) -> Result<bool, TooLong> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.dispatch(on_event));
        }
        let Some(value) = data_of(line) else {
            return Ok(true);
        };
        if self.data.len() + value.len() > MAX_LINE {
            return Err(TooLong);
        }
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(true)
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(&[u8]) -> bool) -> bool {
        if self.data.is_empty() {
            return true;
        }
        let goes_on = on_event(&self.data[..self.data.len() - 1]);
        self.data.clear();
        goes_on
    }
}

/// The value of a `data` field, without the one space that may follow the colon.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use eventsource_stream::Eventsource;
    use futures::executor::block_on;
    use futures::{StreamExt, stream};
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Vec::new();
        let mut decoder = Decoder::default();
        let mut collect = |data: &[u8]| {
            events.push(String::from_utf8_lossy(data).into_owned());
            true
        };
        for piece in pieces {
            decoder.push(piece, &mut collect).unwrap();
        }
        decoder.end(&mut collect).unwrap();
        events
    }

    /// What `eventsource-stream` reads of the same bytes.
    fn reference(text: &str) -> Vec<String> {
        let bytes = stream::iter([Ok::<_, Infallible>(text.as_bytes().to_vec())]);
        block_on(bytes.eventsource().map(|event| event.unwrap().data).collect())
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!(
                ": hi{end}event: x{end}data: a{end}data:b{end}{end}data{end}{end}id: 1{end}"
            );
            assert_eq!(decode(&[text.as_bytes()]), ["a\nb", ""], "{end:?}");
        }
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        assert_eq!(decode(&[b"data: a\n\ndata: [DONE]"]), ["a", "[DONE]"]);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_it_is_kept() {
        let mut decoder = Decoder::default();
        let piece = vec![b'x'; 64 * 1024];
        let mut fed = 0;
        let refused = loop {
            if let Err(error) = decoder.push(&piece, &mut |_| true) {
                break error;
            }
            fed += piece.len();
            assert!(fed <= MAX_LINE, "nothing was refused");
        };
        assert_eq!(refused, TooLong);
        assert!(decoder.line.len() <= MAX_LINE);
    }

    #[test]
    fn many_lines_of_one_event_are_bounded_together() {
        let line = format!("data: {}\n", "x".repeat(60_000)).into_bytes();
        let mut decoder = Decoder::default();
        let results: Vec<_> = (0..20).map(|_| decoder.push(&line, &mut |_| true)).collect();
        assert!(results.contains(&Err(TooLong)));
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_events_of_the_whole(
            text in "((data: ?|:|event: |id: )?[a-zñ🙂 :]{0,8}(\n|\r\n|\r|\n\n)){0,12}",
            cuts in prop::collection::vec(0_usize..200, 0..12),
        ) {
            let whole = format!("{text}\n\n");
            let bytes = whole.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let events = decode(&pieces);
            prop_assert_eq!(&events, &decode(&[bytes]));
            prop_assert_eq!(events, reference(&whole));
        }
    }
}
