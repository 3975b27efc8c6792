//! The files of the notebook `site-media` that programs make: pictures, a scan, sound and a film, and the
//! office files and e-mails beside them.
//!
//! poppler, ffmpeg and espeak-ng write other bytes in each of their versions, so what they made is committed
//! and made anew only on demand (`sample-company --media`). Everything spoken is synthetic.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::office::{Cell, Slide, presentation, workbook};
use crate::{Error, File, markup, pdf};

/// Paths below the examples folder, and the committed bytes.
macro_rules! committed {
    ($($name:literal),+ $(,)?) => {
        &[$((concat!("northgate/site-media/", $name), include_bytes!(concat!("../../northgate/site-media/", $name)))),+]
    };
}

const COMMITTED: &[(&str, &[u8])] = committed![
    "ceiling-tile-label.jpg",
    "cost-tracker.xlsx",
    "heater-rental-invoice.pdf",
    "lift-delivery.eml",
    "owner-call.vtt",
    "progress-meeting.pptx",
    "voice-memo.mp3",
    "weekly-walk.mp4",
];

/// The committed files of the notebook.
pub fn files() -> Vec<File> {
    COMMITTED
        .iter()
        .map(|(path, bytes)| File {
            path,
            bytes: bytes.to_vec(),
        })
        .collect()
}

/// Makes all files of the notebook anew in `dir`.
pub fn make(dir: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(dir)?;
    let work = Workshop {
        dir: dir.to_owned(),
        scratch: std::env::temp_dir().join(format!("sample-media-{}", std::process::id())),
    };
    std::fs::create_dir_all(&work.scratch)?;
    let made = work.make();
    std::fs::remove_dir_all(&work.scratch)?;
    made
}

const INVOICE: &str = "# Invoice 4471: heater rental\n\nGibbs Scaffold Rental, Harlow, Ohio, to Northgate Builders, \
    for the Riverside Clinic.\n\n| Item | Weeks | Amount |\n|---|---|---|\n| Propane heater, 150,000 BTU | 3 | $1,425.00 |\n\
    | Propane refills | 3 | $612.80 |\n| Delivery and pick-up | 1 | $140.00 |\n\nTotal due: $2,177.80\n\n\
    Pay within 30 days of December 4, 2025. Late payments carry a charge of 1.5% a month.\n";
const LABEL: &str =
    "# CEILING TILE\n\nLOT NUMBER K-2291\n\nFIRE CLASS A\n\nSTORE DRY, MAX 12 BOXES HIGH\n";
const DELIVERY: &str = "# Delivery note 88-310\n\nOne scissor lift, 26 feet, for the Riverside Clinic.\n\n\
    The driver uses the north dock on River Road and needs a 14 foot clearance. The lift weighs 5,680 pounds.\n";
const SCENES: [&str; 3] = [
    "# LEVEL 1\n\nCORRIDOR FLOOR\n\nPROTECTED UNTIL MARCH 20\n",
    "# ROOM 112\n\nSHUT-OFF VALVE\n\nBEHIND PANEL B-7\n",
    "# ROOF HATCH\n\nKEY AT FRONT DESK\n\nTAG NUMBER 31\n",
];
const SLIDES: &[Slide] = &[
    Slide {
        title: "Progress meeting, week 34",
        points: &[
            "Drywall in phase 2 is 80% hung",
            "Two electricians join on Monday",
        ],
        notes: "",
    },
    Slide {
        title: "Crane and road closure",
        points: &[
            "The crane leaves the site on December 12",
            "River Road is closed from 6 a.m. to 10 a.m. that day",
        ],
        notes: "Luis has the closure permit, number RC-1187, in the site trailer.",
    },
    Slide {
        title: "Inspections ahead",
        points: &[
            "Above-ceiling inspection on December 16",
            "Final fire alarm test on January 8",
        ],
        notes: "",
    },
];
const CALL: &str = "WEBVTT\n\n00:00:02.000 --> 00:00:06.500\n<v Anita Desrosiers>Can we keep the waiting room open during the carpet work?\n\n\
    00:00:07.000 --> 00:00:13.000\n<v Dev Rao>Yes. We lay the waiting room carpet on Saturday, December 20, when the clinic is closed.\n\n\
    00:00:14.000 --> 00:00:19.000\n<v Anita Desrosiers>Good. The alarm code for that Saturday comes from Noreen Talbot.\n\n\
    00:00:19.500 --> 00:00:23.000\n<v Dev Rao>Then Grace picks up the code on Friday afternoon.\n";
const MEMO: &str = "The concrete pour for the east foundation is scheduled for Friday morning. \
    Please order forty two cubic yards from the ready mix plant.";
const WALK: &str =
    "This is the weekly walk. The floor is protected. The water valve is behind the panel.";

