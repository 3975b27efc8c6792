//! The way of a question: chosen by its words, by its caller or by the plan, and told in the answer.

use reqwest::Method;
use serde_json::{Value, json};

use quire_testkit::provider::{ChatDouble, Script};

use crate::support::{Caller, Quire};

const LOOK_UP: &str = "Which supplier delivers the rebar?";
const SUM: &str = "Give me an overview of the deliveries.";
const COMPARE: &str = "Compare the two suppliers of rebar.";

async fn setup(double: &ChatDouble) -> (Quire, Caller, String) {
    let quire = Quire::up_with(&[
        ("QUIRE__CHAT__BASE_URL", &double.base_url()),
        ("QUIRE__CHAT__MODEL", "gpt-4o-mini"),
        ("QUIRE__CHAT__LARGE_MODEL", "gpt-4o"),
        ("QUIRE__DEPTH__PHRASINGS", "0"),
    ]);
    let caller = quire.tenant("yard").await;
    let notebook = caller.notebook("yard").await;
    caller
        .add(&notebook, "rebar.txt", "Rebar is delivered by Ironside.")
        .await;
    caller
        .add(&notebook, "bid.txt", "Steelmark bid for the rebar, too.")
        .await;
    (quire, caller, format!("/v1/notebooks/{notebook}/ask"))
}

async fn ask(double: &ChatDouble, caller: &Caller, path: &str, body: Value) -> Value {
    double.push(Script::Answer(
        "Ironside delivers the rebar [1].".to_owned(),
    ));
    caller.post(path, &body).await.ok()
}

#[tokio::test]
async fn the_words_choose_the_way_and_the_way_chooses_the_model() {
    let double = ChatDouble::start().await.unwrap();
    let (_quire, caller, path) = setup(&double).await;
    for (question, name, model, openings) in [
        (LOOK_UP, "simple", "gpt-4o-mini", false),
        (SUM, "moderate", "gpt-4o-mini", true),
        (COMPARE, "complex", "gpt-4o", true),
    ] {
        let answer = ask(&double, &caller, &path, json!({ "question": question })).await;
        let route = &answer["route"];
        assert_eq!(
            (&route["name"], &route["by"], &answer["model"]),
            (&json!(name), &json!("signals"), &json!(model)),
            "{answer:#}"
        );
        assert_eq!(route["signals"]["notebooks"], 1);
        assert!(
            answer["usage"]["cost"].as_str().unwrap() > "$0",
            "{answer:#}"
        );
        let sent = double.received().pop().unwrap().body;
        assert_eq!(sent["model"], model);
        let prompt = sent["messages"][1]["content"].as_str().unwrap();
        assert_eq!(
            prompt.contains("- rebar.txt: Rebar is delivered by Ironside."),
            openings,
            "{prompt}"
        );
    }
    // The caller knows better.
    let body = json!({ "question": LOOK_UP, "route": "complex" });
    let answer = ask(&double, &caller, &path, body).await;
    assert_eq!(
        (&answer["route"]["by"], &answer["model"]),
        (&json!("caller"), &json!("gpt-4o"))
    );
    // That answer is not the one of whoever names no way.
    let again = caller
        .post(&path, &json!({ "question": LOOK_UP }))
        .await
        .ok();
    assert_eq!(
        (&again["cached"], &again["model"]),
        (&json!(true), &json!("gpt-4o-mini"))
    );
    let wrong = json!({ "question": LOOK_UP, "route": "psychic" });
    caller.post(&path, &wrong).await.is(400);
}

#[tokio::test]
async fn a_plan_without_a_way_answers_the_simple_way_or_refuses_the_one_that_is_named() {
    let double = ChatDouble::start().await.unwrap();
    let (quire, caller, path) = setup(&double).await;
    let admin = quire.caller(&quire.admin_key);
    let starter = admin
        .request(Method::PATCH, &format!("/v1/tenants/{}", caller.tenant))
        .json(&json!({ "plan": "starter" }));
    admin.send(starter).await.ok();
    let path_of_limit = format!("/v1/tenants/{}/limits/tokens_per_minute", caller.tenant);
    let unlimited = admin
        .request(Method::PUT, &path_of_limit)
        .json(&json!({ "value": "unlimited" }));
    admin.send(unlimited).await.ok();

    let answer = ask(&double, &caller, &path, json!({ "question": COMPARE })).await;
    assert_eq!(
        (
            &answer["route"]["name"],
            &answer["route"]["by"],
            &answer["model"]
        ),
        (&json!("simple"), &json!("plan"), &json!("gpt-4o-mini")),
    );
    assert!(
        answer["note"].as_str().unwrap().starts_with("the plan has"),
        "{answer:#}"
    );
    let named = json!({ "question": LOOK_UP, "route": "complex" });
    let refused = caller.post(&path, &named).await.is(403);
    assert!(
        refused["detail"].as_str().unwrap().contains("complex"),
        "{refused:#}"
    );
    // What was asked for and can be had.
    let named = json!({ "question": COMPARE, "route": "simple" });
    let answer = ask(&double, &caller, &path, named).await;
    assert_eq!(answer["route"]["by"], "caller");
}
