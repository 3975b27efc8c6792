//! Two tenants with the same data: neither can see, count, change or guess anything of the other.

use quire_store::builds::BuildState;
use quire_store::tenants::Tenant;
use quire_store::{
    Error, PageRequest, TenantTx, batches, builds, connections, corpus, embeddings, idempotency,
    keys, notebooks, outbox, passages, progress, pulled, questions, readers, records, segments,
    sources, texts, tiers,
};
use quire_testkit::postgres::TestStore;
use quire_types::{
    ConnectionId, ConnectionState, EndpointId, Groups, KeyId, KeyRole, Lane, MediaType, NotebookId,
    NotebookStatus, QuestionId, RecordId, RecordState, SegmentId, SourceId, SourceState, TaskId,
    Tier,
};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::{Filled, add, filled, passage, publish};

/// The ids of things that somebody might know of.
#[derive(Clone, Copy)]
struct Ids {
    notebook: NotebookId,
    source: SourceId,
    queued: SourceId,
    /// A source that search sees and that is read again.
    rereading: SourceId,
    /// A source whose passages are in the segment.
    folded: SourceId,
    segment: SegmentId,
    record: RecordId,
    endpoint: EndpointId,
    connection: ConnectionId,
    question: QuestionId,
    /// A build that runs, and one that search reads.
    building: Uuid,
    switched: Uuid,
    /// A build that embeds anew and has a segment, and a segment that nothing names any more.
    embedding: Uuid,
    retired: SegmentId,
    /// A batch of texts that a build sent.
    batch: Uuid,
}

fn record_key(id: &str) -> records::RecordKey {
    records::RecordKey {
        kind: "invoice".to_owned(),
        id: id.to_owned(),
    }
}

