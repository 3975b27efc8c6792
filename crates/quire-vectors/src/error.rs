//! What this crate refuses: shapes that don't fit each other. Knows no file and no source of bytes.

/// The largest dimension. Sums of a scan are 16 bits wide: a quarter of the dimension times 60 fits.
pub const MAX_DIMENSION: usize = 4096;

/// A shape that does not fit. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No code of this crate has such a dimension.
    #[error("dimension {0} is not supported: use a multiple of 8 from 8 to {MAX_DIMENSION}")]
    Dimension(usize),
    /// A slice is too short or too long, for example because a file was cut off.
    #[error(
        "{what}: {found} where {expected} were expected; check that dimension and rows belong to it"
    )]
    Length {
        /// What was measured, with its unit.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A row was asked for that is not there.
    #[error("row {row} does not exist: there are {rows}")]
    Row {
        /// The row asked for.
        row: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// More rows than a row number of 32 bits can name.
    #[error("{0} rows are too many: split them into several sets")]
    Rows(usize),
    /// Clusters can't be made of nothing, and at least one is needed.
    #[error("no clusters can be made of {vectors} vectors: ask for 1 to {vectors}, not {clusters}")]
    Clusters {
        /// How many vectors the sample holds.
        vectors: usize,
        /// How many clusters were asked for.
        clusters: usize,
    },
}

pub(crate) fn check_dimension(dimension: usize) -> Result<(), Error> {
    if (1..=MAX_DIMENSION).contains(&dimension) && dimension.is_multiple_of(8) {
        Ok(())
    } else {
        Err(Error::Dimension(dimension))
    }
}

pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::Length {
            what,
            expected,
            found,
        })
    }
}
