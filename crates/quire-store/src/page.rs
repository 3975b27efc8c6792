//! Pages of a list, by key: constant cost at any depth, stable while rows come and go.

use uuid::Uuid;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest {
    /// The last id of the page before, or none for the first page.
    pub after: Option<Uuid>,
    /// How many items at most, 1 to [`PageRequest::MAX`].
    pub limit: u32,
}

impl PageRequest {
    /// The largest page.
    pub const MAX: u32 = 200;

    /// The first page of the usual size.
    pub const fn first() -> Self {
        Self {
            after: None,
            limit: 50,
        }
    }

    pub(crate) fn sql_after(self) -> Uuid {
        self.after.unwrap_or(Uuid::nil())
    }

    /// One more than asked for tells whether another page follows.
    pub(crate) fn sql_limit(self) -> i64 {
        i64::from(self.limit.clamp(1, Self::MAX)) + 1
    }

    /// The page out of the items that were read for it, of which there may be one more than fit.
    pub fn page<T>(self, mut items: Vec<T>) -> Page<T> {
        let limit = self.limit.clamp(1, Self::MAX) as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        Page { items, more }
    }
}

/// One page of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The items, oldest first.
    pub items: Vec<T>,
    /// Whether another page follows the last item.
    pub more: bool,
}

/// Every item of a list that is read in pages; `id` tells what the list is ordered by.
///
/// # Errors
/// Those of reading a page.
pub async fn every<T, E>(
    mut read: impl AsyncFnMut(PageRequest) -> Result<Page<T>, E>,
    id: impl Fn(&T) -> Uuid,
) -> Result<Vec<T>, E> {
    let mut all = Vec::new();
    let mut request = PageRequest {
        after: None,
        limit: PageRequest::MAX,
    };
    loop {
        let page = read(request).await?;
        request.after = page.items.last().map(&id);
        all.extend(page.items);
        if !page.more {
            return Ok(all);
        }
    }
}
