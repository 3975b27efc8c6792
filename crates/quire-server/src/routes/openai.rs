//! The part of OpenAI's API that programs written for it need to ask a notebook: chat completions, embeddings, models.
//!
//! A notebook is a model, `quire/<name or id>`; `quire` alone is everything within the key's reach. What a request
//! says beyond that (temperature, tools, …) is accepted and has no effect, as with other servers of this API.

mod chat;
mod errors;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_index::Filter;
use quire_store::notebooks as rows;
use quire_store::{PageRequest, TenantTx};
use quire_types::NotebookId;

use crate::body::Body;
use crate::caller::Reader;
use crate::problem::{ApiError, ApiResult};
use crate::rate::refused;
use crate::state::App;

pub(super) use chat::{__path_chat_completions, chat_completions};
pub(crate) use errors::{ErrorOut, speaks_openai};

/// The model that is all notebooks within the key's reach; before a slash and the name of one, that one.
const ALL: &str = "quire";
/// Texts that are embedded in one request.
const MOST_TEXTS: usize = 256;
/// Notebooks that are listed as models.
const MOST_MODELS: usize = 1_000;

/// A model.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenAiModelOut {
    /// What to name in a request.
    #[schema(example = "quire/riverside-clinic")]
    id: String,
    /// Always `model`.
    object: &'static str,
    /// Unix time.
    created: i64,
    /// Always `quire`.
    owned_by: &'static str,
}

impl OpenAiModelOut {
    fn new(id: String, created: i64) -> Self {
        Self {
            id,
            object: "model",
            created,
            owned_by: "quire",
        }
    }
}

/// A list as OpenAI has them.
#[derive(Serialize, ToSchema)]
pub(super) struct OpenAiList<T> {
    /// Always `list`.
    object: &'static str,
    data: Vec<T>,
}

/// List what can be named as a model: everything, each notebook within the key's reach, and the model of vectors.
#[utoipa::path(get, path = "/v1/models", tag = "openai", security(("tenant_key" = [])),
    responses((status = 200, body = OpenAiList<OpenAiModelOut>), (status = 401, body = ErrorOut)))]
pub(super) async fn models(
    caller: Reader,
    State(app): State<App>,
) -> ApiResult<Json<OpenAiList<OpenAiModelOut>>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let mut notebooks = Vec::new();
    match caller.only_notebook() {
        Some(only) => notebooks.push(rows::get(&mut tx, only).await?),
        None => loop {
            let page = PageRequest {
                after: notebooks.last().map(|last: &rows::Notebook| last.id.uuid()),
                limit: PageRequest::MAX,
            };
            let page = rows::list(&mut tx, page).await?;
            notebooks.extend(page.items);
            if !page.more || notebooks.len() >= MOST_MODELS {
                break;
            }
        },
    }
    tx.commit().await?;
    let of_notebook = |notebook: &rows::Notebook| {
        OpenAiModelOut::new(
            format!("{ALL}/{}", notebook.name),
            notebook.created_at.timestamp(),
        )
    };
    let mut data = vec![
        OpenAiModelOut::new(ALL.to_owned(), 0),
        OpenAiModelOut::new(app.asker.embedding_model().to_owned(), 0),
    ];
    data.extend(notebooks.iter().map(of_notebook));
    Ok(Json(OpenAiList {
        object: "list",
        data,
    }))
}

/// What a model means: which passages may be used. A notebook that does not exist and one out of reach answer alike.
async fn filter_of(model: &str, app: &App, caller: &Reader) -> ApiResult<Filter> {
    let notebooks = match model.strip_prefix(ALL) {
        Some("") => caller.only_notebook().map(|only| vec![only]),
        Some(rest) if rest.starts_with('/') => {
            let mut tx = app.store.tenant(caller.placement()).await?;
            let id = notebook_of(&rest[1..], &mut tx, caller).await;
            tx.commit().await?;
            Some(vec![id?])
        }
        _ => return Err(no_model()),
    };
    Ok(Filter {
        notebooks,
        groups: caller.groups().cloned(),
        ..Filter::default()
    })
}

