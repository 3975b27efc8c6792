//! What everything here works with.

use std::sync::Arc;

use quire_ingest::Ingest;
use quire_queue::Attempt;
use quire_store::sealed::Keyring;
use quire_store::tenants::{self, Tenant};
use quire_store::{Placement, Store};
use quire_types::{ErrorKind, Kind, TenantId, TenantState};
use tokio::sync::Notify;

use crate::connections::App;
use crate::egress::Egress;

/// What connectors are built from.
pub struct ConnectConfig {
    /// Rows and bytes.
    pub store: Store,
    /// Makes texts searchable.
    pub ingest: Ingest,
    /// Seals what must not be read in the database.
    pub keyring: Keyring,
    /// Sends requests to addresses that users give.
    pub egress: Egress,
    /// Where others reach this service, such as `https://quire.example.com`.
    pub public_url: Option<String>,
    /// The app of this installation at Zoom.
    pub zoom: Option<App>,
    /// The same at Microsoft.
    pub teams: Option<App>,
    /// Rung after something was enqueued.
    pub bell: Arc<Notify>,
}

/// Takes in what other products tell, and tells them what happened here.
#[derive(Clone)]
pub struct Connect {
    pub(crate) config: Arc<ConnectConfig>,
}

impl Connect {
    /// Connectors with these parts.
    pub fn new(config: ConnectConfig) -> Self {
        Self {
            config: Arc::new(config),
        }
    }

    /// Where the task's tenant lives now; none when the tenant is gone and so is the work.
    pub(crate) async fn placement(
        &self,
        attempt: &Attempt,
    ) -> Result<Option<Placement>, quire_store::Error> {
        let tenant = self.tenant(attempt.tenant).await?;
        Ok(tenant.map(|tenant| tenant.placement()))
    }

    /// Where a tenant lives that may use the service.
    pub(crate) async fn placement_of(
        &self,
        tenant: TenantId,
    ) -> Result<Option<Placement>, quire_store::Error> {
        let tenant = self.tenant(tenant).await?;
        let tenant = tenant.filter(|tenant| tenant.state == TenantState::Active);
        Ok(tenant.map(|tenant| tenant.placement()))
    }

    async fn tenant(&self, id: TenantId) -> Result<Option<Tenant>, quire_store::Error> {
        let mut tx = self.config.store.system().await?;
        let tenant = tenants::get(&mut tx, id).await;
        tx.commit().await?;
        match tenant {
            Ok(tenant) => Ok(Some(tenant)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
