//! Suite `router`: does each question go the way it should, and what does that save.
//!
//! The labelled questions are in `bench/questions/router.tsv`. For the cost they are asked of the real program over the
//! sample company, with a provider on this machine, so prompts are as large as they are; prices are those of the
//! registry. What is compared with is the same prompts, all sent to the large model.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use quire_ask::{Reach, Route, route};
use quire_models::registry::{Price, Registry, Tokens};
use quire_postgres::Binaries;
use quire_types::{NanoUsd, Timestamp};
use serde_json::json;

use crate::failure::Failure;
use crate::first_run::{Client, Quire, version};
use crate::lab::open_folder;
use crate::provider::Provider;
use crate::report::{Report, Target, line, note, table};
use crate::{Program, until_interrupted};

const SMALL: &str = "gpt-4o-mini";
const LARGE: &str = "gpt-4o";
/// Tokens of an answer by way: a sentence or two, a list, a page.
const OUTPUT: [(Route, u64); 4] = [
    (Route::Simple, 60),
    (Route::Moderate, 250),
    (Route::Complex, 450),
    (Route::Batch, 450),
];
/// A day of 10,000 questions. Nobody publishes such a mix; this one is what is assumed, and the result is also
/// given for the mix of the labelled questions, which hold more hard ones than people ask.
const DAY: [(Route, f64); 4] = [
    (Route::Simple, 6_000.0),
    (Route::Moderate, 2_700.0),
    (Route::Complex, 1_100.0),
    (Route::Batch, 200.0),
];

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// The labelled questions.
    #[arg(
        long,
        default_value = "bench/questions/router.tsv",
        value_name = "FILE"
    )]
    questions: PathBuf,
}

struct Labelled {
    way: String,
    is_held_out: bool,
    passages: u64,
    text: String,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let program = options.program.path()?;
    let questions = read(&options.questions)?;
    let mut report = Report::begin(
        &version(&program).await?,
        &Binaries::find(None)?.version.to_string(),
    );
    accuracy(&questions, &mut report);

    let folder = open_folder()?;
    let provider = Provider::start().await?;
    let environment = [
        ("QUIRE__CHAT__BASE_URL", provider.base_url()),
        ("QUIRE__CHAT__MODEL", SMALL.to_owned()),
        ("QUIRE__CHAT__LARGE_MODEL", LARGE.to_owned()),
    ];
    let mut quire = Quire::start_with(&program, folder.path().join("data"), &environment)?;
    let measuring = cost(&questions, &provider, &mut quire, &mut report);
    let measured = until_interrupted(Box::pin(measuring)).await;
    let stopped = Box::pin(quire.stop()).await;
    measured?;
    stopped?;
    report.end();
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Vec<Labelled>, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::doing(path.display()))?;
    let mut questions = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [way, set, passages, _, text] = fields[..] else {
            return Err(Failure::failed(format!(
                "{}: '{line}' has not five columns",
                path.display()
            )));
        };
        questions.push(Labelled {
            way: way.to_owned(),
            is_held_out: set == "held-out",
            passages: passages
                .parse()
                .map_err(Failure::doing("the column of passages"))?,
            text: text.to_owned(),
        });
    }
    Ok(questions)
}

fn accuracy(questions: &[Labelled], report: &mut Report) {
    for is_held_out in [false, true] {
        let mut confusion: BTreeMap<&str, BTreeMap<Route, u32>> = BTreeMap::new();
        let (mut right, mut count) = (0_u32, 0_u32);
        for question in questions
            .iter()
            .filter(|question| question.is_held_out == is_held_out)
        {
            let reach = Reach {
                notebooks: Some(1),
                passages: Some(question.passages),
            };
            let way = route(&question.text, reach).route;
            let row = confusion.entry(&question.way).or_default();
            *row.entry(way).or_default() += 1;
            count += 1;
            right += u32::from(way.as_str() == question.way);
        }
        let rows = Route::ALL.map(|label| {
            let row = confusion.get(label.as_str());
            let cell = |way: Route| row.and_then(|row| row.get(&way)).copied().unwrap_or(0);
            let [simple, moderate, complex, batch] = Route::ALL.map(|way| cell(way).to_string());
            [label.as_str().to_owned(), simple, moderate, complex, batch]
        });
        let set = if is_held_out { "held-out" } else { "tuning" };
        line(format!("\n{set}: {count} questions, by label and way"));
        table(&["label", "simple", "moderate", "complex", "batch"], &rows);
        let share = f64::from(right) / f64::from(count.max(1));
        match is_held_out {
            true => report.metric("router_accuracy", share, "", Some(Target::AtLeast(0.9))),
            false => report.metric("router_accuracy_tuning", share, "", None),
        }
    }
}

