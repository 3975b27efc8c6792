//! A transaction for somebody sees of sources and questions what that person may see, whatever it asks.

use quire_store::{Error, PageRequest, progress, questions, sources};
use quire_testkit::postgres::TestStore;
use quire_types::Groups;
use serde_json::json;

use crate::{add, filled};

#[tokio::test]
async fn a_transaction_for_somebody_sees_what_that_person_may_see() {
    let test = TestStore::new().await;
    let of = filled(&test, "a").await;
    let groups = |names: &str| Groups::parse(names).unwrap();
    let mut tx = test.tx(&of.tenant).await;
    let hidden = add(&mut tx, of.notebook, "hidden.txt", "h").await;
    let hidden = hidden.source().id;
    let office = groups("office, \"o{f}\\'");
    sources::set_groups(&mut tx, hidden, Some(&office))
        .await
        .unwrap();
    let asked = json!({ "text": "why?" });
    for who in [None, Some(&office)] {
        let made = questions::create(&mut tx, None, who, &asked, 9).await;
        assert!(made.unwrap().is_some());
    }
    tx.commit().await.unwrap();

    for (who, many, answers) in [
        (None, 2, 2),
        (Some(groups("")), 1, 0),
        (Some(groups("crew")), 1, 0),
        (Some(groups("crew, Office")), 2, 0),
        (Some(groups("crew, Office, \"o{f}\\'")), 2, 1),
    ] {
        let placement = of.tenant.placement();
        let tx = test.store.tenant_seen_by(placement, who.as_ref()).await;
        let mut tx = tx.unwrap();
        let page = PageRequest::first();
        let listed = sources::list(&mut tx, of.notebook, page).await.unwrap();
        assert_eq!(listed.items.len(), many, "{who:?}");
        let counts = sources::counts(&mut tx, of.notebook).await.unwrap();
        let total: i64 = counts.iter().map(|(_, count)| count).sum();
        assert_eq!(total, many as i64);
        let summary = progress::summary(&mut tx, of.notebook, None).await;
        assert_eq!(summary.unwrap().total(), many as i64);
        match sources::get(&mut tx, hidden).await {
            Ok(source) => assert_eq!((source.groups, many), (Some(office.clone()), 2)),
            Err(error) => assert!(matches!(error, Error::NotFound { .. }) && many == 1),
        }
        let named = sources::by_name(&mut tx, of.notebook, "hidden.txt").await;
        assert_eq!(named.unwrap().is_some(), many == 2);
        let listed = questions::list(&mut tx, page).await.unwrap();
        assert_eq!(listed.items.len(), answers, "{who:?}");
        // Both ask the same.
        let texts = questions::latest_texts(&mut tx, 9).await.unwrap();
        assert_eq!(texts.len(), answers.min(1), "{who:?}");
        tx.commit().await.unwrap();
        // It ends with the transaction.
        let mut tx = test.tx(&of.tenant).await;
        assert!(sources::get(&mut tx, hidden).await.is_ok());
    }
}
