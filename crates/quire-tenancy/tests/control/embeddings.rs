//! Vectors by a provider: what callers share, what each pays, and what takes a day.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::join_all;
use quire_models::{Embedder, Models, ModelsConfig, Patience, Pool, PoolState, Quota, find_model};
use quire_store::corpus::Embedding;
use quire_store::sealed::Keyring;
use quire_store::tenants::Tenant;
use quire_tenancy::{
    EmbedError, Embeddings, LocalPool, Looked, Note, Providers, Reason, SentBatch, ToEmbed,
};
use quire_testkit::postgres::eventually;
use quire_testkit::provider::{BatchFate, ChatDouble};
use quire_types::{ErrorKind, Kind};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::support::Lab;

const MODEL: &str = "text-embedding-3-small";
const LIMITS: [(&str, &str); 1] = [("cost_per_month", "$1")];

/// Embeddings whose model is at a double.
struct Vectors {
    lab: Lab,
    double: ChatDouble,
    embeddings: Embeddings,
    _keys: TempDir,
}

impl Vectors {
    async fn new(quota: Quota) -> Self {
        let (lab, double) = (Lab::new().await, ChatDouble::start().await.unwrap());
        let keys = TempDir::new().unwrap();
        let local = LocalPool {
            pool: Pool {
                id: "local".to_owned(),
                region: "local".to_owned(),
                provider: "openai".to_owned(),
                base_url: Some(double.base_url()),
                key: None,
                models: vec![MODEL.to_owned()],
                quota,
                state: PoolState::Active,
                reserved_for: None,
            },
            models: Vec::new(),
        };
        let models = Models::new(ModelsConfig {
            patience: Patience::default(),
            ..ModelsConfig::default()
        });
        let keyring = Keyring::open(&keys.path().join("keys")).unwrap();
        let providers = Providers::new(lab.control.clone(), keyring, models, Some(local));
        let embeddings = Embeddings::new(embedder().await, lab.control.clone(), providers);
        Self {
            lab,
            double,
            embeddings,
            _keys: keys,
        }
    }

    async fn embed(&self, tenant: &Tenant, text: &str) -> Result<Vec<f32>, EmbedError> {
        let account = self.lab.control.account(tenant.id).await.unwrap();
        let to_embed = ToEmbed {
            texts: vec![text.to_owned()],
            are_questions: false,
            user: None,
        };
        let vectors = self.embeddings.embed(&account, &by(), to_embed).await?;
        Ok(vectors.into_iter().next().unwrap())
    }

    /// The texts of each request so far.
    fn requests(&self) -> Vec<Vec<String>> {
        let received = self.double.received();
        let texts = received
            .iter()
            .map(|request| serde_json::from_value(request.body["input"].clone()).unwrap());
        texts.collect()
    }
}

async fn embedder() -> Embedder {
    static EMBEDDER: OnceCell<Embedder> = OnceCell::const_new();
    let load = async || {
        let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
        let cache = cache.map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
            PathBuf::from,
        );
        Embedder::load(&find_model(None, &cache).unwrap()).unwrap()
    };
    EMBEDDER.get_or_init(load).await.clone()
}

fn by() -> Embedding {
    Embedding {
        model: Some(MODEL.to_owned()),
        dimension: Some(16),
    }
}

