//! The Cranfield collection: 1,400 abstracts, 225 questions, judged by people.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::judged::{Document, Judged, Question};
use crate::failure::Failure;

/// The collection as its files have it.
pub(super) fn read(data: &Path) -> Result<Judged, Failure> {
    let read = |name: &str| {
        let path = data.join("cranfield").join(name);
        fs::read_to_string(&path).map_err(|error| {
            Failure::Missing(format!(
                "{}: {error}; the Cranfield 1400 collection (cran.all.1400, cran.qry, cranqrel) is on \
                 http://ir.dcs.gla.ac.uk/resources/test_collections/cran/: unpack it into the folder \
                 cranfield of the data folder, or name another data folder with --data",
                path.display()
            ))
        })
    };
    let documents = records(&read("cran.all.1400")?);
    let questions = records(&read("cran.qry")?);
    let mut relevant = judgements(&read("cranqrel")?);
    Ok(Judged {
        name: "cranfield".to_owned(),
        documents: documents
            .into_iter()
            .map(|(id, mut fields)| {
                let mut field = |mark| fields.remove(mark).unwrap_or_default();
                Document {
                    id,
                    name: format!("{id}.txt"),
                    text: format!("{}\n\n{}", field(".T"), field(".W")),
                }
            })
            .collect(),
        // The judgements number the questions by their order in the file, from 1.
        questions: (1..)
            .zip(questions)
            .filter_map(|(number, (_, mut fields))| {
                Some(Question {
                    kind: "judged",
                    text: fields.remove(".W").unwrap_or_default().replace('\n', " "),
                    grades: relevant.remove(&number)?,
                })
            })
            .collect(),
    })
}

/// Records of a file in SMART's format: a number, then sections in a fixed order, so that a line that
/// only looks like a mark stays text.
fn records(text: &str) -> Vec<(u32, HashMap<&'static str, String>)> {
    const MARKS: [&str; 4] = [".T", ".A", ".B", ".W"];
    let mut records: Vec<(u32, HashMap<&'static str, String>)> = Vec::new();
    let mut section = None;
    for line in text.lines() {
        if let Some(id) = line.strip_prefix(".I ") {
            records.push((id.trim().parse().unwrap_or(0), HashMap::new()));
            section = None;
            continue;
        }
        let mark = MARKS.iter().position(|mark| line.trim_end() == *mark);
        if mark.is_some() && mark > section {
            section = mark;
            continue;
        }
        if let (Some((_, fields)), Some(section)) = (records.last_mut(), section) {
            let field = fields.entry(MARKS[section]).or_default();
            if !field.is_empty() {
                field.push('\n');
            }
            field.push_str(line);
        }
    }
    records
}

/// Codes 1 to 4 are degrees of relevance, which all count the same here. What else there is means "not relevant".
fn judgements(text: &str) -> HashMap<u32, HashMap<u32, u8>> {
    let mut relevant: HashMap<u32, HashMap<u32, u8>> = HashMap::new();
    for line in text.lines() {
        let mut numbers = line.split_whitespace().map(str::parse::<i32>);
        if let (Some(Ok(question)), Some(Ok(document)), Some(Ok(1..=4))) =
            (numbers.next(), numbers.next(), numbers.next())
        {
            let documents = relevant.entry(question.unsigned_abs()).or_default();
            documents.insert(document.unsigned_abs(), 1);
        }
    }
    relevant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_looks_like_a_mark_stays_text() {
        let text =
            ".I 7\n.T\na title\n.A\nsomebody\n.B\n.W\nfirst\n.T\nlast\n.I 8\n.T\n.A\n.B\n.W\n";
        let found = records(text);
        assert_eq!(found.len(), 2);
        let (id, fields) = &found[0];
        assert_eq!(
            (*id, fields[".T"].as_str(), fields[".W"].as_str()),
            (7, "a title", "first\n.T\nlast")
        );
        assert!(!found[1].1.contains_key(".W"));
    }

    #[test]
    fn only_degrees_one_to_four_are_relevant() {
        let relevant = judgements("1 184 2\n1 29 5\n1 30 -1 \n2 12 4\n");
        assert_eq!(relevant[&1], HashMap::from([(184, 1)]));
        assert_eq!(relevant[&2], HashMap::from([(12, 1)]));
    }
}
