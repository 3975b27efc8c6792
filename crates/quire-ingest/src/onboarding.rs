//! From a customer to a tenant that can ask its first question: registered, with a notebook of templates.
//!
//! Repeated after it was broken off anywhere, it goes on and ends in the same state. The templates are read
//! and embedded once in a process; for a tenant they are only written.

use std::iter::zip;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, stream};

use quire_store::keys::{ApiKey, KeyText};
use quire_store::passages::NewPassage;
use quire_store::sources::Added;
use quire_store::tenants::Tenant;
use quire_store::{Placement, TenantTx, Upload, notebooks, passages, sources, tenants};
use quire_tenancy::lifecycle::{self, Newcomer, Registered};
use quire_tenancy::plans;
use quire_types::{Kind, MediaType, NotebookId};

use crate::extract::{Limits, Meter, extract};
use crate::passages::passages as cut;
use crate::quotas::check_active;
use crate::service::content;
use crate::vectors::embed_shared;
use crate::{Error, Ingest};

/// The notebook that a tenant begins with.
pub(crate) const NOTEBOOK: &str = "Knowledge base";

/// Every template, by the name that plans give it.
const TEXTS: [(&str, &str); 3] = [
    (
        "getting-started",
        include_str!("../templates/getting-started.md"),
    ),
    (
        "meeting-notes",
        include_str!("../templates/meeting-notes.md"),
    ),
    ("glossary", include_str!("../templates/glossary.md")),
];

/// A text that tenants begin with, ready to be found.
pub(crate) struct Template {
    name: &'static str,
    file: String,
    text: &'static str,
    passages: Vec<NewPassage>,
}

/// What onboarding led to.
#[derive(Debug)]
pub struct Onboarded {
    /// The tenant, ready to be used.
    pub tenant: Tenant,
    /// Its first key; only when the tenant is new, since a key is shown once.
    pub key: Option<(ApiKey, KeyText)>,
    /// Whether the tenant did not exist before.
    pub is_new: bool,
}

impl Ingest {
    /// Makes a customer a tenant: region, shard, plan and first key, then a notebook with the templates of
    /// its plan, which can be searched at once. The same customer again is the same tenant, and what is
    /// missing is made. When making the notebook fails, the key is lost with the error: make another one.
    pub async fn onboard(&self, newcomer: &Newcomer) -> Result<Onboarded, Error> {
        let control = &self.config.control;
        let plan = match &newcomer.plan {
            Some(plan) => plan.clone(),
            None => control.default_plan().await?,
        };
        // Before anything is written, since the key is shown only once.
        let mut templates = self.templates(&plan).await?;
        let Registered { tenant, key } = lifecycle::register(&self.config.store, newcomer).await?;
        let is_new = key.is_some();
        let tenant = match tenant.ready_at {
            Some(_) => tenant,
            None => {
                check_active(tenant.state)?;
                if tenant.plan != plan {
                    templates = self.templates(&tenant.plan).await?;
                }
                self.prepare(&tenant, &templates).await?
            }
        };
        Ok(Onboarded {
            tenant,
            key,
            is_new,
        })
    }

