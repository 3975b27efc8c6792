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
    file(&objects, trailer)
}

/// A picture in greys, one byte each.
pub struct Picture {
    /// Pixels from left to right.
    pub width: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// All of them, row by row.
    pub greys: Vec<u8>,
}

/// One page with the given lines, and below them a picture 400 points wide.
pub fn pdf_with_picture(lines: &[&str], picture: &Picture) -> Vec<u8> {
    let (width, height) = (picture.width, picture.height);
    let drawn = format!("q 400 0 0 {} 72 60 cm /Im1 Do Q", 400 * height / width);
    let content = format!("{}\n{drawn}", content(lines));
    let pixels: String = (picture.greys.iter())
        .map(|grey| format!("{grey:02x}"))
        .collect();
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R \
         /Resources << /Font << /F1 3 0 R >> /XObject << /Im1 6 0 R >> >> >>"
            .to_owned(),
        format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ),
        format!(
            "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceGray \
             /BitsPerComponent 8 /Filter /ASCIIHexDecode /Length {} >>\nstream\n{pixels}>\nendstream",
            pixels.len() + 1
        ),
    ];
    file(&objects, "")
}

fn file(objects: &[String], trailer: &str) -> Vec<u8> {
    let size = objects.len() + 1;
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for (number, object) in (1..).zip(objects) {
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
