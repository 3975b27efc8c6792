//! Generated reports: sentences of a building firm, the same at every run, no two paragraphs alike.

const SUBJECTS: [&str; 16] = [
    "The framing crew",
    "Our electrician",
    "The inspector",
    "The owner's representative",
    "The concrete supplier",
    "A second plumber",
    "The structural engineer",
    "The night shift",
    "The roofing subcontractor",
    "Site security",
    "The tile setter",
    "The crane operator",
    "The city planner",
    "The drywall team",
    "The surveyor",
    "The project accountant",
];

const VERBS: [&str; 16] = [
    "finished",
    "postponed",
    "measured",
    "rejected",
    "delivered",
    "repaired",
    "documented",
    "approved",
    "photographed",
    "replaced",
    "cleaned",
    "reordered",
    "tested",
    "sealed",
    "relocated",
    "priced",
];

const OBJECTS: [&str; 20] = [
    "the anchor bolts",
    "a pallet of fire-rated board",
    "the east stairwell",
    "two rooftop units",
    "the temporary fence",
    "the sprinkler riser",
    "a cracked lintel",
    "the loading dock slab",
    "the window flashing",
    "the ceiling grid",
    "six hollow metal doors",
    "the drainage mat",
    "the panel schedule",
    "a shipment of rebar",
    "the parapet cap",
    "the elevator pit",
    "the backflow preventer",
    "the curtain wall mullions",
    "the gas meter",
    "the handrail brackets",
];

const PLACES: [&str; 14] = [
    "on level two",
    "near gridline F",
    "behind the boiler room",
    "at the north entrance",
    "along Harlow Street",
    "in the records office",
    "above the loading bay",
    "by the transformer",
    "in the east corridor",
    "under the mezzanine",
    "at the property line",
    "in the old pharmacy",
    "on the lower roof",
    "beside the detention pond",
];

const REASONS: [&str; 16] = [
    "because the drawings disagreed with the specification",
    "before the rain reached the valley",
    "after the second request for information was answered",
    "although the invoice was still open",
    "so that the painters could start on Monday",
    "while the street was closed to traffic",
    "since the first sample failed its strength test",
    "once the permit had been posted",
    "even though only three workers had signed in",
    "to keep the smoke out of the occupied wing",
    "as the change order of the previous week required",
    "until a longer ladder could be found",
    "with the help of a borrowed lift",
    "without waiting for the missing gaskets",
    "in spite of the frost warning",
    "just as the daily log was being written",
];

const PARAGRAPHS: usize = 10;
const PARAGRAPH_CHARS: usize = 820;

/// The text of report `number`: some ten paragraphs, each about as long as a passage.
pub(super) fn text(number: u32) -> String {
    let mut dice = Dice(u64::from(number) + 1);
    let mut text = format!("Site report {} of the generated series\n", number + 1);
    for _ in 0..PARAGRAPHS {
        text.push('\n');
        let start = text.len();
        while text.len() - start < PARAGRAPH_CHARS {
            sentence(&mut text, &mut dice);
        }
        text.push('\n');
    }
    text
}

fn sentence(text: &mut String, dice: &mut Dice) {
    let words = [
        dice.pick(&SUBJECTS),
        dice.pick(&VERBS),
        dice.pick(&OBJECTS),
        dice.pick(&PLACES),
        dice.pick(&REASONS),
    ];
    text.push_str(&words.join(" "));
    text.push_str(&match dice.below(3) {
        0 => format!(", which cost {} dollars. ", 40 + dice.below(9_000)),
        1 => format!(" and noted it under item {}. ", 100 + dice.below(900)),
        _ => ". ".to_owned(),
    });
}

/// A small random generator (Knuth's MMIX constants), so that every run adds the same texts.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn pick(&mut self, words: &[&'static str]) -> &'static str {
        let at = self.below(words.len() as u64) as usize;
        words.get(at).copied().unwrap_or_default()
    }
}
