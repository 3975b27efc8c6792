//! What each resource does: keys, sources and their versions, passages and the corpus, idempotency, pages.

use std::collections::HashSet;

use quire_store::corpus::{self, Change};
use quire_store::idempotency::{self, Claim};
use quire_store::keys::{self, KeyOwner};
use quire_store::passages::{self, Published};
use quire_store::sources::{self, Added};
use quire_store::tenants::NewTenant;
use quire_store::{Error, PageRequest, connections, notebooks, outbox, tenants};
use quire_testkit::postgres::TestStore;
use quire_types::{
    ConnectionId, ConnectionState, EndpointId, KeyRole, NotebookId, SourceState, TenantState,
};
use serde_json::json;

use crate::{add, filled, publish};

#[tokio::test]
async fn a_key_works_until_it_is_revoked_and_nothing_like_it_works() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let mut tx = test.store.system().await.unwrap();
    let tx = &mut tx;
    let notebook = NotebookId::generate();
    let (key, text) = keys::create(tx, tenant.id, KeyRole::Notebook, Some(notebook), None, "ci")
        .await
        .unwrap();
    let (admin, admin_text) = keys::create_admin(tx, "operator").await.unwrap();
    let text = text.expose();

    match keys::owner(tx.connection(), text).await.unwrap() {
        Some(KeyOwner::Tenant(found)) => {
            assert_eq!(
                (found.tenant, found.id, found.role, found.notebook),
                (tenant.id, key.id, KeyRole::Notebook, Some(notebook))
            );
        }
        other => panic!("{other:?}"),
    }
    let owner = keys::owner(tx.connection(), admin_text.expose())
        .await
        .unwrap();
    assert!(matches!(owner, Some(KeyOwner::Admin(id)) if id == admin));

    // A key with the id of this one and a good checksum, from an installation of somebody else.
    let elsewhere = TestStore::new().await;
    let stranger = elsewhere.tenant("acme").await;
    let mut other = elsewhere.store.system().await.unwrap();
    let (_, foreign) = keys::create(&mut other, stranger.id, KeyRole::Tenant, None, None, "x")
        .await
        .unwrap();
    let typo = text.replace(&text[40..41], if &text[40..41] == "a" { "b" } else { "a" });
    for wrong in ["", "qk_", &typo, foreign.expose(), &text[..text.len() - 1]] {
        let owner = keys::owner(tx.connection(), wrong).await.unwrap();
        assert!(owner.is_none(), "{wrong}");
    }

    let revoked = keys::revoke(tx, tenant.id, key.id).await.unwrap();
    let again = keys::revoke(tx, tenant.id, key.id).await.unwrap();
    assert!(revoked.revoked_at.is_some() && revoked.revoked_at == again.revoked_at);
    let owner = keys::owner(tx.connection(), text).await.unwrap();
    assert!(owner.is_none());
    assert_eq!(keys::list(tx, tenant.id).await.unwrap().len(), 1);

    let unbound = keys::create(tx, tenant.id, KeyRole::Notebook, None, None, "x").await;
    assert!(matches!(unbound, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn tenants_have_names_of_one_form_and_can_be_suspended() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    for (slug, conflicts) in [
        ("acme", true),
        ("Acme", false),
        ("-a", false),
        ("", false),
        ("a b", false),
    ] {
        let mut tx = test.store.system().await.unwrap();
        match tenants::create(&mut tx, &NewTenant::local(slug, "x")).await {
            Err(Error::Conflict(_)) => assert!(conflicts, "{slug}"),
            Err(Error::Invalid(_)) => assert!(!conflicts, "{slug}"),
            other => panic!("{slug}: {other:?}"),
        }
    }
    let mut tx = test.store.system().await.unwrap();
    tenants::set_state(&mut tx, tenant.id, TenantState::Suspended)
        .await
        .unwrap();
    assert_eq!(
        tenants::by_slug(&mut tx, "acme").await.unwrap().state,
        TenantState::Suspended
    );
    assert_eq!(
        tenants::get(&mut tx, tenant.id).await.unwrap().incarnation,
        tenant.incarnation
    );
}

#[tokio::test]
async fn the_same_content_is_one_source_and_other_content_a_new_version() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let mut tx = test.tx(&tenant).await;
    let tx = &mut tx;
    let notebook = notebooks::create(tx, "Site").await.unwrap().id;
    let other_notebook = notebooks::create(tx, "Other").await.unwrap().id;

    let first = match add(tx, notebook, "a.txt", "one").await {
        Added::Created(source) => source,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (first.state, first.latest_version, first.live_version),
        (SourceState::Queued, 1, None)
    );
    for name in ["a.txt", "copy of a.txt"] {
        let again = add(tx, notebook, name, "one").await;
        assert!(
            matches!(&again, Added::Duplicate(source) if source.id == first.id),
            "{name}: {again:?}"
        );
    }
    assert!(matches!(
        add(tx, other_notebook, "a.txt", "one").await,
        Added::Created(_)
    ));

    let second = add(tx, notebook, "a.txt", "two").await;
    assert!(
        matches!(&second, Added::Updated(source) if source.id == first.id && source.latest_version == 2)
    );

    // Nobody who works on version 1 speaks for version 2.
    assert!(
        !sources::set_state(tx, first.id, 1, SourceState::Failed, Some("late"))
            .await
            .unwrap()
    );
    assert!(
        sources::set_state(tx, first.id, 2, SourceState::Extracting, None)
            .await
            .unwrap()
    );
    assert!(matches!(
        sources::retry(tx, first.id).await,
        Err(Error::Conflict(_))
    ));
    assert!(
        sources::set_state(tx, first.id, 2, SourceState::Failed, Some("damaged"))
            .await
            .unwrap()
    );
    assert_eq!(
        sources::get(tx, first.id).await.unwrap().reason.as_deref(),
        Some("damaged")
    );

    // What failed is tried again, by asking or by adding it again.
    assert_eq!(
        sources::retry(tx, first.id).await.unwrap().state,
        SourceState::Queued
    );
    assert!(
        sources::set_state(tx, first.id, 2, SourceState::Failed, Some("damaged"))
            .await
            .unwrap()
    );
    let third = add(tx, notebook, "a.txt", "two").await;
    assert!(
        matches!(&third, Added::Updated(source) if source.latest_version == 3 && source.state == SourceState::Queued)
    );
    assert_eq!(
        sources::counts(tx, notebook).await.unwrap(),
        [(SourceState::Queued, 1)]
    );
    assert_eq!(
        sources::delete(tx, first.id).await.unwrap().len(),
        3,
        "an object of each version"
    );
}

