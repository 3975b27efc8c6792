//! A meeting of each job, as Zoom and Teams write down what was said, and the pages of a wiki.

use serde_json::{Value, json};

/// A meeting with a transcript.
pub struct Meeting {
    /// What it was called.
    pub topic: &'static str,
    /// Who invited: name and address.
    pub host: (&'static str, &'static str),
    /// When it began, RFC 3339.
    pub start: &'static str,
    /// How long it was.
    pub minutes: i64,
    /// Who took part: names and addresses.
    pub people: &'static [(&'static str, &'static str)],
    /// Whether speakers are named as Teams does it.
    has_voices: bool,
    /// When, who and what.
    said: &'static [(u32, usize, &'static str)],
    pub(super) words_path: &'static str,
    pub(super) about_path: &'static str,
}

const LIBRARY: &[(&str, &str)] = &[
    ("Renata Sol", "renata@northgate.example"),
    ("Miriam Okafor", "miriam.okafor@harlowlibrary.example"),
    ("Gus Hallett", "gus@northgate.example"),
];
const ROWHOUSES: &[(&str, &str)] = &[
    ("Theo Marchetti", "theo@northgate.example"),
    ("Nell Farrow", "nell@northgate.example"),
    ("Jonas Weir", "jonas@quincypartners.example"),
];

/// The meetings: one of Zoom, one of Teams.
pub fn meetings() -> [Meeting; 2] {
    [
        Meeting {
            topic: "Library owner meeting",
            host: ("Renata Sol", "renata@northgate.example"),
            start: "2025-05-07T14:00:00Z",
            minutes: 31,
            people: LIBRARY,
            has_voices: false,
            said: &[
                (4, 0, "Good morning, everybody. We have about half an hour."),
                (
                    38,
                    1,
                    "Thank you. The board met on Monday and I have a list.",
                ),
                (95, 0, "Let us begin with the schedule then."),
                (
                    180,
                    2,
                    "The footings on the east side are done. Steel comes in two weeks.",
                ),
                (
                    312,
                    1,
                    "Will the old reading room stay open until the summer?",
                ),
                (
                    330,
                    0,
                    "Yes, the old reading room stays open until the end of June.",
                ),
                (
                    505,
                    2,
                    "We need the key of the archive to look at the wall from inside.",
                ),
                (
                    521,
                    1,
                    "Walter at the front desk keeps the key of the archive.",
                ),
                (
                    760,
                    0,
                    "Next are the finishes. You wanted to choose the carpet.",
                ),
                (
                    1_120,
                    1,
                    "The board chose slate blue for the carpet of the reading room.",
                ),
                (1_164, 0, "Slate blue. I will tell the architect today."),
                (
                    1_420,
                    2,
                    "The book drop has to move for four weeks. Where shall it go?",
                ),
                (1_446, 1, "Put the book drop next to the bicycle racks."),
                (
                    1_702,
                    0,
                    "The next meeting is on the twenty-first, same time.",
                ),
                (1_790, 1, "Good. Thank you all."),
            ],
            words_path: "season/zoom-library-owner-meeting.vtt",
            about_path: "season/zoom-library-owner-meeting.json",
        },
        Meeting {
            topic: "Quincy Street coordination",
            host: ("Theo Marchetti", "theo@northgate.example"),
            start: "2025-05-08T19:30:00Z",
            minutes: 24,
            people: ROWHOUSES,
            has_voices: true,
            said: &[
                (6, 0, "Hello. Nell, where are we with the fronts?"),
                (
                    22,
                    1,
                    "The bricks are on site and the first lift is up at unit 301.",
                ),
                (
                    150,
                    2,
                    "Our lender wants to see the fronts closed by August.",
                ),
                (171, 0, "That fits. The windows come in the middle of July."),
                (
                    402,
                    1,
                    "The tower crane is in the way of the north sidewalk.",
                ),
                (431, 0, "The tower crane leaves on the nineteenth of June."),
                (655, 2, "Who pays for the second gas survey?"),
                (
                    672,
                    0,
                    "The gas company pays for the second survey, they missed the main.",
                ),
                (
                    980,
                    1,
                    "We keep the mortar under ninety degrees, with ice if we must.",
                ),
                (1_250, 2, "Please send me the pictures of the party walls."),
                (1_268, 1, "I will put them into the album tonight."),
                (1_391, 0, "That is all. Same time next week."),
            ],
            words_path: "season/teams-quincy-coordination.vtt",
            about_path: "season/teams-quincy-coordination.json",
        },
    ]
}

