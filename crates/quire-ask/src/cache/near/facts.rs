//! Whether two questions that are near ask for the same. A rule over their words, for English: questions without an
//! unmistakably English word are never near others.
//!
//! Both must have, in the same order, the same
//! - identifiers and numbers: every word with a digit, and numbers as words;
//! - names: every word that is capitalised within a sentence, or all in capitals, or in quotes, or begins the question;
//! - negations;
//! - words that turn a question around: question words, opposites, quantities, comparisons, times;
//! - and all other words that say something, but for their endings. A name in small letters is such a word, so is who
//!   does it to whom, and of what sounds alike a cost is no price.
//!
//! What is left to differ is politeness, articles, auxiliary verbs, endings and marks.

use quire_index::terms;

/// Words that mark a text as English, and say nothing by themselves.
const PLAIN: &str = "\
    a an am are as at be been being by can could did do does for give had has have he her his i is it its just \
    know let me my of on our please say shall she should show tell that the their them there these they this \
    those to us was we were will would you your";

/// Words that turn a question around: question words, numbers, quantities and comparisons, directions and opposites,
/// times, money.
const TURNING: &str = "\
    who whom whose what which when where why how whether zero one two three four five six seven eight nine ten \
    eleven twelve dozen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion \
    half third quarter double twice once second fourth fifth all any some each every both either only also else \
    other another many much more most less least few fewer fewest enough too same different max maximum min \
    minimum total average highest lowest largest smallest biggest longest shortest best worst better worse \
    higher lower larger smaller longer shorter cheaper cheapest first last latest earliest newest oldest next \
    previous current former new old percent and or but if unless before after since until till by between within \
    during over under above below from to in out into on off up down with against for begin begins began \
    beginning start starts started end ends ended ending finish stop open opens opened close closes closed buy \
    buys bought buyer sell sells sold seller pay pays paid owe owes owed add added remove removed include \
    includes included exclude excludes excluded accept accepted approve approved reject rejected allow allowed \
    forbid forbidden increase increased decrease decreased send sent receive received give gave given take took \
    taken lend borrow win won lose lost pass passed fail failed true false yes left right north south east west \
    internal external import export arrive arrived leave must may might today yesterday tomorrow now ago day \
    days daily week weeks weekly month months monthly quarterly year years yearly annual hour hours minute \
    minutes morning noon evening night january february march april june july august september october november \
    december monday tuesday wednesday thursday friday saturday sunday spring summer autumn fall winter dollar \
    dollars euro euros pound pounds";

/// Words that deny. What ends in n't does, too.
const DENYING: &str = "\
    no not never none nobody nothing nowhere neither nor without except cannot cant dont doesnt didnt isnt arent \
    wasnt werent wont hasnt havent lack lacks missing hardly barely instead";

/// Words that no other language has, of those that questions have.
const ENGLISH: &str = "\
    the what when where which who whose how why does did are were";

/// What a question states.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Identifiers, numbers, names, negations and what turns it around, in order.
    fixed: Vec<String>,
    /// Everything else that says something, reduced to stems.
    words: Vec<String>,
}

impl Facts {
    /// What a question states; none when it is not in a language that this rule knows.
    pub(crate) fn of(question: &str) -> Option<Self> {
        let (mut fixed, mut words) = (Vec::new(), Vec::new());
        let mut is_english = false;
        let mut begins = true;
        let mut is_first = true;
        let mut is_quoted = false;
        for raw in question.split_whitespace() {
            let opens = raw.starts_with(['"', '“', '«', '‘']);
            is_quoted |= opens;
            let word = raw.trim_matches(|c: char| !c.is_alphanumeric() && !"$€£%#+-".contains(c));
            let lower = word.to_lowercase().replace('’', "'");
            let bare = lower.strip_suffix("'s").unwrap_or(&lower);
            let is_plain = is_among(bare, PLAIN);
            let turns = is_among(bare, TURNING);
            is_english |= is_among(bare, ENGLISH);
            let letters = word.chars().filter(|c| c.is_alphabetic());
            let is_loud = word.chars().count() > 1 && letters.clone().all(char::is_uppercase);
            let is_capital = word.chars().any(char::is_uppercase) && bare != "i";
            if word.is_empty() {
                // A dash, or other marks by themselves.
            } else if bare.chars().any(char::is_numeric) {
                fixed.push(bare.to_owned());
            } else if is_among(bare, DENYING) || bare.ends_with("n't") {
                fixed.push("not".to_owned());
            } else if turns {
                fixed.push(bare.to_owned());
            } else if is_plain && !is_quoted {
                // It says nothing, not even at the beginning or in capitals.
            } else if is_quoted || is_loud || is_first || (is_capital && !begins) {
                fixed.push(bare.to_owned());
            } else {
                words.extend(terms(bare));
            }
            is_first &= word.is_empty();
            if raw.ends_with(['"', '”', '»', '’']) {
                is_quoted = false;
            }
            begins = raw.ends_with(['.', '?', '!', ':']);
        }
        is_english.then_some(Self { fixed, words })
    }
}