    /// Onboards many, so many at once; a dozen keeps two cores busy. One that fails does not stop the
    /// others. Tells after each how many of how many are done and what it led to; the results are in the
    /// order of the newcomers.
    pub async fn onboard_all(
        &self,
        newcomers: &[Newcomer],
        concurrency: usize,
        mut progress: impl FnMut(usize, usize, &Result<Onboarded, Error>),
    ) -> Vec<Result<Onboarded, Error>> {
        let total = newcomers.len();
        let mut results: Vec<_> = stream::iter(newcomers.iter().enumerate())
            .map(async |(index, newcomer)| (index, self.onboard(newcomer).await))
            .buffer_unordered(concurrency.max(1))
            .enumerate()
            .inspect(|(done, (_, result))| progress(done + 1, total, result))
            .map(|(_, indexed)| indexed)
            .collect()
            .await;
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The templates of a plan.
    async fn templates(&self, plan: &str) -> Result<Vec<&Template>, Error> {
        let mut tx = self.config.store.system().await?;
        let plan = plans::plan(&mut tx, plan).await?;
        tx.commit().await?;
        let all = self
            .templates
            .get_or_try_init(|| self.read_templates())
            .await?;
        let find = |name: &String| {
            let found = all.iter().find(|template| template.name == name);
            found.ok_or_else(|| {
                let names: Vec<_> = TEXTS.iter().map(|(name, _)| *name).collect();
                let why = format!(
                    "plan '{}' names the template '{name}', which this quire lacks; it has {}",
                    plan.id,
                    names.join(", ")
                );
                quire_tenancy::Error::Invalid(why).into()
            })
        };
        plan.templates.iter().map(find).collect()
    }

    async fn read_templates(&self) -> Result<Vec<Template>, Error> {
        let read = TEXTS.map(async |(name, text)| {
            let file = format!("{name}.md");
            let document = extract(
                MediaType::Markdown,
                text.as_bytes(),
                &Limits::default(),
                Meter::silent(),
            )?;
            let drafts = cut(&document, &file, &self.config.passages);
            // Every tenant begins with the model that ships with quire.
            let embedder = self.config.embeddings.embedder();
            Ok(Template {
                name,
                file,
                text,
                passages: embed_shared(embedder, drafts).await?,
            })
        });
        try_join_all(read).await
    }

    /// Gives a tenant the notebook it begins with and notes that it is ready.
    async fn prepare(&self, tenant: &Tenant, templates: &[&Template]) -> Result<Tenant, Error> {
        let placement = tenant.placement();
        let uploads = try_join_all(templates.iter().map(|template| {
            let bytes = Ok::<_, std::io::Error>(Bytes::from_static(template.text.as_bytes()));
            self.upload(
                placement,
                stream::iter([bytes]).boxed(),
                self.config.file_bytes,
            )
        }))
        .await?;
        let written = self.write(placement, templates, &uploads).await;
        // What an earlier attempt wrote is there already. After an error it is as in adding a source.
        let unused: Vec<_> = match &written {
            Ok(is_new) => zip(is_new, &uploads)
                .filter_map(|(is_new, upload)| (!is_new).then_some(upload))
                .collect(),
            Err(error) if error.kind().is_transient() => Vec::new(),
            Err(_) => uploads.iter().collect(),
        };
        for upload in unused {
            drop(self.config.store.objects().delete(&upload.key).await);
        }
        written?;
        let mut tx = self.config.store.system().await?;
        let tenant = tenants::set_ready(&mut tx, tenant.id).await?;
        tx.commit().await?;
        // Its first question finds what it may use in memory.
        self.config.control.forget(tenant.id);
        self.config.control.account(tenant.id).await?;
        Ok(tenant)
    }

    /// Writes the notebook with the templates it lacks, and says of each whether it did.
    async fn write(
        &self,
        placement: Placement,
        templates: &[&Template],
        uploads: &[Upload],
    ) -> Result<Vec<bool>, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let notebook = notebooks::ensure(&mut tx, NOTEBOOK).await?.id;
        let mut is_new = Vec::with_capacity(templates.len());
        for (template, upload) in zip(templates, uploads) {
            is_new.push(write_one(&mut tx, notebook, template, upload).await?);
        }
        tx.commit().await?;
        Ok(is_new)
    }
}

async fn write_one(
    tx: &mut TenantTx,
    notebook: NotebookId,
    template: &Template,
    upload: &Upload,
) -> Result<bool, Error> {
    // What the customer keeps under this name is theirs.
    if sources::by_name(tx, notebook, &template.file)
        .await?
        .is_some()
    {
        return Ok(false);
    }
    let content = content(&template.file, upload);
    let Added::Created(source) = sources::add(tx, notebook, &content).await? else {
        return Ok(false);
    };
    passages::publish(
        tx,
        source.id,
        source.latest_version,
        MediaType::Markdown,
        None,
        &template.passages,
    )
    .await?;
    Ok(true)
}