/// What every function of the store that takes an id answers to these ids, each in a transaction that is
/// rolled back.
async fn answers(test: &TestStore, tenant: &Tenant, ids: Ids) -> Vec<(&'static str, String)> {
    let page = PageRequest::first();
    let object = quire_store::ObjectKey::original(tenant.placement());
    let content = sources::NewContent {
        name: "b.txt",
        content_hash: b"new",
        size_bytes: 3,
        object: &object,
    };
    let Ids {
        notebook,
        source,
        queued,
        rereading,
        folded,
        segment,
        record,
        endpoint,
        connection,
        question,
        building,
        switched,
        embedding,
        retired,
        batch,
    } = ids;
    let new_segment = segments::NewSegment {
        id: SegmentId::generate(),
        rows: 1,
        bytes: 1,
        dimension: 2,
        footer: Vec::new(),
    };
    let new = [passage("stolen")];
    let text = MediaType::Text;
    let groups = Groups::parse("stolen").unwrap();
    let task = TaskId::generate();
    let texts = [texts::NewText {
        source: Some(source),
        notebook,
        name: "stolen".to_owned(),
        body: "stolen".to_owned(),
        media: text,
        groups: None,
        passages: vec![passage("stolen")],
        model: None,
    }];
    macro_rules! table {
        ($($module:ident::$function:ident($($argument:expr),*),)+) => { vec![$({
            let mut tx = test.tx(tenant).await;
            let answer = $module::$function(&mut tx, $($argument),*).await;
            (concat!(stringify!($module), "::", stringify!($function)), format!("{answer:?}"))
        }),+] };
    }
    table![
        notebooks::get(notebook),
        notebooks::rename(notebook, "Mine"),
        notebooks::delete(notebook),
        sources::add(notebook, &content),
        sources::list(notebook, page),
        sources::counts(notebook),
        sources::get(source),
        sources::set_groups(source, Some(&groups)),
        sources::by_ids(&[source]),
        sources::content(source, 1),
        sources::set_state(queued, 1, SourceState::Failed, Some("no")),
        sources::note_reading(source, sources::Reading::default()),
        readers::read_again(source),
        readers::keep_live(rereading, 2, 1, "no"),
        progress::note_task(source, task),
        progress::note_percent(queued, 1, SourceState::Queued, 7),
        progress::summary(notebook, None),
        progress::sources(notebook, Some(&[source]), 9),
        sources::retry(source),
        sources::delete(source),
        passages::publish(queued, 1, text, None, &new),
        passages::tail(Some(&[source]), None, 100),
        texts::publish(&texts, &[]),
        texts::passages_of(&[source]),
        records::get(record),
        records::lock(&[record]),
        connections::get(connection),
        connections::wish(connection),
        pulled::claim(connection, &[record_key("8")]),
        pulled::known(connection, "invoice", None, 9),
        pulled::forget(connection),
        connections::set_state(connection, ConnectionState::Paused, None),
        connections::set_secret(connection, b"stolen"),
        connections::succeed_secret(connection, b"sealed", b"stolen"),
        connections::set_settings(connection, &serde_json::json!({ "stolen": 1 })),
        connections::locked_groups(connection),
        connections::set_groups(connection, Some(&groups)),
        connections::url(source),
        connections::hear(connection, "m"),
        connections::delete(connection),
        questions::get(question),
        questions::latest_texts(9),
        questions::finish(question, Err("stolen")),
        questions::delete(question),
        outbox::endpoint(endpoint),
        outbox::rotate_secret(endpoint, b"stolen"),
        outbox::delete_endpoint(endpoint),
        segments::located(Some(&[source])),
        segments::install(&new_segment, &[(source, 1)], None),
        segments::install(&new_segment, &[(folded, 1)], Some(&[segment])),
        segments::give_up(segment),
        tiers::tiers(Some(notebook)),
        tiers::set(notebook, Tier::Cold),
        tiers::pin(notebook, true),
        tiers::set_status(notebook, Some(NotebookStatus::Completed)),
        tiers::note_asked(&[notebook]),
        tiers::archives(Some(notebook)),
        tiers::archive(notebook, &new_segment, &[(folded, 1)], &[segment]),
        tiers::bring_back(&new_segment, &[(folded, 1)], &[segment]),
        segments::kept(&[segment]),
        builds::note_build(building, 1, &[]),
        builds::end_build(building, BuildState::Failed, None),
        builds::switch(building, None, &[]),
        builds::restore(switched, &[(source, 1, segment)]),
        builds::note_segment(building, SegmentId::generate()),
        embeddings::building(embedding),
        embeddings::note_alive(embedding),
        embeddings::missing(embedding, 100),
        embeddings::keep(embedding, &new_segment, &[(folded, 1)]),
        embeddings::retire_unnamed(embedding),
        embeddings::adopt(embedding, &[retired], &[(folded, 1, retired)]),
        embeddings::switch(embedding, None),
        batches::begin(embedding, "stolen", 1),
        batches::live(embedding),
        batches::any_failed(embedding),
        batches::sent(batch, "stolen"),
        batches::finish(batch, false),
    ]
}

async fn begin_batch(tx: &mut TenantTx, build: Uuid) -> (Uuid, bool) {
    let begun = batches::begin(tx, build, "pool", 1).await.unwrap();
    let (batch, is_new) = begun.unwrap();
    (batch.id, is_new)
}

/// Everything a tenant can see, as text.
async fn everything(test: &TestStore, of: &Filled) -> String {
    let mut tx = test.tx(&of.tenant).await;
    let tx = &mut tx;
    let page = PageRequest::first();
    let version = corpus::version(tx).await.unwrap();
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{version} {:?}",
        notebooks::list(tx, page).await,
        sources::list(tx, of.notebook, page).await,
        passages::tail(tx, Some(&[of.source]), None, 100).await,
        segments::located(tx, None).await,
        records::list(tx, &records::Selection::default(), page).await,
        (
            outbox::endpoints(tx, page).await,
            connections::list(tx, page).await,
            questions::list(tx, page).await,
        ),
        corpus::changes(tx, 0, version).await,
    )
}

