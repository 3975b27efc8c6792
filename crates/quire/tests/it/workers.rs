//! Worker processes beside a service: frozen and continued, restarted one after another, asked how they are.

use std::time::{Duration, Instant};

use quire_testkit::postgres::eventually;
use quire_testkit::remote::RemoteServer;
use quire_testkit::{PATIENCE, free_port};

use crate::crash::{document, is_complete};
use crate::support::{Caller, Quire, Running};

/// Notes how often a row of the queue's ready tasks ended or moved, and what came back with an attempt counted.
const AUDIT: &str = "
    create schema audit;
    create table audit.gone (id uuid not null);
    create table audit.counted (id uuid not null);
    grant usage on schema audit to quire_app, quire_worker;
    grant insert on all tables in schema audit to quire_app, quire_worker;
    create function audit.goes() returns trigger language plpgsql as
        $$ begin insert into audit.gone values (old.id); return null; end $$;
    create function audit.counts() returns trigger language plpgsql as
        $$ begin insert into audit.counted values (new.id); return null; end $$;
    create trigger goes after delete on queue.ready for each row
        when (old.kind = 'read-source') execute function audit.goes();
    create trigger counts after insert on queue.ready for each row
        when (new.kind = 'read-source' and new.attempt > 0) execute function audit.counts();
    create trigger counts after insert on queue.deferred for each row
        when (new.kind = 'read-source' and new.attempt > 0) execute function audit.counts();";

/// A service on a server that the test can ask.
struct House {
    quire: Quire,
    server: RemoteServer,
}

impl House {
    fn new(lease_s: &str) -> Self {
        let server = RemoteServer::start();
        let database = server.url("quire");
        let quire = Quire::up_with(&[
            ("QUIRE__DATABASE__URL", &database),
            ("QUIRE__LIMITS__TASK_LEASE_S", lease_s),
        ]);
        Self { quire, server }
    }

    fn ask(&self, query: &str) -> Vec<String> {
        self.server.ask("quire", query)
    }

    fn count(&self, query: &str) -> usize {
        self.ask(query)[0].parse().unwrap()
    }

    fn workers(&self) -> Vec<String> {
        self.ask("select id from queue.workers where lease_until > clock_timestamp() order by id")
    }

    /// One more worker process, and its id in the queue.
    fn worker(&self) -> (Running, String) {
        let before = self.workers();
        let process = self.quire.start(&["serve", "--role", "worker"]);
        let mut new = None;
        wait("a new worker", || {
            new = self.workers().into_iter().find(|id| !before.contains(id));
            new.is_some()
        });
        (process, new.unwrap())
    }

    fn shards(&self, worker: &str) -> usize {
        self.count(&format!(
            "select count(*) from queue.shards where owner = '{worker}'"
        ))
    }

    /// How many tenants are in a worker's shards.
    fn tenants(&self, worker: &str) -> usize {
        self.count(&format!(
            "select count(*) from queue.shards s join directory.tenants t
               on s.shard = get_byte(uuid_send(t.id), 15) % 64 where s.owner = '{worker}'"
        ))
    }

    /// Returns once every statement that a server process has received by now is over.
    fn wait_for_statements(&self) {
        // Until a busy machine lets the server read what was sent.
        std::thread::sleep(Duration::from_millis(200));
        let now = &self.ask("select clock_timestamp()")[0];
        let running = format!(
            "select count(*) from pg_stat_activity
             where state = 'active' and query_start < '{now}' and backend_type = 'client backend'"
        );
        wait("statements are over", || self.count(&running) == 0);
    }

