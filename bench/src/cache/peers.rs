//! The leak suite shown against gateways of others, as far as they have what it asks about: tenants.
//!
//! Two tenants with keys of their own send the same question; what the provider was not asked came out of a cache. None
//! of them knows scopes, notebooks or versions of what was read, so that there is nothing to compare.

use std::time::Duration;

use quire_testkit::provider::{ChatDouble, Script};

use crate::failure::Failure;
use crate::gateways::{GATEWAYS, Gateways};
use crate::report::{line, note};

/// Caches that are written beside the answer get that long.
const WRITTEN: Duration = Duration::from_secs(1);

pub(super) async fn run(gateways: &Gateways) -> Result<(), Failure> {
    let double = ChatDouble::start()
        .await
        .map_err(Failure::doing("starting the provider"))?;
    double.always(Script::NotStreaming("What one tenant was told.".to_owned()));
    for name in GATEWAYS {
        note(format!("cache: two tenants ask the same through {name}"));
        match leaks(gateways, name, &double).await {
            Ok(said) => line(format!("{name:16} {said}")),
            Err(failure) => line(format!("{name:16} skipped: {failure}")),
        }
    }
    Ok(())
}

async fn leaks(
    gateways: &Gateways,
    name: &'static str,
    double: &ChatDouble,
) -> Result<String, Failure> {
    let gateway = gateways.start(name, &double.base_url(), true).await?;
    let mut calls = Vec::new();
    // One that asks again may be given the same answer; the other tenant must not.
    for tenant in ["one", "one", "two"] {
        let before = double.count();
        gateway.line.whole(tenant, "What is our gate code?").await?;
        calls.push(double.count() - before);
        tokio::time::sleep(WRITTEN).await;
    }
    let version = gateway.version.clone();
    gateway.stop().await?;
    let said = match calls.as_slice() {
        [1, 0, 0] => "the second tenant was given the answer of the first: 1 leak",
        [1, 0, 1] => "what one tenant asked again was known, the other's was not: 0 leaks",
        [1, 1, 1] => "no cache without a further server: nothing to leak",
        other => return Err(Failure::failed(format!("calls of the provider: {other:?}"))),
    };
    Ok(format!("{version}: {said}"))
}