#[tokio::test]
async fn another_tenants_ids_are_like_ids_that_do_not_exist() {
    let test = TestStore::new().await;
    let (a, b) = (filled(&test, "a").await, filled(&test, "b").await);
    let mut tx = test.tx(&a.tenant).await;
    let queued = add(&mut tx, a.notebook, "queued.txt", "q")
        .await
        .source()
        .id;
    tx.commit().await.unwrap();
    let mut tx = test.tx(&a.tenant).await;
    let rereading = add(&mut tx, a.notebook, "again.txt", "r").await.source().id;
    publish(&mut tx, rereading, 1, &["again"]).await;
    let again = readers::read_again(&mut tx, rereading).await.unwrap();
    assert_eq!(again.unwrap().latest_version, 2);
    // What was folded is somebody's as well.
    let folded = add(&mut tx, a.notebook, "folded.txt", "f")
        .await
        .source()
        .id;
    publish(&mut tx, folded, 1, &["folded"]).await;
    let new = segments::NewSegment {
        id: SegmentId::generate(),
        rows: 1,
        bytes: 1,
        dimension: 2,
        footer: Vec::new(),
    };
    segments::note(&mut tx, &new).await.unwrap();
    let moved = segments::install(&mut tx, &new, &[(folded, 1)], None).await;
    assert_eq!(moved.unwrap(), 1);
    let [building, switched] = [Uuid::from_u128(2), Uuid::from_u128(1)];
    for id in [switched, building] {
        let build = builds::NewBuild {
            id,
            old: Vec::new(),
            dimension: None,
            rotation_seed: 0,
            language: None,
            rows_total: 0,
        };
        builds::begin_build(&mut tx, &build).await.unwrap();
        if id == switched {
            builds::switch(&mut tx, id, None, &[]).await.unwrap();
        }
    }
    sqlx::query(
        "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer, archive_of)
         values ($1, $2, 1, 1, 2, '', $3)",
    )
    .bind(a.tenant.id.uuid())
    .bind(Uuid::from_u128(5))
    .bind(a.notebook.uuid())
    .execute(tx.connection())
    .await
    .unwrap();
    let [embedding, retired] = [Uuid::from_u128(6), Uuid::from_u128(7)];
    for statement in [
        "insert into shard.index_builds
             (tenant_id, id, state, old_segments, rotation_seed, rows_total, embeds, embedding)
         values ($1, $2, 'building', '{}', 0, 0, true, 'model')",
        "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer, built_by)
         values ($1, $2, 1, 1, 2, '', $2)",
        "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer, retired_at)
         select $1, $3, 1, 1, 2, '', now() where $2::uuid is not null",
    ] {
        let mut query = sqlx::query(statement)
            .bind(a.tenant.id.uuid())
            .bind(embedding);
        if statement.contains("$3") {
            query = query.bind(retired);
        }
        query.execute(tx.connection()).await.unwrap();
    }
    let (failed, _) = begin_batch(&mut tx, embedding).await;
    assert!(batches::finish(&mut tx, failed, false).await.unwrap());
    let (batch, is_new) = begin_batch(&mut tx, embedding).await;
    let again = begin_batch(&mut tx, embedding).await;
    assert_eq!((is_new, again), (true, (batch, false)), "one at a time");
    let event = |id: &str| records::Event {
        key: record_key(id),
        entity: None,
        entity_name: None,
        version: 1,
        is_deleted: false,
        fields: serde_json::json!({}),
        content_hash: b"x".to_vec(),
        lane: Lane::Standard,
        origin: None,
        groups: None,
    };
    records::hear(&mut tx, &[event("7")]).await.unwrap();
    let queued_records = records::queued(&mut tx, Lane::Standard, 1).await.unwrap();
    let record = queued_records[0].id;
    let connection = ConnectionId::generate();
    let new_connection = connections::NewConnection {
        id: connection,
        kind: "webhook",
        name: "CMS",
        notebook: None,
        groups: None,
        settings: &serde_json::json!({}),
        secret: b"sealed",
        state: ConnectionState::Active,
    };
    connections::create(&mut tx, &new_connection).await.unwrap();
    records::hear(&mut tx, &[event("8")]).await.unwrap();
    let claimed = pulled::claim(&mut tx, connection, &[record_key("7")]).await;
    assert_eq!(claimed.unwrap(), 1);
    let settled = records::Settled {
        id: record,
        state: RecordState::Searchable,
        reason: None,
        source: Some(a.source),
    };
    records::settle(&mut tx, &[settled]).await.unwrap();
    let item = connections::Item {
        external_id: "page".to_owned(),
        version: "1".to_owned(),
        url: Some("https://a.invalid/page".to_owned()),
        source: Some(a.source),
        reason: None,
        groups: None,
    };
    connections::note_items(&mut tx, connection, 1, &[item], &[])
        .await
        .unwrap();
    let asked = serde_json::json!({ "text": "why?" });
    let question = questions::create(&mut tx, Some("ann"), None, &asked, 1).await;
    let question = question.unwrap().unwrap().id;
    let more = questions::create(&mut tx, None, None, &asked, 1)
        .await
        .unwrap();
    assert!(more.is_none(), "one waits, and no more may");
    let wish = outbox::Wish {
        url: "https://a.invalid/",
        description: "",
        types: &[],
        origin: None,
    };
    let endpoint = EndpointId::generate();
    outbox::create_endpoint(&mut tx, endpoint, &wish, b"sealed")
        .await
        .unwrap();
    tx.commit().await.unwrap();

    let (seen_by_a, seen_by_b) = (everything(&test, &a).await, everything(&test, &b).await);
    let foreign = Ids {
        notebook: a.notebook,
        source: a.source,
        queued,
        rereading,
        folded,
        segment: new.id,
        record,
        endpoint,
        connection,
        question,
        building,
        switched,
        embedding,
        retired: retired.into(),
        batch,
    };
    let absent = Ids {
        notebook: NotebookId::generate(),
        source: SourceId::generate(),
        queued: SourceId::generate(),
        rereading: SourceId::generate(),
        folded: SourceId::generate(),
        segment: SegmentId::generate(),
        record: RecordId::generate(),
        endpoint: EndpointId::generate(),
        connection: ConnectionId::generate(),
        question: QuestionId::generate(),
        building: Uuid::from_u128(3),
        switched: Uuid::from_u128(4),
        embedding: Uuid::from_u128(8),
        retired: SegmentId::generate(),
        batch: Uuid::from_u128(9),
    };
    let own = answers(&test, &a.tenant, foreign).await;
    let absent = answers(&test, &b.tenant, absent).await;
    let foreign = answers(&test, &b.tenant, foreign).await;
    assert_eq!(foreign, absent);
    let differing = own.iter().zip(&foreign).filter(|(own, other)| own != other);
    assert_eq!(
        differing.count(),
        own.len(),
        "a call that tells nobody anything proves nothing: {own:#?}"
    );

    assert_eq!(everything(&test, &a).await, seen_by_a);
    assert_eq!(everything(&test, &b).await, seen_by_b);
}

