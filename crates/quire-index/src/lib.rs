//! Search over one tenant's passages: BM25 and vectors, one fused list.
