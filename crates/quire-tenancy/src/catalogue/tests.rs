//! The shipped catalogue, what is refused, and what things cost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

use quire_types::Timestamp;

fn shipped() -> Catalogue {
    Catalogue::shipped().unwrap()
}

fn plan(id: &str) -> Plan {
    shipped().plans[&id.parse().unwrap()].clone()
}

fn at(day: &str) -> Timestamp {
    format!("{day}T12:00:00Z").parse().unwrap()
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

#[test]
fn the_shipped_catalogue_says_what_the_product_documents_say() {
    use LimitName as Name;

    let catalogue = shipped();
    assert_eq!(catalogue.default.as_str(), "standard");
    let rows = [
        (
            "starter", "$99", 1, "10", "50", "1", "100 GB", "10000", "$20.00",
        ),
        (
            "professional",
            "$199",
            2,
            "30",
            "500",
            "5",
            "1 TB",
            "100000",
            "$50.00",
        ),
        (
            "premium", "$349", 4, "60", "2000", "20", "10 TB", "1000000", "$80.00",
        ),
        (
            "enterprise",
            "$999",
            8,
            "120",
            "5000",
            "unlimited",
            "unlimited",
            "unlimited",
            "$150.00",
        ),
    ];
    for (id, price, weight, requests, questions, notebooks, storage, passages, cost) in rows {
        let plan = plan(id);
        assert_eq!((plan.price, plan.weight), (usd(price), weight), "{id}");
        let check = |name: Name, expect: &str| {
            assert_eq!(name.show(plan.limits[&name]), expect, "{id} {name}");
        };
        check(Name::RequestsPerMinute, requests);
        check(Name::QuestionsPerMonth, questions);
        check(Name::Notebooks, notebooks);
        check(Name::StorageBytes, storage);
        check(Name::Passages, passages);
        check(Name::CostPerMonth, cost);
    }
}

#[test]
fn every_shipped_plan_names_every_limit_and_keeps_the_rules_it_states() {
    use LimitName as Name;

    for (id, plan) in shipped().plans {
        let limit = |name| plan.limits.get(&name).copied();
        for name in Name::ALL {
            assert!(limit(*name).is_some(), "{id} lacks {name}");
        }
        let times = |name, factor: u64| match limit(name) {
            Some(Limit::At(most)) => Some(Limit::At(most * factor)),
            other => other,
        };
        assert_eq!(
            limit(Name::KeyRequestsPerMinute),
            limit(Name::RequestsPerMinute)
        );
        assert_eq!(
            times(Name::UserRequestsPerMinute, 2),
            limit(Name::RequestsPerMinute)
        );
        assert_eq!(times(Name::CostPerDay, 5), limit(Name::CostPerMonth));
        assert_eq!(times(Name::UserCostPerDay, 2), limit(Name::CostPerDay));
        assert_eq!(times(Name::UserCostPerMonth, 2), limit(Name::CostPerMonth));
        assert_eq!(limit(Name::NotebookCostPerDay), limit(Name::CostPerDay));
        assert_eq!(limit(Name::NotebookCostPerMonth), limit(Name::CostPerMonth));
    }
}

#[test]
fn the_defaults_are_the_limits_of_the_smallest_plan() {
    let starter = plan("starter");
    for name in LimitName::ALL {
        assert_eq!(name.default_limit(), starter.limits[name], "{name}");
        for plan in shipped().plans.values() {
            assert!(
                plan.limits[name] >= starter.limits[name],
                "{} {name}",
                plan.id
            );
        }
    }
}

#[test]
fn a_plan_reads_back_from_json_and_from_toml() {
    for plan in shipped().plans.into_values() {
        let json = serde_json::to_value(&plan).unwrap();
        assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
        let toml = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<Plan>(&toml).unwrap(), plan);
    }
    let json = serde_json::to_value(plan("enterprise")).unwrap();
    assert_eq!(json["price"], "$999.00");
    assert_eq!(json["question_types"][2], "cross-reference");
    assert_eq!(json["limits"]["requests_per_minute"], 120);
    assert_eq!(json["limits"]["notebooks"], "unlimited");
    assert_eq!(json["limits"]["cost_per_day"], "$30.00");
}

