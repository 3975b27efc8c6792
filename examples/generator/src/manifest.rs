//! The list of files, and how the text of each becomes bytes: the ending of the path decides.

use crate::{Error, cp1252, docx, html, markup, pdf, plain, template};

/// A file and the text it is made from.
pub struct Entry {
    /// Path below the examples folder.
    pub path: &'static str,
    /// The text with its placeholders.
    pub text: &'static str,
}

/// The one file that an old computer still saves in windows-1252.
const WINDOWS_1252: &str = "northgate/company-handbook/vehicle-policy.txt";

impl Entry {
    /// The text with all facts filled in, as markup.
    pub fn filled(&self) -> Result<String, Error> {
        template::fill(self.text)
    }

    /// The bytes of the file.
    pub fn render(&self) -> Result<Vec<u8>, Error> {
        let text = self.filled()?;
        let (_, ending) = self.path.rsplit_once('.').unwrap_or((self.path, ""));
        match ending {
            "pdf" => pdf::render(&markup::parse(&text), &self.footer()),
            "docx" => docx::render(&markup::parse(&text), self.company()),
            "html" => Ok(html::render(&markup::parse(&text)).into_bytes()),
            "txt" if self.path == WINDOWS_1252 => cp1252::encode(&plain::render(&text)),
            "txt" => Ok(plain::render(&text).into_bytes()),
            _ => Ok(text.into_bytes()),
        }
    }

    /// The line at the foot of each PDF page.
    pub fn footer(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        format!("{} — {name}", self.company())
    }

    fn company(&self) -> &'static str {
        if self.path.starts_with("harbor/") {
            "Harbor Fit-Out"
        } else {
            "Northgate Builders"
        }
    }
}

macro_rules! entries {
    ($($path:literal $(from $template:literal)?),+ $(,)?) => {
        /// Every file of both companies.
        pub const ENTRIES: &[Entry] = &[$(Entry { path: $path, text: entries!(@text $path $(, $template)?) }),+];
    };
    (@text $path:literal) => { include_str!(concat!("texts/", $path, ".in")) };
    (@text $path:literal, $template:literal) => { include_str!(concat!("texts/", $template, ".in")) };
}

