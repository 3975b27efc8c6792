//! Tests of the registry as it ships and as it is changed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quire_types::NanoUsd;

use super::*;

fn at(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().unwrap()
}

fn usd(text: &str) -> NanoUsd {
    text.parse().unwrap()
}

fn shipped() -> Registry {
    Registry::shipped().unwrap()
}

#[test]
fn everything_that_ships_has_a_price_and_a_provider_that_can_be_reached() {
    for model in shipped().models() {
        let provider = shipped().provider(&model.provider).cloned().unwrap();
        // In this process, or at an address that each pool names.
        let is_elsewhere = matches!(
            provider.wire,
            Wire::None | Wire::GoogleSpeech | Wire::DocumentAi
        );
        assert!(
            is_elsewhere || provider.base_url.is_some(),
            "{}",
            model.name
        );
        let price = model.price(at("2026-11-21")).unwrap();
        assert!(price.cached_input <= price.input, "{}", model.name);
        for capability in &model.does {
            let unit = match capability {
                Capability::Chat => {
                    assert!(price.output > NanoUsd::ZERO, "{}", model.name);
                    assert!(model.context_tokens.is_some(), "{}", model.name);
                    continue;
                }
                Capability::Embed => {
                    assert!(model.dimensions.is_some(), "{}", model.name);
                    continue;
                }
                Capability::Rerank => Unit::Searches,
                // Paid by the token.
                Capability::Score => continue,
                // Paid by the second or by the token.
                Capability::Transcribe if price.input > NanoUsd::ZERO => continue,
                Capability::Transcribe => Unit::AudioSeconds,
                Capability::Read => Unit::Pages,
                Capability::Speak => Unit::Characters,
            };
            assert!(price.cost_of(unit, 1_000).is_some(), "{}", model.name);
        }
    }
}

#[test]
fn a_price_counts_from_its_day_until_the_next() {
    let registry = shipped();
    let model = registry.model("gpt-4o").unwrap();
    let input = |day| model.price(at(day)).unwrap().input;
    assert_eq!(input("2024-05-13"), usd("$5"));
    assert_eq!(input("2024-10-01"), usd("$5"));
    assert_eq!(input("2024-10-02"), usd("$2.50"));
    assert_eq!(input("2030-01-01"), usd("$2.50"));
    let error = model.price(at("2024-05-12")).unwrap_err();
    assert!(error.to_string().contains("no price on 2024-05-12"));
}

#[test]
fn an_unknown_model_is_an_error_and_free_is_spelled_out() {
    let error = shipped().model("gpt-4o-mni").unwrap_err();
    assert!(error.to_string().contains("no model 'gpt-4o-mni'"));
    let registry = shipped();
    let local = registry.model("all-MiniLM-L6-v2").unwrap();
    assert_eq!(local.price(at("2026-01-01")).unwrap().input, NanoUsd::ZERO);
}

#[test]
fn each_kind_of_token_has_its_price() {
    let registry = shipped();
    let price = |name: &str| {
        registry
            .model(name)
            .unwrap()
            .price(at("2026-11-21"))
            .unwrap()
    };
    let tokens = Tokens {
        input: 1_000_000,
        cached: 400_000,
        cache_written: 100_000,
        output: 10_000,
        reasoning: 5_000,
    };
    // 500,000 fresh at $3, 400,000 at $0.30, 100,000 at $3.75, 15,000 at $15.
    assert_eq!(price("claude-sonnet-4").cost(tokens), usd("$2.22"));
    let rerank = price("rerank-v3.5");
    assert_eq!(rerank.cost_of(Unit::Searches, 1_000), Some(usd("$2")));
    assert_eq!(rerank.cost_of(Unit::Pages, 1_000), None);
}

#[test]
fn the_end_of_a_model_is_warned_of_for_ninety_days() {
    let registry = shipped();
    let model = registry.model("gpt-4o").unwrap();
    assert_eq!(model.days_left(at("2026-10-15")), None);
    assert_eq!(model.days_left(at("2026-10-16")), Some(90));
    assert!(!model.has_ended(at("2027-01-13")));
    assert!(model.has_ended(at("2027-01-14")));
    assert_eq!(model.days_left(at("2027-03-01")), Some(0));
}

#[test]
fn an_operator_adds_and_replaces_by_name() {
    let document = r#"
        [providers.mine]
        wire = "openai"
        base_url = "http://10.0.0.7/v1"
        [[models]]
        name = "gpt-4o"
        provider = "mine"
        does = ["chat"]
        prices = [{ from = "2026-01-01", input = "$0", output = "$0" }]
    "#;
    let registry = shipped().with(document).unwrap();
    assert_eq!(registry.model("gpt-4o").unwrap().provider, "mine");
    assert!(registry.model("gpt-4o-mini").is_ok());
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let row = "prices = [{ from = \"2026-01-01\", input = \"$1\", output = \"$1\" }]";
    let check = |model: &str, words: &[&str]| {
        let error = shipped().with(&format!("[[models]]\n{model}")).unwrap_err();
        for word in words {
            assert!(error.to_string().contains(word), "{model}: {error}");
        }
    };
    let named = "name = \"x\"\nprovider = \"openai\"";
    check(&format!("{named}\ndoes = [\"chat\"]"), &["prices"]);
    check(
        &format!("{named}\ndoes = [\"chat\"]\nprices = []"),
        &["x", "prices"],
    );
    check(&format!("{named}\ndoes = []\n{row}"), &["x", "does"]);
    check(&format!("{named}\ndoes = [\"sing\"]\n{row}"), &["sing"]);
    check(
        &format!("{named}\ndoes = [\"chat\"]\nends = \"soon\"\n{row}"),
        &["soon", "2026-01-31"],
    );
    check(
        &format!("name = \"x\"\nprovider = \"opnai\"\ndoes = [\"chat\"]\n{row}"),
        &["opnai"],
    );
    check(
        &format!(
            "{named}\ndoes = [\"chat\"]\nprices = [{{ from = \"2026-01-01\", input = 1, output = \"$1\" }}]"
        ),
        &["string"],
    );
    let twice =
        format!("{named}\ndoes = [\"chat\"]\n{row}\n[[models]]\n{named}\ndoes = [\"chat\"]\n{row}");
    check(&twice, &["x", "twice"]);
}
