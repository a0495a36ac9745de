//! Server-sent events: cuts a byte stream into events, whatever pieces it arrives in (the WHATWG's `text/event-stream`).
//!
//! Comments, ids and retry times are skipped. Lines end in LF or CR LF; the lone CR that the standard allows too is sent by
//! no model server and would cost every piece a second look.

use bytes::{Bytes, BytesMut};

/// Most bytes of one event, and of one line while its end has not come.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// An event grew beyond any honest size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {MAX_EVENT_BYTES} bytes")]
pub struct EventTooLong;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// What kind of event the server calls it; empty where it does not.
    pub name: Bytes,
    /// Its data; several lines are joined by LF.
    pub data: Bytes,
}

/// Collects pieces and gives back whole events: those with data, as the standard has it.
#[derive(Debug, Default)]
pub struct Events {
    buffer: BytesMut,
    /// Bytes at the start of `buffer` known to hold no line end.
    scanned: usize,
    /// Whether the stream's first line, which may begin with a byte order mark, is read.
    begun: bool,
    /// The event whose end has not come.
    name: Bytes,
    data: Data,
}

/// The data lines of an event: one mostly, which is not copied.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Several(BytesMut),
}

impl Data {
    fn add(&mut self, line: Bytes) {
        let mut joined = match std::mem::take(self) {
            Self::None => {
                *self = Self::One(line);
                return;
            }
            Self::One(first) => BytesMut::from(first),
            Self::Several(joined) => joined,
        };
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(&line);
        *self = Self::Several(joined);
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(line) => line.len(),
            Self::Several(joined) => joined.len(),
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::take(self) {
            Self::None => None,
            Self::One(line) => Some(line),
            Self::Several(joined) => Some(joined.freeze()),
        }
    }
}

impl Events {
    /// Adds the next piece of the stream.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole event, if one has arrived.
    ///
    /// # Errors
    /// When an event is too long; the stream should be given up.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLong> {
        while let Some(line) = self.next_line()? {
            if !line.is_empty() {
                self.field(line)?;
            } else if let Some(event) = self.dispatch() {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// What stands behind the last empty line when the stream is over. The standard throws it away; servers that forget the
    /// last empty line meant it, and those that broke off in an event have left a text that cannot be decoded.
    pub fn rest(mut self) -> Option<Event> {
        let line = without_return(self.buffer.split().freeze());
        self.field(line).ok()?;
        self.dispatch()
    }

    fn next_line(&mut self) -> Result<Option<Bytes>, EventTooLong> {
        let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.buffer.len();
            return if self.scanned > MAX_EVENT_BYTES { Err(EventTooLong) } else { Ok(None) };
        };
        let end = self.scanned + end;
        let mut line = self.buffer.split_to(end + 1).freeze();
        self.scanned = 0;
        line.truncate(end);
        Ok(Some(without_return(line)))
    }

    fn field(&mut self, mut line: Bytes) -> Result<(), EventTooLong> {
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line = line.slice(3..);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let value = match colon {
            None => Bytes::new(),
            Some(colon) if line.get(colon + 1) == Some(&b' ') => line.slice(colon + 2..),
            Some(colon) => line.slice(colon + 1..),
        };
        match &line[..colon.unwrap_or(line.len())] {
            b"data" if self.data.len() + value.len() >= MAX_EVENT_BYTES => return Err(EventTooLong),
            b"data" => self.data.add(value),
            b"event" => self.name = value,
            // A comment (no name at all), `id`, `retry`, or nothing the standard knows.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        Some(Event { name, data: self.data.take()? })
    }
}

fn without_return(mut line: Bytes) -> Bytes {
    if line.ends_with(b"\r") {
        line.truncate(line.len() - 1);
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name and data of every event of a stream that arrives in these cuts.
    fn read(stream: &[u8], cuts: impl IntoIterator<Item = usize>) -> Vec<(String, String)> {
        let (mut reader, mut seen, mut rest) = (Events::default(), Vec::new(), stream);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            reader.push(piece);
            while let Some(event) = reader.next_event().unwrap() {
                seen.push((text(&event.name), text(&event.data)));
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        seen.extend(reader.rest().map(|event| (text(&event.name), text(&event.data))));
        seen
    }

    fn data(stream: &str) -> Vec<String> {
        read(stream.as_bytes(), []).into_iter().map(|(_, data)| data).collect()
    }

    #[test]
    fn comments_ids_and_events_without_data_are_skipped() {
        let stream = "\u{feff}: hello\n\nid: 7\nretry: 10\n\nevent: ping\n\ndata: {\"a\":1}\n\n:\n\nfoo\ndata:{}\n\n";
        assert_eq!(data(stream), ["{\"a\":1}", "{}"]);
    }

    #[test]
    fn a_space_behind_the_colon_is_taken_off_once_and_lines_of_data_are_joined() {
        assert_eq!(data("data:  two\n\ndata\n\ndata: a\ndata:b\ndata:\n\n"), [" two", "", "a\nb\n"]);
    }

    #[test]
    fn an_event_has_its_own_name_only() {
        let events = read(b"event: error\r\ndata: x\r\n\r\ndata: y\r\n\r\n", []);
        assert_eq!(events, [("error".to_owned(), "x".to_owned()), (String::new(), "y".to_owned())]);
    }

    #[test]
    fn an_event_whose_last_empty_line_is_missing_is_given_at_the_end() {
        assert_eq!(data("data: a\n\ndata: b\n"), ["a", "b"]);
        assert_eq!(data("data: a\n\ndata: [DONE]\r"), ["a", "[DONE]"]);
        assert_eq!(data("data: a\n\n: bye"), ["a"]);
    }

    #[test]
    fn endless_lines_and_endless_events_are_given_up() {
        let mut line = Events::default();
        line.push(b"data: ");
        line.push(&vec![b'x'; MAX_EVENT_BYTES]);
        assert_eq!(line.next_event(), Err(EventTooLong));
        let (mut event, part) = (Events::default(), format!("data: {}\n", "x".repeat(MAX_EVENT_BYTES / 2)));
        event.push(part.as_bytes());
        assert_eq!(event.next_event(), Ok(None));
        event.push(part.as_bytes());
        assert_eq!(event.next_event(), Err(EventTooLong));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_events_are_the_same(
            events in prop::collection::vec(prop::collection::vec("[a-z: ]{0,9}", 1..4), 0..7),
            returns in any::<bool>(),
            comment in prop::option::of("[a-z: ]{0,5}"),
            cuts in prop::collection::vec(1usize..6, 0..80),
        ) {
            let end = if returns { "\r\n" } else { "\n" };
            let mut stream = String::new();
            for lines in &events {
                stream.extend(comment.iter().map(|words| format!(":{words}{end}")));
                stream.extend(lines.iter().map(|line| format!("data: {line}{end}")));
                stream.push_str(end);
            }
            let seen: Vec<_> = read(stream.as_bytes(), cuts).into_iter().map(|(_, data)| data).collect();
            let sent: Vec<_> = events.iter().map(|lines| lines.join("\n")).collect();
            prop_assert_eq!(seen, sent);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(stream in prop::collection::vec(prop::sample::select(b"data: \r\n\xefe".as_slice()), 0..60)) {
            let mut reader = Events::default();
            reader.push(&stream);
            while let Ok(Some(_)) = reader.next_event() {}
            reader.rest();
        }
    }
}