entries![
    "harbor/company-handbook/policies.md",
    "harbor/company-handbook/staff.txt",
    "harbor/pier-nine-offices/change-order-1.docx",
    "harbor/pier-nine-offices/contract.pdf",
    "harbor/pier-nine-offices/invoice-02.txt",
    "harbor/pier-nine-offices/night-log-2025-06-18.md",
    "northgate/alder-court-roof/change-order-01.docx",
    "northgate/alder-court-roof/change-order-02.docx",
    "northgate/alder-court-roof/contract.pdf",
    "northgate/alder-court-roof/daily-logs/2025-08-18.txt",
    "northgate/alder-court-roof/daily-logs/2025-08-21.txt",
    "northgate/alder-court-roof/daily-logs/2025-08-28.txt",
    "northgate/alder-court-roof/daily-logs/2025-09-04.txt",
    "northgate/alder-court-roof/daily-logs/2025-09-17.txt",
    "northgate/alder-court-roof/daily-logs/2025-10-02.txt",
    "northgate/alder-court-roof/deck-inspection-building-b.pdf",
    "northgate/alder-court-roof/final-invoice.html",
    "northgate/alder-court-roof/invoice-gibbs-scaffold-g-5120.txt",
    "northgate/alder-court-roof/meeting-2025-08-12-board.md",
    "northgate/alder-court-roof/pay-application-01.txt",
    "northgate/alder-court-roof/permit.md",
    "northgate/alder-court-roof/purchase-order-2025-07-01-shingles.docx",
    "northgate/alder-court-roof/resident-notice.txt",
    "northgate/alder-court-roof/submittal-07-31-shingles.md",
    "northgate/alder-court-roof/warranty-letter.pdf",
    "northgate/company-handbook/about-northgate.md",
    "northgate/company-handbook/change-order-procedure.md",
    "northgate/company-handbook/closeout-checklist.md",
    "northgate/company-handbook/drug-and-alcohol-policy.md",
    "northgate/company-handbook/field-operations-manual.pdf",
    "northgate/company-handbook/invoicing-and-payables.md",
    "northgate/company-handbook/onboarding.html",
    "northgate/company-handbook/per-diem-and-travel-policy.docx",
    "northgate/company-handbook/safety-program.html",
    "northgate/company-handbook/staff-directory.txt",
    "northgate/company-handbook/tool-and-equipment-policy.md",
    "northgate/company-handbook/vacation-and-leave-policy.md",
    "northgate/company-handbook/vehicle-policy.txt",
    "northgate/maple-street-duplex/building-permit.txt",
    "northgate/maple-street-duplex/change-order-01.docx",
    "northgate/maple-street-duplex/change-order-02.docx",
    "northgate/maple-street-duplex/change-order-03.docx",
    "northgate/maple-street-duplex/contract.docx",
    "northgate/maple-street-duplex/daily-logs/2025-04-08.txt",
    "northgate/maple-street-duplex/daily-logs/2025-04-16.txt",
    "northgate/maple-street-duplex/daily-logs/2025-04-23.txt",
    "northgate/maple-street-duplex/daily-logs/2025-05-02.txt",
    "northgate/maple-street-duplex/daily-logs/2025-05-21.md",
    "northgate/maple-street-duplex/daily-logs/2025-06-05.md",
    "northgate/maple-street-duplex/daily-logs/2025-06-19.txt",
    "northgate/maple-street-duplex/daily-logs/2025-07-01.md",
    "northgate/maple-street-duplex/daily-logs/2025-07-22.md",
    "northgate/maple-street-duplex/daily-logs/2025-08-06.md",
    "northgate/maple-street-duplex/daily-logs/2025-11-12.md",
    "northgate/maple-street-duplex/framing-inspection.pdf",
    "northgate/maple-street-duplex/invoice-harlow-ready-mix-77310.txt",
    "northgate/maple-street-duplex/meeting-2025-03-31-preconstruction.md",
    "northgate/maple-street-duplex/meeting-2025-09-04-owner-walk.md",
    "northgate/maple-street-duplex/pay-application-03.txt",
    "northgate/maple-street-duplex/project-schedule.md",
    "northgate/maple-street-duplex/purchase-order-2025-02-03-lumber.docx",
    "northgate/maple-street-duplex/purchase-order-2025-02-06-windows.md",
    "northgate/maple-street-duplex/rfi-002-footing-on-rock.md",
    "northgate/maple-street-duplex/rfi-005-party-wall-outlets.html",
    "northgate/maple-street-duplex/rfi-006-stair-headroom.md",
    "northgate/maple-street-duplex/submittal-06-17-roof-trusses.md",
    "northgate/maple-street-duplex/warranty-letter.docx",
    "northgate/riverside-clinic/above-ceiling-inspection-phase-1.pdf",
    "northgate/riverside-clinic/building-permit.txt",
    "northgate/riverside-clinic/change-order-01.docx",
    "northgate/riverside-clinic/change-order-02.docx",
    "northgate/riverside-clinic/change-order-03.docx",
    "northgate/riverside-clinic/contract.docx",
    "northgate/riverside-clinic/contract.pdf" from "northgate/riverside-clinic/contract.docx",
    "northgate/riverside-clinic/daily-logs/2025-06-17.md",
    "northgate/riverside-clinic/daily-logs/2025-06-24.md",
    "northgate/riverside-clinic/daily-logs/2025-07-03.md",
    "northgate/riverside-clinic/daily-logs/2025-07-10.md",
    "northgate/riverside-clinic/daily-logs/2025-07-16.txt",
    "northgate/riverside-clinic/daily-logs/2025-07-30.md",
    "northgate/riverside-clinic/daily-logs/2025-08-12.md",
    "northgate/riverside-clinic/daily-logs/2025-09-11.md",
    "northgate/riverside-clinic/daily-logs/2025-09-24.md",
    "northgate/riverside-clinic/daily-logs/2025-10-08.md",
    "northgate/riverside-clinic/daily-logs/2025-10-18.md",
    "northgate/riverside-clinic/infection-control-plan.html",
    "northgate/riverside-clinic/invoice-kestrel-electric-ke-2291.html",
    "northgate/riverside-clinic/invoice-polar-air-10448.txt",
    "northgate/riverside-clinic/meeting-2025-06-10-preconstruction.md",
    "northgate/riverside-clinic/meeting-2025-08-19-owner.md",
    "northgate/riverside-clinic/meeting-2025-10-14-owner.md",
    "northgate/riverside-clinic/pay-application-02.txt",
    "northgate/riverside-clinic/pay-application-03.docx",
    "northgate/riverside-clinic/phasing-plan.md",
    "northgate/riverside-clinic/purchase-order-2025-04-07-doors.docx",
    "northgate/riverside-clinic/purchase-order-2025-04-11-casework.md",
    "northgate/riverside-clinic/rfi-007-floor-tile-room-110.md",
    "northgate/riverside-clinic/rfi-011-exam-room-sink-height.html",
    "northgate/riverside-clinic/rfi-014-lead-lining-height.md",
    "northgate/riverside-clinic/rfi-016-vaccine-refrigerators.md",
    "northgate/riverside-clinic/submittal-08-14-doors.md",
    "northgate/vendors/insurance-tracker.html",
    "northgate/vendors/master-subcontract-terms.docx",
    "northgate/vendors/prequalification-polar-air.md",
    "northgate/vendors/price-agreement-lakeland-2025.md",
    "northgate/vendors/scaffold-rental-rates.txt",
    "northgate/vendors/vendor-evaluation-2024.md",
    "northgate/vendors/vendor-list.md",
];