fn tracker() -> Vec<Vec<Cell>> {
    use Cell::{Day, Dollars, Text};
    vec![
        vec![
            Text("Cost code"),
            Text("Description"),
            Text("Vendor"),
            Text("Committed"),
            Text("Due"),
        ],
        vec![
            Text("01-510"),
            Text("Temporary heating"),
            Text("Gibbs Scaffold Rental"),
            Dollars(1_864_000),
            Day(46_006),
        ],
        vec![
            Text("07-840"),
            Text("Firestopping"),
            Text("Steadfast Fire Protection"),
            Dollars(987_550),
            Day(46_013),
        ],
        vec![
            Text("09-510"),
            Text("Acoustic ceilings"),
            Text("Fairmont Drywall & Plaster"),
            Dollars(4_123_000),
            Day(46_034),
        ],
        vec![
            Text("26-510"),
            Text("Lighting fixtures"),
            Text("Kestrel Electric"),
            Dollars(6_311_825),
            Day(46_041),
        ],
    ]
}

struct Workshop {
    dir: PathBuf,
    scratch: PathBuf,
}

impl Workshop {
    fn make(&self) -> Result<(), Error> {
        let rows = tracker();
        let rows: Vec<&[Cell]> = rows.iter().map(Vec::as_slice).collect();
        self.save(
            "cost-tracker.xlsx",
            &workbook("Cost tracker", "Commitments", &rows)?,
        )?;
        self.save(
            "progress-meeting.pptx",
            &presentation("Progress meeting, week 34", SLIDES)?,
        )?;
        self.save("owner-call.vtt", CALL.as_bytes())?;
        self.save("lift-delivery.eml", email(&self.page(DELIVERY)?).as_bytes())?;
        self.scan()?;
        self.photo()?;
        self.memo()?;
        self.film()
    }

    fn save(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        Ok(std::fs::write(self.dir.join(name), bytes)?)
    }

    fn page(&self, text: &str) -> Result<Vec<u8>, Error> {
        pdf::render(&markup::parse(text), "")
    }

    /// A page as pixels, drawn at so many dots per inch.
    fn drawn(&self, text: &str, dots: &str) -> Result<PathBuf, Error> {
        let page = self.scratch.join("page.pdf");
        std::fs::write(&page, self.page(text)?)?;
        let drawn = self.scratch.join("page");
        run(Command::new("pdftoppm")
            .args(["-r", dots, "-gray", "-png", "-singlefile"])
            .args([&page, &drawn]))?;
        Ok(drawn.with_extension("png"))
    }

    /// A page that was on a scanner's glass: a little askew, a little grainy, no text behind it.
    fn scan(&self) -> Result<(), Error> {
        let drawn = self.drawn(INVOICE, "200")?;
        let scanned = self.scratch.join("scan.jpg");
        run(ffmpeg()
            .arg("-i")
            .arg(drawn)
            .args([
                "-vf",
                "format=yuv444p,rotate=0.004:fillcolor=white,noise=alls=6:all_seed=7",
                "-pix_fmt",
                "gray",
            ])
            .args(["-q:v", "12"])
            .arg(&scanned))?;
        self.save(
            "heater-rental-invoice.pdf",
            &picture_page(&std::fs::read(scanned)?, 1700, 2200),
        )
    }

    fn photo(&self) -> Result<(), Error> {
        let drawn = self.drawn(LABEL, "110")?;
        let photo = self.scratch.join("photo.jpg");
        // The upper half of the page, on a brown table, in warm light.
        run(ffmpeg()
            .arg("-i")
            .arg(drawn)
            .args(["-vf", "crop=in_w:in_h*0.4:0:0,format=yuvj420p,rotate=0.02:fillcolor=0x8a6a4a,noise=alls=8:all_seed=3"])
            .args(["-q:v", "8"])
            .arg(&photo))?;
        self.save("ceiling-tile-label.jpg", &with_exif(&std::fs::read(photo)?))
    }

    fn spoken(&self, text: &str) -> Result<PathBuf, Error> {
        let spoken = self.scratch.join("spoken.wav");
        run(Command::new("espeak-ng")
            .args(["-v", "en-us", "-s", "140", "-w"])
            .arg(&spoken)
            .arg(text))?;
        Ok(spoken)
    }

    fn memo(&self) -> Result<(), Error> {
        run(ffmpeg()
            .arg("-i")
            .arg(self.spoken(MEMO)?)
            .args(["-ac", "1", "-b:a", "40k"])
            .arg(self.dir.join("voice-memo.mp3")))
    }

