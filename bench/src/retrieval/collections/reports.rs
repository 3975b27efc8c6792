//! Long reports with headings and tables, and long questions in natural language.
//!
//! What makes it hard: a report is some twenty paragraphs of which three hold its findings; the rest is what
//! all reports of its kind say, with the words that questions use. The same finding is made at many places and
//! in several years, with other figures; every report also names other places. Questions describe the
//! finding in words of their own inside a story that adds more words; some ask for a figure of a table.
//! Only the report of the right place (and year) answers.

use std::collections::HashMap;

use super::{Dice, Draft, fill, rows};

const FINDINGS: &str = include_str!("findings.txt");
const KINDS: &str = include_str!("report_kinds.txt");
const BOILERPLATE: &str = include_str!("boilerplate.txt");

const PLACES: [&str; 18] = [
    "Harwick",
    "Northfield",
    "Saint-Orens",
    "Lower Eddington",
    "Brackwater",
    "Kirkmoor",
    "Velden",
    "Tolland Cross",
    "Ashby Quay",
    "Montreval",
    "Greystone",
    "Ostermark",
    "Pellworth",
    "Rivington",
    "Calder Bridge",
    "Wexcombe",
    "Fennholm",
    "Dunmarrow",
];
const YEARS: [usize; 5] = [2020, 2021, 2022, 2023, 2024];
const QUARTERS: [&str; 4] = ["first", "second", "third", "fourth"];
const OPENINGS: [&str; 8] = [
    "I am preparing for a meeting with the board on Thursday and somebody is bound to ask",
    "A colleague who has since left once told me about this, but I can no longer find where it was written down:",
    "Could you look through what we have on file and tell me",
    "For the reply to a letter from the council I need to know",
    "My predecessor's notes are not clear on this point, so please check",
    "Before we sign the contract for the coming period we would like to understand",
    "In the discussion yesterday nobody was able to say",
    "We were asked by the auditors to explain",
];
const ENDINGS: [&str; 6] = [
    "; please name the report so that I can quote it.",
    ", and is there a figure for it?",
    ".",
    "? A short answer is enough.",
    ", since two people remember it differently.",
    "?",
];

