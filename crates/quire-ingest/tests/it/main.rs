//! Detection, extraction, passages and the sandbox over files that the tests build themselves.

mod extraction;
mod hostile;
mod passages;
mod sandbox;
mod support;
