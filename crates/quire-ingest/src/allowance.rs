//! What one file of a tenant may have: as much as its plan gives, and never more than this installation does.

use std::sync::Arc;

use quire_queue::Attempt;
use quire_store::sources::{self, Source};
use quire_store::{Placement, TenantTx};
use quire_tenancy::terms::Terms;
use quire_tenancy::{Account, Admitted, Call, Class, Limit, LimitName, Reason};

use crate::extract::{ExtractError, Limits};
use crate::quotas::refusal;
use crate::tasks::Attached;
use crate::texts::made_at;
use crate::{Error, Ingest};

/// The limits of one file under these terms.
pub(crate) fn limits(terms: &Terms, ceiling: &Limits) -> Limits {
    let most = |name: LimitName, ceiling: u64| {
        terms
            .limit(name)
            .most()
            .map_or(ceiling, |most| most.min(ceiling))
    };
    let pages = |name, ceiling: u32| u32::try_from(most(name, ceiling.into())).unwrap_or(ceiling);
    let seconds = match terms.limit(LimitName::RecordingMinutes) {
        Limit::At(minutes) => minutes.saturating_mul(60).min(ceiling.max_seconds),
        Limit::Unlimited => ceiling.max_seconds,
    };
    Limits {
        max_input_bytes: most(LimitName::FileBytes, ceiling.max_input_bytes),
        max_pages: pages(LimitName::FilePages, ceiling.max_pages),
        max_scanned_pages: pages(LimitName::FileScannedPages, ceiling.max_scanned_pages),
        max_pixels: most(LimitName::FilePixels, ceiling.max_pixels),
        max_seconds: seconds,
        max_zip_entries: most(LimitName::FileEntries, ceiling.max_zip_entries),
        max_parts: most(LimitName::FileEntries, ceiling.max_parts),
        max_ratio: most(LimitName::FileRatio, ceiling.max_ratio),
        ..ceiling.clone()
    }
}

/// The error of a file that has more than its plan gives says so; with more than this installation takes, no plan
/// would help.
pub(crate) fn by_plan(error: ExtractError, terms: &Terms, ceiling: &Limits) -> Error {
    let ExtractError::TooLarge { what, limit } = &error else {
        return error.into();
    };
    let (name, most) = match what.as_str() {
        "bytes" => (LimitName::FileBytes, ceiling.max_input_bytes),
        "pages" | "slides" => (LimitName::FilePages, ceiling.max_pages.into()),
        "scanned pages" => (
            LimitName::FileScannedPages,
            ceiling.max_scanned_pages.into(),
        ),
        "pixels" | "pixels in a picture" => (LimitName::FilePixels, ceiling.max_pixels),
        "seconds" => (LimitName::RecordingMinutes, ceiling.max_seconds),
        "files in the container" => (LimitName::FileEntries, ceiling.max_zip_entries),
        "attachments" => (LimitName::FileEntries, ceiling.max_parts),
        _ => return error.into(),
    };
    if *limit >= most {
        return error.into();
    }
    let text = format!(
        "the file has more than {limit} {what}, the most that the plan gives ({name} is {}): split it, or change \
         the plan",
        name.show(terms.limit(name))
    );
    refusal(Reason::Size, text).into()
}

/// Whether the tenant may keep so many more recordings in this source; call it in the transaction that makes it so.
pub(crate) async fn room_for_recordings(
    tx: &mut TenantTx,
    account: &Account,
    source: &Source,
    more: u64,
) -> Result<(), Error> {
    let Limit::At(most) = account.terms.limit(LimitName::Recordings) else {
        return Ok(());
    };
    tx.alone_with("recordings").await?;
    let others = sources::recordings_besides(tx, source.id).await?;
    if others.unsigned_abs().saturating_add(more) <= most {
        return Ok(());
    }
    let text = format!(
        "recordings is limited to {most}, and {others} are kept: delete one or change the plan"
    );
    Err(refusal(Reason::Size, text).into())
}

impl Ingest {
    /// The same for what is attached to an e-mail, if the tenant may keep it.
    pub(crate) async fn hold_attached(
        &self,
        placement: Placement,
        account: &Arc<Account>,
        attempt: &Attempt,
        source: &Source,
        attached: Attached,
    ) -> Result<Admitted, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        room_for_recordings(&mut tx, account, source, attached.recordings).await?;
        tx.commit().await?;
        let seconds = attached.sound_ms.div_ceil(1_000).max(1);
        self.hold_sound(account, attempt, source, seconds).await
    }

    /// Holds the seconds of a recording out of the tenant's month before anybody listens to it.
    pub(crate) async fn hold_sound(
        &self,
        account: &Arc<Account>,
        attempt: &Attempt,
        source: &Source,
        seconds: u64,
    ) -> Result<Admitted, Error> {
        let call = Call {
            // As its usage is told.
            at: made_at(attempt),
            notebook: Some(source.notebook),
            audio_seconds: seconds,
            ..Call::new(attempt.task.uuid(), Class::Background)
        };
        Ok(self.config.control.admit_task(account, call).await?)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use quire_tenancy::catalogue::Catalogue;
    use quire_types::{ErrorKind, Kind};

    use super::*;

    #[test]
    fn the_smaller_of_plan_and_installation_counts_and_a_refusal_says_whose_it_is() {
        let plan = Catalogue::shipped().unwrap().plans[&"starter".parse().unwrap()].clone();
        let mut terms = Terms::of_plan(Arc::new(plan));
        let ceiling = Limits::default();
        let of_plan = limits(&terms, &ceiling);
        assert_eq!((of_plan.max_pages, of_plan.max_seconds), (2_000, 3_600));
        assert_eq!((of_plan.max_parts, of_plan.max_zip_entries), (500, 1_000));
        assert_eq!(of_plan.max_blocks, ceiling.max_blocks);

        let pages = |limit| ExtractError::too_large("pages", limit);
        let refused = by_plan(pages(2_000), &terms, &ceiling);
        assert_eq!(refused.kind(), ErrorKind::Quota);
        assert_eq!(
            refused.to_string(),
            "the file has more than 2000 pages, the most that the plan gives (file_pages is 2000): split it, or \
             change the plan"
        );
        terms
            .overrides
            .insert(LimitName::FilePages, Limit::Unlimited);
        assert_eq!(limits(&terms, &ceiling).max_pages, ceiling.max_pages);
        let refused = by_plan(pages(ceiling.max_pages.into()), &terms, &ceiling);
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        terms.overrides.insert(LimitName::FilePixels, Limit::At(0));
        assert_eq!(limits(&terms, &ceiling).max_pixels, 0);
    }
}