    fn film(&self) -> Result<(), Error> {
        let list = self.scratch.join("scenes.txt");
        let mut scenes = String::new();
        for (number, text) in (0..).zip(SCENES) {
            let scene = self.scratch.join(format!("scene{number}.png"));
            run(ffmpeg()
                .arg("-i")
                .arg(self.drawn(text, "80")?)
                .args(["-vf", "crop=640:360:0:0"])
                .arg(&scene))?;
            scenes += &format!("file '{}'\nduration 4\n", scene.display());
        }
        // The reader of such lists ends with the beginning of the last picture, so that one is named twice.
        scenes += &format!("file '{}'\n", self.scratch.join("scene2.png").display());
        std::fs::write(&list, scenes)?;
        run(ffmpeg()
            .args(["-f", "concat", "-safe", "0", "-i"])
            .arg(&list)
            .arg("-i")
            .arg(self.spoken(WALK)?)
            .args([
                "-vf",
                "fps=5,format=yuv420p",
                "-c:v",
                "libx264",
                "-crf",
                "30",
                "-g",
                "20",
            ])
            .args([
                "-c:a",
                "aac",
                "-b:a",
                "48k",
                "-t",
                "12",
                "-movflags",
                "+faststart",
            ])
            .args(["-metadata", "creation_time=2025-12-03T15:20:00Z"])
            .arg(self.dir.join("weekly-walk.mp4")))
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y", "-bitexact"]);
    command
}

fn run(command: &mut Command) -> Result<(), Error> {
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    let name = command.get_program().to_string_lossy().into_owned();
    Err(std::io::Error::other(format!("{name} failed: {status}")).into())
}

/// A PDF of one page that shows one grey JPEG.
fn picture_page(jpeg: &[u8], width: u32, height: u32) -> Vec<u8> {
    let draw = "612 0 0 792 0 0 cm /P Do";
    let objects: [Vec<u8>; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /XObject << /P 5 0 R >> >> >>".to_vec(),
        format!("<< /Length {} >>\nstream\n{draw}\nendstream", draw.len()).into_bytes(),
        [
            format!(
                "<< /Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB \
                 /BitsPerComponent 8 /Filter /DCTDecode /Length {} >>\nstream\n",
                jpeg.len()
            )
            .as_bytes(),
            jpeg,
            b"\nendstream",
        ]
        .concat(),
    ];
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut places = String::new();
    for (number, object) in (1..).zip(&objects) {
        places += &format!("{:010} 00000 n \n", file.len());
        file.extend(format!("{number} 0 obj\n").bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    file.extend(
        format!(
            "xref\n0 6\n0000000000 65535 f \n{places}trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
        )
        .bytes(),
    );
    file
}

/// The JPEG with a note of when and where it was taken: EXIF 2.3, little-endian.
fn with_exif(jpeg: &[u8]) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        let mut bytes = Vec::new();
        bytes.extend(tag.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        bytes
    };
    let directory = |entries: &[Vec<u8>]| {
        let mut bytes = (entries.len() as u16).to_le_bytes().to_vec();
        bytes.extend(entries.concat());
        bytes.extend([0; 4]);
        bytes
    };
    let letter = |text: &str| u32::from(text.as_bytes()[0]);
    // 8: first directory, 38: EXIF, 56: GPS, 110: the time, 130: two angles of three fractions.
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend(directory(&[
        entry(0x8769, 4, 1, 38),
        entry(0x8825, 4, 1, 56),
    ]));
    tiff.extend(directory(&[entry(0x9003, 2, 20, 110)]));
    tiff.extend(directory(&[
        entry(1, 2, 2, letter("N")),
        entry(2, 5, 3, 130),
        entry(3, 2, 2, letter("W")),
        entry(4, 5, 3, 154),
    ]));
    tiff.extend(b"2025:12:02 09:41:00\0");
    for (number, parts) in [(41_u32, 1_u32), (3, 1), (50, 1), (81, 1), (31, 1), (12, 1)] {
        tiff.extend(number.to_le_bytes());
        tiff.extend(parts.to_le_bytes());
    }
    let length = u16::try_from(tiff.len() + 8).unwrap_or(u16::MAX);
    let (start, rest) = jpeg.split_at(2);
    [
        start,
        b"\xFF\xE1",
        &length.to_be_bytes(),
        b"Exif\0\0",
        &tiff,
        rest,
    ]
    .concat()
}

fn email(attachment: &[u8]) -> String {
    format!(
        "From: Tom Brannigan <tom@northgate.example>\r\nTo: Grace Nwosu <grace@northgate.example>\r\n\
         Subject: Scissor lift comes a day late\r\nDate: Wed, 3 Dec 2025 08:12:00 -0500\r\n\
         Message-ID: <lift-88-310@northgate.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"=lift\"\r\n\r\n--=lift\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\nGrace,\r\n\r\nthe scissor lift comes on Friday, December 5, \
         instead of Thursday. The delivery note is attached.\r\n\r\nTom\r\n--=lift\r\n\
         Content-Type: application/pdf; name=\"delivery-note.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"delivery-note.pdf\"\r\n\r\n{}\r\n--=lift--\r\n",
        base64(attachment)
    )
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (at, group) in bytes.chunks(3).enumerate() {
        if at > 0 && at.is_multiple_of(19) {
            text += "\r\n";
        }
        let mut bits = [0; 3];
        bits[..group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(char::from(if place > group.len() { b'=' } else { letter }));
        }
    }
    text
}
