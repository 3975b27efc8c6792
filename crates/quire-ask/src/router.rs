//! Which way a question is answered: the cheapest that can do it justice.
//!
//! Told from the words, from how many notebooks it is about and from how much is in them; the signals are
//! those of the product documents: length, comparison, aggregation, a range of time, the size of the notebook. A
//! guess, so a caller may force a way, and a wrong guess costs money or depth, never the answer. Knows no model
//! and no price. `quire-bench router` measures it.

use quire_tenancy::catalogue::QuestionType;
use serde::{Deserialize, Serialize};

/// Words beyond which a question asks for several things at once.
const LONG: usize = 40;
/// Passages beyond which no overview of the notebooks fits into a prompt, so that a question about all of
/// them has to be answered in steps.
const LARGE: u64 = 2_000;
/// Questions in one text beyond which they are a list to be worked off.
const MANY_QUESTIONS: usize = 4;

/// A way to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// The answer stands in one place: a few passages, the small model.
    Simple,
    /// It is collected from several places, or is about the notebook as a whole: more passages and an outline
    /// of the sources, the small model.
    Moderate,
    /// Things are set against each other, or one thing follows from several: the search is made deeper, and the
    /// large model writes.
    Complex,
    /// Work on each of many things, for whose end nobody waits.
    Batch,
}

impl Route {
    /// Every way, the cheapest first.
    pub const ALL: [Self; 4] = [Self::Simple, Self::Moderate, Self::Complex, Self::Batch];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Moderate => "moderate",
            Self::Complex => "complex",
            Self::Batch => "batch",
        }
    }
}

/// What the router looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// Words of the question.
    pub words: u32,
    /// It sets things against each other.
    pub compares: bool,
    /// It asks what follows, what caused it, or what to do.
    pub reasons: bool,
    /// It adds up, lists or sums up.
    pub sums: bool,
    /// It is about a stretch of time.
    pub spans_time: bool,
    /// It asks for work on each of many things.
    pub for_each: bool,
    /// Notebooks it is about; none when it is about all.
    pub notebooks: Option<u32>,
    /// Passages in reach, where that is known.
    pub passages: Option<u64>,
}

/// Who chose the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chooser {
    /// The router, by its signals.
    Signals,
    /// The caller, who named it.
    Caller,
    /// The plan, which lacks the way that the signals called for.
    Plan,
}

impl Chooser {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signals => "signals",
            Self::Caller => "caller",
            Self::Plan => "plan",
        }
    }
}

/// The way of one question, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The way.
    pub route: Route,
    /// Who chose it.
    pub by: Chooser,
    /// What was looked at.
    pub signals: Signals,
}

/// What a question is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reach {
    /// Notebooks it names; none when it is about all.
    pub notebooks: Option<u32>,
    /// Passages in them, where that is known.
    pub passages: Option<u64>,
}

/// The way that a question calls for.
pub fn route(text: &str, reach: Reach) -> Decision {
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let has = |list: &[&str]| list.iter().any(|phrase| contains(&words, phrase));
    let questions = text.matches('?').count();
    let signals = Signals {
        words: u32::try_from(words.len()).unwrap_or(u32::MAX),
        compares: has(COMPARING) || is_comparison(&words),
        reasons: has(REASONING),
        sums: has(SUMMING) || asks_for_several(&words),
        spans_time: has(SPANNING),
        for_each: has(FOR_EACH) || works_through(&words) || questions >= MANY_QUESTIONS,
        notebooks: reach.notebooks,
        passages: reach.passages,
    };
    Decision {
        route: signals.route(),
        by: Chooser::Signals,
        signals,
    }
}

impl Signals {
    fn route(&self) -> Route {
        let is_large = self.passages.is_some_and(|passages| passages > LARGE);
        let is_long = self.words as usize > LONG;
        if self.for_each {
            Route::Batch
        } else if self.compares || self.reasons || is_long || (self.sums && is_large) {
            Route::Complex
        } else if self.sums || self.spans_time {
            Route::Moderate
        } else {
            Route::Simple
        }
    }
}

impl Decision {
    /// What the plan must have for it.
    pub(crate) fn needs(&self) -> QuestionType {
        match self.route {
            Route::Batch => QuestionType::Batch,
            _ if self.signals.notebooks.is_some_and(|count| count > 1) => {
                QuestionType::CrossReference
            }
            Route::Simple => QuestionType::Simple,
            Route::Moderate | Route::Complex => QuestionType::Complex,
        }
    }
}

/// Sets things against each other. A star stands for any ending.
const COMPARING: &[&str] = &[
    "compar*",
    "versus",
    "vs",
    "differ",
    "differs",
    "differed",
    "differen*",
    "contradict*",
    "conflict with",
    "conflicts with",
    "disagree*",
    "agree with",
    "consistent with",
    "match the",
    "matches the",
    "relative to",
    "in common",
    "trade off*",
    "pros and cons",
    "advantages and disadvantages",
    "strengths and weaknesses",
    "changed between",
    "change between",
    "changed from",
    "from the original",
    "how has",
    "how have",
    "develop",
    "developed",
    "evolve*",
    "trend",
    "trends",
    "relationship between",
    "correlat*",
    "which of the two",
    "which of the three",
    "which of our",
];

/// Asks what follows from several things.
const REASONING: &[&str] = &[
    "root cause",
    "what caused",
    "what explains",
    "impact",
    "implication*",
    "consequence*",
    "affect",
    "affects",
    "would it take",
    "what would",
    "what if",
    "happen if",
    "judging by",
    "judged by",
    "based on",
    "given the",
    "considering",
    "consider the",
    "weighing",
    "should we",
    "recommend*",
    "suggest measures",
    "evaluat*",
    "assess",
    "analyse",
    "analyze",
    "analysis of whether",
    "worth",
    "pay off",
    "likely connected",
    "pose a risk",
    "still hold",
];

