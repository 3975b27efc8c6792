//! The names of objects. Nothing here asks a store.

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Error, Placement};

/// The name of an object; always inside one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A new name for the bytes of a source.
    pub fn original(placement: Placement) -> Self {
        Self::new(placement, &format!("originals/{}", Uuid::now_v7().simple()))
    }

    /// The name of a segment of the search index.
    pub fn segment(placement: Placement, segment: Uuid) -> Self {
        Self::new(placement, &format!("segments/{}.qseg", segment.simple()))
    }

    /// A name for bytes on their way to another name of the same tenant.
    pub(super) fn staging(&self) -> Self {
        let tenant: Vec<&str> = self.0.splitn(4, '/').take(3).collect();
        Self(format!(
            "{}/staging/{}",
            tenant.join("/"),
            Uuid::now_v7().simple()
        ))
    }

    /// A name read back from a row or a task; refused when it lies outside the tenant.
    pub fn stored(placement: Placement, key: &str) -> Result<Self, Error> {
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        match key.strip_prefix(&prefix(placement)) {
            Some(name) if name.split('/').all(plain) => Ok(Self(key.to_owned())),
            _ => Err(Error::NotFound { what: "object" }),
        }
    }

    /// The name as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn new(placement: Placement, name: &str) -> Self {
        Self(prefix(placement) + name)
    }

    pub(super) fn found(path: &Path) -> Self {
        Self(path.to_string())
    }

    /// Whether it is a segment of the search index.
    pub(super) fn is_segment(&self) -> bool {
        self.0.split('/').nth(3) == Some("segments")
    }

    /// The tenant and incarnation that it belongs to.
    pub(super) fn owner(&self) -> Option<(Uuid, Uuid)> {
        let mut parts = self.0.split('/').skip(1);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    pub(super) fn path(&self) -> Path {
        Path::from(self.0.as_str())
    }
}

/// Where everything of a tenant is, with a slash at the end.
pub(super) fn prefix(placement: Placement) -> String {
    prefix_of(placement.tenant.uuid(), placement.incarnation)
}

pub(super) fn prefix_of(tenant: Uuid, incarnation: Uuid) -> String {
    format!("t/{tenant}/{incarnation}/")
}