#[tokio::test]
async fn sources_of_a_tenant_share_requests_and_each_pays_its_part() {
    let vectors = Vectors::new(Quota::default()).await;
    let (one, other) = (
        vectors.lab.tenant("one", &LIMITS).await,
        vectors.lab.tenant("other", &LIMITS).await,
    );
    let texts = |whose: &str| -> Vec<String> {
        (0..20).map(|number| format!("{whose} {number}")).collect()
    };
    let (ours, theirs) = (texts("one"), texts("other"));
    // Until everybody has come, the provider does not answer.
    vectors.double.hold(true);
    let asking = join_all(
        ours.iter()
            .map(|text| vectors.embed(&one, text))
            .chain(theirs.iter().map(|text| vectors.embed(&other, text))),
    );
    let letting = async {
        eventually("the provider is asked", async || {
            vectors.double.count() >= 2
        })
        .await;
        vectors.double.hold(false);
    };
    let (answers, ()) = tokio::join!(asking, letting);
    let answers: Vec<Vec<f32>> = answers.into_iter().map(Result::unwrap).collect();

    let requests = vectors.requests();
    assert!(requests.len() < 20, "{requests:?}");
    for texts in &requests {
        let whose = texts[0].split(' ').next().unwrap();
        assert!(
            texts.iter().all(|text| text.starts_with(whose)),
            "{texts:?}"
        );
    }
    let mut sent: Vec<&String> = requests.iter().flatten().collect();
    sent.sort();
    let mut wanted: Vec<&String> = ours.iter().chain(&theirs).collect();
    wanted.sort();
    assert_eq!(sent, wanted, "each text is sent once");
    // Each caller got the vector of its own text.
    for (text, vector) in [(&ours[7], &answers[7]), (&theirs[12], &answers[32])] {
        assert_eq!(&vectors.embed(&one, text).await.unwrap(), vector, "{text}");
    }

    vectors.lab.control.settle().await.unwrap();
    // The double says five tokens a text, of which a million cost $0.02.
    let sum = vectors.lab.sum_of_today(&other).await;
    assert_eq!(
        (sum.models.0[MODEL].calls, sum.quantities.input_tokens),
        (20, 100)
    );
    assert_eq!(sum.cost, 2_000);
    let (spent, held) = vectors.lab.budget(&other, "cost/tenant/month").await;
    assert_eq!((spent, held), (2_000, 0));
}

#[tokio::test]
async fn a_text_that_a_provider_refuses_fails_its_own_caller_alone() {
    let vectors = Vectors::new(Quota::default()).await;
    let tenant = vectors.lab.tenant("one", &LIMITS).await;
    vectors.double.refuse_with("poison");
    let texts = ["a", "b", "poison", "c"];
    let answers = join_all(texts.map(|text| vectors.embed(&tenant, text))).await;
    for (text, answer) in texts.iter().zip(answers) {
        match answer {
            Ok(_) => assert_ne!(*text, "poison"),
            Err(error) => assert_eq!((*text, error.kind()), ("poison", ErrorKind::Invalid)),
        }
    }
    vectors.lab.control.settle().await.unwrap();
    let sum = vectors.lab.sum_of_today(&tenant).await;
    assert_eq!((sum.quantities.input_tokens, sum.cost), (15, 300));
}

