//! Which lines of a PDF are headings. A PDF does not say; wording and position do.

const MOST_CHARS: usize = 100;
const MOST_WORDS: usize = 14;

/// What a line looks like, on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// "4.2 Payment", "Chapter 3": a heading of a level wherever a paragraph starts.
    Numbered(u8),
    /// "PAYMENT TERMS": a heading wherever a paragraph starts and text follows.
    Capitals,
    /// "Payment Terms": a heading only if it stands alone above running text.
    Perhaps,
    /// Anything else.
    Text,
}

pub(super) fn look(line: &str) -> Look {
    let line = line.trim();
    let words = line.split_whitespace().count();
    if line.chars().count() > MOST_CHARS
        || words == 0
        || words > MOST_WORDS
        || ends_a_sentence(line)
        || has_leader(line)
        || goes_on_after_a_stop(line)
    {
        return Look::Text;
    }
    if let Some(level) = numbered(line) {
        return Look::Numbered(level);
    }
    let letters = line.chars().filter(|c| c.is_alphabetic()).count();
    let odd = line
        .chars()
        .filter(|c| !c.is_alphanumeric() && !c.is_whitespace())
        .count();
    if !line.starts_with(char::is_alphanumeric)
        || letters < 4
        || odd * 4 > letters
        || line.contains(['@', '=', '|', '©'])
    {
        return Look::Text;
    }
    if line.chars().all(|c| !c.is_lowercase()) {
        return Look::Capitals;
    }
    if is_title_case(line) {
        Look::Perhaps
    } else {
        Look::Text
    }
}

fn ends_a_sentence(line: &str) -> bool {
    line.ends_with(['.', ',', ';', ':', '!', '-', '–', '…', ')']) && !line.ends_with("etc.)")
}

/// "2.1 Commencement. The date of" is the first line of a clause. The stop that belongs to the number
/// of "Article 1. The work" follows no word.
fn goes_on_after_a_stop(line: &str) -> bool {
    line.match_indices(". ").any(|(at, _)| {
        let word = line[..at].rsplit(' ').next().unwrap_or_default();
        word.chars().filter(|c| c.is_lowercase()).count() > 2
    })
}

/// Whether the line begins a numbered clause: "2.1 Commencement. The date of".
pub(super) fn is_clause(line: &str) -> bool {
    numbered(line).is_some_and(|level| level > 1)
}

/// "Naming . . . . . 3" belongs to a table of contents.
fn has_leader(line: &str) -> bool {
    line.contains(". . .") || line.contains("....")
}

/// The depth of "4.2 Payment" or "Chapter 4".
fn numbered(line: &str) -> Option<u8> {
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let titled = rest.chars().next().is_some_and(char::is_uppercase)
        && rest.chars().filter(|c| c.is_alphabetic()).count() > 2;
    let is_word = [
        "chapter", "section", "part", "appendix", "article", "annex", "schedule",
    ]
    .contains(&first.to_lowercase().as_str());
    if is_word
        && first.starts_with(char::is_uppercase)
        && rest.starts_with(|c: char| c.is_ascii_digit() || c.is_uppercase())
    {
        return Some(1);
    }
    let number = first.trim_end_matches(['.', ')']);
    let parts: Vec<&str> = number.split('.').collect();
    let is_number =
        |part: &&str| (1..=2).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
    let is_letter = |part: &&str| part.len() == 1 && part.chars().all(|c| c.is_ascii_uppercase());
    let (head, tail) = parts.split_first()?;
    // A lone letter with a dot is as often an initial: "A. Turing".
    let starts = is_number(head) || (is_letter(head) && !tail.is_empty());
    (titled && starts && tail.iter().all(is_number)).then(|| parts.len().min(6) as u8)
}

/// Most words of four letters and more begin with a capital.
fn is_title_case(line: &str) -> bool {
    let long: Vec<&str> = line
        .split_whitespace()
        .filter(|word| word.chars().count() > 3)
        .collect();
    let capital = |word: &&&str| word.chars().next().is_some_and(char::is_uppercase);
    let starts = line.chars().next().is_some_and(|c| c.is_uppercase());
    starts && !long.is_empty() && long.iter().filter(capital).count() * 4 >= long.len() * 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_told_from_text() {
        for (line, expected) in [
            ("4.2 Payment", Look::Numbered(2)),
            ("1. Introduction", Look::Numbered(1)),
            ("A.1 Data formats", Look::Numbered(2)),
            ("Chapter 3", Look::Numbered(1)),
            ("PAYMENT TERMS", Look::Capitals),
            ("Payment Terms and Conditions", Look::Perhaps),
            ("Naming . . . . . . . . 3", Look::Text),
            ("12.5 million people", Look::Text),
            ("2024 was a good year", Look::Text),
            ("The buyer pays within 30 days.", Look::Text),
            ("Article 1. The work", Look::Numbered(1)),
            ("4.2 St. Mary's wing", Look::Numbered(2)),
            ("2.1 Commencement. The date of commencement is", Look::Text),
            ("3. Fees. The tenant pays", Look::Text),
            ("PART B. Terms", Look::Numbered(1)),
            ("and so it went", Look::Text),
            ("someone@example.org", Look::Text),
            ("42", Look::Text),
            ("-- WRONG", Look::Text),
        ] {
            assert_eq!(look(line), expected, "{line}");
        }
    }
}