#[tokio::test]
async fn the_same_content_added_at_once_under_many_names_is_one_source() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let mut tx = test.tx(&tenant).await;
    let notebook = notebooks::create(&mut tx, "Site").await.unwrap().id;
    tx.commit().await.unwrap();
    let adds = (0..8).map(|number| {
        let (test, tenant) = (&test, &tenant);
        async move {
            let mut tx = test.tx(tenant).await;
            let added = add(&mut tx, notebook, &format!("{number}.txt"), "same").await;
            tx.commit().await.unwrap();
            added
        }
    });
    let added = futures::future::join_all(adds).await;
    let ids: HashSet<_> = added.iter().map(|added| added.source().id).collect();
    let created = added
        .iter()
        .filter(|added| matches!(added, Added::Created(_)))
        .count();
    assert_eq!((ids.len(), created), (1, 1));
}

#[tokio::test]
async fn search_sees_one_version_at_a_time_and_every_change_is_logged() {
    let test = TestStore::new().await;
    let of = filled(&test, "acme").await;
    let (source, notebook) = (of.source, of.notebook);
    let bodies = async || {
        let mut tx = test.tx(&of.tenant).await;
        passages::tail(&mut tx, Some(&[source]), None, 100)
            .await
            .unwrap()
            .into_iter()
            .map(|passage| passage.body)
            .collect::<Vec<_>>()
    };

    let mut tx = test.tx(&of.tenant).await;
    assert_eq!(
        publish(&mut tx, source, 1, &["again"]).await,
        Published::Obsolete,
        "searchable already"
    );
    add(&mut tx, notebook, "a.txt", "two").await;
    assert_eq!(
        sources::get(&mut tx, source).await.unwrap().live_version,
        Some(1),
        "the old one stays"
    );
    add(&mut tx, notebook, "a.txt", "three").await;
    assert_eq!(
        publish(&mut tx, source, 2, &["late"]).await,
        Published::Obsolete,
        "not the latest"
    );
    tx.commit().await.unwrap();

    // Nobody sees half of it, and a rollback leaves the old version.
    let mut tx = test.tx(&of.tenant).await;
    assert_eq!(
        publish(&mut tx, source, 3, &["x"]).await,
        Published::Searchable { replaced: Some(1) }
    );
    assert_eq!(bodies().await, ["first", "second"]);
    drop(tx);
    assert_eq!(bodies().await, ["first", "second"]);
    let many: Vec<String> = (0..1_201)
        .map(|number| format!("passage {number}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut tx = test.tx(&of.tenant).await;
    assert_eq!(
        publish(&mut tx, source, 3, &many).await,
        Published::Searchable { replaced: Some(1) }
    );
    tx.commit().await.unwrap();

    let mut tx = test.tx(&of.tenant).await;
    let tx = &mut tx;
    let row = sources::get(tx, source).await.unwrap();
    assert_eq!(
        (row.state, row.live_version, row.passages, row.pages),
        (SourceState::Searchable, Some(3), 1_201, Some(3))
    );
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let part = passages::tail(tx, Some(&[source]), after, 150)
            .await
            .unwrap();
        let Some(last) = part.last() else { break };
        // One id names all passages of a version.
        assert_eq!(
            part[0].id.nth(last.ordinal.abs_diff(part[0].ordinal)),
            last.id
        );
        after = Some(last.id);
        seen.extend(part.into_iter().map(|passage| passage.body));
    }
    assert_eq!(seen, many);
    let first = &passages::tail(tx, Some(&[source]), None, 1).await.unwrap()[0];
    assert_eq!(
        (first.source_version, first.embedding.as_slice()),
        (3, [1.0, 0.0].as_slice())
    );
    let place = &first.place;
    assert_eq!(
        (place.page, place.heading_path.join("/")),
        (Some(2), "One/Two".to_owned())
    );

    sources::delete(tx, source).await.unwrap();
    assert!(passages::tail(tx, None, None, 10).await.unwrap().is_empty());
    assert_eq!(
        publish(tx, source, 3, &["x"]).await,
        Published::Obsolete,
        "the source is gone"
    );
    let version = corpus::version(tx).await.unwrap();
    let log = async |tx: &mut _, since| {
        let changes = corpus::changes(tx, since, version).await.unwrap().unwrap();
        changes
            .iter()
            .map(|entry| (entry.change, entry.source_version))
            .collect::<Vec<_>>()
    };
    let whole = [
        (Change::Added, 1),
        (Change::Removed, 1),
        (Change::Added, 3),
        (Change::Removed, 3),
    ];
    assert_eq!(log(tx, 0).await, whole);
    assert_eq!(log(tx, 1).await, whole[1..]);
    assert_eq!(log(tx, version).await, []);
    assert_eq!(
        corpus::changes(tx, 0, 5_000).await.unwrap(),
        None,
        "no longer kept"
    );

    // A notebook takes its sources with it.
    let source = add(tx, notebook, "b.txt", "b").await.source().id;
    publish(tx, source, 1, &["b"]).await;
    assert_eq!(notebooks::delete(tx, notebook).await.unwrap().len(), 1);
    let after = corpus::version(tx).await.unwrap();
    let changes = corpus::changes(tx, version + 1, after)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        changes
            .iter()
            .map(|entry| (entry.change, entry.source))
            .collect::<Vec<_>>(),
        [(Change::Removed, source)]
    );
}

