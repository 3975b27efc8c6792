//! A PostgreSQL of somebody else: what counts as changed there, and who it is.

use quire_store::foreign::{Foreign, ForeignError, Login, Opened, Place, Relation, TableName, Tls};
use quire_testkit::remote::{RemoteServer, TLS_HOST, TLS_ROOT};
use quire_types::Secret;

const TABLE: &str = "
    create table \"Odd Notes\" (\"the id\" text primary key, quire_row text, at timestamptz not null, id int);
    insert into \"Odd Notes\" values
        ('b', 'early', now() - interval '2 hours', 3), ('B', 'early', now() - interval '2 hours', 2),
        ('c', 'late', now() - interval '20 minutes', 1), ('d', 'now', now(), 4),
        ('e', 'tomorrow', now() + interval '1 day', 5)";

fn relation() -> Relation {
    Relation {
        table: TableName {
            schema: Some("public".to_owned()),
            name: "Odd Notes".to_owned(),
        },
        id: "the id".to_owned(),
        updated_at: "at".to_owned(),
        deleted_at: None,
        columns: Vec::new(),
        also: Vec::new(),
    }
}

fn login(url: String, tls: Tls) -> Login {
    Login {
        url: Secret::new(url),
        tls,
        root_certificate: None,
        time_zone: "UTC".to_owned(),
    }
}

async fn open(server: &RemoteServer) -> Foreign {
    let login = login(server.url("quire"), Tls::Prefer);
    Foreign::open(server.address(), &login).await.unwrap()
}

async fn changed(opened: &mut Opened<'_>, place: &Place, most: usize) -> (Vec<String>, bool) {
    let page = opened.changed(place, most, 1 << 20).await.unwrap();
    let ids = page.rows.iter().map(|row| row.id.clone()).collect();
    (ids, page.has_more)
}

#[tokio::test]
async fn changes_come_in_order_and_those_that_were_late_again() {
    let server = RemoteServer::start();
    server.run("quire", TABLE);
    let mut foreign = open(&server).await;
    let relation = relation();
    let mut opened = foreign.relation(&relation).await.unwrap();
    // Rows of one time are told apart by their id, also at the end of a page.
    let first = opened.changed(&Place::Start, 1, 1 << 20).await.unwrap();
    assert!(first.has_more);
    let last = &first.rows[0];
    assert!(last.fields.contains("early"), "{last:?}");
    let after = Place::After {
        at: last.at.clone().unwrap(),
        id: last.id.clone(),
    };
    let (rest, has_more) = changed(&mut opened, &after, 9).await;
    assert!(!has_more);
    assert_eq!(rest.len(), 3, "{rest:?}");
    assert_eq!(rest[1..], ["c", "d"]);
    // A while before the last change, or before now where the last change claims to be of a time that did not come yet.
    let ids = opened.ids(None, 9).await.unwrap();
    let now = ids.iter().find(|(id, _)| id == "d").unwrap().1;
    let before = |at: i64, lookback_s: u32| Place::Before {
        at: chrono::DateTime::from_timestamp_micros(at)
            .unwrap()
            .to_rfc3339(),
        lookback_s,
    };
    for (place, expected) in [
        (before(now, 600), &["d"][..]),
        (before(now, 1_800), &["c", "d"]),
        (before(now + 86_400_000_000, 1_800), &["c", "d"]),
    ] {
        assert_eq!(
            changed(&mut opened, &place, 9).await.0,
            expected,
            "{place:?}"
        );
    }
    // What takes too much room is left for the next page.
    let page = opened.changed(&Place::Start, 9, 1).await.unwrap();
    assert_eq!((page.rows.len(), page.has_more), (1, true));
    let asked = ["B", "nothing", "e"].map(str::to_owned);
    foreign = open(&server).await;
    let mut opened = foreign.relation(&relation).await.unwrap();
    let existing = opened.existing(&asked).await.unwrap();
    assert_eq!(existing, ["B", "e"].map(str::to_owned).into());
    assert_eq!(opened.rows(&asked).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_protected_way_leads_to_whom_the_certificate_names() {
    let server = RemoteServer::start_with_tls();
    let named = |host: &str| server.url("quire").replace("127.0.0.1", host);
    let open = async |host: &str, root: Option<&str>| {
        let login = Login {
            root_certificate: root.map(str::to_owned),
            ..login(named(host), Tls::VerifyFull)
        };
        Foreign::open(server.address(), &login).await
    };
    // Nobody looks the name up: the address is the one that was checked.
    let mut foreign = open(TLS_HOST, Some(TLS_ROOT)).await.unwrap();
    assert_eq!(foreign.account().await.unwrap(), "quire as operator");
    foreign.close().await;
    for (host, root) in [(TLS_HOST, None), ("other.example.com", Some(TLS_ROOT))] {
        let refused = open(host, root).await.err();
        assert!(
            matches!(refused, Some(ForeignError::Tls(_))),
            "{host}: {refused:?}"
        );
    }
    let plain = RemoteServer::start();
    let login = login(plain.url("quire"), Tls::Require);
    let refused = Foreign::open(plain.address(), &login).await.err();
    assert!(matches!(refused, Some(ForeignError::Tls(_))), "{refused:?}");
}
