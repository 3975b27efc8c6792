//! Laid-out pages and what is found in them.

use super::find;

/// The rows of every table, cells parted by `|`. The reading order is that of the rows.
fn rows(laid_out: &str) -> Vec<String> {
    let lines: Vec<&str> = laid_out
        .lines()
        .flat_map(|line| line.split("   "))
        .map(str::trim)
        .collect();
    rows_beside(laid_out, &lines)
}

fn rows_beside(laid_out: &str, lines: &[&str]) -> Vec<String> {
    let found = find(laid_out, lines);
    let rows = found.iter().flat_map(|table| &table.rows);
    rows.map(|row| row.join("|")).collect()
}

#[test]
fn tables_are_found() {
    for (laid_out, expected) in [
        (
            "Text above that is not part of it.\n\n Item      Price\n Door      12\n Window    9\n\nText below.",
            vec!["Item|Price", "Door|12", "Window|9"],
        ),
        // A header that fills its columns, and one of several words above a column.
        (
            "Decision      Foreman Sheets seen    Why\nOrder         yes     12             cheap\nDismiss       no      40             never\nPress         no      7              never",
            vec![
                "Decision|Foreman|Sheets seen|Why",
                "Order|yes|12|cheap",
                "Dismiss|no|40|never",
                "Press|no|7|never",
            ],
        ),
        // Cells that are missing, and a heading between rows.
        (
            "Day    Open    Shut\nMon    8\nNorth\nTue            17\nWed    9       18",
            vec!["Day|Open|Shut", "Mon|8|", "North||", "Tue||17", "Wed|9|18"],
        ),
    ] {
        assert_eq!(rows(laid_out), expected, "{laid_out}");
    }
}

#[test]
fn wrapped_cells_become_whole_where_the_text_has_them_whole() {
    let laid_out = "Who               Rule               Why\n\
                    Everybody on      Helmet and         Falling\n\
                    the site          boots              tools\n\
                    Visitors          A guide            Getting\n\
                    \x20                                    lost";
    let whole = "Who,Rule,Why,,Everybody on,the site,,Helmet and,boots,,Falling,tools,,Visitors,,A guide,,Getting,lost";
    let lines: Vec<&str> = whole.split(',').collect();
    assert_eq!(
        rows_beside(laid_out, &lines),
        [
            "Who|Rule|Why",
            "Everybody on the site|Helmet and boots|Falling tools",
            "Visitors|A guide|Getting lost"
        ]
    );
    let torn = "Who,Rule,Why,Everybody on,Helmet and,Falling,the site,boots,tools,Visitors,A guide,Getting,lost";
    let lines: Vec<&str> = torn.split(',').collect();
    assert!(rows_beside(laid_out, &lines).is_empty());
}

#[test]
fn what_is_no_table_is_left_alone() {
    for laid_out in [
        "Harbor Fit-Out                      Invoice 7",
        "Dear Sir,      we thank you\nfor your letter of yesterday, which we have read with care.",
        "1.    The buyer pays.\n2.    The seller delivers.\n3.    Nobody complains.",
        "•     Red\n•     Green\n•     Blue",
        "2.1   The buyer pays.\n2.2   The seller delivers.\n2.3   Nobody complains.",
    ] {
        assert!(rows(laid_out).is_empty(), "{laid_out}");
    }
}

#[test]
fn columns_of_running_text_are_read_downwards() {
    let left = [
        "Columns of text are as wide as",
        "this, go on from line to line,",
        "and end where they end. Then",
    ];
    let right = [
        "the next one starts at the top,",
        "and the reading order shows it",
        "because it goes down and up.",
    ];
    let laid_out: Vec<String> = left
        .iter()
        .zip(right)
        .map(|(a, b)| format!("{a:34}{b}"))
        .collect();
    let lines: Vec<&str> = left.into_iter().chain(right).collect();
    assert!(rows_beside(&laid_out.join("\n"), &lines).is_empty());
}

#[test]
fn a_table_counts_only_where_the_text_says_the_same() {
    let laid_out = "Item      Price\nDoor      12\nWindow    9";
    let lines = [
        "Above", "Item", "Price", "", "Door", "12", "", "Window", "9", "Below",
    ];
    assert_eq!(find(laid_out, &lines)[0].lines, (1..9).collect::<Vec<_>>());
    // poppler may read down the columns and go on with what stands below the first one.
    let lines = [
        "Item",
        "Door",
        "Window",
        "Text below",
        "",
        "Price",
        "12",
        "9",
    ];
    assert_eq!(find(laid_out, &lines)[0].lines, [0, 1, 2, 5, 6, 7]);
    for lines in [
        ["Item", "Price", "Door", "13", "Window", "9"],
        ["Item", "Price", "Door", "12", "Window", ""],
        ["Item", "Price", "Door", "12", "Window", "90"],
    ] {
        assert!(find(laid_out, &lines).is_empty(), "{lines:?}");
    }
}
