//! From passages to vectors, by whatever model the tenant's corpus is of.

use quire_models::Embedder;
use quire_store::corpus::{self, Embedding};
use quire_store::passages::NewPassage;
use quire_store::{Placement, questions};
use quire_tenancy::ToEmbed;
use quire_types::TenantId;

use crate::passages::PassageDraft;
use crate::sandbox::Tell;
use crate::{Error, Ingest};

/// Passages that are embedded in one call.
const EMBED_ROWS: usize = 128;

/// What a model reads of a passage.
pub(crate) fn to_embed(context: &str, text: &str) -> String {
    format!("{context}\n{text}")
}

impl Ingest {
    /// What makes the vectors of a tenant.
    pub(crate) async fn embedding(&self, placement: Placement) -> Result<Embedding, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let embedding = corpus::embedding(&mut tx).await?;
        tx.commit().await?;
        Ok(embedding)
    }

    /// The vectors of texts that wait for nobody; what they cost is the tenant's.
    pub(crate) async fn vectors(
        &self,
        tenant: TenantId,
        by: &Embedding,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let config = &self.config;
        let account = config.control.account(tenant).await?;
        let to_embed = ToEmbed {
            texts,
            are_questions: false,
            user: None,
        };
        Ok(config.embeddings.embed(&account, by, to_embed).await?)
    }

    /// What the tenant asked lately, as this model makes vectors of it: what a new index is tried with. None where
    /// the model can't be asked now, for which no index has to wait.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn asked(
        &self,
        placement: Placement,
        by: &Embedding,
        most: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let texts = questions::latest_texts(&mut tx, most).await?;
        tx.commit().await?;
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        match self.vectors(placement.tenant, by, texts).await {
            Ok(vectors) => Ok(vectors),
            Err(error) => {
                tracing::warn!(tenant = %placement.tenant, %error,
                    "a new index is not tried with the tenant's own questions: no vectors of them");
                Ok(Vec::new())
            }
        }
    }

    /// Vectors for all drafts of a tenant, batch by batch, so that a long source does not hold every copy at once.
    /// Tells percent.
    pub(crate) async fn embed(
        &self,
        tenant: TenantId,
        by: &Embedding,
        drafts: Vec<PassageDraft>,
        tell: &Tell,
    ) -> Result<Vec<NewPassage>, Error> {
        let all = drafts.len();
        let mut new = Vec::with_capacity(all);
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            let part: Vec<PassageDraft> = drafts.by_ref().take(EMBED_ROWS).collect();
            let vectors = self.vectors(tenant, by, texts_of(&part)).await?;
            new.extend(with_vectors(part, vectors));
            // At most 100.
            tell((new.len() * 100 / all) as u8);
        }
        Ok(new)
    }
}

/// Passages by the model in this process, for no tenant in particular.
pub(crate) async fn embed_shared(
    embedder: &Embedder,
    drafts: Vec<PassageDraft>,
) -> Result<Vec<NewPassage>, Error> {
    let vectors = embedder.embed(texts_of(&drafts)).await?;
    Ok(with_vectors(drafts, vectors).collect())
}

fn texts_of(drafts: &[PassageDraft]) -> Vec<String> {
    let texts = drafts
        .iter()
        .map(|draft| to_embed(&draft.context, &draft.text));
    texts.collect()
}

fn with_vectors(
    drafts: Vec<PassageDraft>,
    vectors: Vec<Vec<f32>>,
) -> impl Iterator<Item = NewPassage> {
    drafts
        .into_iter()
        .zip(vectors)
        .map(|(draft, embedding)| NewPassage {
            context: draft.context,
            body: draft.text,
            place: draft.place,
            embedding,
        })
}
