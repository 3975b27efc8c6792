//! Every route, in one list. A handler that is not here has no path; one that is here is in the OpenAPI
//! document and so in the isolation matrix.

mod ask;
mod cache;
mod connectors;
mod endpoints;
mod health;
mod keys;
mod limits;
mod notebooks;
pub(crate) mod openai;
mod plans;
mod pools;
mod progress;
mod questions;
mod queue;
mod records;
mod search;
mod sources;
mod tasks;
mod tenants;
mod usage;
mod webhooks;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::{App, Parts};
use crate::{docs, middleware};

/// The router of the whole API.
pub fn app(parts: Parts) -> Router {
    let app = App::from(parts);
    let (router, document) = all(&app).split_for_parts();
    router
        .merge(docs::router(&document))
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::no_method)
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            middleware::around,
        ))
        .with_state(app)
}

/// What a process tells that runs tasks and answers nobody: that it lives, that it can work, and its counters.
pub fn vitals(parts: Parts) -> Router {
    let app = App::from(parts);
    let (router, _) = OpenApiRouter::new()
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .split_for_parts();
    router
        .fallback(middleware::no_route)
        .method_not_allowed_fallback(middleware::no_method)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            middleware::around,
        ))
        .with_state(app)
}

/// The OpenAPI 3.1 document of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let small = documented();
    small.into_openapi()
}

fn all(app: &App) -> OpenApiRouter<App> {
    // A request with several files is bounded by the size of one; the rest of a form is small.
    let upload_bytes = usize::try_from(app.limits.file_bytes)
        .unwrap_or(usize::MAX)
        .saturating_add(1 << 20);
    let uploads = OpenApiRouter::new()
        .routes(routes!(sources::list, sources::add))
        .layer(DefaultBodyLimit::max(upload_bytes));
    documented_without_uploads()
        .merge(uploads)
        .layer(DefaultBodyLimit::max(app.limits.json_bytes))
}

fn documented() -> OpenApiRouter<App> {
    documented_without_uploads().routes(routes!(sources::list, sources::add))
}

fn documented_without_uploads() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .routes(routes!(tenants::list, tenants::create))
        .routes(routes!(tenants::get, tenants::update))
        .routes(routes!(tenants::list_keys, tenants::create_key))
        .routes(routes!(tenants::revoke_key))
        .routes(routes!(cache::get, cache::purge))
        .routes(routes!(limits::list))
        .routes(routes!(limits::set, limits::unset))
        .routes(routes!(limits::switch, limits::unswitch))
        .routes(routes!(plans::list))
        .routes(routes!(plans::catalogue, plans::apply))
        .routes(routes!(plans::features))
        .routes(routes!(plans::set_feature))
        .routes(routes!(plans::regions))
        .routes(routes!(plans::set_region))
        .routes(routes!(pools::list, pools::add))
        .routes(routes!(pools::get, pools::update, pools::remove))
        .routes(routes!(pools::document, pools::apply))
        .routes(routes!(pools::models))
        .routes(routes!(usage::own))
        .routes(routes!(usage::of_tenant))
        .routes(routes!(usage::events))
        .routes(routes!(usage::top))
        .routes(routes!(usage::reconcile))
        .routes(routes!(usage::notices))
        .routes(routes!(tasks::list))
        .routes(routes!(tasks::dead))
        .routes(routes!(tasks::retry))
        .routes(routes!(tasks::discard))
        .routes(routes!(tasks::cancel))
        .routes(routes!(queue::pause))
        .routes(routes!(queue::limit))
        .routes(routes!(tasks::get))
        .routes(routes!(queue::queue))
        .routes(routes!(queue::tenants))
        .routes(routes!(queue::events))
        .routes(routes!(queue::schedules))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(notebooks::list, notebooks::create))
        .routes(routes!(
            notebooks::get,
            notebooks::change,
            notebooks::delete
        ))
        .routes(routes!(sources::get, sources::change, sources::delete))
        .routes(routes!(sources::passages))
        .routes(routes!(sources::content))
        .routes(routes!(sources::picture))
        .routes(routes!(sources::retry))
        .routes(routes!(progress::of_notebook))
        .routes(routes!(webhooks::receive))
        .routes(routes!(webhooks::receive_zoom))
        .routes(routes!(webhooks::receive_teams))
        .routes(routes!(webhooks::consented))
        .routes(routes!(webhooks::consented_teams))
        .routes(routes!(connectors::list, connectors::create))
        .routes(routes!(
            connectors::get,
            connectors::change,
            connectors::delete
        ))
        .routes(routes!(connectors::authorize))
        .routes(routes!(connectors::test))
        .routes(routes!(connectors::sync))
        .routes(routes!(endpoints::list, endpoints::create))
        .routes(routes!(
            endpoints::get,
            endpoints::change,
            endpoints::delete
        ))
        .routes(routes!(endpoints::rotate))
        .routes(routes!(endpoints::test))
        .routes(routes!(endpoints::replay))
        .routes(routes!(endpoints::deliveries))
        .routes(routes!(records::list, records::tell))
        .routes(routes!(records::tell_many))
        .routes(routes!(records::summary))
        .routes(routes!(records::retry))
        .routes(routes!(records::get))
        .routes(routes!(records::types, records::set_type))
        .routes(routes!(records::try_type))
        .routes(routes!(records::unset_type))
        .routes(routes!(search::search))
        .routes(routes!(questions::list, questions::create))
        .routes(routes!(questions::get, questions::delete))
        .routes(routes!(ask::ask))
        .routes(routes!(ask::ask_notebook))
        .routes(routes!(openai::chat_completions))
        .routes(routes!(openai::embeddings))
        .routes(routes!(openai::models))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "quire",
        description = "A private AI notebook service for every customer of a SaaS company. \
            All times are RFC 3339 in UTC; all ids are opaque and carry their kind as a prefix. \
            Lists are paged by `cursor`. Writes that list it accept an `Idempotency-Key` header. \
            Errors are `application/problem+json`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "tenants", description = "Customers of the installation; with the operator's key"),
        (name = "plans", description = "Plans, limits, features and regions; with the operator's key"),
        (name = "models", description = "Pools with their keys, and the registry of models; with the operator's key"),
        (name = "usage", description = "What was used; of all tenants with the operator's key"),
        (name = "keys", description = "A tenant's own keys"),
        (name = "notebooks", description = "Containers of sources"),
        (name = "sources", description = "Documents and their passages"),
        (name = "records", description = "What other products tell about their jobs, invoices, clients"),
        (name = "connections", description = "Accounts elsewhere that content flows in from"),
        (name = "endpoints", description = "Addresses that are told what happens, by signed webhooks"),
        (name = "questions", description = "Search and answers"),
        (name = "openai", description = "The same for programs that speak OpenAI's API, with its shapes and errors"),
        (name = "tasks", description = "The queue; with the operator's key"),
        (name = "service", description = "Health and metrics; without a key"),
    ),
    modifiers(&Security),
)]
struct ApiDoc;

struct Security;

impl Modify for Security {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some(description))
                    .build(),
            )
        };
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("tenant_key", bearer("A tenant's key"));
        components.add_security_scheme("admin_key", bearer("The operator's key"));
    }
}
