//! Embedding and chat models: in process or at an OpenAI-compatible server.