#[tokio::test]
async fn what_does_not_fit_into_a_small_pool_together_goes_in_pieces() {
    let quota = Quota {
        input_tokens_per_minute: Some(80),
        ..Quota::default()
    };
    let vectors = Vectors::new(quota).await;
    let tenant = vectors.lab.tenant("one", &LIMITS).await;
    // About 35 tokens each at the most: one fits, and since it took five only, so does the next.
    let texts = [0, 1, 2].map(|number| format!("{number}{}", "x".repeat(100)));
    let answers = join_all(texts.iter().map(|text| vectors.embed(&tenant, text))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn a_batch_is_sent_once_charged_at_half_the_price_and_corrected() {
    let vectors = Vectors::new(Quota::default()).await;
    let tenant = vectors.lab.tenant("one", &LIMITS).await;
    let account = vectors.lab.control.account(tenant.id).await.unwrap();
    let (embeddings, by) = (&vectors.embeddings, by());
    let pool = embeddings.batch_pool(&account, &by, None).await.unwrap();
    let (pool, _) = pool.unwrap();
    assert_eq!(pool, "local");
    let mut note = Note {
        id: Uuid::now_v7(),
        pool,
        at: chrono::Utc::now(),
        remote: None,
    };
    let texts: Vec<(String, String)> = (0..3)
        .map(|number| {
            (
                format!("id{number}"),
                format!("text {number} {}", "x".repeat(23)),
            )
        })
        .collect();
    let spent = async || vectors.lab.budget(&tenant, "cost/tenant/month").await;

    vectors.double.batches(BatchFate::Runs);
    let sent = embeddings
        .send_batch(&account, &by, &note, &texts, false)
        .await;
    let Ok(SentBatch::As(remote)) = sent else {
        unreachable!("{sent:?}")
    };
    // Thirty bytes are ten tokens and one more at the most, of which a million cost $0.01.
    let most = 3 * 11 * 10;
    assert_eq!(spent().await, (most, 0));
    // Whoever does not know whether it was sent finds it, and nothing is charged twice.
    let again = embeddings
        .send_batch(&account, &by, &note, &texts, true)
        .await;
    assert!(matches!(again, Ok(SentBatch::As(found)) if found == remote));
    assert_eq!((vectors.double.kept(), spent().await), ((1, 1), (most, 0)));
    note.remote = Some(remote);
    let looked = embeddings
        .look_at_batch(&account, &by, &note)
        .await
        .unwrap();
    assert!(matches!(looked, Looked::Running));

    vectors
        .double
        .batches(BatchFate::FailsLinesWith("text 1".to_owned()));
    let looked = embeddings
        .look_at_batch(&account, &by, &note)
        .await
        .unwrap();
    let Looked::Over(over) = looked else {
        unreachable!("it is over")
    };
    let mut names: Vec<&String> = over.vectors.keys().collect();
    names.sort();
    assert_eq!(names, ["id0", "id2"]);
    let plain = vectors.embed(&tenant, &texts[2].1).await.unwrap();
    assert_eq!(over.vectors["id2"], plain, "the vector is that of its text");
    vectors.lab.control.settle().await.unwrap();
    let before = spent().await.0;
    for _ in 0..2 {
        embeddings
            .finish_batch(&account, &note, &over)
            .await
            .unwrap();
        // Two lines of five tokens.
        assert_eq!(spent().await, (before - most + 100, 0));
    }
    assert_eq!(vectors.double.kept().0, 0, "nothing stays at the provider");
    let sum = vectors.lab.sum_of_today(&tenant).await;
    assert_eq!((sum.quantities.input_tokens, sum.cost), (15, 200));

    // Nobody sends what the tenant can't pay.
    vectors
        .lab
        .limit(&tenant, "cost_per_month", Some("$0.00000025"))
        .await;
    let account = vectors.lab.control.account(tenant.id).await.unwrap();
    let poor = Note {
        id: Uuid::now_v7(),
        ..note
    };
    let refused = embeddings
        .send_batch(&account, &by, &poor, &texts, false)
        .await;
    assert!(
        matches!(&refused, Err(EmbedError::Refused(refusal)) if refusal.reason == Reason::Budget),
        "{refused:?}"
    );
    assert_eq!(vectors.double.kept().1, 1);
}

#[tokio::test]
async fn a_batch_that_the_provider_will_not_have_costs_nothing() {
    let vectors = Vectors::new(Quota::default()).await;
    let tenant = vectors.lab.tenant("one", &LIMITS).await;
    let account: Arc<_> = vectors.lab.control.account(tenant.id).await.unwrap();
    let note = Note {
        id: Uuid::now_v7(),
        pool: "local".to_owned(),
        at: chrono::Utc::now(),
        remote: None,
    };
    vectors.double.batches(BatchFate::Fails);
    let texts = [("id".to_owned(), "text".to_owned())];
    let sent = vectors
        .embeddings
        .send_batch(&account, &by(), &note, &texts, false)
        .await;
    let Ok(SentBatch::As(remote)) = sent else {
        unreachable!("{sent:?}")
    };
    let note = Note {
        remote: Some(remote),
        ..note
    };
    let looked = vectors
        .embeddings
        .look_at_batch(&account, &by(), &note)
        .await;
    let Ok(Looked::Over(over)) = looked else {
        unreachable!("it failed")
    };
    assert!(over.vectors.is_empty());
    vectors
        .embeddings
        .finish_batch(&account, &note, &over)
        .await
        .unwrap();
    assert_eq!(
        vectors.lab.budget(&tenant, "cost/tenant/month").await,
        (0, 0)
    );
}
