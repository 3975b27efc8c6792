//! A question over a tenant's own passages: search, compose, check citations.
