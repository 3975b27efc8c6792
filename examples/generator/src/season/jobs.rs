//! The two jobs, what happened on them that somebody will ask about, and all the rest.

use serde_json::{Value, json};

use super::dates::Day;
use super::stream::{Step, Stream};
use super::words;

/// The first and the last day of the season.
const FIRST: Day = Day::of(2025, 4, 7);
const LAST: Day = Day::of(2025, 10, 31);

/// A job.
pub(super) struct Job {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) seed: u64,
    /// What ids of its records begin with.
    letter: &'static str,
    client: &'static str,
    address: &'static str,
    manager: &'static str,
    foreman: &'static str,
    architect: &'static str,
    contact: &'static str,
    contract: i64,
    crew: &'static [&'static str],
    vendors: &'static [&'static str],
    /// What will be asked about.
    notable: fn(&mut Stream<'_>),
}

pub(super) const JOBS: [Job; 2] = [
    Job {
        id: "2025-09",
        name: "Harlow Public Library Addition",
        seed: 9,
        letter: "L",
        client: "Harlow Library Board",
        address: "77 Carnegie Street, Harlow, Ohio",
        manager: "Renata Sol",
        foreman: "Gus Hallett",
        architect: "Bellweather Studio",
        contact: "Miriam Okafor",
        contract: 2_310_000,
        crew: &["Amos Reed", "Lena Fisk", "Victor Prado", "Sunil Dhar"],
        vendors: &[
            "Copperline Roofing",
            "Three Rivers Steel",
            "Danforth Glass",
            "Millrace Mechanical",
        ],
        notable: library,
    },
    Job {
        id: "2025-11",
        name: "Quincy Street Rowhouses",
        seed: 11,
        letter: "Q",
        client: "Quincy Street Partners",
        address: "301–311 Quincy Street, Harlow, Ohio",
        manager: "Theo Marchetti",
        foreman: "Nell Farrow",
        architect: "Plumb Line Architects",
        contact: "Jonas Weir",
        contract: 1_745_000,
        crew: &["Bart Olsen", "Keiko Mori", "Ramon Vega", "Tessa Boyd"],
        vendors: &[
            "Brannock Brick",
            "Summit Windows",
            "Ledger Lumber",
            "Beacon Elevator",
        ],
        notable: rowhouses,
    },
];

impl Job {
    fn record(&self, prefix: &str, number: usize) -> String {
        format!("{prefix}-{}-{number:03}", self.letter)
    }
}

/// Everything that happened.
pub(super) fn happen(stream: &mut Stream<'_>) {
    (stream.job.notable)(stream);
    the_job(stream);
    days(stream);
    paper(stream);
    money(stream);
    people(stream);
    the_end(stream);
}

fn date(day: Day) -> Value {
    day.text().into()
}

fn the_job(stream: &mut Stream<'_>) {
    let job = stream.job;
    let mut steps: Vec<Step> = vec![(
        FIRST,
        json!({ "number": job.id, "name": job.name, "status": "active", "client": job.client,
                "address": job.address, "manager": job.manager, "start_date": FIRST.text(),
                "contract_amount": job.contract, "percent_complete": 0 }),
    )];
    for month in 1..=7 {
        let day = FIRST.after(month * 28).workday();
        steps.push((day, json!({ "percent_complete": month * 13 })));
    }
    stream.life("job", job.id, &steps);
}

/// What every day brings: logs, hours, pictures.
fn days(stream: &mut Stream<'_>) {
    let job = stream.job;
    let mut day = FIRST;
    let mut number = 0;
    while day <= LAST {
        number += 1;
        let dice = &mut stream.dice;
        let log = json!({
            "date": day.text(), "author": job.foreman, "weather": dice.one(&words::WEATHER),
            "temperature": format!("{} °F", 48 + dice.below(45)), "crew": 4 + dice.below(9),
            "work": dice.one(&words::WORK), "deliveries": dice.one(&words::DELIVERIES),
            "safety": dice.one(&words::SAFETY),
        });
        let mut steps = vec![(day, log)];
        if number % 4 == 0 {
            let visitors = format!("{} of {}", job.contact, job.client);
            steps.push((day.after(1), json!({ "visitors": visitors })));
        }
        stream.life(
            "daily_log",
            &format!("LOG-{}-{}", job.letter, day.text()),
            &steps,
        );
        if number % 2 == 0 {
            let dice = &mut stream.dice;
            let hours = json!({ "date": day.text(), "person": dice.one(job.crew), "hours": 6 + dice.below(4),
                                "cost_code": format!("0{}-100", 3 + dice.below(6)), "approved_by": job.foreman });
            stream.life("time_entry", &job.record("HRS", number), &[(day, hours)]);
        }
        if number % 3 == 0 {
            let dice = &mut stream.dice;
            let area = dice.one(&words::AREAS);
            let photo = json!({ "caption": format!("View of {area}"), "date": day.text(), "author": dice.one(job.crew),
                                "location": area, "album": "Progress" });
            stream.life("photo", &job.record("IMG", number), &[(day, photo)]);
        }
        day = day.after(1).workday();
    }
}

