//! Bytes to sources to passages to embeddings: detection, extraction in a child process, passages, ingest tasks.
