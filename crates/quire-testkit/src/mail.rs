//! E-mails with files, written here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// A letter with files, each a name and its bytes.
pub fn letter(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut letter = "From: Ann <ann@example.com>\r\nTo: site@example.com\r\nSubject: Walk\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=part\r\n\r\n\
        --part\r\nContent-Type: text/plain\r\n\r\nSee the files.\r\n"
        .to_owned();
    for (name, bytes) in files {
        let content = BASE64.encode(bytes);
        letter += &format!(
            "--part\r\nContent-Type: application/octet-stream; name=\"{name}\"\r\n\
             Content-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment; filename=\"{name}\"\r\n\r\n{content}\r\n"
        );
    }
    (letter + "--part--\r\n").into_bytes()
}
