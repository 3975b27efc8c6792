//! Onboarding, plans and features as rows.

use quire_tenancy::catalogue::Catalogue;
use quire_tenancy::lifecycle::{self, Newcomer};
use quire_tenancy::{placement, plans};
use quire_types::{ErrorKind, Kind};

use crate::support::Lab;

fn newcomer(slug: &str) -> Newcomer {
    Newcomer {
        slug: slug.to_owned(),
        name: Some("Northgate".to_owned()),
        country: Some("DE".to_owned()),
        plan: Some("enterprise".to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_registered_many_times_at_once_is_one_tenant_with_one_key() {
    let lab = Lab::new().await;
    let registering: Vec<_> = (0..10)
        .map(|_| {
            let store = lab.db.store.clone();
            tokio::spawn(async move {
                lifecycle::register(&store, &newcomer("northgate"))
                    .await
                    .unwrap()
            })
        })
        .collect();
    let mut keys = 0;
    let mut ids = std::collections::BTreeSet::new();
    for task in registering {
        let registered = task.await.unwrap();
        keys += usize::from(registered.key.is_some());
        ids.insert(registered.tenant.id);
    }
    assert_eq!((keys, ids.len()), (1, 1));
    let mut different = newcomer("northgate");
    different.plan = Some("starter".to_owned());
    let error = lifecycle::register(&lab.db.store, &different)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("another plan"), "{error}");
}

#[tokio::test]
async fn a_country_decides_the_region_and_an_unknown_one_is_refused() {
    let lab = Lab::new().await;
    let mut tx = lab.db.store.system().await.unwrap();
    placement::set_region(
        &mut tx,
        "local",
        "Europe",
        &["DE".to_owned(), "FR".to_owned()],
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let tenant = lifecycle::register(&lab.db.store, &newcomer("german"))
        .await
        .unwrap()
        .tenant;
    assert_eq!(
        (tenant.region.as_str(), tenant.pool.as_str()),
        ("local", "local")
    );
    for (country, part) in [
        ("XX", "no country"),
        ("de", "no country"),
        ("JP", "no region"),
    ] {
        let mut new = newcomer("elsewhere");
        new.country = Some(country.to_owned());
        let error = lifecycle::register(&lab.db.store, &new).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut unknown = newcomer("unknown-plan");
    unknown.plan = Some("gold".to_owned());
    let error = lifecycle::register(&lab.db.store, &unknown)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no plan 'gold'"), "{error}");
}

#[tokio::test]
async fn a_dedicated_tenant_has_a_pool_of_its_own_while_there_is_a_spare_one() {
    let lab = Lab::new().await;
    let mut tx = lab.db.store.system().await.unwrap();
    sqlx::query("insert into directory.pools (id, region) values ('spare', 'local')")
        .execute(tx.connection())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let pool = async |slug: &str, plan: &str| {
        let mut new = newcomer(slug);
        new.plan = Some(plan.to_owned());
        let registered = lifecycle::register(&lab.db.store, &new).await.unwrap();
        registered.tenant.pool
    };
    let own = pool("own", "enterprise").await;
    for number in 0..8 {
        assert_ne!(pool(&format!("shares-{number}"), "starter").await, own);
    }
    // The last pool that others may use is never taken from them.
    assert_ne!(pool("too-late", "enterprise").await, own);
}

#[tokio::test]
async fn a_catalogue_is_applied_while_everything_runs_and_never_strands_a_tenant() {
    let lab = Lab::new().await;
    let tenant = lifecycle::register(&lab.db.store, &newcomer("stays"))
        .await
        .unwrap()
        .tenant;
    let before = lab.control.account(tenant.id).await.unwrap();
    assert_eq!(before.terms.plan.weight, 8);
    let changed = Catalogue::SHIPPED.replacen("weight = 8", "weight = 9", 1);
    let mut tx = lab.db.store.system().await.unwrap();
    plans::apply(&mut tx, &changed).await.unwrap();
    tx.commit().await.unwrap();
    quire_testkit::postgres::eventually("the new weight counts", async || {
        lab.control
            .account(tenant.id)
            .await
            .unwrap()
            .terms
            .plan
            .weight
            == 9
    })
    .await;
    let without = changed.replace("plans.enterprise", "plans.company");
    let mut tx = lab.db.store.system().await.unwrap();
    let error = plans::apply(&mut tx, &without).await.unwrap_err();
    assert!(error.to_string().contains("enterprise"), "{error}");
}

#[tokio::test]
async fn a_feature_is_on_for_a_share_of_tenants_and_whoever_it_is_switched_for() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("feature", &[]).await;
    let is_on = async || {
        let account = lab.control.account(tenant.id).await.unwrap();
        lab.control.feature(&account, "briefings").await.unwrap()
    };
    assert!(!is_on().await);
    let mut tx = lab.db.store.system().await.unwrap();
    plans::set_switch(&mut tx, tenant.id, "briefings", Some(true))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    lab.control.forget(tenant.id);
    assert!(is_on().await);
    let mut tx = lab.db.store.system().await.unwrap();
    plans::set_switch(&mut tx, tenant.id, "briefings", None)
        .await
        .unwrap();
    plans::set_feature(&mut tx, "briefings", 100).await.unwrap();
    tx.commit().await.unwrap();
    lab.control.forget(tenant.id);
    quire_testkit::postgres::eventually("it is on for everybody", is_on).await;
}