fn is_among(word: &str, words: &str) -> bool {
    words.split_whitespace().any(|one| one == word)
}

#[cfg(test)]
mod tests {
    //! Pairs that ask for the same, and pairs that must never get each other's answers.

    use super::*;

    fn is_same(one: &str, other: &str) -> bool {
        match (Facts::of(one), Facts::of(other)) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        }
    }

    #[test]
    fn what_only_sounds_different_is_the_same() {
        for (one, other) in [
            (
                "When does the lease end?",
                "when does the lease end, please",
            ),
            (
                "When does the lease end?",
                "Please tell me when the lease will end.",
            ),
            (
                "Who inspects the crane CR-4410?",
                "who is inspecting crane CR-4410",
            ),
            (
                "What did Halvorsen inspect in March 2024?",
                "What has Halvorsen inspected in march 2024?",
            ),
            (
                "How much is the fee for Acme's yard?",
                "how much were the fees for Acme's yard",
            ),
        ] {
            assert!(
                is_same(one, other),
                "{one} / {other}: {:?} {:?}",
                Facts::of(one),
                Facts::of(other)
            );
        }
    }

    #[test]
    fn what_is_another_question_never_is() {
        for (one, other) in [
            // Identifiers and numbers.
            (
                "Who inspects the crane CR-4410?",
                "Who inspects the crane CR-4411?",
            ),
            ("What is due in 2024?", "What is due in 2025?"),
            ("What is due for unit 4?", "What is due for unit four?"),
            (
                "What are the two largest bids?",
                "What are the three largest bids?",
            ),
            ("Is the rate 7.5%?", "Is the rate 75%?"),
            ("Is it worth $500?", "Is it worth €500?"),
            // Names, in any spelling that shows them, and who does it to whom.
            (
                "When did Halvorsen inspect the roof?",
                "When did Petersen inspect the roof?",
            ),
            ("What does Acme owe Birch?", "What does Birch owe Acme?"),
            (
                "What is the status of the OSHA report?",
                "What is the status of the FEMA report?",
            ),
            (
                "What does \"north gate\" mean?",
                "What does \"yard gate\" mean?",
            ),
            ("What happened in May?", "What happened in June?"),
            (
                "Does the landlord insure the tenant?",
                "Does the tenant insure the landlord?",
            ),
            ("Halvorsen inspected what?", "Petersen inspected what?"),
            (
                "when did halvorsen inspect the roof?",
                "when did petersen inspect the roof?",
            ),
            // Negations.
            ("Which invoices are paid?", "Which invoices are not paid?"),
            (
                "Which invoices are approved?",
                "Which invoices aren't approved?",
            ),
            (
                "Which sites have a permit?",
                "Which sites are without a permit?",
            ),
            (
                "Which invoices are settled?",
                "Which invoices are unsettled?",
            ),
            ("Is the work compliant?", "Is the work noncompliant?"),
            // What turns a question around.
            ("When does the lease end?", "When does the lease begin?"),
            ("When does the lease end?", "Where does the lease end?"),
            ("What is the maximum load?", "What is the minimum load?"),
            ("What is due before Friday?", "What is due after Friday?"),
            ("List all open items", "List all closed items"),
            ("What did the buyer sign?", "What did the seller sign?"),
            ("What is the monthly rent?", "What is the weekly rent?"),
            ("Which bid is the highest?", "Which bid is the lowest?"),
            (
                "What is the price of the roof?",
                "What is the cost of the roof?",
            ),
            // One that says more.
            (
                "What is the price of the roof?",
                "What is the price of the roof repair?",
            ),
            (
                "What is the price of the roof?",
                "What is the price of the north roof?",
            ),
            // Languages that the rule does not know.
            (
                "Welche Rechnungen sind bezahlt?",
                "Welche Rechnungen sind nicht bezahlt?",
            ),
            ("Was kostet das in Berlin", "Was kostet das in Berlin ?"),
        ] {
            assert!(!is_same(one, other), "{one} / {other}");
        }
    }
}
