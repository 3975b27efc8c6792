//! Exact vector search: the cosine of every row that the mask lets through.

/// Vectors of the same dimension, end to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Matrix {
    values: Vec<f32>,
    dimension: usize,
}

impl Matrix {
    /// Adds a row. The first one decides the dimension; others must have the same.
    pub(crate) fn push(&mut self, row: &[f32]) -> Result<(), usize> {
        if self.values.is_empty() {
            self.dimension = row.len();
        }
        if row.len() != self.dimension {
            return Err(self.dimension);
        }
        self.values.extend_from_slice(row);
        Ok(())
    }

    pub(crate) fn append(&mut self, other: &Matrix) {
        self.values.extend_from_slice(&other.values);
        self.dimension = self.dimension.max(other.dimension);
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.len() * size_of::<f32>()
    }

    /// The dot product of each row with `query`, in order.
    pub(crate) fn dots<'a>(&'a self, query: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.values
            .chunks_exact(self.dimension.max(1))
            .map(move |row| dot(row, query))
    }
}

/// Sixteen independent sums let the compiler use the machine's widest registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_product_equals_the_plain_sum_for_any_length() {
        for length in [0, 1, 15, 16, 17, 100, 384] {
            let a: Vec<f32> = (0..length).map(|i| (i as f32).sin()).collect();
            let b: Vec<f32> = (0..length).map(|i| (i as f32).cos()).collect();
            let plain: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            assert!((dot(&a, &b) - plain).abs() < 1e-4, "length {length}");
        }
    }

    #[test]
    fn a_row_of_another_dimension_is_refused() {
        let mut matrix = Matrix::default();
        assert_eq!(matrix.push(&[1.0, 0.0]), Ok(()));
        assert_eq!(matrix.push(&[1.0]), Err(2));
        assert_eq!(matrix.dots(&[0.5, 0.5]).collect::<Vec<_>>(), [0.5]);
    }
}
