//! Work at a provider that outlives this process: charged when it begins, corrected when it ends.

use uuid::Uuid;

use quire_types::{NanoUsd, Timestamp};

use super::Control;
use super::call::{Call, budget_refusal, check_state, needs};
use crate::Error;
use crate::budgets;
use crate::error::Refusal;
use crate::known::Account;
use crate::seats::Class;
use crate::usage::{Event, Kind, Quantities};

/// Work that lasts, as whoever keeps a note of it can name it again.
#[derive(Clone, Debug)]
pub(crate) struct Lasting<'a> {
    /// Its id; the same however often it is told.
    pub(crate) id: Uuid,
    /// When it began.
    pub(crate) at: Timestamp,
    pub(crate) kind: Kind,
    pub(crate) provider: &'a str,
    pub(crate) model: &'a str,
}

impl Lasting<'_> {
    fn event(&self, account: &Account, cost: NanoUsd) -> Event {
        Event {
            provider: Some(self.provider.to_owned()),
            model: Some(self.model.to_owned()),
            cost,
            ..Event::new(account.tenant.id, self.kind, self.id, 1, self.at)
        }
    }
}

impl Control {
    /// Charges what such work costs at the most, before it is sent. Nothing is charged the second time.
    pub(crate) async fn begin_lasting(
        &self,
        account: &Account,
        work: &Lasting<'_>,
        most: NanoUsd,
    ) -> Result<(), Refusal> {
        check_state(account.tenant.state)?;
        let call = Call {
            at: work.at,
            cost: most,
            ..Call::new(work.id, Class::Background)
        };
        let needs = needs(account, &call, most)?;
        let event = work.event(account, most);
        match budgets::begin(&self.inner.store, &event, &needs).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(exhausted)) => Err(budget_refusal(&exhausted)),
            Err(error) => Err(Refusal::unknown(&error)),
        }
    }

    /// Says what such work took.
    pub(crate) async fn end_lasting(
        &self,
        account: &Account,
        work: &Lasting<'_>,
        (cost, is_estimated): (NanoUsd, bool),
        quantities: Quantities,
    ) -> Result<(), Error> {
        let event = Event {
            is_estimated,
            quantities,
            ..work.event(account, cost)
        };
        budgets::end(&self.inner.store, &event).await
    }
}
