//! A store, a control plane on it, and tenants with the limits a test needs.

use std::time::Duration;

use chrono::NaiveDate;
use quire_store::tenants::Tenant;
use quire_tenancy::budgets::Period;
use quire_tenancy::sums::Sum;
use quire_tenancy::{
    Admitted, Call, Caller, Class, Control, ControlConfig, GateConfig, Ladder, LimitName, Refusal,
    budgets, lifecycle, plans, sums,
};
use quire_testkit::postgres::{Cluster, TestStore};
use quire_types::RequestId;

pub(crate) struct Lab {
    pub(crate) db: TestStore,
    pub(crate) control: Control,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::on(Cluster::shared().await).await
    }

    pub(crate) async fn on(cluster: &'static Cluster) -> Self {
        let db = TestStore::on(cluster).await;
        let mut tx = db.store.system().await.unwrap();
        plans::ensure_catalogue(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let control = control(&db);
        Self { db, control }
    }

    /// Another process on the same database.
    pub(crate) fn other(&self) -> Control {
        control(&self.db)
    }

    /// Another process on the same database, whose rates are in Redis.
    pub(crate) fn with_redis(&self, url: &str) -> Control {
        Control::with_redis(config(&self.db), url).unwrap()
    }

    pub(crate) async fn tenant(&self, slug: &str, limits: &[(&str, &str)]) -> Tenant {
        let newcomer = lifecycle::Newcomer {
            slug: slug.to_owned(),
            name: None,
            country: None,
            plan: None,
        };
        let tenant = lifecycle::register(&self.db.store, &newcomer)
            .await
            .unwrap()
            .tenant;
        for (name, value) in limits {
            self.limit(&tenant, name, Some(value)).await;
        }
        tenant
    }

    pub(crate) async fn limit(&self, tenant: &Tenant, name: &str, value: Option<&str>) {
        let name: LimitName = name.parse().unwrap();
        let mut tx = self.db.store.system().await.unwrap();
        plans::set_override(&mut tx, tenant.id, name, value)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.control.forget(tenant.id);
    }

    /// What the tenant used today.
    pub(crate) async fn sum_of_today(&self, tenant: &Tenant) -> Sum {
        sums::sum(&self.db.store, Some(tenant.id)).await.unwrap();
        let today = chrono::Utc::now().date_naive();
        let mut tx = self.db.store.system().await.unwrap();
        let days = (today, today.succ_opt().unwrap());
        let mut sums = sums::of_tenant(&mut tx, tenant.id, Period::Day, days)
            .await
            .unwrap();
        sums.pop().expect("something was used today")
    }

    /// What the tenant has spent and holds of a budget.
    pub(crate) async fn budget(&self, tenant: &Tenant, scope: &str) -> (i64, i64) {
        let today = chrono::Utc::now().date_naive();
        self.budget_on(tenant, today, scope).await
    }

    /// The same for the period that a day is in.
    pub(crate) async fn budget_on(
        &self,
        tenant: &Tenant,
        day: NaiveDate,
        scope: &str,
    ) -> (i64, i64) {
        let mut tx = self.db.store.system().await.unwrap();
        let rows = budgets::of_tenant(&mut tx, tenant.id, day).await.unwrap();
        let row = rows.iter().find(|row| row.scope == scope);
        row.map_or((0, 0), |row| (row.spent, row.held))
    }

    /// Lets every hold look as if its process had died long ago.
    pub(crate) async fn age_holds(&self) {
        let mut tx = self.db.store.system().await.unwrap();
        sqlx::query("update control.holds set expires_at = now() - interval '1 minute'")
            .execute(tx.connection())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    pub(crate) async fn ask(&self, tenant: &Tenant, cost_usd: &str) -> Result<Admitted, Refusal> {
        ask(&self.control, tenant, cost_usd).await
    }
}

fn control(db: &TestStore) -> Control {
    Control::new(config(db))
}

fn config(db: &TestStore) -> ControlConfig {
    ControlConfig {
        store: db.store.clone(),
        gate: GateConfig::default(),
        ladder: Ladder {
            throttle_after: 50,
            throttle_for: Duration::from_secs(60),
            ..Ladder::default()
        },
    }
}

pub(crate) async fn caller(control: &Control, tenant: &Tenant) -> Caller {
    Caller {
        account: control.account(tenant.id).await.unwrap(),
        key: None,
    }
}

/// A question that costs so much at most.
pub(crate) fn question(cost_usd: &str) -> Call {
    Call {
        questions: 1,
        cost: cost_usd.parse().unwrap(),
        ..Call::new(RequestId::generate().uuid(), Class::Interactive)
    }
}

pub(crate) async fn ask(
    control: &Control,
    tenant: &Tenant,
    cost_usd: &str,
) -> Result<Admitted, Refusal> {
    let caller = caller(control, tenant).await;
    control.admit(&caller, question(cost_usd)).await
}