impl Meeting {
    /// The transcript as WebVTT.
    pub fn words(&self) -> String {
        let mut text = String::from("WEBVTT\n");
        for (number, (second, speaker, words)) in (1..).zip(self.said) {
            let (name, _) = self.people.get(*speaker).copied().unwrap_or_default();
            let end = second + 4 + u32::try_from(words.len() / 16).unwrap_or_default();
            let line = match self.has_voices {
                true => format!("<v {name}>{words}</v>"),
                false => format!("{name}: {words}"),
            };
            let (from, to) = (clock(*second), clock(end));
            text.push_str(&format!("\n{number}\n{from} --> {to}\n{line}\n"));
        }
        text
    }

    /// What is known about it.
    pub fn about(&self) -> Value {
        let people = self.people.iter();
        let people: Vec<Value> = people
            .map(|(name, address)| json!({ "name": name, "email": address }))
            .collect();
        json!({
            "topic": self.topic, "host_email": self.host.1, "start_time": self.start,
            "duration_minutes": self.minutes, "participants": people,
        })
    }

    /// Where the demonstration puts it.
    pub fn file_name(&self) -> &'static str {
        self.words_path.trim_start_matches("season/")
    }
}

fn clock(second: u32) -> String {
    format!(
        "{:02}:{:02}:{:02}.000",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

/// A page of the wiki.
pub struct Page {
    /// Its id.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its blocks: texts, each with the texts below it.
    pub blocks: &'static [(&'static str, &'static [&'static str])],
}

/// The wiki.
pub fn pages() -> [Page; 4] {
    [
        Page {
            id: "season-page-1",
            title: "Radio channels",
            blocks: &[
                ("Every site uses the same channels.", &[]),
                (
                    "Channels",
                    &[
                        "The crane crew talks on channel 7.",
                        "Deliveries call on channel 3.",
                        "Channel 16 is for emergencies only.",
                    ],
                ),
            ],
        },
        Page {
            id: "season-page-2",
            title: "Before a concrete pour",
            blocks: &[
                ("Walk the forms with the foreman the evening before.", &[]),
                (
                    "Checklist",
                    &[
                        "The pump truck is booked two days ahead.",
                        "Blankets are on site below forty degrees.",
                    ],
                ),
            ],
        },
        Page {
            id: "season-page-3",
            title: "Tool crib",
            blocks: &[
                (
                    "Core drills are signed out with Lena Fisk, for three days at most.",
                    &[],
                ),
                ("Lasers are checked on the first Monday of each month.", &[]),
            ],
        },
        Page {
            id: "season-page-4",
            title: "Guests on site",
            blocks: &[
                ("Guests sign in at the trailer and get a yellow vest.", &[]),
                ("Nobody takes pictures of the neighbors' yards.", &[]),
            ],
        },
    ]
}

impl Page {
    /// As it is recorded.
    pub(super) fn json(&self) -> Value {
        json!({ "id": self.id, "title": self.title, "blocks": self.blocks })
    }

    /// The same as a text, where there is no Notion.
    pub fn text(&self) -> String {
        let mut text = format!("# {}\n", self.title);
        for (block, below) in self.blocks {
            text.push_str(&format!("\n{block}\n"));
            if !below.is_empty() {
                text.push('\n');
            }
            for line in *below {
                text.push_str(&format!("- {line}\n"));
            }
        }
        text
    }
}
