//! Pages of Notion as text: the title, the properties, then the blocks in reading order.

use serde_json::Value;

/// The title of a page.
pub(super) fn title(page: &Value) -> String {
    let properties = page["properties"].as_object();
    let title = properties
        .into_iter()
        .flatten()
        .find(|(_, property)| property["type"] == "title")
        .map(|(_, property)| plain(&property["title"]))
        .unwrap_or_default();
    let title: String = title.split_whitespace().collect::<Vec<_>>().join(" ");
    match title.is_empty() {
        true => "Untitled page".to_owned(),
        false => title
            .chars()
            .take(300)
            .filter(|c| !c.is_control())
            .collect(),
    }
}

/// A page with its blocks.
pub(super) fn of(page: &Value, blocks: &[(usize, Value)]) -> String {
    let mut text = title(page);
    for (name, property) in page["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value(property) {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    let mut before = "";
    for (depth, block) in blocks {
        let kind = block["type"].as_str().unwrap_or_default();
        let Some(line) = line(kind, &block[kind]) else {
            continue;
        };
        // Items of one list stay together, paragraphs are kept apart.
        let is_list = matches!(
            kind,
            "bulleted_list_item" | "numbered_list_item" | "to_do" | "table_row"
        );
        let gap = if is_list && before == kind {
            "\n"
        } else {
            "\n\n"
        };
        text.push_str(gap);
        text.push_str(&"  ".repeat(if is_list { *depth } else { 0 }));
        text.push_str(&line);
        before = kind;
    }
    text
}

fn plain(rich: &Value) -> String {
    let parts = rich.as_array().into_iter().flatten();
    parts
        .filter_map(|part| part["plain_text"].as_str())
        .collect()
}

fn line(kind: &str, content: &Value) -> Option<String> {
    let text = plain(&content["rich_text"]);
    let text = match kind {
        "bulleted_list_item" | "numbered_list_item" => format!("- {text}"),
        "to_do" if content["checked"] == true => format!("- done: {text}"),
        "to_do" => format!("- to do: {text}"),
        "table_row" => {
            let cells = content["cells"].as_array().into_iter().flatten();
            cells.map(plain).collect::<Vec<_>>().join(" | ")
        }
        "child_page" | "child_database" => content["title"].as_str()?.to_owned(),
        "equation" => content["expression"].as_str()?.to_owned(),
        "image" | "file" | "pdf" | "video" => plain(&content["caption"]),
        _ => text,
    };
    Some(text).filter(|text| !text.trim_matches(['-', ' ', '|']).is_empty())
}

/// A property of a page in a database.
fn value(property: &Value) -> Option<String> {
    let kind = property["type"].as_str()?;
    let content = &property[kind];
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    let names = |list: &Value| {
        let names: Vec<String> = list.as_array()?.iter().filter_map(name).collect();
        Some(names.join(", "))
    };
    let text = match kind {
        "rich_text" => plain(content),
        "select" | "status" => name(content)?,
        "multi_select" | "people" => names(content)?,
        "number" => content.as_f64().map(|_| content.to_string())?,
        "checkbox" => (if content == true { "yes" } else { "no" }).to_owned(),
        "date" => match (content["start"].as_str()?, content["end"].as_str()) {
            (start, Some(end)) => format!("{start} to {end}"),
            (start, None) => start.to_owned(),
        },
        "url" | "email" | "phone_number" => content.as_str()?.to_owned(),
        _ => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_reads_like_a_page() {
        let rich = |text: &str| json!([{ "plain_text": text }]);
        let page = json!({ "properties": {
            "Name": { "type": "title", "title": rich("Crane\nplan") },
            "Status": { "type": "status", "status": { "name": "Approved" } },
            "Due": { "type": "date", "date": { "start": "2025-05-04", "end": null } },
            "Tags": { "type": "multi_select", "multi_select": [{ "name": "a" }, { "name": "b" }] },
            "Empty": { "type": "rich_text", "rich_text": [] },
            "Odd": { "type": "rollup", "rollup": {} },
        } });
        let block = |kind: &str, content: Value| json!({ "type": kind, kind: content });
        let blocks = [
            (
                0,
                block("heading_1", json!({ "rich_text": rich("Access") })),
            ),
            (
                0,
                block(
                    "bulleted_list_item",
                    json!({ "rich_text": rich("North gate") }),
                ),
            ),
            (
                1,
                block(
                    "bulleted_list_item",
                    json!({ "rich_text": rich("from 6:00") }),
                ),
            ),
            (
                0,
                block(
                    "to_do",
                    json!({ "rich_text": rich("Permit"), "checked": true }),
                ),
            ),
            (
                0,
                block("table_row", json!({ "cells": [rich("a"), rich("b")] })),
            ),
            (0, block("divider", json!({}))),
        ];
        assert_eq!(
            of(&page, &blocks),
            "Crane plan\nDue: 2025-05-04\nStatus: Approved\nTags: a, b\n\nAccess\n\n- North gate\n  - from 6:00\n\n\
             - done: Permit\n\na | b"
        );
        assert_eq!(title(&json!({})), "Untitled page");
    }
}