    fn is_empty(&self) -> bool {
        let open = "select (select count(*) from queue.ready where kind = 'read-source')
                         + (select count(*) from queue.deferred where kind = 'read-source')";
        self.count(open) == 0
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A tenant with a notebook, and what was added to it.
struct Customer {
    caller: Caller,
    notebook: String,
    sources: Vec<String>,
}

impl Customer {
    async fn new(house: &House, slug: &str) -> Self {
        let caller = house.quire.tenant(slug).await;
        let notebook = caller.notebook("reports").await;
        Self {
            caller,
            notebook,
            sources: Vec::new(),
        }
    }

    async fn add(&mut self) {
        let number = self.sources.len();
        let name = format!("report-{number}.md");
        let text = document(number);
        let added = self
            .caller
            .upload(&self.notebook, &[(&name, text.as_bytes())])
            .await
            .is(202);
        let source = added["sources"][0]["id"].as_str().unwrap();
        self.sources.push(source.to_owned());
    }
}

#[tokio::test]
async fn a_worker_that_was_frozen_past_its_lease_repeats_nothing_when_it_goes_on() {
    let house = House::new("3");
    house.server.run("quire", AUDIT);
    let (worker, id) = house.worker();
    wait("it has its share", || house.shards(&id) == 32);
    // Both processes have shards with tenants in them.
    let mut customers = Vec::new();
    while customers.len() < 6 || house.tenants(&id) == 0 || house.tenants(&id) == customers.len() {
        let number = customers.len();
        customers.push(Customer::new(&house, &format!("frozen-{number}")).await);
    }
    let begun = format!(
        "select count(*) from queue.receipts r, unnest(r.tokens) as t (token)
         join queue.ready q on q.run_token = t.token where r.worker = '{id}' and q.kind = 'read-source'"
    );
    let started = Instant::now();
    // What is open when all that it had sent is over stays open until its lease runs out.
    loop {
        for customer in &mut customers {
            customer.add().await;
        }
        worker.signal("-STOP");
        house.wait_for_statements();
        if house.count(&begun) > 0 {
            break;
        }
        worker.signal("-CONT");
        assert!(started.elapsed() < PATIENCE, "it never reads anything");
    }
    // The service does all of it, also what the frozen one had begun.
    for customer in &customers {
        for source in &customer.sources {
            assert_eq!(
                customer.caller.finished(source).await["state"],
                "searchable"
            );
        }
    }
    wait("the queue is empty", || house.is_empty());
    assert!(!house.workers().contains(&id), "its lease has run out");
    let gone = "select count(*) from audit.gone";
    let (gone_before, counted) = (house.count(gone), "select count(*) from audit.counted");
    let interrupted = house.count(counted);
    assert!(
        interrupted > 0,
        "what it had begun was counted as an attempt"
    );

    worker.signal("-CONT");
    wait("it lives again", || house.workers().contains(&id));
    let receipts = format!("select count(*) from queue.receipts where worker = '{id}'");
    wait("it has nothing open", || house.count(&receipts) == 0);
    worker.stop();
    assert_eq!(house.count(gone), gone_before, "it ended nothing any more");
    assert_eq!(house.count(counted), interrupted);
    assert!(house.is_empty());
    for customer in &customers {
        is_complete(&customer.caller, &customer.notebook, &customer.sources).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_restarted_one_after_another_lose_nothing_and_repeat_nothing() {
    // Longer than the machine takes breath: nobody may be taken for dead.
    let house = House::new("12");
    house.server.run("quire", AUDIT);
    let mut workers: Vec<_> = (0..3).map(|_| house.worker()).collect();
    let mut customers = Vec::new();
    for number in 0..6 {
        customers.push(Customer::new(&house, &format!("rolling-{number}")).await);
    }
    for _ in 0..3 {
        let (oldest, id) = workers.remove(0);
        // Adding goes on while it stops and while the next one starts.
        let adding = tokio::spawn(async move {
            for _ in 0..4 {
                for customer in &mut customers {
                    customer.add().await;
                }
            }
            customers
        });
        let new = tokio::task::block_in_place(|| {
            oldest.stop();
            assert!(!house.workers().contains(&id), "it went in order");
            house.worker()
        });
        customers = adding.await.unwrap();
        workers.push(new);
    }
    for customer in &customers {
        is_complete(&customer.caller, &customer.notebook, &customer.sources).await;
    }
    wait("the queue is empty", || house.is_empty());
    let counted = house.count("select count(*) from audit.counted");
    assert_eq!(counted, 0, "an attempt was counted");
    let ends = house.ask("select count(*), count(distinct id) from audit.gone");
    let added: usize = customers
        .iter()
        .map(|customer| customer.sources.len())
        .sum();
    assert_eq!(ends, [format!("{added}|{added}")], "each ended once");
    assert_eq!(house.count("select count(*) from queue.dead"), 0);
}

#[tokio::test]
async fn a_worker_that_is_asked_says_how_it_is_and_answers_nothing_else() {
    let address = format!("127.0.0.1:{}", free_port());
    let quire = Quire::up_with(&[("QUIRE__SERVER__WORKER_LISTEN", &address)]);
    let process = quire.start(&["serve", "--role", "worker"]);
    let mut worker = quire.caller(&quire.admin_key);
    worker.url = format!("http://{address}");
    wait("it listens", || {
        std::net::TcpStream::connect(&address).is_ok()
    });
    eventually("both workers live", || async {
        let metrics = worker.get("/metrics").await;
        assert_eq!(metrics.status, 200);
        metrics.text.contains("\nquire_task_workers 2\n")
    })
    .await;
    assert_eq!(worker.get("/healthz").await.ok()["status"], "ok");
    assert_eq!(worker.get("/readyz").await.ok()["status"], "ok");
    for path in ["/v1/tasks", "/docs", "/openapi.json"] {
        worker.get(path).await.is(404);
    }
    process.stop();
}
