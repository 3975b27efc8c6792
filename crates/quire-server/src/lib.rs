//! HTTP: routes, extractors, OpenAPI, server-sent events.
