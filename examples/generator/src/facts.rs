//! The one place for people, companies, dates, terms and amounts, so that every file agrees.
//!
//! Keys start with the contract they belong to: `rc` Riverside Clinic, `ms` Maple Street Duplex,
//! `ac` Alder Court Roof, `hf` the neighbour company Harbor Fit-Out. People go by their first name.

#![expect(
    clippy::inconsistent_digit_grouping,
    reason = "the last group of digits is cents"
)]

mod amounts;

pub use amounts::{BILLS, PAY_APPLICATIONS};

use crate::money::Money;

const RIVERSIDE_SUM: Money = Money(1_248_000_00);
const MAPLE_SUM: Money = Money(684_500_00);
const ALDER_SUM: Money = Money(212_400_00);

const WORDS: &[(&str, &str)] = &[
    // Northgate's people.
    ("marian", "Marian Holt"),
    ("paula", "Paula Whitcomb"),
    ("dev", "Dev Rao"),
    ("luis", "Luis Ortega"),
    ("grace", "Grace Nwosu"),
    ("tom", "Tom Brannigan"),
    ("irene", "Irene Castell"),
    ("beth", "Beth Sandoval"),
    ("ken", "Ken Abernathy"),
    ("wade", "Wade Mercer"),
    ("zoe", "Zoë Krüger"),
    ("oscar", "Óscar Peña"),
    ("siobhan", "Siobhán Brady"),
    // The firm and its rules.
    ("office.address", "418 Foundry Lane, Harlow, Ohio"),
    ("office.phone", "(330) 555-0140"),
    ("safety.phone", "(330) 555-0147"),
    ("license", "GC-20417"),
    ("perdiem", "$68"),
    ("mileage", "$0.67"),
    ("tool.allowance", "$350"),
    ("lost.tool", "24 hours"),
    ("vacation.carry", "5 days"),
    ("co.limit", "$2,500"),
    ("po.limit", "$1,000"),
    // Companies that work for Northgate.
    ("kestrel", "Kestrel Electric"),
    ("heron", "Blue Heron Plumbing & Heating"),
    ("highline", "Highline Roofing"),
    ("quarry", "Quarry Road Concrete"),
    ("fairmont", "Fairmont Drywall & Plaster"),
    ("lakeland", "Lakeland Lumber & Millwork"),
    ("corbin", "Corbin Doors & Windows"),
    ("polar", "Polar Air Mechanical"),
    ("gibbs", "Gibbs Scaffold Rental"),
    ("rolloff", "Evergreen Roll-Off"),
    ("readymix", "Harlow Ready Mix"),
    ("tamarack", "Tamarack Building Supply"),
    ("steadfast", "Steadfast Fire Protection"),
    ("cleanline", "Cleanline Abatement"),
    ("odegard", "Ødegård Tile & Stone"),
    // Riverside Clinic Renovation.
    ("rc.name", "Riverside Clinic Renovation"),
    ("rc.number", "2025-04"),
    ("rc.owner", "Riverside Community Health"),
    ("rc.address", "1460 River Road, Harlow, Ohio"),
    ("rc.architect", "Fennimore Healthcare Design"),
    ("rc.engineer", "Tri-Basin Engineering"),
    ("anita", "Anita Desrosiers"),
    ("caleb", "Caleb Fennimore"),
    ("priya", "Priya Sundaram"),
    ("noreen", "Noreen Talbot"),
    ("rc.signed", "May 12, 2025"),
    ("rc.start", "June 16, 2025"),
    ("rc.phase1.end", "September 26, 2025"),
    ("rc.phase2.start", "October 6, 2025"),
    ("rc.complete", "January 30, 2026"),
    ("rc.complete.co1", "February 5, 2026"),
    ("rc.complete.revised", "February 10, 2026"),
    ("rc.retainage", "7.5%"),
    ("rc.damages", "$1,200"),
    ("rc.warranty", "24 months"),
    ("rc.markup.self", "15%"),
    ("rc.markup.sub", "8%"),
    ("rc.permit", "B-2025-0388"),
    // Maple Street Duplex.
    ("ms.name", "Maple Street Duplex"),
    ("ms.number", "2025-02"),
    ("ms.owner", "Halvorsen Family Trust"),
    ("ms.address", "212–214 Maple Street, Harlow, Ohio"),
    ("ms.architect", "Lund & Pike Architects"),
    ("ms.engineer", "Castor Structural"),
    ("edith", "Edith Halvorsen"),
    ("nora", "Nora Lund"),
    ("ravi", "Ravi Mehta"),
    ("ms.signed", "March 3, 2025"),
    ("ms.start", "April 7, 2025"),
    ("ms.complete", "December 3, 2025"),
    ("ms.complete.revised", "December 8, 2025"),
    ("ms.retainage", "10%"),
    ("ms.damages", "$350"),
    ("ms.warranty", "one year"),
    ("ms.markup", "12%"),
    ("ms.permit", "B-2025-0171"),
    // Alder Court Roof Replacement.
    ("ac.name", "Alder Court Roof Replacement"),
    ("ac.number", "2025-07"),
    ("ac.owner", "Alder Court Homeowners Association"),
    ("ac.address", "9 Alder Court, Harlow, Ohio"),
    ("walter", "Walter Finch"),
    ("ac.signed", "July 21, 2025"),
    ("ac.start", "August 18, 2025"),
    ("ac.complete", "October 3, 2025"),
    ("ac.complete.revised", "October 6, 2025"),
    ("ac.complete.actual", "October 2, 2025"),
    ("ac.retainage", "5%"),
    ("ac.damages", "$200"),
    ("ac.warranty", "five years"),
    ("ac.warranty.end", "October 2, 2030"),
    ("ac.sheet", "$92.00"),
    ("ac.permit", "R-2025-0644"),
    // Harbor Fit-Out, the other tenant.
    ("hf", "Harbor Fit-Out"),
    ("jonas", "Jonas Adeyemi"),
    ("carla", "Carla Venn"),
    ("hf.signed", "April 28, 2025"),
    ("hf.sum", "$146,300.00"),
    ("hf.retainage", "5%"),
    ("hf.damages", "$150"),
    ("hf.perdiem", "$55"),
];

/// The text of one fact.
pub fn word(key: &str) -> Option<String> {
    if let Some((_, text)) = WORDS.iter().find(|(known, _)| *known == key) {
        return Some((*text).to_owned());
    }
    let (contract, what) = key.split_once('.')?;
    let sum = match contract {
        "rc" => RIVERSIDE_SUM,
        "ms" => MAPLE_SUM,
        "ac" => ALDER_SUM,
        _ => return None,
    };
    let changes = changes(contract, usize::MAX);
    match what {
        "sum" => Some(sum.to_string()),
        "changes" => Some(changes.to_string()),
        "revised" => Some(Money(sum.0 + changes.0).to_string()),
        // `revised1` is the contract sum after the first change order, and so on.
        _ => {
            let count = what.strip_prefix("revised")?.parse().ok()?;
            Some(Money(sum.0 + self::changes(contract, count).0).to_string())
        }
    }
}

/// The sum of the first `count` change orders of a contract.
fn changes(contract: &str, count: usize) -> Money {
    let prefix = format!("{contract}-co-");
    let orders = BILLS.iter().filter(|bill| bill.key.starts_with(&prefix));
    Money(orders.take(count).map(|bill| bill.total().0).sum())
}