#[tokio::test]
async fn a_page_goes_on_where_the_last_one_ended() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let mut tx = test.tx(&tenant).await;
    let tx = &mut tx;
    let mut names = Vec::new();
    for number in 0..7 {
        names.push(notebooks::create(tx, &format!("n{number}")).await.unwrap());
    }
    let mut page = PageRequest {
        after: None,
        limit: 3,
    };
    let first = notebooks::list(tx, page).await.unwrap();
    assert!(first.more && first.items.len() == 3);
    page.after = first.items.last().map(|notebook| notebook.id.uuid());

    // Rows that come and go on either side of the cursor shift nothing, the row of the cursor included.
    notebooks::delete(tx, names[0].id).await.unwrap();
    notebooks::delete(tx, names[2].id).await.unwrap();
    notebooks::create(tx, "n7").await.unwrap();
    let second = notebooks::list(tx, page).await.unwrap();
    page.after = second.items.last().map(|notebook| notebook.id.uuid());
    let third = notebooks::list(tx, page).await.unwrap();
    let rest: Vec<&str> = second
        .items
        .iter()
        .chain(&third.items)
        .map(|notebook| notebook.name.as_str())
        .collect();
    assert_eq!(rest, ["n3", "n4", "n5", "n6", "n7"]);
    assert!(second.more && !third.more);

    for (limit, expected) in [(0, 1), (1, 1), (6, 6), (u32::MAX, 6)] {
        let page = PageRequest { after: None, limit };
        assert_eq!(
            notebooks::list(tx, page).await.unwrap().items.len(),
            expected
        );
    }
    let taken = notebooks::rename(tx, names[1].id, "n3").await;
    assert!(matches!(taken, Err(Error::Conflict(_))));
}

