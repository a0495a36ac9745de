//! Server-sent events as their client reads them: names and data of whole events.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Event {
    /// Empty when the server gave none.
    pub(in crate::cli) name: String,
    /// Its lines of data, joined.
    pub(in crate::cli) data: String,
}

/// Takes bytes as they come, gives events as they are whole.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    unread: Vec<u8>,
    /// Bytes of `unread` in which no line ends.
    searched: usize,
    name: String,
    data: Option<String>,
}

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next whole event. Comments and fields of no use here are skipped.
    pub(super) fn next(&mut self) -> Option<Event> {
        loop {
            let unsearched = self.unread.get(self.searched..)?;
            let Some(end) = unsearched.iter().position(|byte| *byte == b'\n').map(|at| at + self.searched) else {
                self.searched = self.unread.len();
                return None;
            };
            let line: Vec<u8> = self.unread.drain(..=end).collect();
            self.searched = 0;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                if let Some(data) = self.data.take() {
                    return Some(Event { name, data });
                }
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut self.name),
                "data" => match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                },
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn events_are_whole_however_the_bytes_are_cut() {
        let text =
            ": keep-alive\n\nevent: a\ndata: {\"ü\":1}\n\nid: 7\r\ndata: x\r\ndata:y\r\n\r\nevent: none\n\ndata: late";
        for size in 1..text.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                decoder.feed(piece);
                seen.extend(std::iter::from_fn(|| decoder.next()));
            }
            assert_eq!(seen, [event("a", "{\"ü\":1}"), event("", "x\ny")], "cut every {size} bytes");
        }
    }
}
