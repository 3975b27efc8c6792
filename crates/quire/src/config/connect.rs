//! What flows in and out by itself, and this installation's apps at providers.

use serde::Deserialize;

use quire_connect::connections::App;
use quire_connect::egress::Network;
use quire_types::Secret;

use crate::failure::Failure;

/// What flows in and out by itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connect {
    /// Networks that addresses given by tenants may lead to although they are not public, such as 10.1.0.0/16.
    pub(crate) allow_networks: Vec<String>,
    /// Where others reach this service, such as `https://quire.example.com`: people come back here from Zoom and
    /// Microsoft.
    pub(crate) public_url: Option<String>,
    /// The app of this installation at Zoom. Unset: nobody can connect an account of Zoom.
    pub(crate) zoom: Option<ProviderApp>,
    /// The app of this installation at Microsoft. Unset: nobody can connect Microsoft Teams.
    pub(crate) teams: Option<ProviderApp>,
}

/// An app at a provider: of Zoom (marketplace.zoom.us, a general app with OAuth), or of Microsoft (Entra, an app of
/// several organisations).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderApp {
    /// Its client id.
    pub(crate) client_id: String,
    /// Its client secret.
    pub(crate) client_secret: Secret,
    /// The secret token of its event subscription; for Microsoft, anything long that nobody can guess.
    pub(crate) webhook_secret: Secret,
    /// Where people agree and tokens are given, if not at the provider's usual address.
    pub(crate) login_url: Option<String>,
    /// Where content is read, likewise.
    pub(crate) api_url: Option<String>,
}

impl ProviderApp {
    fn app(&self, login_url: &str, api_url: &str) -> App {
        let address = |own: &Option<String>, usual: &str| {
            let address = own.as_deref().unwrap_or(usual);
            address.trim_end_matches('/').to_owned()
        };
        App {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            webhook_secret: self.webhook_secret.clone(),
            login_url: address(&self.login_url, login_url),
            api_url: address(&self.api_url, api_url),
        }
    }
}

impl Connect {
    pub(crate) fn zoom(&self) -> Option<App> {
        let zoom = self.zoom.as_ref()?;
        Some(zoom.app("https://zoom.us", "https://api.zoom.us/v2"))
    }

    pub(crate) fn teams(&self) -> Result<Option<App>, Failure> {
        let Some(teams) = &self.teams else {
            return Ok(None);
        };
        // It is all that tells notifications of Microsoft from those of anybody else.
        if teams.webhook_secret.expose().len() < 16 {
            return Err(Failure::invalid(
                "connect.teams.webhook_secret is too short: give it 16 characters or more that nobody can guess",
            ));
        }
        Ok(Some(teams.app(
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com/v1.0",
        )))
    }

    pub(crate) fn networks(&self) -> Result<Vec<Network>, Failure> {
        let networks: Result<Vec<Network>, _> = self
            .allow_networks
            .iter()
            .map(|text| text.parse())
            .collect();
        Ok(networks?)
    }
}
