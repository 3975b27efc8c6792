//! What counts for one tenant: its plan, what was agreed beside it, and the features that are on.
//!
//! Computes only; rows are read and kept elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use quire_types::TenantId;
use sha2::{Digest, Sha256};

use crate::catalogue::Plan;
use crate::limit::{Limit, LimitName};

/// Limits of one tenant.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The plan, shared by all tenants on it.
    pub plan: Arc<Plan>,
    /// Limits agreed with this tenant; they win over the plan's.
    pub overrides: BTreeMap<LimitName, Limit>,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitSource {
    /// Agreed with the tenant.
    Override,
    /// From its plan.
    Plan,
    /// Neither says anything: the conservative default.
    Default,
}

impl LimitSource {
    /// The stable name, as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Plan => "plan",
            Self::Default => "default",
        }
    }
}

impl Terms {
    /// A plan and nothing else.
    pub fn of_plan(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            overrides: BTreeMap::new(),
        }
    }

    /// The limit that counts.
    pub fn limit(&self, name: LimitName) -> Limit {
        self.find(name).0
    }

    /// Where the limit that counts comes from.
    pub fn source_of(&self, name: LimitName) -> LimitSource {
        self.find(name).1
    }

    fn find(&self, name: LimitName) -> (Limit, LimitSource) {
        if let Some(limit) = self.overrides.get(&name) {
            return (*limit, LimitSource::Override);
        }
        if let Some(limit) = self.plan.limits.get(&name) {
            return (*limit, LimitSource::Plan);
        }
        (name.default_limit(), LimitSource::Default)
    }
}

/// Which features are on for whom. A feature that nobody mentioned is off for all.
#[derive(Clone, Debug, Default)]
pub struct Features(BTreeMap<String, Feature>);

#[derive(Clone, Debug, Default)]
struct Feature {
    percent: u8,
    switches: BTreeMap<TenantId, bool>,
}

impl Features {
    /// Turns a feature on for so many percent of the tenants; 100 and more is everybody.
    pub fn set_percent(&mut self, feature: &str, percent: u8) {
        self.feature(feature).percent = percent;
    }

    /// Turns a feature on or off for one tenant, whatever the percentage.
    pub fn set_switch(&mut self, feature: &str, tenant: TenantId, is_on: bool) {
        self.feature(feature).switches.insert(tenant, is_on);
    }

    /// Whether a feature is on for a tenant. The answer for a percentage is the same everywhere and always,
    /// and growing the percentage turns it off for nobody.
    pub fn is_on(&self, feature: &str, tenant: TenantId) -> bool {
        let Some(rules) = self.0.get(feature) else {
            return false;
        };
        let by_percent = || place(feature, tenant) < u64::from(rules.percent) * 100;
        rules
            .switches
            .get(&tenant)
            .copied()
            .unwrap_or_else(by_percent)
    }

    fn feature(&mut self, name: &str) -> &mut Feature {
        self.0.entry(name.to_owned()).or_default()
    }
}

/// Where a tenant stands among 10,000 places; in another order for each feature, so that not the same tenants
/// are always first.
fn place(feature: &str, tenant: TenantId) -> u64 {
    let digest = Sha256::new()
        .chain_update(feature)
        .chain_update(tenant.uuid())
        .finalize();
    let (first, _) = digest.split_at(8);
    first
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        % 10_000
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn terms(plan: &str) -> Terms {
        let plan = Catalogue::shipped().unwrap().plans[&plan.parse().unwrap()].clone();
        Terms::of_plan(Arc::new(plan))
    }

    #[test]
    fn an_override_wins_over_the_plan_and_the_plan_over_the_default() {
        let name = LimitName::Notebooks;
        let check = |terms: &Terms, limit, source| {
            assert_eq!((terms.limit(name), terms.source_of(name)), (limit, source));
        };
        let mut terms = terms("enterprise");
        check(&terms, Limit::Unlimited, LimitSource::Plan);
        for limit in [Limit::At(3), Limit::At(0), Limit::Unlimited] {
            terms.overrides.insert(name, limit);
            check(&terms, limit, LimitSource::Override);
        }
        terms.overrides.clear();
        Arc::make_mut(&mut terms.plan).limits.remove(&name);
        check(&terms, Limit::At(1), LimitSource::Default);
    }

    #[test]
    fn a_missing_limit_is_conservative_and_never_unlimited() {
        let mut terms = terms("standard");
        Arc::make_mut(&mut terms.plan).limits.clear();
        for name in LimitName::ALL {
            assert_eq!(terms.source_of(*name), LimitSource::Default);
            assert!(terms.limit(*name) < Limit::Unlimited, "{name}");
        }
    }

    fn tenants() -> impl Iterator<Item = TenantId> {
        (0..10_000_u128).map(|index| uuid::Uuid::from_u128(index << 64 | index).into())
    }

    fn on(features: &Features, feature: &str) -> Vec<TenantId> {
        tenants()
            .filter(|tenant| features.is_on(feature, *tenant))
            .collect()
    }

    #[test]
    fn a_percentage_turns_on_that_many_and_growing_it_turns_off_nobody() {
        let mut features = Features::default();
        let mut before = Vec::new();
        for percent in (0..=100).step_by(4) {
            features.set_percent("insights", percent);
            let now = on(&features, "insights");
            let off_by = now.len().abs_diff(usize::from(percent) * 100);
            assert!(off_by <= 150, "{percent} %: {} of 10000", now.len());
            assert!(
                before
                    .iter()
                    .all(|tenant| now.binary_search(tenant).is_ok())
            );
            before = now;
        }
        assert_eq!(before.len(), 10_000);
        features.set_percent("insights", 0);
        assert!(on(&features, "insights").is_empty());
    }

    #[test]
    fn each_feature_has_its_own_order_and_the_order_never_changes() {
        let mut features = Features::default();
        features.set_percent("one", 50);
        features.set_percent("two", 50);
        let both = tenants()
            .filter(|tenant| features.is_on("one", *tenant) && features.is_on("two", *tenant))
            .count();
        assert!((2_350..=2_650).contains(&both), "{both}");
        // A change of this number would turn features on and off for customers.
        let tenant = uuid::Uuid::from_u128(0x0198_c0de_0000_7000_a000_0000_0000_0001).into();
        assert_eq!(place("insights", tenant), 2_568);
    }

    #[test]
    fn a_switch_wins_over_the_percentage() {
        let tenant = TenantId::generate();
        let mut features = Features::default();
        assert!(!features.is_on("batch", tenant));
        features.set_switch("batch", tenant, true);
        assert!(features.is_on("batch", tenant));
        assert!(!features.is_on("batch", TenantId::generate()));
        features.set_percent("batch", 100);
        features.set_switch("batch", tenant, false);
        assert!(!features.is_on("batch", tenant));
        assert!(features.is_on("batch", TenantId::generate()));
    }
}
