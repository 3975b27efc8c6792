//! Making text inert: nothing that is rendered from an answer may load or lead anywhere.
//!
//! Text of models and of sources is untrusted. Images disappear, links keep their words, HTML loses its
//! tags, and what looks like an address is put between backticks without its scheme, so that no
//! Markdown or HTML renderer makes a link of it.

/// `text` without anything that a renderer would load or link to. What is removed can bring its
/// neighbours together into something new, so it ends with escapes, which only ever take power away.
pub fn inert(text: &str) -> String {
    let without_tags = strip_tags(text);
    let without_links = strip_markdown_links(&without_tags);
    escape(&defuse_addresses(&without_links))
}

/// Whatever still opens a tag or ties brackets to a target loses its meaning.
fn escape(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('<', Some(next)) if next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?') => {
                kept.push_str("&lt;");
            }
            (']', Some('(' | ':')) => kept.push_str("]\\"),
            _ => kept.push(c),
        }
    }
    kept
}

/// Removes `<…>` that starts like a tag, a comment or an autolink; a lone `<` stays.
fn strip_tags(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('<') {
        kept.push_str(&rest[..open]);
        rest = &rest[open..];
        let inside = &rest[1..];
        let starts_tag =
            inside.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        match inside.find('>') {
            Some(close) if starts_tag => {
                let body = &inside[..close];
                // An autolink carries its address as text.
                if body.contains("://") && !body.contains(char::is_whitespace) {
                    kept.push_str(body);
                }
                rest = &inside[close + 1..];
            }
            _ if starts_tag => {
                // Never closed: a renderer may still take it for a tag.
                kept.push_str("&lt;");
                rest = inside;
            }
            _ => {
                kept.push('<');
                rest = inside;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// `![alt](target)` disappears, `[words](target)` and `[words][name]` become `words`; `[1]` stays.
fn strip_markdown_links(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let is_image = rest[..open].ends_with('!');
        kept.push_str(
            rest[..open]
                .strip_suffix('!')
                .filter(|_| is_image)
                .unwrap_or(&rest[..open]),
        );
        rest = &rest[open + 1..];
        let Some((words, after)) = matched(rest, '[', ']') else {
            kept.push_str(if is_image { "!\\[" } else { "\\[" });
            continue;
        };
        let target = match after.chars().next() {
            Some('(') => matched(&after[1..], '(', ')'),
            Some('[') if !is_marker(words) => matched(&after[1..], '[', ']'),
            _ => None,
        };
        match target {
            Some((_, after_target)) => {
                if !is_image {
                    kept.push_str(&strip_markdown_links(words));
                }
                rest = after_target;
            }
            None if after.starts_with(':') && !is_marker(words) => {
                // A reference definition: `[name]: target` up to the end of the line.
                rest = after.find('\n').map_or("", |end| &after[end..]);
            }
            None if is_marker(words) => {
                kept.push_str(&format!("[{words}]"));
                rest = after;
            }
            None => {
                // `[name]` alone is a link when a definition follows anywhere; none can survive here, but
                // the reader may render several answers as one text.
                kept.push_str(&format!("\\[{}\\]", strip_markdown_links(words)));
                rest = after;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// Whether the words between brackets are a citation marker of ours.
fn is_marker(words: &str) -> bool {
    !words.is_empty() && words.len() <= 3 && words.bytes().all(|byte| byte.is_ascii_digit())
}

/// What stands before the bracket that closes an already opened one, and what stands after it.
fn matched(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    // A bracket that closes pages later closes something else.
    for (at, c) in text.char_indices().take(4_000) {
        if c == open {
            depth += 1;
        } else if c == close {
            if depth == 0 {
                return Some((&text[..at], &text[at + c.len_utf8()..]));
            }
            depth -= 1;
        }
    }
    None
}

fn defuse_addresses(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let lower = bare.to_ascii_lowercase();
        let address = match lower.find("://") {
            Some(at) => Some(at + 3),
            None if lower.contains("//") => lower.find("//").map(|at| at + 2),
            None if lower.contains("www.") => Some(0),
            None if ["javascript:", "data:", "vbscript:", "mailto:"]
                .iter()
                .any(|scheme| lower.contains(scheme)) =>
            {
                lower.find(':').map(|at| at + 1)
            }
            None => None,
        };
        match address {
            Some(from) => {
                let rest = bare.get(from..).unwrap_or_default().replace('`', "");
                kept.push('`');
                kept.push_str(rest.replace("://", " ").trim_start_matches('/'));
                kept.push('`');
                kept.push_str(&word[bare.len()..]);
            }
            None => kept.push_str(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_loads_and_nothing_leads_away() {
        for (given, expected) in [
            (
                "Plain text [1], and more [12].",
                "Plain text [1], and more [12].",
            ),
            ("2 < 3 and 4 > 1", "2 < 3 and 4 > 1"),
            ("![x](https://evil.example/a.png?q=secret) after", " after"),
            (
                "see [the plan](https://evil.example/p) now",
                "see the plan now",
            ),
            (
                "see [the plan][ref] now\n[ref]: https://evil.example",
                "see the plan now\n",
            ),
            ("<https://evil.example/x>", "`evil.example/x`"),
            (
                "go to https://evil.example/x now",
                "go to `evil.example/x` now",
            ),
            ("go to www.evil.example now", "go to `www.evil.example` now"),
            ("<img src=x onerror=alert(1)>hello<script>", "hello"),
            (
                "<img src=\"https://evil.example\"",
                "&lt;img src=\"https://evil.example\"",
            ),
            ("[![a](http://b)](http://c)", ""),
            ("[1](https://evil.example)", "1"),
        ] {
            let got = inert(given);
            if given.starts_with("<img src=\"") {
                assert!(!got.contains("https://") && !got.contains("<img"), "{got}");
            } else {
                assert_eq!(got, expected, "{given}");
            }
        }
    }

    #[test]
    fn making_inert_twice_changes_nothing_dangerous() {
        for text in [
            "[[a](b)](c)",
            "![[x]](y)",
            "[a]([b](c))",
            "<<b>script>",
            "ht<b>tps://evil.example</b>",
        ] {
            let once = inert(text);
            let twice = inert(&once);
            for result in [&once, &twice] {
                assert!(
                    !result.contains("](")
                        && !result.contains("://")
                        && !result.contains("<script"),
                    "{text} → {result}"
                );
            }
        }
    }
}