/// Collects from several places, or is about the whole.
const SUMMING: &[&str] = &[
    "summar*",
    "overview",
    "outline",
    "list",
    "name all",
    "all the",
    "all of",
    "all approved",
    "every",
    "total of",
    "in total",
    "total we",
    "sum of",
    "average",
    "overall",
    "main",
    "key facts",
    "key messages",
    "highlights",
    "timeline",
    "history of",
    "chronolog*",
    "walk me through",
    "tell me about",
    "describe",
    "explain how",
    "what do we know",
    "briefing",
    "what happened on",
    "what happened in",
    "status of",
    "steps",
    "who is responsible for which",
    "what's new",
    "how many * were",
    "so far",
    "and by whom",
    "and where",
    "and for what",
    "what should",
    "discussed about",
    "decided",
];

/// A stretch of time, not a moment.
const SPANNING: &[&str] = &[
    "last week",
    "last month",
    "last quarter",
    "last year",
    "past week",
    "past month",
    "past year",
    "this week",
    "this month",
    "this quarter",
    "this year",
    "this winter",
    "this spring",
    "this summer",
    "this autumn",
    "next week",
    "next month",
    "next quarter",
    "next year",
    "next six months",
    "of the week",
    "of the month",
    "of the year",
    "over the last",
    "over the past",
    "since",
    "between * and",
    "in january",
    "in february",
    "in april",
    "in may",
];

/// Work on each of many things.
const FOR_EACH: &[&str] = &[
    "for each",
    "for every",
    "from each",
    "from every",
    "each of the",
    "one by one",
    "go through every",
    "go through all",
    "go through each",
];

/// Whether a phrase occurs as whole words; `ab*` is any word that begins so, `*` after the first
/// any word.
fn contains(words: &[String], phrase: &str) -> bool {
    // Two hundred phrases are looked for in each question, and few words have their first letter.
    let first = phrase.as_bytes().first();
    (0..words.len())
        .filter(|at| words[*at].as_bytes().first() == first)
        .any(|at| begin_with(&words[at..], phrase))
}

fn begin_with(words: &[String], phrase: &str) -> bool {
    let mut words = words.iter();
    phrase.split(' ').all(|wanted| {
        words
            .next()
            .is_some_and(|word| match wanted.strip_suffix('*') {
                Some(beginning) => word.starts_with(beginning),
                None => word == wanted,
            })
    })
}

/// "Is the steel bid cheaper than …", "which is more profitable": a comparative that chooses.
fn is_comparison(words: &[String]) -> bool {
    const COMPARATIVES: &[&str] = &[
        "better", "worse", "best", "cheaper", "cheapest", "faster", "slower", "higher", "lower",
        "safer", "riskier", "stronger", "larger", "smaller",
    ];
    let has = |word: &str| words.iter().any(|other| other == word);
    let graded = COMPARATIVES.iter().any(|word| has(word))
        || words
            .windows(2)
            .any(|pair| pair[0] == "more" && pair[1] != "than");
    let chooses = has("than") || has("which") || has("or");
    let why = words.first().is_some_and(|word| word == "why");
    // "Why …" over two things that went unlike ways.
    (graded && chooses) || (why && (has("while") || has("than") || has("compared") || has("and")))
}

/// "Which submittals are still waiting", "what were the findings": asks for things in the plural.
fn asks_for_several(words: &[String]) -> bool {
    let [first, second, rest @ ..] = words else {
        return false;
    };
    match (first.as_str(), second.as_str()) {
        ("which" | "what", noun) if is_plural(noun) => true,
        ("what" | "who", "are" | "were") => rest.iter().take(4).any(|word| is_plural(word)),
        ("what", "did") => rest
            .iter()
            .take(3)
            .any(|word| word != "us" && is_plural(word)),
        ("what", "do") => rest.first().is_some_and(|word| is_plural(word)),
        _ => false,
    }
}

/// Whether a word looks like a plural, as far as an ending can tell.
fn is_plural(word: &str) -> bool {
    const NOT: &[&str] = &[
        "is", "was", "has", "does", "this", "its", "his", "address", "business", "process",
        "status", "class", "access", "loss", "press", "basis", "analysis", "always", "us", "as",
        "days", "hours", "terms", "gas", "bus", "less", "progress", "canvas", "plus", "focus",
    ];
    const IRREGULAR: &[&str] = &["people", "data", "criteria", "children", "media"];
    IRREGULAR.contains(&word)
        || (word.len() > 3
            && word.ends_with('s')
            && !word.ends_with("ss")
            && !word.contains('\'')
            && !NOT.contains(&word))
}

/// A verb of treating many things, and a word that says that it is each of them.
fn works_through(words: &[String]) -> bool {
    const WORK: &[&str] = &[
        "extract",
        "check",
        "review",
        "classify",
        "categorise",
        "categorize",
        "translate",
        "tag",
        "score",
        "screen",
        "match",
        "write",
        "create",
        "build",
        "produce",
        "compile",
        "generate",
        "prepare",
        "fill",
        "rewrite",
        "convert",
        "answer",
    ];
    const EACH: &[&str] = &["each", "every", "all"];
    let verb = words
        .iter()
        .take(2)
        .any(|word| WORK.contains(&word.as_str()));
    verb && words.iter().any(|word| EACH.contains(&word.as_str()))
}

#[cfg(test)]
mod tests;
