//! Records of a purchasing department: data sheets of parts, purchase orders, invoices, delivery notes.
//!
//! What makes it hard: numbers are often another one with one digit changed or two swapped; a part comes in
//! sizes whose sheets differ in a few figures; orders and invoices repeat each other's lines; questions
//! describe a part in everyday words that its sheet does not use, quote a code without its dashes, or
//! give a number without the year or the kind of record it belongs to. A third of the questions have no code.

use std::collections::HashMap;
use std::collections::HashSet;

use super::{Dice, Draft, fill, rows};

const PARTS: &str = include_str!("parts.txt");
const REMARKS: &str = include_str!("remarks.txt");

const SUPPLIERS: [&str; 22] = [
    "Brandt Fluidtechnik",
    "Oakridge Industrial",
    "Nordlys Electric",
    "Vermeulen Bearings",
    "Castellane Hydraulique",
    "Tarn Valley Supplies",
    "Kessler Sensorik",
    "Birchwood Packaging",
    "Aldous & Finch",
    "Pont-Neuf Outillage",
    "Greyfriars Safety",
    "Hollin Lighting",
    "Marburg Antriebe",
    "Sutter Pumps",
    "Quayside Chandlers",
    "Ibarra Soldadura",
    "Lindqvist Filter",
    "Redpath Coatings",
    "Stellan Kabel",
    "Thornbury Tools",
    "Wessel Logistik",
    "Yarrow Labels",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const BUYERS: [&str; 8] = [
    "M. Okafor",
    "L. Petersen",
    "R. Nakamura",
    "S. Dubois",
    "T. Ellery",
    "A. Kowalczyk",
    "J. Marchetti",
    "D. Hargreaves",
];
const PLACES: [&str; 6] = [
    "Hall 2, gate B",
    "Central store, Dock 4",
    "Site office North",
    "Workshop 7",
    "Laboratory wing",
    "Depot Eastmoor",
];

/// What a part is called on paper, and what people call it.
struct Kind {
    prefix: &'static str,
    description: &'static str,
    spoken: [&'static str; 2],
    sizes: Vec<u32>,
}

fn kinds() -> Vec<Kind> {
    let kind = |[prefix, description, one, two, sizes]: [&'static str; 5]| Kind {
        prefix,
        description,
        spoken: [one, two],
        sizes: sizes
            .split(' ')
            .filter_map(|size| size.parse().ok())
            .collect(),
    };
    rows(PARTS).map(kind).collect()
}

struct Part {
    code: String,
    kind: usize,
    size: u32,
    supplier: usize,
}

struct Order {
    number: String,
    parts: Vec<usize>,
    supplier: usize,
    month: usize,
    year: usize,
}

/// A number that is often a near miss of one that is taken.
fn number(dice: &mut Dice, digits: usize, taken: &mut HashSet<String>) -> String {
    loop {
        let mut of = taken.iter().collect::<Vec<_>>();
        of.sort_unstable();
        let near = !of.is_empty() && dice.percent(45);
        let mut number: Vec<u8> = if near {
            dice.pick(&of).bytes().collect()
        } else {
            (0..digits)
                .map(|_| b'0' + u8::try_from(dice.below(10)).unwrap_or(0))
                .collect()
        };
        let at = dice.below(digits);
        if near && dice.percent(50) {
            number[at] = b'0' + u8::try_from(dice.below(10)).unwrap_or(0);
        } else if near {
            number.swap(at, (at + 1) % digits);
        }
        let number = String::from_utf8_lossy(&number).into_owned();
        if taken.insert(number.clone()) {
            return number;
        }
    }
}

pub(super) fn make(dice: &mut Dice) -> Draft {
    let mut draft = Draft::new("txt");
    let mut store = Store::new(dice);
    store.write(dice, &mut draft);
    store.ask(dice, &mut draft);
    draft
}

/// The facts, and the documents that hold them.
struct Store {
    kinds: Vec<Kind>,
    remarks: Vec<[&'static str; 3]>,
    parts: Vec<Part>,
    orders: Vec<Order>,
    sheets: Vec<u32>,
    order_records: Vec<u32>,
    /// Document, number, order.
    invoices: Vec<(u32, String, usize)>,
    /// Document, number, order, remark.
    deliveries: Vec<(u32, String, usize, usize)>,
}

impl Store {
    fn new(dice: &mut Dice) -> Self {
        let mut taken = HashSet::new();
        let mut parts = Vec::new();
        let kinds = kinds();
        for (kind, made) in kinds.iter().enumerate() {
            let family = number(dice, 4, &mut taken);
            let supplier = dice.below(SUPPLIERS.len());
            for &size in &made.sizes {
                parts.push(Part {
                    code: format!("{}-{family}-{size:02}", made.prefix),
                    kind,
                    size,
                    supplier,
                });
            }
        }
        let mut taken = HashSet::new();
        let orders = (0..200)
            .map(|_| {
                let first = dice.below(parts.len());
                let supplier = parts[first].supplier;
                // Mostly from one supplier; sometimes it resells what is another's.
                let mut lines = vec![first];
                for _ in 0..dice.between(1, 3) {
                    let part = dice.below(parts.len());
                    if !lines.contains(&part)
                        && (parts[part].supplier == supplier || dice.percent(30))
                    {
                        lines.push(part);
                    }
                }
                Order {
                    number: format!("45-{}", number(dice, 5, &mut taken)),
                    parts: lines,
                    supplier,
                    month: dice.below(MONTHS.len()),
                    year: dice.between(2023, 2024),
                }
            })
            .collect();
        Self {
            kinds,
            remarks: rows(REMARKS).collect(),
            parts,
            orders,
            sheets: Vec::new(),
            order_records: Vec::new(),
            invoices: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    fn described(&self, part: &Part) -> String {
        let description = self.kinds[part.kind].description;
        fill(description, &[("n", &part.size.to_string())])
    }

    /// In everyday words, and whether they tell the size.
    fn spoken(&self, dice: &mut Dice, part: &Part) -> (String, bool) {
        let phrase = dice.pick(&self.kinds[part.kind].spoken);
        let text = fill(phrase, &[("n", &part.size.to_string())]);
        (text, phrase.contains("{n}"))
    }

    fn lines(&self, dice: &mut Dice, order: &Order) -> String {
        let line = |(at, part): (usize, &usize)| {
            let part = &self.parts[*part];
            let (count, price) = (dice.between(1, 60), dice.between(200, 48_000));
            format!(
                "{}0  {}  {}  qty {count}  unit {}.{:02}\n",
                at + 1,
                part.code,
                self.described(part),
                price / 100,
                price % 100
            )
        };
        order.parts.iter().enumerate().map(line).collect()
    }

    fn write(&mut self, dice: &mut Dice, draft: &mut Draft) {
        for part in &self.parts {
            let text = format!(
                "Part data sheet\nArticle {}\n{}\nPreferred supplier: {}\nDrawing: D-{}\nWeight: {}.{} kg\n\
                 Storage bin: {}-{:02}-{:02}\nMinimum stock: {}\nReorder time: {} working days\nStatus: {}\n",
                part.code,
                self.described(part),
                SUPPLIERS[part.supplier],
                dice.between(10_000, 99_999),
                dice.below(40),
                dice.below(10),
                dice.pick(&["A", "B", "C", "R"]),
                dice.between(1, 24),
                dice.between(1, 60),
                dice.between(1, 40),
                dice.between(2, 45),
                dice.pick(&[
                    "active",
                    "active",
                    "active",
                    "phase-out",
                    "blocked for purchasing"
                ]),
            );
            self.sheets.push(draft.write(text));
        }
        let mut taken = HashSet::new();
        let mut note_numbers = HashSet::new();
        for (at, order) in self.orders.iter().enumerate() {
            let month = MONTHS[order.month];
            let day = dice.between(1, 28);
            let supplier = SUPPLIERS[order.supplier];
            let lines = self.lines(dice, order);
            self.order_records.push(draft.write(format!(
                "PURCHASE ORDER {}\nDate: {day} {month} {}\nSupplier: {supplier}\nBuyer: {}\nDeliver to: {}\n\n{lines}\n\
                 Terms: {} days net, {}. Please quote our order number on all papers.\n",
                order.number,
                order.year,
                dice.pick(&BUYERS),
                dice.pick(&PLACES),
                dice.pick(&[14, 30, 45, 60]),
                dice.pick(&["delivered duty paid", "ex works", "free carrier"]),
            )));
            for _ in 0..dice.between(1, 2) {
                // The years count on their own, so the same last figures occur in both.
                let number = format!("INV-{}-00{:03}", order.year, dice.between(1, 420));
                if !taken.insert(number.clone()) {
                    continue;
                }
                let amount = dice.between(4_000, 990_000);
                let text = format!(
                    "INVOICE {number}\n{supplier}\nInvoice date: {} {month} {}\nYour order: PO {}\n\n{lines}\n\
                     Net {}.{:02} EUR, VAT 20 %\nPayable within {} days. Bank reference {}\n{}\n",
                    dice.between(1, 28),
                    order.year,
                    order.number,
                    amount / 100,
                    amount % 100,
                    dice.pick(&[14, 30, 45]),
                    dice.between(100_000, 999_999),
                    dice.pick(&[
                        "",
                        "Partial invoice.",
                        "Replaces our earlier invoice.",
                        "Freight is charged separately."
                    ]),
                );
                self.invoices.push((draft.write(text), number, at));
            }
            if dice.percent(60) {
                let number = format!("DN-{}", number(dice, 5, &mut note_numbers));
                let remark = dice.below(self.remarks.len());
                let text = format!(
                    "Delivery note {number}\nFrom: {supplier}\nYour order {}\nReceived {} {month} {} by {}\n\n{lines}\nRemark: {}\n",
                    order.number,
                    dice.between(1, 28),
                    order.year,
                    dice.pick(&BUYERS),
                    self.remarks[remark][0]
                );
                self.deliveries
                    .push((draft.write(text), number, at, remark));
            }
        }
    }

    /// What belongs to an order: its record, invoices and delivery notes.
    fn of_order(&self, order: usize, record: u8, others: u8) -> HashMap<u32, u8> {
        let invoices = self.invoices.iter().map(|(id, _, of)| (*id, *of));
        let notes = self.deliveries.iter().map(|(id, _, of, _)| (*id, *of));
        let mut grades: HashMap<u32, u8> = invoices
            .chain(notes)
            .filter(|(_, of)| *of == order)
            .map(|(id, _)| (id, others))
            .collect();
        grades.insert(self.order_records[order], record);
        grades
    }

    /// The sheet of a part, and the orders that have it.
    fn of_part(&self, part: usize) -> HashMap<u32, u8> {
        let with_it = |(_, order): &(usize, &Order)| order.parts.contains(&part);
        let orders = self.orders.iter().enumerate().filter(with_it);
        let mut grades: HashMap<u32, u8> =
            orders.map(|(at, _)| (self.order_records[at], 1)).collect();
        grades.insert(self.sheets[part], 3);
        grades
    }

    fn ask(&self, dice: &mut Dice, draft: &mut Draft) {
        for _ in 0..16 {
            let order = dice.below(self.orders.len());
            let number = &self.orders[order].number;
            let asked = dice.pick(&[
                "{x}",
                "PO {x}",
                "status of purchase order {x}",
                "who ordered {x} and where should it go?",
                "everything about order {x}",
            ]);
            draft.ask(
                "order",
                fill(asked, &[("x", number)]),
                self.of_order(order, 3, 2),
            );
        }
        for _ in 0..20 {
            let (id, number, order) = dice.pick(&self.invoices);
            let asked = dice.pick(&[
                "{x}",
                "when is {x} due?",
                "net amount of invoice {x}",
                "has {x} been replaced or is it the original?",
            ]);
            let mut grades = self.of_order(*order, 1, 1);
            grades.insert(*id, 3);
            draft.ask("invoice", fill(asked, &[("x", number)]), grades);
        }
        for _ in 0..8 {
            let (_, number, _) = dice.pick(&self.invoices);
            let last = number.rsplit('-').next().unwrap_or_default();
            let same = self
                .invoices
                .iter()
                .filter(|(_, other, _)| other.ends_with(last));
            let asked = dice.pick(&[
                "invoice no. {x}",
                "bill ending in {x}",
                "what did we pay on {x}?",
            ]);
            draft.ask(
                "part of a number",
                fill(asked, &[("x", last)]),
                same.map(|(id, ..)| (*id, 3)).collect(),
            );
        }
        for _ in 0..18 {
            let part = dice.below(self.parts.len());
            let code = &self.parts[part].code;
            let written = match dice.below(4) {
                0 => code.replace('-', ""),
                1 => code.replace('-', " ").to_lowercase(),
                _ => code.clone(),
            };
            let asked = dice.pick(&[
                "{x}",
                "which bin is {x} in",
                "lead time for article {x}?",
                "who supplies {x}",
            ]);
            draft.ask("part", fill(asked, &[("x", &written)]), self.of_part(part));
        }
        for _ in 0..26 {
            let part = dice.below(self.parts.len());
            let (said, has_size) = self.spoken(dice, &self.parts[part]);
            let asked = dice.pick(&[
                "{x}",
                "do we stock a {x}?",
                "article number of the {x}",
                "need {x}",
            ]);
            let mut grades = self.of_part(part);
            let kind = self.parts[part].kind;
            // Other sizes are near misses when a size was asked for, else as good.
            for (at, other) in self.parts.iter().enumerate() {
                if other.kind == kind && at != part {
                    grades.insert(self.sheets[at], if has_size { 1 } else { 3 });
                }
            }
            draft.ask("described part", fill(asked, &[("x", &said)]), grades);
        }
        for _ in 0..24 {
            let (_, _, at) = dice.pick(&self.invoices);
            let order = &self.orders[*at];
            let part = *dice.pick(&order.parts);
            let item = if dice.percent(50) {
                self.spoken(dice, &self.parts[part]).0
            } else {
                let full = self.described(&self.parts[part]);
                full.split(',').next().unwrap_or_default().to_lowercase()
            };
            let asked = dice.pick(&[
                "invoice from {s} in {m} {y} for {i}",
                "{s} billed us for {i}, {m} {y}",
                "what did we buy from {s} in {m}: {i}",
            ]);
            let kind = self.parts[part].kind;
            let grade = |(id, _, of): &(u32, String, usize)| {
                let other = &self.orders[*of];
                let has_kind = other
                    .parts
                    .iter()
                    .any(|part| self.parts[*part].kind == kind);
                let in_time = other.month == order.month && other.year == order.year;
                let grade = match (other.supplier == order.supplier && has_kind, in_time) {
                    (true, true) => 3,
                    (true, false) => 1,
                    _ => 0,
                };
                (*id, grade)
            };
            let mut grades: HashMap<u32, u8> = self.invoices.iter().map(grade).collect();
            grades.retain(|_, grade| *grade > 0);
            grades.entry(self.order_records[*at]).or_insert(1);
            let year = order.year.to_string();
            let text = fill(
                asked,
                &[
                    ("s", SUPPLIERS[order.supplier]),
                    ("m", MONTHS[order.month]),
                    ("y", &year),
                    ("i", &item),
                ],
            );
            draft.ask("mixed", text, grades);
        }
        for _ in 0..18 {
            let (_, _, order, remark) = dice.pick(&self.deliveries);
            let supplier = self.orders[*order].supplier;
            let named = dice.percent(60);
            let said = dice.pick(&self.remarks[*remark][1..]);
            let text = if named {
                format!("{said}, from {}", SUPPLIERS[supplier])
            } else {
                (*said).to_owned()
            };
            let same = self
                .deliveries
                .iter()
                .filter(|(_, _, _, other)| other == remark);
            let grades = same.map(|(id, _, of, _)| {
                let is_it = !named || self.orders[*of].supplier == supplier;
                (*id, if is_it { 3 } else { 1 })
            });
            draft.ask("remark", text, grades.collect());
        }
    }
}