struct Finding {
    kind: &'static str,
    written: [&'static str; 2],
    asked: [&'static str; 2],
}

struct Report {
    id: u32,
    kind: usize,
    place: &'static str,
    year: usize,
    findings: Vec<usize>,
}

pub(super) fn make(dice: &mut Dice) -> Draft {
    let mut draft = Draft::new("md");
    let finding = |[kind, one, two, asked, other]: [&'static str; 5]| Finding {
        kind,
        written: [one, two],
        asked: [asked, other],
    };
    let findings: Vec<Finding> = rows(FINDINGS).map(finding).collect();
    let kinds: Vec<[&str; 6]> = rows(KINDS).collect();
    let reports = write(dice, &mut draft, &kinds, &findings);
    ask(dice, &mut draft, &kinds, &findings, &reports);
    draft
}

fn write(
    dice: &mut Dice,
    draft: &mut Draft,
    kinds: &[[&str; 6]],
    findings: &[Finding],
) -> Vec<Report> {
    let mut subjects = Vec::new();
    for kind in 0..kinds.len() {
        for place in PLACES {
            for year in YEARS {
                subjects.push((kind, place, year));
            }
        }
    }
    let subjects: Vec<(usize, &str, usize)> =
        dice.sample(&subjects, 400).into_iter().copied().collect();
    let mut reports = Vec::new();
    for (kind, place, year) in subjects {
        let own: Vec<usize> = (0..findings.len())
            .filter(|at| findings[*at].kind == kinds[kind][0])
            .collect();
        let found: Vec<usize> = dice.sample(&own, 3).into_iter().copied().collect();
        let text = report(
            dice,
            &kinds[kind],
            place,
            year,
            found.iter().map(|at| &findings[*at]),
        );
        reports.push(Report {
            id: draft.write(text),
            kind,
            place,
            year,
            findings: found,
        });
    }
    reports
}

fn report<'a>(
    dice: &mut Dice,
    [kind, title, about, value, unit, _]: &[&str; 6],
    place: &str,
    year: usize,
    findings: impl Iterator<Item = &'a Finding>,
) -> String {
    let usual: Vec<[&str; 2]> = rows(BOILERPLATE)
        .filter(|[of, _]| of == kind || *of == "any")
        .collect();
    let mut usual = dice.sample(&usual, 12).into_iter().map(|[_, text]| *text);
    let mut few = |count| usual.by_ref().take(count).collect::<Vec<_>>().join(" ");
    let others: Vec<&str> = PLACES.into_iter().filter(|other| *other != place).collect();
    let others: Vec<&str> = dice.sample(&others, 3).into_iter().copied().collect();

    let mut text = format!(
        "# {title}, {place} {year}\n\n## Purpose and method\n\nThis report covers {about} at {place}. {}\n\n{}\n\n## Results\n\n",
        few(3),
        few(2)
    );
    for (number, finding) in (1..).zip(findings) {
        let figure = dice.between(3, 48).to_string();
        let written = *dice.pick::<&str>(&finding.written);
        let sentence = fill(written, &[("n", &figure)]);
        text += &format!(
            "{} {sentence} {} {} {number}.\n\n",
            dice.pick(&[
                "The review found the following.",
                "A point that needs attention:",
                "Compared with the previous year there is a change.",
                "This was not expected."
            ]),
            few(1),
            dice.pick(&[
                "Action is proposed under point",
                "See also the list of measures, point",
                "The management agreed with observation",
                "Costs are estimated under point"
            ])
        );
    }
    text += &format!(
        "## Figures\n\n| {value} | {place} | {} | {} |\n|---|---|---|---|\n",
        others[0], others[1]
    );
    for quarter in QUARTERS {
        text += &format!(
            "| {quarter} quarter {year}, {unit} | {} | {} | {} |\n",
            dice.between(200, 9_900),
            dice.between(200, 9_900),
            dice.between(200, 9_900)
        );
    }
    text += &format!(
        "\n{} In {} and {} the same questions were looked at; their results are published separately.\n\n## Outlook\n\n{}\n",
        few(1),
        others[1],
        others[2],
        few(3)
    );
    text
}

fn ask(
    dice: &mut Dice,
    draft: &mut Draft,
    kinds: &[[&str; 6]],
    findings: &[Finding],
    reports: &[Report],
) {
    for _ in 0..110 {
        let report = dice.pick(reports);
        let finding = *dice.pick(&report.findings);
        let with_year = dice.percent(35);
        let asked = *dice.pick::<&str>(&findings[finding].asked);
        let asked = fill(asked, &[("p", report.place)]);
        let when = if with_year {
            format!(" in {}", report.year)
        } else {
            String::new()
        };
        let text = format!(
            "{} {asked}{when}{}",
            dice.pick(&OPENINGS),
            dice.pick(&ENDINGS)
        );
        let mut grades = HashMap::new();
        for other in reports.iter().filter(|other| other.place == report.place) {
            // Without a year, every year in which it was found answers; the wrong year is near.
            let is_found = other.findings.contains(&finding);
            match (is_found, !with_year || other.year == report.year) {
                (true, true) => drop(grades.insert(other.id, 3)),
                (true, false) => drop(grades.insert(other.id, 1)),
                _ => {}
            }
        }
        draft.ask("finding", text, grades);
    }
    for _ in 0..40 {
        let report = dice.pick(reports);
        let [_, title, _, value, _, asked] = kinds[report.kind];
        let measured = if dice.percent(50) {
            asked.to_owned()
        } else {
            value.to_lowercase()
        };
        let text = format!(
            "{} what the {measured} was at {} in the {} quarter of {}{}",
            dice.pick(&OPENINGS),
            report.place,
            dice.pick(&QUARTERS),
            report.year,
            if dice.percent(30) {
                format!(" according to the {}", title.to_lowercase())
            } else {
                (*dice.pick(&ENDINGS)).to_owned()
            }
        );
        let same = |other: &&Report| other.kind == report.kind && other.place == report.place;
        let grades = reports
            .iter()
            .filter(same)
            .map(|other| (other.id, if other.year == report.year { 3 } else { 1 }));
        draft.ask("table", text, grades.collect());
    }
}
