//! The shipped catalogue, what is refused, and old documents.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn shipped() -> Catalogue {
    Catalogue::shipped().unwrap()
}

fn plan(id: &str) -> Plan {
    shipped().plans[&id.parse().unwrap()].clone()
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
    let old = format!("{}\n[[prices]]\nmodel = 'x'\n", Catalogue::SHIPPED);
    assert!(
        Catalogue::parse(&old).is_ok(),
        "an older document can be read"
    );
    let error = Catalogue::parse_new(&old).unwrap_err().to_string();
    assert!(error.contains("quire model apply"), "{error}");
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