async fn notebook_of(name: &str, tx: &mut TenantTx, caller: &Reader) -> ApiResult<NotebookId> {
    let id = match name.parse::<NotebookId>() {
        Ok(id) => id,
        Err(_) => rows::by_name(tx, name).await.map_err(|_| no_model())?.id,
    };
    let notebook = caller.notebook(tx, id).await.map_err(|_| no_model())?;
    Ok(notebook.id)
}

fn no_model() -> ApiError {
    ApiError::not_found("model")
}

#[derive(Deserialize, ToSchema)]
pub(super) struct EmbeddingsIn {
    /// The name of the model of vectors, as `/v1/models` has it, or `quire`.
    model: String,
    /// A text or several, 256 at most.
    #[schema(value_type = Vec<String>)]
    input: Texts,
    /// `float` (the default) or `base64`: 32-bit floats, the lowest byte first.
    #[serde(default)]
    encoding_format: Encoding,
    /// Only the dimensions that the model has.
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// A vector.
#[derive(Serialize, ToSchema)]
pub(super) struct EmbeddingOut {
    /// Always `embedding`.
    object: &'static str,
    index: usize,
    #[schema(value_type = Vec<f32>)]
    embedding: VectorOut,
}

#[derive(Serialize)]
#[serde(untagged)]
enum VectorOut {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Serialize, ToSchema)]
pub(super) struct EmbeddingsOut {
    /// Always `list`.
    object: &'static str,
    data: Vec<EmbeddingOut>,
    model: &'static str,
    usage: EmbeddingsUsage,
}

#[derive(Serialize, ToSchema)]
struct EmbeddingsUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

/// Vectors of texts, by the model that quire searches with; of unit length.
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai", security(("tenant_key" = [])), request_body = EmbeddingsIn,
    responses((status = 200, body = EmbeddingsOut), (status = 400, body = ErrorOut), (status = 404, body = ErrorOut),
        (status = 429, body = ErrorOut)))]
pub(super) async fn embeddings(
    caller: Reader,
    State(app): State<App>,
    Body(wanted): Body<EmbeddingsIn>,
) -> ApiResult<Json<EmbeddingsOut>> {
    let model = app.asker.embedding_model();
    if wanted.model != model && wanted.model != ALL {
        return Err(no_model());
    }
    let texts = match wanted.input {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    };
    if !(1..=MOST_TEXTS).contains(&texts.len()) || texts.iter().any(|text| text.trim().is_empty()) {
        return Err(ApiError::invalid(format!(
            "input is a text or 1 to {MOST_TEXTS} texts, none of them empty"
        )));
    }
    let (vectors, tokens) = app
        .asker
        .embed(&caller.asking(), texts)
        .await
        .map_err(refused)?;
    let own = vectors.first().map_or(0, Vec::len);
    if wanted
        .dimensions
        .is_some_and(|dimensions| dimensions != own)
    {
        return Err(ApiError::invalid(format!(
            "{model} has {own} dimensions and can't be cut: leave dimensions out"
        )));
    }
    let data = vectors.into_iter().enumerate().map(|(index, vector)| {
        let embedding = match wanted.encoding_format {
            Encoding::Float => VectorOut::Floats(vector),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.iter().flat_map(|part| part.to_le_bytes()).collect();
                VectorOut::Base64(BASE64_STANDARD.encode(bytes))
            }
        };
        EmbeddingOut {
            object: "embedding",
            index,
            embedding,
        }
    });
    Ok(Json(EmbeddingsOut {
        object: "list",
        data: data.collect(),
        model,
        usage: EmbeddingsUsage {
            prompt_tokens: tokens,
            total_tokens: tokens,
        },
    }))
}