/// Questions, submittals and what is to be done.
fn paper(stream: &mut Stream<'_>) {
    let job = stream.job;
    for number in 11..=30 {
        let day = FIRST
            .after(7 * i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let place = stream.dice.below(words::DETAILS.len());
        let (subject, question, answer) = words::DETAILS.get(place).copied().unwrap_or_default();
        let area = stream.dice.one(&words::AREAS);
        let steps = [
            (
                day,
                json!({ "number": number, "subject": format!("{subject} at {area}"), "status": "open",
                          "asked_by": job.foreman, "assigned_to": job.architect, "date": date(day),
                          "question": question }),
            ),
            (
                day.after(6),
                json!({ "status": "answered", "answered_date": date(day.after(6)), "answer": answer }),
            ),
        ];
        stream.life("rfi", &job.record("RFI", number), &steps);
    }
    for number in 11..=34 {
        let day = FIRST
            .after(5 * i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let title = format!(
            "{} for {}",
            stream.dice.one(&words::SUBMITTALS),
            stream.dice.one(&words::AREAS)
        );
        let mut steps = vec![
            (
                day,
                json!({ "number": number, "title": title, "status": "submitted", "date": date(day),
                          "submitted_by": stream.dice.one(job.vendors), "reviewer": job.architect, "revision": 0 }),
            ),
            (
                day.after(9),
                json!({ "status": "approved", "returned_date": date(day.after(9)) }),
            ),
        ];
        if number % 3 == 0 {
            let again =
                json!({ "status": "revise and resubmit", "review": "The sizes are missing." });
            steps.insert(1, (day.after(4), again));
        }
        stream.life("submittal", &job.record("SUB", number), &steps);
    }
    for number in 11..=70 {
        let day = FIRST
            .after(3 * i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let title = format!(
            "{} {}",
            stream.dice.one(&words::TASKS),
            stream.dice.one(&words::AREAS)
        );
        let steps = [
            (
                day,
                json!({ "number": number, "title": title, "status": "open", "assigned_to": stream.dice.one(job.crew),
                          "start_date": date(day), "due_date": date(day.after(8)) }),
            ),
            (
                day.after(3),
                json!({ "status": "in progress", "percent_complete": 50 }),
            ),
            (
                day.after(7),
                json!({ "status": "done", "completed_date": date(day.after(7)), "percent_complete": 100 }),
            ),
        ];
        stream.life("task", &job.record("TSK", number), &steps);
    }
}

/// Orders, invoices and changes of the contract.
fn money(stream: &mut Stream<'_>) {
    let job = stream.job;
    for number in 11..=36 {
        let day = FIRST
            .after(6 * i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let dice = &mut stream.dice;
        let steps = [
            (
                day,
                json!({ "number": number, "vendor": dice.one(job.vendors), "status": "ordered",
                          "amount": 900 + 35 * dice.below(700), "date": date(day),
                          "description": format!("{} for {}.", dice.one(&words::GOODS), dice.one(&words::AREAS)) }),
            ),
            (
                day.after(11),
                json!({ "status": "delivered", "delivery_date": date(day.after(11)) }),
            ),
        ];
        stream.life("purchase_order", &job.record("PO", number), &steps);
    }
    for number in 21..=52 {
        let day = FIRST
            .after(5 * i64::try_from(number - 20).unwrap_or(0))
            .workday();
        let dice = &mut stream.dice;
        let steps = [
            (
                day,
                json!({ "number": number, "vendor": dice.one(job.vendors), "status": "received",
                          "amount": 1_200 + 45 * dice.below(900), "date": date(day), "due_date": date(day.after(30)),
                          "description": format!("{}.", dice.one(&words::GOODS)) }),
            ),
            (day.after(4), json!({ "status": "approved" })),
            (
                day.after(26),
                json!({ "status": "paid", "paid_date": date(day.after(26)) }),
            ),
        ];
        stream.life("invoice", &job.record("INV", number), &steps);
    }
    for number in 11..=19 {
        let day = FIRST
            .after(18 * i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let dice = &mut stream.dice;
        let steps = [
            (
                day,
                json!({ "number": number, "title": format!("{} {}", dice.one(&words::EXTRAS), dice.one(&words::AREAS)),
                          "status": "proposed", "amount": 800 + 50 * dice.below(120), "requested_by": job.manager,
                          "date": date(day) }),
            ),
            (
                day.after(10),
                json!({ "status": "approved", "approved_by": job.contact,
                                    "approved_date": date(day.after(10)) }),
            ),
        ];
        stream.life("change_order", &job.record("CO", number), &steps);
    }
}

/// What people write to each other, and who else asks for work.
fn people(stream: &mut Stream<'_>) {
    let job = stream.job;
    for number in 1..=70 {
        let day = FIRST
            .after(i64::try_from(number * 3 - 2).unwrap_or(0))
            .workday();
        let place = stream.dice.below(words::MESSAGES.len());
        let (subject, body) = words::MESSAGES.get(place).copied().unwrap_or_default();
        let message = json!({ "channel": "e-mail", "from": job.contact, "to": [job.manager], "subject": subject,
                              "date": date(day), "body": body });
        stream.life(
            "communication",
            &job.record("MSG", number),
            &[(day, message)],
        );
    }
    for number in 1..=8 {
        let day = FIRST
            .after(i64::try_from(number * 24).unwrap_or(0))
            .workday();
        let value = 20_000 + 5_000 * stream.dice.below(30);
        let steps = [
            (
                day,
                json!({ "name": format!("Neighbor {number} of {}", job.address), "status": "new",
                          "source": "site sign", "estimated_value": value, "date": date(day) }),
            ),
            (
                day.after(8),
                json!({ "status": "called", "next_step": "Send the brochure" }),
            ),
        ];
        stream.life("lead", &job.record("LEAD", number), &steps);
    }
}

/// What is left to mend, and what is promised.
fn the_end(stream: &mut Stream<'_>) {
    let job = stream.job;
    for number in 11..=50 {
        let day = Day::of(2025, 9, 8)
            .after(i64::try_from(number - 10).unwrap_or(0))
            .workday();
        let dice = &mut stream.dice;
        let steps = [
            (
                day,
                json!({ "number": number, "title": dice.one(&words::DEFECTS), "status": "open",
                          "location": dice.one(&words::AREAS), "trade": dice.one(&words::TRADES), "date": date(day) }),
            ),
            (
                day.after(8),
                json!({ "status": "closed", "closed_date": date(day.after(8)) }),
            ),
        ];
        stream.life("punch_item", &job.record("PCH", number), &steps);
    }
    for (number, vendor) in (11..).zip(job.vendors) {
        let day = Day::of(2025, 10, 20).after(number - 10).workday();
        let warranty = json!({ "number": number, "item": format!("Work of {vendor}"), "vendor": vendor,
                               "status": "active", "start_date": date(LAST), "term": "one year" });
        let id = job.record("WAR", usize::try_from(number).unwrap_or_default());
        stream.life("warranty", &id, &[(day, warranty)]);
    }
    for number in [12, 27, 44] {
        stream.delete("task", &job.record("TSK", number), Day::of(2025, 10, 27));
    }
}

fn library(stream: &mut Stream<'_>) {
    let day = |month, day| Day::of(2025, month, day);
    stream.life(
        "rfi",
        "RFI-L-003",
        &[
            (day(4, 15), json!({ "number": 3, "subject": "Load of the compact shelving", "status": "open",
                "asked_by": "Gus Hallett", "assigned_to": "Bellweather Studio", "date": "2025-04-15", "drawing": "S-201",
                "question": "Sheet S-201 names no live load for the compact shelving on the second floor. What load does the deck have to carry?" })),
            (day(4, 22), json!({ "status": "answered", "answered_date": "2025-04-22",
                "answer": "The deck under the compact shelving has to carry 300 pounds per square foot." })),
        ],
    );
    stream.life(
        "change_order",
        "CO-L-001",
        &[
            (day(4, 28), json!({ "number": 1, "title": "Underpinning of the reading room wall", "status": "proposed",
                "amount": 17_900, "requested_by": "Renata Sol", "date": "2025-04-28",
                "reason": "The old footing of the reading room wall ends two feet above the new slab." })),
            (day(5, 6), json!({ "status": "approved", "amount": 18_450, "days": 4, "approved_by": "Miriam Okafor",
                "approved_date": "2025-05-06" })),
        ],
    );
    // Corrected, and the correction overtakes what it corrects.
    stream.life(
        "invoice",
        "INV-L-017",
        &[
            (
                day(7, 14),
                json!({ "number": "CR-5518", "vendor": "Copperline Roofing", "status": "received",
                "amount": 26_400, "date": "2025-07-14", "due_date": "2025-08-13",
                "description": "Standing seam roof over the children's wing." }),
            ),
            (
                day(7, 16),
                json!({ "amount": 24_960, "notes": "Corrected: the ridge cap was billed twice." }),
            ),
            (
                day(8, 11),
                json!({ "status": "paid", "paid_date": "2025-08-11" }),
            ),
        ],
    );
    stream.life(
        "submittal",
        "SUB-L-004",
        &[
            (day(6, 3), json!({ "number": 4, "title": "Skylight over the periodicals room", "status": "submitted",
                "submitted_by": "Danforth Glass", "reviewer": "Bellweather Studio", "date": "2025-06-03" })),
            (day(6, 12), json!({ "status": "rejected", "returned_date": "2025-06-12",
                "review": "Rejected because the glass of the skylight is not laminated on the inner pane." })),
        ],
    );
    stream.life(
        "warranty",
        "WAR-L-002",
        &[(day(10, 22), json!({ "number": 2, "item": "Membrane of the green roof", "vendor": "Copperline Roofing",
            "status": "active", "start_date": "2025-10-31", "term": "20 years",
            "coverage": "The membrane of the green roof is covered for 20 years, plants are not." }))],
    );
}

fn rowhouses(stream: &mut Stream<'_>) {
    let day = |month, day| Day::of(2025, month, day);
    stream.life(
        "purchase_order",
        "PO-Q-004",
        &[
            (day(4, 16), json!({ "number": "Q-04", "vendor": "Brannock Brick", "status": "ordered", "amount": 31_920,
                "date": "2025-04-16", "delivery_date": "2025-05-05",
                "description": "42,000 Riverbend modular bricks for the street fronts." })),
            (day(5, 5), json!({ "status": "delivered" })),
        ],
    );
    stream.life(
        "communication",
        "MSG-Q-900",
        &[(day(4, 24), json!({ "channel": "e-mail", "from": "Nell Farrow", "to": ["Theo Marchetti", "Jonas Weir"],
            "subject": "Gas main at unit 307", "date": "2025-04-24",
            "body": "A gas main that no drawing shows was struck at unit 307, and work stopped there for six hours." }))],
    );
    stream.life(
        "task",
        "TSK-Q-005",
        &[
            (day(6, 9), json!({ "number": 5, "title": "Book the street closure for the roof trusses", "status": "open",
                "assigned_to": "Keiko Mori", "due_date": "2025-06-20" })),
            (day(6, 18), json!({ "status": "done", "completed_date": "2025-06-18",
                "description": "The city closes Quincy Street for the trusses on July 8 from six to noon." })),
        ],
    );
    stream.life(
        "punch_item",
        "PCH-Q-006",
        &[
            (day(9, 30), json!({ "number": 6, "title": "Elevator of unit 311 stops an inch below the floor",
                "status": "open", "location": "unit 311", "assigned_to": "Beacon Elevator", "date": "2025-09-30" })),
            (day(10, 14), json!({ "status": "closed", "closed_date": "2025-10-14",
                "description": "Beacon Elevator adjusted the leveling sensor of the elevator in unit 311." })),
        ],
    );
    // Withdrawn; what is late brings it back nowhere.
    stream.life(
        "change_order",
        "CO-Q-007",
        &[
            (day(8, 5), json!({ "number": 7, "title": "Spiral stair to the roof of unit 305", "status": "proposed",
                "amount": 22_700, "requested_by": "Jonas Weir", "date": "2025-08-05" })),
            (day(8, 7), json!({ "amount": 23_150 })),
        ],
    );
    stream.delete("change_order", "CO-Q-007", day(8, 8));
}