#[tokio::test]
async fn names_keys_and_lists_are_a_tenants_own() {
    let test = TestStore::new().await;
    let (a, b) = (filled(&test, "a").await, filled(&test, "b").await);

    // The same names and the same content are no conflict, and lead to one's own.
    let mut tx = test.tx(&b.tenant).await;
    assert_eq!(
        notebooks::by_name(&mut tx, "Site").await.unwrap().id,
        b.notebook
    );
    let listed = notebooks::list(&mut tx, PageRequest::first())
        .await
        .unwrap();
    assert_eq!(
        listed
            .items
            .iter()
            .map(|notebook| notebook.id)
            .collect::<Vec<_>>(),
        [b.notebook]
    );
    let indexed = passages::tail(&mut tx, None, None, 100).await.unwrap();
    assert!(indexed.iter().all(|passage| passage.source == b.source) && indexed.len() == 2);
    drop(tx);

    // Idempotency keys: B neither meets, nor answers, nor frees the key of A.
    let mut tx = test.tx(&a.tenant).await;
    let claim = idempotency::claim(&mut tx, "k", b"1").await.unwrap();
    assert!(matches!(claim, idempotency::Claim::Fresh));
    tx.commit().await.unwrap();
    let mut tx = test.tx(&b.tenant).await;
    idempotency::finish(&mut tx, "k", 200, &serde_json::json!("b"))
        .await
        .unwrap();
    idempotency::release(&mut tx, "k").await.unwrap();
    let claim = idempotency::claim(&mut tx, "k", b"2").await.unwrap();
    assert!(matches!(claim, idempotency::Claim::Fresh));
    tx.commit().await.unwrap();
    let mut tx = test.tx(&a.tenant).await;
    let claim = idempotency::claim(&mut tx, "k", b"1").await.unwrap();
    assert!(matches!(claim, idempotency::Claim::InFlight));
    drop(tx);

    // API keys live in the directory, where only the predicate keeps tenants apart.
    let mut tx = test.store.system().await.unwrap();
    let (key, _) = keys::create(&mut tx, a.tenant.id, KeyRole::Tenant, None, None, "k")
        .await
        .unwrap();
    assert!(keys::list(&mut tx, b.tenant.id).await.unwrap().is_empty());
    for id in [key.id, KeyId::generate()] {
        let revoked = keys::revoke(&mut tx, b.tenant.id, id).await;
        assert!(matches!(revoked, Err(Error::NotFound { what: "key" })));
    }
}

