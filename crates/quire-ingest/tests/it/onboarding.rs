//! From a customer to a tenant that can ask, however often it is broken off on the way.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures::future::join_all;
use quire_ingest::Onboarded;
use quire_store::sources::Content;
use quire_store::tenants::{self, Tenant};
use quire_store::{PageRequest, keys, notebooks, passages, sources};
use quire_tenancy::catalogue::Catalogue;
use quire_tenancy::lifecycle::{self, Newcomer};
use quire_tenancy::plans;
use quire_types::{ErrorKind, Kind, SourceState};

use crate::lab::{Lab, add};

fn newcomer(slug: &str) -> Newcomer {
    Newcomer {
        slug: slug.to_owned(),
        name: None,
        country: Some("DE".to_owned()),
        plan: None,
    }
}

/// Works on a future this many times and then drops it, as if the process had ended there.
async fn broken_off<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// What a tenant that was just onboarded has.
async fn check_complete(lab: &Lab, tenant: &Tenant) {
    let mut tx = lab.db.store.system().await.unwrap();
    let tenant = tenants::get(&mut tx, tenant.id).await.unwrap();
    assert!(tenant.ready_at.is_some());
    assert_eq!(keys::list(&mut tx, tenant.id).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
    assert_eq!(lab.tasks().await, 0);

    let mut tx = lab.db.tx(&tenant).await;
    let notebooks = notebooks::list(&mut tx, PageRequest::first())
        .await
        .unwrap();
    let names: Vec<_> = notebooks.items.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["Knowledge base"]);
    let sources = sources::list(&mut tx, notebooks.items[0].id, PageRequest::first())
        .await
        .unwrap();
    let names: Vec<_> = sources.items.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        ["getting-started.md", "meeting-notes.md", "glossary.md"]
    );
    for source in &sources.items {
        assert_eq!(
            (source.state, source.latest_version, source.live_version),
            (SourceState::Searchable, 1, Some(1))
        );
        let content = sources::content(&mut tx, source.id, 1).await.unwrap();
        let Content::Object(object) = content else {
            panic!("a file is an object");
        };
        let bytes = lab.db.store.objects().read(&object).await.unwrap();
        assert_eq!(bytes.len(), usize::try_from(source.size_bytes).unwrap());
    }
    let found = passages::tail(&mut tx, None, None, 100).await.unwrap();
    assert_eq!(
        i32::try_from(found.len()).unwrap(),
        sources
            .items
            .iter()
            .map(|source| source.passages)
            .sum::<i32>()
    );
    let says = found
        .iter()
        .find(|passage| passage.body.contains("until the work"));
    let context = says.map(|passage| passage.context.as_str());
    assert!(context.is_some_and(|context| context.contains("Glossary")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_off_anywhere_and_repeated_it_ends_in_the_same_state() {
    let lab = Lab::new().await;
    // The first one reads and embeds the templates, which is no step of the others.
    lab.ingest.onboard(&newcomer("first")).await.unwrap();
    let mut seen = BTreeSet::new();
    let (mut polls, mut wholes) = (0, 0);
    // It is not woken equally often each time, so the end is passed several times.
    while wholes < 5 {
        let new = newcomer(&format!("tenant-{polls}"));
        let whole = broken_off(Box::pin(lab.ingest.onboard(&new)), polls).await;
        let mut tx = lab.db.store.system().await.unwrap();
        let there = tenants::by_slug(&mut tx, &new.slug).await.ok();
        tx.commit().await.unwrap();
        assert!(whole.is_none() || there.is_some());
        seen.insert(match &there {
            None => "nothing",
            Some(tenant) if tenant.ready_at.is_none() => "a part",
            Some(_) => "everything",
        });
        let again = lab.ingest.onboard(&new).await.unwrap();
        assert_eq!(again.is_new, there.is_none());
        assert_eq!(again.key.is_some(), there.is_none());
        check_complete(&lab, &again.tenant).await;
        wholes += usize::from(whole.is_some());
        polls += 1;
        assert!(polls < 1_000, "only {seen:?}");
    }
    assert_eq!(seen.len(), 3, "only {seen:?}");

    // The step that is over the soonest is seldom where it was dropped, so it is stopped at by hand.
    let new = newcomer("registered");
    lifecycle::register(&lab.db.store, &new).await.unwrap();
    let again = lab.ingest.onboard(&new).await.unwrap();
    assert!(!again.is_new);
    check_complete(&lab, &again.tenant).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_at_once_are_one_tenant_and_what_the_customer_wrote_stays() {
    let lab = Lab::new().await;
    let new = newcomer("northgate");
    let at_once = join_all((0..10).map(|_| {
        let (ingest, new) = (lab.ingest.clone(), new.clone());
        tokio::spawn(async move { ingest.onboard(&new).await.unwrap() })
    }))
    .await;
    let onboarded: Vec<Onboarded> = at_once.into_iter().map(Result::unwrap).collect();
    let keys = onboarded.iter().filter(|one| one.key.is_some()).count();
    let new_ones = onboarded.iter().filter(|one| one.is_new).count();
    assert_eq!((keys, new_ones), (1, 1));
    check_complete(&lab, &onboarded[0].tenant).await;
    // Whoever came second left no bytes behind.
    let placement = onboarded[0].tenant.placement();
    let objects = lab.db.store.objects().list(placement).await.unwrap();
    assert_eq!(objects.len(), 3);

    let early = newcomer("early");
    let tenant = lifecycle::register(&lab.db.store, &early)
        .await
        .unwrap()
        .tenant;
    let mut tx = lab.db.tx(&tenant).await;
    let notebook = notebooks::ensure(&mut tx, "Knowledge base")
        .await
        .unwrap()
        .id;
    tx.commit().await.unwrap();
    let own = add(&lab.ingest, &tenant, notebook, "glossary.md", "ours").await;
    lab.ingest.onboard(&early).await.unwrap();
    let sources = lab.sources(&tenant, notebook).await;
    assert_eq!(sources.len(), 3);
    let kept = sources.iter().find(|source| source.name == "glossary.md");
    let (kept, own) = (kept.unwrap(), own.unwrap());
    assert_eq!(
        (kept.id, kept.latest_version, kept.size_bytes),
        (own.source().id, 1, 4)
    );
}

#[tokio::test]
async fn a_plan_with_an_unknown_template_is_refused_before_anything_is_written() {
    let lab = Lab::new().await;
    let catalogue = Catalogue::SHIPPED.replace("\"glossary\"]", "\"glosary\"]");
    let mut tx = lab.db.store.system().await.unwrap();
    plans::apply(&mut tx, &catalogue).await.unwrap();
    tx.commit().await.unwrap();
    let error = lab.ingest.onboard(&newcomer("new")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "plan 'standard' names the template 'glosary', which this quire lacks; \
         it has getting-started, meeting-notes, glossary"
    );
    let mut tx = lab.db.store.system().await.unwrap();
    assert!(tenants::by_slug(&mut tx, "new").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_go_on_past_those_that_fail() {
    let lab = Lab::new().await;
    let mut new: Vec<_> = (0..200)
        .map(|number| newcomer(&format!("n{number}")))
        .collect();
    new[7].country = Some("XX".to_owned());
    new[9].slug = "n8".to_owned();
    lab.ingest.onboard(&newcomer("warm")).await.unwrap();
    let started = std::time::Instant::now();
    let mut told = Vec::new();
    let results = lab
        .ingest
        .onboard_all(&new, 8, |done, total, result| {
            told.push((done, total, result.is_ok()));
        })
        .await;
    let per_minute = 200.0 / started.elapsed().as_secs_f64() * 60.0;
    println!("{per_minute:.0} tenants a minute");
    assert_eq!(told.len(), 200);
    assert_eq!(told.iter().filter(|(.., is_ok)| !is_ok).count(), 1);
    assert_eq!(
        told.last().map(|(done, total, _)| (*done, *total)),
        Some((200, 200))
    );
    for (new, result) in new.iter().zip(&results) {
        match result {
            Ok(onboarded) => assert_eq!(onboarded.tenant.slug, new.slug),
            Err(error) => assert!(error.to_string().contains("'XX' is no country"), "{error}"),
        }
    }
    let once = results.iter().flatten().filter(|one| one.is_new).count();
    assert_eq!(once, 198);
    check_complete(&lab, &results[9].as_ref().unwrap().tenant).await;
}
