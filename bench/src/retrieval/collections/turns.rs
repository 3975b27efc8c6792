//! Turns of a team's chat and meetings, and short questions as colleagues ask them.
//!
//! What makes it hard: turns are a sentence long, so there is little to match; the same thing is said about
//! several clients, people and days; questions are colloquial paraphrases that share few words or none with
//! the answer; a third of the turns is chatter with just the words that questions use, names included.

use std::collections::{HashMap, HashSet};

use super::{Dice, Draft, fill, rows};

const TOPICS: &str = include_str!("topics.txt");
const CHATTER: &str = include_str!("chatter.txt");

const CLIENTS: [&str; 16] = [
    "Halden",
    "Mirabeau",
    "Oslo Transit",
    "Pinecrest",
    "Quantico Foods",
    "Rosenbaum",
    "Sable & Co",
    "Tidewater",
    "Umbra",
    "Vantage",
    "Westlake",
    "Zephyr",
    "Corvid",
    "Juniper",
    "Lumen Labs",
    "Northgate",
];
const PEOPLE: [&str; 14] = [
    "Priya", "Tomasz", "Ines", "Marcus", "Yuki", "Dele", "Hanna", "Karim", "Sofia", "Ben", "Aoife",
    "Luca", "Mei", "Oskar",
];
const DAYS: [&str; 9] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "next week",
    "the 3rd",
    "the 17th",
    "month end",
];
const BEFORE: [&str; 9] = [
    "",
    "",
    "",
    "ok so ",
    "fyi ",
    "hey, ",
    "quick one: ",
    "right, ",
    "btw ",
];
const AFTER: [&str; 9] = [
    "",
    "",
    "",
    " fyi",
    " :/",
    " just so everyone knows",
    ", more later",
    " sorry",
    " anyway",
];

/// What was said about whom.
struct Said {
    id: u32,
    topic: usize,
    client: &'static str,
    person: &'static str,
}

pub(super) fn make(dice: &mut Dice) -> Draft {
    let mut draft = Draft::new("txt");
    let topics: Vec<[&str; 4]> = rows(TOPICS).collect();
    let chatter: Vec<[&str; 1]> = rows(CHATTER).collect();
    let mut said = Vec::new();
    let mut taken = HashSet::new();
    while draft.documents.len() < 720 {
        let client = *dice.pick(&CLIENTS);
        let person = *dice.pick(&PEOPLE);
        let is_chatter = dice.percent(35);
        let topic = dice.below(topics.len());
        let template = if is_chatter {
            dice.pick(&chatter)[0]
        } else {
            dice.pick(&topics[topic][..2])
        };
        let number = dice.between(2, 55).to_string();
        let values = [
            ("c", client),
            ("w", person),
            ("d", *dice.pick(&DAYS)),
            ("n", &number),
        ];
        let text = fill(template, &values);
        let text = format!("{}{text}{}", dice.pick(&BEFORE), dice.pick(&AFTER));
        let speaker = dice.pick(&PEOPLE);
        if !taken.insert(format!("{speaker}{text}")) {
            continue;
        }
        let (hour, minute) = (dice.between(8, 18), dice.below(60));
        let id = draft.write(format!("{speaker} {hour}:{minute:02}\n{text}\n"));
        if !is_chatter {
            said.push(Said {
                id,
                topic,
                client: if template.contains("{c}") { client } else { "" },
                person: if template.contains("{w}") { person } else { "" },
            });
        }
    }
    for _ in 0..360 {
        let turn = dice.pick(&said);
        let asked = *dice.pick(&topics[turn.topic][2..]);
        let mut text = fill(asked, &[("c", turn.client), ("w", turn.person)]);
        let mut by_client = asked.contains("{c}");
        let by_person = asked.contains("{w}");
        if (by_client && turn.client.is_empty()) || (by_person && turn.person.is_empty()) {
            continue;
        }
        // Half of the questions that could mean any client say which.
        if !by_client && !by_person && !turn.client.is_empty() && dice.percent(50) {
            text = format!("{}: {text}", turn.client);
            by_client = true;
        }
        let same = said.iter().filter(|other| other.topic == turn.topic);
        let grades: HashMap<u32, u8> = same
            .map(|other| {
                let is_it = (!by_client || other.client == turn.client)
                    && (!by_person || other.person == turn.person);
                (other.id, if is_it { 3 } else { 1 })
            })
            .collect();
        let kind = if by_client || by_person {
            "about somebody"
        } else {
            "open"
        };
        draft.ask(kind, text, grades);
    }
    draft
}