#[tokio::test]
async fn an_idempotency_key_goes_through_its_states() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let claim = async |fingerprint: &[u8]| {
        let mut tx = test.tx(&tenant).await;
        let claim = idempotency::claim(&mut tx, "key", fingerprint)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        match claim {
            Claim::Fresh => "fresh".to_owned(),
            Claim::InFlight => "in flight".to_owned(),
            Claim::OtherRequest => "other".to_owned(),
            Claim::Done { status, body } => format!("{status} {body}"),
        }
    };
    let change = async |sql: &'static str| {
        let mut tx = test.tx(&tenant).await;
        sqlx::query(sql).execute(tx.connection()).await.unwrap();
        tx.commit().await.unwrap();
    };

    assert_eq!(claim(b"1").await, "fresh");
    assert_eq!(claim(b"1").await, "in flight");
    assert_eq!(claim(b"2").await, "other");

    let mut tx = test.tx(&tenant).await;
    idempotency::release(&mut tx, "key").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(claim(b"2").await, "fresh", "a failed attempt frees the key");

    change("update shard.idempotency_keys set locked_until = now() - interval '1 second'").await;
    assert_eq!(
        claim(b"1").await,
        "fresh",
        "so does an attempt whose process died"
    );

    let mut tx = test.tx(&tenant).await;
    idempotency::finish(&mut tx, "key", 201, &json!({"id": 1}))
        .await
        .unwrap();
    idempotency::release(&mut tx, "key").await.unwrap();
    tx.commit().await.unwrap();
    change("update shard.idempotency_keys set locked_until = now() - interval '1 second'").await;
    assert_eq!(claim(b"1").await, r#"201 {"id":1}"#);
    assert_eq!(claim(b"2").await, "other");

    change("update shard.idempotency_keys set created_at = now() - interval '25 hours'").await;
    assert_eq!(claim(b"2").await, "fresh", "answers are kept for a day");

    let mut tx = test.tx(&tenant).await;
    let long = idempotency::claim(&mut tx, &"k".repeat(256), b"1").await;
    assert!(matches!(long, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_wish_that_comes_while_a_page_is_read_is_not_lost() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let mut tx = test.tx(&tenant).await;
    let tx = &mut tx;
    let new = connections::NewConnection {
        id: ConnectionId::generate(),
        kind: "notion",
        name: "Wiki",
        notebook: None,
        groups: None,
        settings: &json!({}),
        secret: b"sealed",
        state: ConnectionState::Active,
    };
    let read = connections::create(tx, &new).await.unwrap();
    assert!(!read.is_wished);
    connections::wish(tx, read.id).await.unwrap();
    let cursor = json!({ "page": 1 });
    connections::move_on(tx, &read, &cursor, true)
        .await
        .unwrap();
    let later = connections::get(tx, read.id).await.unwrap();
    assert!(later.is_wished && later.cursor == cursor);
    connections::move_on(tx, &later, &cursor, true)
        .await
        .unwrap();
    assert!(!connections::get(tx, read.id).await.unwrap().is_wished);
}

#[tokio::test]
async fn what_is_replayed_while_it_is_delivered_is_sent_again() {
    let test = TestStore::new().await;
    let tenant = test.tenant("acme").await;
    let id = EndpointId::generate();
    let wish = outbox::Wish {
        url: "https://a.invalid/",
        description: "",
        types: &[],
        origin: None,
    };
    let event = outbox::NewEvent {
        kind: "source.published",
        data: json!({}),
        origin: None,
    };
    let mut tx = test.tx(&tenant).await;
    let endpoint = outbox::create_endpoint(&mut tx, id, &wish, b"sealed")
        .await
        .unwrap();
    outbox::emit(&mut tx, &[event]).await.unwrap();
    tx.commit().await.unwrap();

    for is_replayed in [true, false] {
        let mut tx = test.tx(&tenant).await;
        let due = outbox::due(&mut tx, id, 10).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(due.len(), 1);
        if is_replayed {
            let mut tx = test.tx(&tenant).await;
            let (from, to) = (due[0].at, due[0].at + chrono::TimeDelta::days(1));
            let replayed = outbox::replay(&mut tx, &endpoint, from, to).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(replayed, 1);
        }
        let outcome = outbox::Outcome {
            event: due[0].event,
            was_due: due[0].next_at,
            state: "delivered",
            is_attempt: true,
            next_at: due[0].next_at,
            status: Some(204),
            error: None,
            took_ms: Some(1),
        };
        let mut tx = test.tx(&tenant).await;
        outbox::note(&mut tx, id, &[outcome]).await.unwrap();
        let open = outbox::due(&mut tx, id, 10).await.unwrap();
        assert_eq!(open.len(), usize::from(is_replayed));
        tx.commit().await.unwrap();
    }
}
