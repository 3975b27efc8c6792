//! What a tenant may keep, what reading costs it, and when it may not add anything.

use futures::future::join_all;
use quire_ingest::tasks::ReadSource;
use quire_ingest::{Error, Ingest, create_notebook};
use quire_store::sources::Added;
use quire_store::tenants::Tenant;
use quire_store::{PageRequest, notebooks, passages};
use quire_tenancy::{Reason, lifecycle, usage};
use quire_testkit::postgres::eventually;
use quire_types::{ErrorKind, Kind, NanoUsd, NotebookId, SourceState, TenantState};

use crate::lab::{Lab, add};
use crate::pictures::drawn;
use crate::recognisers::letter;
use crate::senses::tone;
use crate::support::{pdf, png, wav};

fn refusal(error: &Error) -> (Reason, &str) {
    match error {
        Error::Refused(refusal) => (refusal.reason, &refusal.text),
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storage_is_never_more_than_allowed_and_deleting_makes_room_at_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("small", &[("storage_bytes", "1000")]).await;
    let notebook = lab.notebook(&tenant).await;
    let at_once = async |range: std::ops::Range<u32>, processes: &[Ingest]| {
        let tasks = range.map(|number| {
            let ingest = processes[number as usize % processes.len()].clone();
            let tenant = tenant.clone();
            tokio::spawn(async move {
                let (name, text) = (format!("{number}.txt"), format!("{number:0>100}"));
                // A machine that stands still for seconds refuses for a reason that is not the plan's.
                loop {
                    let added = add(&ingest, &tenant, notebook, &name, text.clone()).await;
                    if !matches!(&added, Err(error) if error.kind().is_transient()) {
                        return added;
                    }
                }
            })
        });
        let added: Vec<_> = join_all(tasks)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        added
    };
    let processes = [lab.ingest.clone(), lab.other().await, lab.other().await];
    let added = at_once(0..20, &processes[..1]).await;
    let fits = added.iter().filter(|added| added.is_ok()).count();
    assert_eq!(fits, 10, "{added:#?}");
    lab.limit(&tenant, "storage_bytes", Some("1100")).await;
    let more = at_once(20..40, &processes).await;
    assert_eq!(more.iter().filter(|added| added.is_ok()).count(), 1);
    for error in added.iter().filter_map(|added| added.as_ref().err()) {
        assert_eq!(error.kind(), ErrorKind::Quota);
        assert_eq!(
            refusal(error),
            (
                Reason::Size,
                "storage_bytes is limited to 1000 bytes; 1000 are used and this takes 100 more: \
                 delete something or change the plan"
            )
        );
    }
    let stored = lab.db.store.objects().list(tenant.placement()).await;
    assert_eq!(stored.unwrap().len(), 11);

    let first = lab.sources(&tenant, notebook).await.swap_remove(0);
    let number: u32 = first.name.trim_end_matches(".txt").parse().unwrap();
    let same = add(
        &lab.ingest,
        &tenant,
        notebook,
        &first.name,
        format!("{number:0>100}"),
    )
    .await;
    assert!(matches!(same, Ok(Added::Duplicate(_))));
    let placement = tenant.placement();
    lab.ingest.delete_source(placement, first.id).await.unwrap();
    let ingest = &processes[0];
    add(ingest, &tenant, notebook, "new.txt", "y".repeat(100))
        .await
        .unwrap();
    let larger = add(ingest, &tenant, notebook, "new.txt", "z".repeat(101)).await;
    assert!(larger.is_err());

    // Less than there is: nothing more comes in, and nothing goes.
    lab.limit(&tenant, "storage_bytes", Some("10")).await;
    let _worker = lab.work();
    eventually("all are read", async || {
        let sources = lab.sources(&tenant, notebook).await;
        sources
            .iter()
            .all(|source| source.state == SourceState::Searchable)
    })
    .await;
    let more = add(ingest, &tenant, notebook, "more.txt", "more").await;
    assert_eq!(more.unwrap_err().kind(), ErrorKind::Quota);
    let mut tx = lab.db.tx(&tenant).await;
    let found = passages::tail(&mut tx, None, None, 100).await.unwrap();
    assert_eq!(found.len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_with_too_many_passages_fails_before_it_costs_anything_and_is_metered_once() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("few", &[("passages", "3")]).await;
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let short = add(&lab.ingest, &tenant, notebook, "a.txt", "Concrete cures.").await;
    let short = short.unwrap().source().id;
    lab.until(&tenant, short, SourceState::Searchable).await;
    let text = "The roof was finished on Monday before the rain came. ".repeat(80);
    let long = add(&lab.ingest, &tenant, notebook, "b.txt", text.clone()).await;
    let long = long.unwrap().source().id;
    let failed = lab.until(&tenant, long, SourceState::Failed).await;
    let reason = failed.reason.unwrap();
    assert!(
        reason.starts_with("passages is limited to 3; 1 are used and this takes "),
        "{reason}"
    );

    lab.limit(&tenant, "passages", None).await;
    lab.ingest.retry(tenant.placement(), long).await.unwrap();
    let read = lab.until(&tenant, long, SourceState::Searchable).await;
    // The same work told again does nothing.
    let mut tx = lab.db.tx(&tenant).await;
    quire_queue::enqueue(&mut tx, &ReadSource::of(&read))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    eventually("no task is left", async || lab.tasks().await == 0).await;

    let today = read.created_at.date_naive();
    let days = (today.pred_opt().unwrap(), today.succ_opt().unwrap());
    let mut tx = lab.db.store.system().await.unwrap();
    let events = usage::events(&mut tx, tenant.id, days, None, 100)
        .await
        .unwrap();
    assert_eq!(events.len(), 2);
    let event = events
        .iter()
        .max_by_key(|event| event.quantities.stored_bytes)
        .unwrap();
    assert_eq!((event.kind.as_str(), event.cost), ("source", NanoUsd::ZERO));
    assert_eq!(event.notebook.map(NotebookId::from_uuid), Some(notebook));
    assert_eq!(
        event.quantities.stored_bytes,
        i64::try_from(text.len()).unwrap()
    );
    assert!(event.quantities.characters >= i64::try_from(text.trim().len()).unwrap());
    assert!(event.at >= read.created_at && !event.is_open && !event.is_estimated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notebooks_created_at_once_are_never_more_than_allowed() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("two", &[("notebooks", "2")]).await;
    let at_once = join_all((0..12).map(|number| {
        let (store, control) = (lab.db.store.clone(), lab.control.clone());
        let placement = tenant.placement();
        tokio::spawn(async move {
            create_notebook(&store, &control, placement, &format!("n{number}")).await
        })
    }))
    .await;
    let created: Vec<_> = at_once.into_iter().map(Result::unwrap).collect();
    assert_eq!(created.iter().filter(|created| created.is_ok()).count(), 2);
    let error = created
        .iter()
        .find_map(|created| created.as_ref().err())
        .unwrap();
    assert_eq!(
        refusal(error).1,
        "notebooks is limited to 2; 2 are used and this takes 1 more: delete something or change the plan"
    );
    let mut tx = lab.db.tx(&tenant).await;
    let there = notebooks::list(&mut tx, PageRequest::first())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(there.items.len(), 2);

    let id = there.items[0].id;
    lab.ingest
        .delete_notebook(tenant.placement(), id)
        .await
        .unwrap();
    let placement = tenant.placement();
    lab.ingest
        .create_notebook(placement, "another")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_suspended_tenant_adds_nothing_and_a_busy_machine_reads_later() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("pauses", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let set_state = async |state| {
        let mut tx = lab.db.store.system().await.unwrap();
        lifecycle::set_state(&mut tx, tenant.id, state)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        lab.control.forget(tenant.id);
    };
    set_state(TenantState::Suspended).await;
    let error = add(&lab.ingest, &tenant, notebook, "a.txt", "text")
        .await
        .unwrap_err();
    assert_eq!(refusal(&error), (Reason::State, "the tenant is suspended"));
    let error = lab
        .ingest
        .create_notebook(tenant.placement(), "n")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    set_state(TenantState::Active).await;

    let place = lab.extracting.enter().await.unwrap();
    let added = add(&lab.ingest, &tenant, notebook, "a.txt", "text")
        .await
        .unwrap();
    let _worker = lab.work();
    eventually("it waits for another try", async || {
        let sources = lab.sources(&tenant, notebook).await;
        let reason = sources[0].reason.as_deref().unwrap_or_default();
        sources[0].state == SourceState::Queued && reason.contains("too much to read at once")
    })
    .await;
    drop(place);
    lab.until(&tenant, added.source().id, SourceState::Searchable)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_has_what_its_plan_gives_and_a_refusal_says_how_to_get_more() {
    let lab = Lab::new().await;
    let limits = [("file_pages", "1"), ("file_bytes", "5 kB")];
    let tenant = lab.tenant("pages", &limits).await;
    let notebook = lab.notebook(&tenant).await;
    let large = add(&lab.ingest, &tenant, notebook, "l.txt", "x".repeat(5_001)).await;
    let large = large.unwrap_err();
    assert_eq!(large.kind(), ErrorKind::Quota);
    assert_eq!(
        refusal(&large).1,
        "the file is larger than 5 kB, the most that the plan gives (file_bytes): split it, or change the plan"
    );
    let _worker = lab.work();
    let two = pdf(&[&["The first page."], &["The second page."]]);
    let two = add(&lab.ingest, &tenant, notebook, "two.pdf", two).await;
    let two = two.unwrap().source().id;
    let failed = lab.until(&tenant, two, SourceState::Failed).await;
    assert_eq!(
        failed.reason.as_deref(),
        Some(
            "the file has more than 1 pages, the most that the plan gives (file_pages is 1): split it, or change \
             the plan"
        )
    );
    lab.limit(&tenant, "file_pages", Some("2")).await;
    lab.ingest.retry(tenant.placement(), two).await.unwrap();
    lab.until(&tenant, two, SourceState::Searchable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_for_longer_or_to_more_than_the_plan_gives() {
    let lab = Lab::new().await;
    let limits = [("transcribed_minutes_per_month", "1")];
    let tenant = lab.tenant("sound", &limits).await;
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let record = async |name: &str, seconds: u32| {
        let sound = wav(8_000, 8_000 * seconds);
        let added = add(&lab.ingest, &tenant, notebook, name, sound).await;
        added.unwrap().source().id
    };
    let first = record("a.wav", 40).await;
    lab.until(&tenant, first, SourceState::Searchable).await;
    let second = record("b.wav", 41).await;
    let failed = lab.until(&tenant, second, SourceState::Failed).await;
    let reason = failed.reason.unwrap();
    let expected = "the tenant's 1 minutes of sound of this month are used up or reserved; the next begins on ";
    assert!(reason.starts_with(expected), "{reason}");

    // What does not fit the month is nobody's loss: a shorter one does.
    let third = record("c.wav", 20).await;
    lab.until(&tenant, third, SourceState::Searchable).await;
    let fourth = record("d.wav", 1).await;
    lab.until(&tenant, fourth, SourceState::Failed).await;
    lab.limit(&tenant, "transcribed_minutes_per_month", Some("0"))
        .await;
    let retry = lab.ingest.retry(tenant.placement(), fourth).await;
    retry.unwrap();
    let off = lab.until(&tenant, fourth, SourceState::Failed).await;
    assert_eq!(
        off.reason.as_deref(),
        Some("the plan allows nothing here: its transcribed_minutes_per_month is 0")
    );
    // Charged by the events, also when budgets are counted anew.
    lab.limit(&tenant, "transcribed_minutes_per_month", Some("2"))
        .await;
    lab.limit(&tenant, "recordings", Some("2")).await;
    lab.ingest.retry(tenant.placement(), fourth).await.unwrap();
    let full = lab.until(&tenant, fourth, SourceState::Failed).await;
    assert_eq!(
        full.reason.as_deref(),
        Some("recordings is limited to 2, and 2 are kept: delete one or change the plan")
    );
    lab.limit(&tenant, "recordings", Some("3")).await;
    lab.ingest.retry(tenant.placement(), fourth).await.unwrap();
    lab.until(&tenant, fourth, SourceState::Searchable).await;
    lab.limit(&tenant, "recordings", None).await;
    let fifth = record("e.wav", 60).await;
    lab.until(&tenant, fifth, SourceState::Failed).await;
}

/// What reading each of the tenant's sources used, in order.
async fn read_events(lab: &Lab, tenant: &Tenant) -> Vec<usage::Quantities> {
    let mut tx = lab.db.store.system().await.unwrap();
    let today = chrono::Utc::now().date_naive();
    let days = (today.pred_opt().unwrap(), today.succ_opt().unwrap());
    let events = usage::events(&mut tx, tenant.id, days, None, 100).await;
    let mut events = events.unwrap();
    events.retain(|event| event.kind == "source");
    events.sort_by_key(|event| event.at);
    events.into_iter().map(|event| event.quantities).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_in_letters_count_like_others_and_a_letter_without_room_is_read_without_them() {
    let lab = Lab::new().await;
    let limits = [("transcribed_minutes_per_month", "1"), ("recordings", "2")];
    let tenant = lab.tenant("letters", &limits).await;
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let read = async |name: &str, files: &[(&str, &[u8])]| {
        let added = add(&lab.ingest, &tenant, notebook, name, letter(files)).await;
        let id = added.unwrap().source().id;
        lab.until(&tenant, id, SourceState::Searchable).await;
        let mut tx = lab.db.tx(&tenant).await;
        let found = passages::tail(&mut tx, Some(&[id]), None, 100).await;
        let texts: Vec<String> = found.unwrap().into_iter().map(|one| one.body).collect();
        (id, texts.join("\n"))
    };
    let inner = letter(&[("deep.wav", &tone(15))]);
    let (two, text) = read("two.eml", &[("a.wav", &tone(20)), ("inner.eml", &inner)]).await;
    assert!(text.contains("Recording of 0 min 15 s"), "{text}");
    let (_, text) = read("third.eml", &[("b.wav", &tone(10))]).await;
    let why = "The attachment b.wav was not read: recordings can't be listened to: recordings is limited to 2, \
        and 2 are kept: delete one or change the plan";
    assert!(text.contains(why), "{text}");

    lab.ingest
        .delete_source(tenant.placement(), two)
        .await
        .unwrap();
    let (_, text) = read("long.eml", &[("c.wav", &tone(26))]).await;
    let why = "The attachment c.wav was not read: recordings can't be listened to: the tenant's 1 minutes of sound";
    assert!(text.contains(why), "{text}");
    let (_, text) = read("short.eml", &[("d.wav", &tone(25))]).await;
    assert!(text.contains("Recording of 0 min 25 s"), "{text}");
    let heard: Vec<i64> = read_events(&lab, &tenant)
        .await
        .iter()
        .map(|used| used.audio_ms)
        .collect();
    assert_eq!(heard, [35_000, 0, 0, 25_000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_at_here_is_metered_like_what_a_provider_looks_at() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("pictures", &[]).await;
    let notebook = lab.notebook(&tenant).await;
    let _worker = lab.work();
    let film = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/northgate/site-media/weekly-walk.mp4"
    ))
    .unwrap();
    let sign = drawn(&["Circuit 31 feeds the chiller."]);
    let pages = quire_testkit::pdf::pdf_with_picture(&["Notes on the walk."], &sign);
    let photo = png(64, 48);
    let all = letter(&[
        ("walk.mp4", &film),
        ("notes.pdf", &pages),
        ("a.png", &photo),
    ]);
    for (name, bytes) in [
        ("walk.mp4", film),
        ("notes.pdf", pages),
        ("a.png", photo),
        ("all.eml", all),
    ] {
        let added = add(&lab.ingest, &tenant, notebook, name, bytes).await;
        let id = added.unwrap().source().id;
        let read = lab.until(&tenant, id, SourceState::Searchable).await;
        // Told again it is the same work.
        let mut tx = lab.db.tx(&tenant).await;
        let again = ReadSource::of(&read);
        quire_queue::enqueue(&mut tx, &again).await.unwrap();
        tx.commit().await.unwrap();
    }
    eventually("no task is left", async || lab.tasks().await == 0).await;
    let used: Vec<(i64, i64, i64)> = read_events(&lab, &tenant)
        .await
        .iter()
        .map(|used| (used.pages, used.images, used.audio_ms))
        .collect();
    let sound = used[0].2;
    assert!((11_900..=12_100).contains(&sound), "{used:?}");
    assert_eq!(used, [(0, 3, sound), (1, 1, 0), (0, 1, 0), (1, 5, sound)]);
}
