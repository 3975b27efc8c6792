//! Headers of more than one row: names of groups with names of columns below them, and units below names.
//!
//! Knows texts only; whether something is a value is for whoever has the cells to say.

use std::collections::BTreeSet;

/// What a cell says that is there to say nothing; a row of such is no header.
const NOTHING: [&str; 9] = ["n/a", "na", "-", "–", "—", "none", "nil", "tbd", "?"];
/// What stands before a row of units.
const UNIT: [&str; 5] = ["unit", "units", "uom", "einheit", "einheiten"];

/// Whether the row below a header goes on with it: nothing in it is a value, and it says more only of columns of values,
/// or of those that the header says nothing of. `has_values` says of a column whether mostly values stand below.
pub(super) fn goes_on(
    header: &[String],
    row: &[String],
    has_values: impl Fn(usize) -> bool,
) -> bool {
    let has_groups = has_groups(header, row);
    let cells = || filled(row).map(|column| (column, row[column].trim()));
    let fits = |(column, cell): (usize, &str)| {
        let above = above(header, column);
        let word = cell.to_lowercase();
        let word = word.trim_matches([':', '(', ')', '[', ']']);
        has_values(column)
            || above == cell
            || (above.is_empty() && has_groups)
            || UNIT.contains(&word)
    };
    let says_nothing = |(_, cell): (usize, &str)| NOTHING.contains(&cell.to_lowercase().as_str());
    cells().any(|(column, cell)| has_values(column) && above(header, column) != cell)
        && cells().all(fits)
        && !cells().any(says_nothing)
}

/// Both rows as one: `Price (EUR/m²)`, `Cost (Plan)`.
pub(super) fn joined(header: &[String], row: &[String]) -> Vec<String> {
    let has_groups = has_groups(header, row);
    let mut group = String::new();
    let columns = 0..header.len().max(row.len());
    let names = columns.map(|column| {
        let (top, name) = (above(header, column), above(row, column));
        if !top.is_empty() {
            top.clone_into(&mut group);
        }
        // A group reaches over the columns to its right.
        let top = if has_groups && !name.is_empty() {
            &group
        } else {
            top
        };
        match (top, name) {
            (top, "") => top.to_owned(),
            ("", name) => name.to_owned(),
            (top, name) if top == name => top.to_owned(),
            (top, name) if name.starts_with(['(', '[']) => format!("{top} {name}"),
            (top, name) => format!("{top} ({name})"),
        }
    });
    names.collect()
}

/// Whether a row that is marked as a header names columns, and not what stands below all of them.
pub(super) fn names_columns(row: &[String]) -> bool {
    filled(row)
        .map(|column| row[column].as_str())
        .collect::<BTreeSet<_>>()
        .len()
        > 1
}

/// Whether the header names groups: it is empty above several names, or above one that is not the first.
fn has_groups(header: &[String], row: &[String]) -> bool {
    let bare: Vec<usize> = filled(row)
        .filter(|column| above(header, *column).is_empty())
        .collect();
    bare.len() > 1 || bare.iter().any(|column| *column > 0)
}

fn filled(row: &[String]) -> impl Iterator<Item = usize> {
    (0..row.len()).filter(|column| !row[*column].trim().is_empty())
}

fn above(row: &[String], column: usize) -> &str {
    row.get(column).map_or("", |cell| cell.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    /// The columns after the first one hold values.
    fn both(header: &[&str], second: &[&str]) -> Option<Vec<String>> {
        let (header, second) = (row(header), row(second));
        goes_on(&header, &second, |column| column > 0).then(|| joined(&header, &second))
    }

    #[test]
    fn units_and_names_below_groups_belong_to_the_header_and_data_does_not() {
        let units = Some(row(&["Item", "Price (EUR/m²)", "Weight [kg]"]));
        assert_eq!(
            both(&["Item", "Price", "Weight"], &["", "EUR/m²", "[kg]"]),
            units
        );
        let named = both(&["Item", "Price"], &["Unit:", "EUR"]);
        assert_eq!(named, Some(row(&["Item (Unit:)", "Price (EUR)"])));
        let groups = Some(row(&[
            "Item",
            "Cost (Plan)",
            "Cost (Actual)",
            "Days (Plan)",
            "Days (Actual)",
        ]));
        let second = ["Item", "Plan", "Actual", "Plan", "Actual"];
        assert_eq!(both(&["", "Cost", "", "Days", ""], &second), groups);
        assert_eq!(
            both(&["Item", "Cost", "Cost", "Days", "Days"], &second),
            groups
        );
        for (header, data) in [
            (["Item", "Price", "Weight"], ["Slab", "open", "5"]),
            (["Item", "Price", "Weight"], ["", "n/a", "-"]),
            (["", "Q1", "Q2"], ["Steel", "free", "free"]),
            (["Item", "Price", "Weight"], ["", "", ""]),
        ] {
            assert_eq!(both(&header, &data), None, "{data:?}");
        }
    }
}