#[test]
fn json_is_checked_like_the_file() {
    let mut json = serde_json::to_value(plan("starter")).unwrap();
    json["dedicated_seats"] = 1.into();
    let error = serde_json::from_value::<Plan>(json.clone()).unwrap_err();
    assert!(error.to_string().contains("dedicated_seats"), "{error}");
    json["dedicated_seats"] = 0.into();
    json["limits"]["cost_per_day"] = 20.into();
    let error = serde_json::from_value::<Plan>(json).unwrap_err();
    assert!(error.to_string().contains("\"$20\""), "{error}");
}

/// The shipped file with a piece changed.
fn changed(from: &str, to: &str) -> String {
    assert!(Catalogue::SHIPPED.contains(from), "{from}");
    let text = Catalogue::SHIPPED.replacen(from, to, 1);
    match Catalogue::parse(&text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_the_message_names_plan_and_field() {
    let check = |from: &str, to: &str, words: &[&str]| {
        let error = changed(from, to);
        for word in words {
            assert!(error.contains(word), "{to}: {error}");
        }
    };
    let starter = |from: &str, to: &str, words: &[&str]| {
        check(from, to, &[&["plan starter: "], words].concat());
    };
    starter(
        "requests_per_minute = 10",
        "reqests_per_minute = 10",
        &["reqests_per_minute", "limits"],
    );
    starter(
        "requests_per_minute = 10",
        "requests_per_minute = -10",
        &["requests_per_minute: '-10'", "negative"],
    );
    starter(
        "requests_per_minute = 10",
        "requests_per_minute = 1.5",
        &["limits", "whole number"],
    );
    starter(
        "cost_per_day = \"$4\"",
        "cost_per_day = 4",
        &["cost_per_day", "\"$4\""],
    );
    starter(
        "cost_per_day = \"$4\"",
        "cost_per_day = \"-$4\"",
        &["cost_per_day", "negative"],
    );
    starter(
        "price = \"$99\"",
        "price = \"-$99\"",
        &["price", "negative"],
    );
    starter(
        "price = \"$99\"",
        "price = 99",
        &["price", "expected a string"],
    );
    starter("weight = 1 ", "weight = 0 ", &["weight", "1000"]);
    starter("weight = 1 ", "weight = 1001 ", &["weight", "1000"]);
    starter("weight = 1 ", "weight = -1 ", &["weight"]);
    starter("weight = 1 ", "wieght = 1 ", &["wieght"]);
    starter("weight = 1 ", "", &["weight", "missing"]);
    starter(
        "isolation = \"shared\"",
        "isolation = \"shared\"\ndedicated_seats = 1",
        &["dedicated_seats", "isolation"],
    );
    starter(
        "isolation = \"shared\"",
        "isolation = \"none\"",
        &["isolation", "dedicated"],
    );
    starter(
        "refresh = \"weekly\"",
        "refresh = \"monthly\"",
        &["refresh", "monthly"],
    );
    starter(
        "question_types = [\"simple\"]",
        "question_types = []",
        &["question_types"],
    );
    starter(
        "question_types = [\"simple\"]",
        "question_types = [\"hard\"]",
        &["question_types", "hard"],
    );
    starter("dimensions = 384", "dimensions = 0", &["dimensions"]);
    starter("dimensions = 384", "dimensions = -1", &["dimensions"]);
    starter("name = \"Starter\"", "name = \"\"", &["name"]);
    starter(
        "name = \"Starter\"",
        "id = \"other\"\nname = \"Starter\"",
        &["id"],
    );
    check(
        "[plans.starter]",
        "[plans.Starter]",
        &["plan Starter: ", "a-z"],
    );
    check(
        "default = \"standard\"",
        "default = \"gold\"",
        &["default", "'gold'"],
    );
    check(
        "default = \"standard\"",
        "defualt = \"standard\"",
        &["defualt"],
    );
    check("[plans.premium]", "[plans.starter]", &["duplicate"]);
    check(
        "from = \"2024-10-02\"",
        "from = \"2024-05-13\"",
        &["gpt-4o", "two prices from 2024-05-13"],
    );
    check(
        "from = \"2024-10-02\"",
        "from = \"October\"",
        &["from", "October", "2026-01-31"],
    );
    check(
        "input = \"$0.02\"",
        "input = \"cheap\"",
        &["input", "cheap"],
    );
    check("output = \"$0\"\n", "", &["output"]);
    check("what = \"images\"", "what = \"pages\"", &["units: pages"]);
    check("what = \"images\"", "what = \"pictures\"", &["pictures"]);
    check(
        "[[units]]\nwhat = \"pages\"\nprice = \"$0\"",
        "",
        &["units: pages", "no price"],
    );
}

#[test]
fn a_plan_without_a_limit_is_read() {
    assert_eq!(changed("uploads_per_minute = 60\n", ""), "");
}

#[test]
fn plan_ids_are_short_and_plain() {
    let longest = "a".repeat(32);
    for id in ["standard", "a", "2026-q1", longest.as_str()] {
        assert_eq!(id.parse::<PlanId>().map(String::from).as_deref(), Ok(id));
    }
    let too_long = "a".repeat(33);
    for id in ["", "Gold", "a b", "ä", "a_b", too_long.as_str()] {
        assert!(id.parse::<PlanId>().is_err(), "{id}");
    }
}

#[test]
fn a_price_counts_from_its_day_until_the_next() {
    let prices = shipped().prices;
    let input = |day| prices.of("gpt-4o", at(day)).input;
    assert_eq!(input("2024-05-13"), usd("$5"));
    assert_eq!(input("2024-10-01"), usd("$5"));
    assert_eq!(input("2024-10-02"), usd("$2.50"));
    assert_eq!(input("2030-01-01"), usd("$2.50"));
    assert!(!prices.of("gpt-4o", at("2024-05-12")).is_known);
}

#[test]
fn a_model_without_a_price_is_dear_and_free_is_spelled_out() {
    let prices = shipped().prices;
    let unknown = prices.of("gpt-4o-mni", at("2026-01-01"));
    assert!(!unknown.is_known);
    for row in Catalogue::SHIPPED
        .lines()
        .filter_map(|line| line.strip_prefix("model = \""))
    {
        let model = row.split('"').next().unwrap();
        let price = prices.of(model, at("2026-01-01"));
        assert!(price.is_known, "{model}");
        assert!(price.input <= unknown.input && price.output <= unknown.output);
        assert!(price.cached_input <= price.input);
    }
    let local = prices.of("all-MiniLM-L6-v2", at("2026-01-01"));
    assert!(local.is_known && local.input == NanoUsd::ZERO);
}

#[test]
fn a_call_costs_its_fresh_its_cached_and_its_received_tokens() {
    let price = shipped().prices.of("gpt-4o-mini", at("2026-01-01"));
    let check = |(input, cached, output, reasoning), nanos| {
        let tokens = Tokens {
            input,
            cached,
            output,
            reasoning,
        };
        assert_eq!(price.cost(tokens), NanoUsd::from_nanos(nanos));
    };
    check((0, 0, 0, 0), 0);
    check((1_000, 0, 0, 0), 150_000);
    check((1_000, 1_000, 0, 0), 75_000);
    check((1_000, 400, 100, 0), 90_000 + 30_000 + 60_000);
    check((0, 0, 100, 50), 90_000);
    // What makes no sense costs at least what was reported.
    check((10, 20, 0, 0), 1_500);
    check((u64::MAX, 0, u64::MAX, u64::MAX), i64::MAX);
}

#[test]
fn other_work_is_free_until_somebody_prices_it() {
    for measure in Measure::ALL {
        assert_eq!(shipped().prices.cost_of(*measure, u64::MAX), NanoUsd::ZERO);
        assert_eq!(serde_json::to_value(measure).unwrap(), measure.as_str());
    }
    let text = Catalogue::SHIPPED.replacen(
        "what = \"pages\"\nprice = \"$0\"",
        "what = \"pages\"\nprice = \"$20000\"",
        1,
    );
    let prices = Catalogue::parse(&text).unwrap().prices;
    assert_eq!(prices.cost_of(Measure::Pages, 3), usd("$0.06"));
}