const TABLES: [&str; 27] = [
    "shard.notebooks",
    "shard.sources",
    "shard.source_versions",
    "shard.passages",
    "shard.corpora",
    "shard.corpus_changes",
    "shard.idempotency_keys",
    "shard.segments",
    "shard.index_builds",
    "shard.embedded_sources",
    "shard.embedding_batches",
    "shard.orphans",
    "shard.entities",
    "shard.records",
    "shard.record_values",
    "shard.record_types",
    "shard.connections",
    "shard.connection_items",
    "shard.heard_messages",
    "shard.endpoints",
    "shard.outbox",
    "shard.deliveries",
    "queue.tenants",
    "queue.ready",
    "queue.deferred",
    "queue.keyed",
    "queue.schedules",
];

async fn rows(tx: &mut TenantTx, table: &str) -> Vec<Uuid> {
    let statement = format!("select tenant_id from {table}");
    let rows = sqlx::query(AssertSqlSafe(statement))
        .fetch_all(tx.connection())
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Whether PostgreSQL runs the statement; it is undone in any case.
async fn is_refused(tx: &mut TenantTx, statement: String) -> bool {
    sqlx::raw_sql("savepoint before")
        .execute(tx.connection())
        .await
        .unwrap();
    let result = sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(tx.connection())
        .await;
    sqlx::raw_sql("rollback to before")
        .execute(tx.connection())
        .await
        .unwrap();
    result.is_err()
}

/// SQL without any predicate, as it would be after a slip: the policies are the net.
#[tokio::test]
async fn a_forgotten_predicate_shows_ones_own_rows_only() {
    let test = TestStore::new().await;
    let (a, b) = (filled(&test, "a").await, filled(&test, "b").await);
    for tenant in [&a.tenant, &b.tenant] {
        let mut tx = test.tx(tenant).await;
        idempotency::claim(&mut tx, "k", b"1").await.unwrap();
        let id = tx.tenant_id();
        for statement in [
            "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer) values ($1, $1, 1, 1, 1, '')",
            "insert into shard.index_builds (tenant_id, id, state, old_segments, rotation_seed, rows_total)
             values ($1, $1, 'building', '{}', 1, 1)",
            "insert into shard.embedded_sources (tenant_id, build_id, source_id, version, segment_id)
             values ($1, $1, $1, 1, $1)",
            "insert into shard.embedding_batches (tenant_id, id, build_id, pool, model, texts)
             values ($1, $1, $1, 'x', 'x', 1)",
            "insert into shard.orphans (tenant_id, object_key, found_at) values ($1, 'k', now())",
            "insert into shard.entities (tenant_id, type, external_id) values ($1, 'job', '1')",
            "insert into shard.records (tenant_id, type, external_id, id, version, is_deleted, content_hash, fields,
                                        lane, state)
             values ($1, 'invoice', '1', $1, 1, false, '', '{}', 1, 'queued')",
            "insert into shard.record_values (tenant_id, record_id, name) values ($1, $1, 'amount')",
            "insert into shard.record_types (tenant_id, name, template, sample) values ($1, 'x', 'x', '{}')",
            "insert into shard.connections (tenant_id, id, kind, name, settings, secret, state)
             values ($1, $1, 'x', 'x', '{}', '', 'active')",
            "insert into shard.connection_items (tenant_id, connection_id, external_id, version, round)
             values ($1, $1, 'x', 'x', 1)",
            "insert into shard.heard_messages (tenant_id, connection_id, message_id) values ($1, $1, 'x')",
            "insert into shard.endpoints (tenant_id, id, url, secret, state) values ($1, $1, 'x', '', 'active')",
            "insert into shard.outbox (tenant_id, id, type, data) values ($1, $1, 'x', '{}')",
            "insert into shard.deliveries (tenant_id, endpoint_id, event_id) values ($1, $1, $1)",
            "insert into queue.ready (tenant_id, id, shard, kind, payload, priority) values ($1, $1, 1, 'x', '{}', 2)",
            "insert into queue.deferred (tenant_id, id, run_at, shard, kind, payload, priority)
             values ($1, $1, now(), 1, 'x', '{}', 2)",
            "insert into queue.keyed (tenant_id, id, unique_key, payload) values ($1, $1, 'k', '{}')",
            "insert into queue.schedules (tenant_id, id, name, kind, priority, payload, rule)
             values ($1, $1, 'n', 'x', 2, '{}', 'every 60')",
        ] {
            sqlx::query(statement)
                .bind(id)
                .execute(tx.connection())
                .await
                .unwrap();
        }
        // Only the operator's side writes these.
        let mut system = test.store.system().await.unwrap();
        sqlx::query("insert into queue.tenants (tenant_id) values ($1)")
            .bind(id)
            .execute(system.connection())
            .await
            .unwrap();
        system.commit().await.unwrap();
        tx.commit().await.unwrap();
    }

    let own = a.tenant.id.uuid();
    let other = b.tenant.id.uuid();
    let mut tx = test.tx(&a.tenant).await;
    for table in TABLES {
        let seen = rows(&mut tx, table).await;
        assert!(
            !seen.is_empty() && seen.iter().all(|tenant| *tenant == own),
            "{table}"
        );
        let steal = format!("update {table} set tenant_id = '{other}'");
        assert!(
            is_refused(&mut tx, steal).await,
            "rows of {table} can be given away"
        );
    }
    let plant = format!(
        "insert into shard.notebooks (tenant_id, id, name) values ('{other}', '{own}', 'x')"
    );
    assert!(is_refused(&mut tx, plant).await);
    let attach = format!(
        "insert into shard.sources (tenant_id, id, notebook_id, name, state, latest_version, content_hash, size_bytes)
         values ('{own}', '{own}', '{}', 'x', 'queued', 1, '', 0)",
        b.notebook.uuid()
    );
    assert!(
        is_refused(&mut tx, attach).await,
        "a row can hang below another tenant's"
    );
    for table in [
        "directory.tenants",
        "directory.api_keys",
        "directory.admin_keys",
        "directory.accounts",
    ] {
        assert!(
            is_refused(&mut tx, format!("select from {table}")).await,
            "{table} can be read"
        );
    }

    // Without a tenant there is nothing, and no error either.
    sqlx::query("select set_config('quire.tenant', '', true)")
        .execute(tx.connection())
        .await
        .unwrap();
    for table in TABLES {
        assert!(rows(&mut tx, table).await.is_empty(), "{table}");
    }
    drop(tx);

    // Directory and queue see no content.
    let mut tx = test.store.system().await.unwrap();
    let content = sqlx::query("select from shard.passages")
        .fetch_all(tx.connection())
        .await;
    assert!(content.is_err());
}