/// What answers of one way cost on average: as routed, and all by the large model.
#[derive(Clone, Copy, Default)]
struct Cost {
    questions: u32,
    routed: i64,
    large: i64,
    bytes: u64,
}

async fn cost(
    questions: &[Labelled],
    provider: &Provider,
    quire: &mut Quire,
    report: &mut Report,
) -> Result<(), Failure> {
    quire.serving().await?;
    let client = Client::new(quire.address(), &quire.key("northgate").await?)?;
    let registry = Registry::shipped()?;
    // The last prices of the registry: far in the future nothing is older.
    let now: Timestamp = "2100-01-01T00:00:00Z"
        .parse()
        .map_err(Failure::doing("reading a day"))?;
    let price = |model| registry.model(model)?.price(now);
    let (small, large) = (price(SMALL)?, price(LARGE)?);
    note(format!("router: asking {} questions", questions.len()));
    let mut costs: BTreeMap<String, Cost> = BTreeMap::new();
    for question in questions {
        let before = provider.calls();
        client
            .ask_with(&json!({ "question": question.text, "fresh": true }))
            .await?;
        if provider.calls() == before {
            return Err(Failure::failed(format!(
                "no model was asked: {}",
                question.text
            )));
        }
        let (model, bytes) = provider.last();
        let output = OUTPUT
            .iter()
            .find(|(way, _)| way.as_str() == question.way)
            .map_or(0, |(_, tokens)| *tokens);
        let price_of = |price: &Price| -> NanoUsd {
            price.cost(Tokens {
                input: bytes / 4,
                output,
                ..Tokens::default()
            })
        };
        let routed = if model == LARGE { &large } else { &small };
        let cost = costs.entry(question.way.clone()).or_default();
        cost.questions += 1;
        cost.bytes += bytes;
        cost.routed += price_of(routed).nanos();
        cost.large += price_of(&large).nanos();
    }
    let rows: Vec<[String; 4]> = costs
        .iter()
        .map(|(way, cost)| {
            let count = f64::from(cost.questions);
            [
                way.clone(),
                format!("{:.0}", cost.bytes as f64 / count / 4.0),
                format!("${:.6}", cost.routed as f64 / count / 1e9),
                format!("${:.6}", cost.large as f64 / count / 1e9),
            ]
        })
        .collect();
    line("\nwhat a question costs on average, by label");
    table(
        &["label", "tokens of the prompt", "as routed", "all large"],
        &rows,
    );

    let mean = |way: Route, total: fn(&Cost) -> i64| {
        costs.get(way.as_str()).map_or(0.0, |cost| {
            total(cost) as f64 / f64::from(cost.questions.max(1))
        })
    };
    let day = |total: fn(&Cost) -> i64| -> f64 {
        DAY.iter()
            .map(|(way, count)| count * mean(*way, total))
            .sum()
    };
    let (routed, all_large) = (day(|cost| cost.routed), day(|cost| cost.large));
    report.metric("day_cost_usd", routed / 1e9, "$", None);
    report.metric("day_cost_all_large_usd", all_large / 1e9, "$", None);
    report.metric(
        "cost_ratio",
        routed / all_large,
        "",
        Some(Target::AtMost(0.35)),
    );
    let sum = |total: fn(&Cost) -> i64| costs.values().map(total).sum::<i64>() as f64;
    report.metric(
        "cost_ratio_labelled_mix",
        sum(|cost| cost.routed) / sum(|cost| cost.large),
        "",
        None,
    );
    Ok(())
}
