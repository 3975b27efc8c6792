//! Server-sent events out of bytes that may be cut anywhere. Refuses to know what the data means.

/// Collects bytes until they hold whole events.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Option<String>,
}

impl Events {
    /// Takes the next bytes and returns the data of each event that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                complete.extend(self.end_line());
            }
        }
        complete
    }

    /// The data of a last event that lacks its empty line, which some servers forget.
    pub(super) fn finish(&mut self) -> Option<String> {
        self.end_line().or_else(|| self.data.take())
    }

    /// Bytes that wait for the rest of their event.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        // Lines are cut at bytes that no UTF-8 sequence contains, so only broken servers lose anything.
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            return self.data.take();
        }
        if let Some(value) = line.strip_prefix("data:") {
            let value = value.strip_prefix(' ').unwrap_or(value);
            match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            }
        }
        // Comments and the fields event, id and retry say nothing in this protocol.
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut events = Events::default();
        let mut all: Vec<String> = pieces
            .into_iter()
            .flat_map(|piece| events.feed(piece))
            .collect();
        all.extend(events.finish());
        all
    }

    fn check(text: &str, expected: &[&str]) {
        let bytes = text.as_bytes();
        assert_eq!(parse([bytes]), expected, "whole {text:?}");
        assert_eq!(parse(bytes.chunks(1)), expected, "byte by byte {text:?}");
        for cut in 0..=bytes.len() {
            assert_eq!(
                parse([&bytes[..cut], &bytes[cut..]]),
                expected,
                "{text:?} cut at {cut}"
            );
        }
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        check(
            "data: {\"a\":1}\n\ndata: [DONE]\n\n",
            &["{\"a\":1}", "[DONE]"],
        );
        check("data: Zürich €\n\ndata: 🦀\n\n", &["Zürich €", "🦀"]);
    }

    #[test]
    fn line_ends_of_windows_and_missing_spaces_are_fine() {
        check("data:a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data:  two spaces\n\n", &[" two spaces"]);
    }

    #[test]
    fn comments_and_other_fields_are_skipped() {
        check(
            ": keep alive\n\nevent: message\nid: 7\nretry: 9\ndata: a\n\n: bye\n\n",
            &["a"],
        );
        check("nonsense\n\n\n\n", &[]);
    }

    #[test]
    fn data_of_several_lines_is_one_event() {
        check("data: a\ndata:\ndata: b\n\n", &["a\n\nb"]);
    }

    #[test]
    fn the_last_event_may_lack_its_end() {
        check("data: a\n\ndata: [DONE]", &["a", "[DONE]"]);
        check("data: a\n\ndata: [DONE]\n", &["a", "[DONE]"]);
    }
}
