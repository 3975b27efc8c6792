//! The texts are clean: no fact missing, none unused, dates of logs true, nothing twice.

use std::collections::BTreeSet;
use std::error::Error;

use sample_company::manifest::ENTRIES;
use sample_company::template;

#[test]
fn no_placeholder_is_left_over() -> Result<(), Box<dyn Error>> {
    for entry in ENTRIES {
        let filled = entry
            .filled()
            .map_err(|error| format!("{}: {error}", entry.path))?;
        assert!(!filled.contains(['{', '}']), "{} has a brace", entry.path);
    }
    Ok(())
}

#[test]
fn every_daily_log_names_the_date_of_its_file() -> Result<(), Box<dyn Error>> {
    for entry in ENTRIES
        .iter()
        .filter(|entry| entry.path.contains("/daily-logs/"))
    {
        let name = entry.path.rsplit('/').next().unwrap_or_default();
        let (iso, _) = name.split_once('.').ok_or("a log without an ending")?;
        let date = template::fill(&format!("{{w {iso}}}"))?;
        assert!(
            entry.filled()?.contains(&date),
            "{} does not say {date}",
            entry.path
        );
        assert!(!date.starts_with("Sunday"), "{} is a Sunday", entry.path);
    }
    Ok(())
}

#[test]
fn no_long_paragraph_stands_in_two_texts() -> Result<(), Box<dyn Error>> {
    let mut seen = BTreeSet::new();
    let mut texts = BTreeSet::new();
    for entry in ENTRIES.iter().filter(|entry| texts.insert(entry.text)) {
        let filled = entry.filled()?;
        for paragraph in filled
            .split("\n\n")
            .filter(|paragraph| paragraph.len() > 120)
        {
            assert!(
                seen.insert(paragraph.to_owned()),
                "{} repeats: {paragraph}",
                entry.path
            );
        }
    }
    Ok(())
}

#[test]
fn known_weekdays_come_out_right() -> Result<(), Box<dyn Error>> {
    for (iso, expect) in [
        ("2025-06-16", "Monday, June 16, 2025"),
        ("2024-02-29", "Thursday, February 29, 2024"),
        ("2026-01-01", "Thursday, January 1, 2026"),
    ] {
        assert_eq!(template::fill(&format!("{{w {iso}}}"))?, expect);
    }
    Ok(())
}
