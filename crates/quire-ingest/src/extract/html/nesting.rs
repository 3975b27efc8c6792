//! How deep a page nests, estimated from its tags before a tree is built.
//!
//! The rules of HTML make a tree builder look at all open elements for most tags, so depth costs its
//! square: a hundred thousand nested elements take a minute, which is all a hostile page needs.

/// Real pages stay below a hundred; careless ones with unclosed tags below some thousands.
const MOST: usize = 10_000;

/// Elements that never stay open: without content, or closed by what follows.
const CLOSED: &[&str] = &[
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup",
    "option", "optgroup", "rt", "rp",
];

/// Elements whose content is no HTML.
const RAW: &[&str] = &["script", "style", "textarea", "title", "xmp"];

/// Whether more elements are open at one place than any honest page needs.
pub(super) fn is_hostile(source: &str) -> bool {
    let mut depth = 0_usize;
    let mut rest = source;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, after)| after);
            continue;
        }
        if rest.starts_with('/') {
            depth = depth.saturating_sub(1);
            continue;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(rest.len());
        let name = rest[..end.min(32)].to_ascii_lowercase();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || CLOSED.contains(&name.as_str()) {
            continue;
        }
        if RAW.contains(&name.as_str()) {
            let closing = format!("</{name}");
            rest = after_ignoring_case(rest, &closing);
            continue;
        }
        depth += 1;
        if depth > MOST {
            return true;
        }
    }
    false
}

fn after_ignoring_case<'a>(text: &'a str, mark: &str) -> &'a str {
    let found = text
        .as_bytes()
        .windows(mark.len())
        .position(|window| window.eq_ignore_ascii_case(mark.as_bytes()));
    found.map_or("", |at| text.get(at + mark.len()..).unwrap_or(""))
}
