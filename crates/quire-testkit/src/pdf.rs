//! PDFs of plain lines, written here so that what stands on each page is known to the letter.

/// A PDF with the given lines on each page; an empty line is a gap between paragraphs, and a tab leads to the
/// next of three columns. `trailer` is added to the dictionary at the end, where encryption is declared.
pub fn pdf<Page: AsRef<[Line]>, Line: AsRef<str>>(pages: &[Page], trailer: &str) -> Vec<u8> {
    let kids: String = (0..pages.len())
        .map(|page| format!("{} 0 R ", 4 + page * 2))
        .collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    for (page, lines) in pages.iter().enumerate() {
        let content = content(lines.as_ref());
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R \
             /Resources << /Font << /F1 3 0 R >> >> >>",
            5 + page * 2
        ));
        objects.push(format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    let size = objects.len() + 1;
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for (number, object) in (1..).zip(&objects) {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{number} 0 obj\n{object}\nendobj\n");
    }
    let start = file.len();
    file += &table;
    file +=
        &format!("trailer\n<< /Size {size} /Root 1 0 R {trailer} >>\nstartxref\n{start}\n%%EOF\n");
    file.into_bytes()
}

/// The drawing of one page: 14 points a line, 160 a column.
fn content<Line: AsRef<str>>(lines: &[Line]) -> String {
    let mut content = "BT /F1 11 Tf 72 740 Td\n".to_owned();
    for line in lines {
        let escaped = line
            .as_ref()
            .replace('\\', "\\\\")
            .replace('(', "\\(")
            .replace(')', "\\)");
        for (column, cell) in escaped.split('\t').enumerate() {
            let step = if column == 0 { 0 } else { 160 };
            content += &format!("{step} 0 Td ({cell}) Tj ");
        }
        let back = escaped.matches('\t').count() * 160;
        content += &format!("-{back} -14 Td\n");
    }
    content + "ET"
}
