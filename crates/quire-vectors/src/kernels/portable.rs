//! Loops in plain Rust with a fixed number of lanes. They are inlined into functions that name an
//! instruction set, and become its instructions there. Refuses to name one itself.

use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS};

/// Sums to estimates: `(2·agreeing − total) · scale · factor`, rounded alike at every level.
#[inline(always)]
pub(super) fn finish(
    query: &ScanQuery,
    sums: &[u16; BLOCK_ROWS],
    factors: &[u8],
    threshold: f32,
    estimates: &mut [f32; BLOCK_ROWS],
) -> bool {
    let (factors, _) = factors.as_chunks::<4>();
    let mut above = false;
    for ((estimate, &sum), &factor) in estimates.iter_mut().zip(sums).zip(factors) {
        let product = (2 * i32::from(sum) - query.total) as f32 * query.scale;
        *estimate = product * f32::from_le_bytes(factor);
        above |= *estimate > threshold;
    }
    above
}

/// `a · b + sum`, in one rounding where the processor can; elsewhere that would be a function call.
#[inline(always)]
fn add_product<const FMA: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

#[inline(always)]
fn sum<const LANES: usize>(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `LANES` is a power of two.
#[inline(always)]
pub(super) fn dot_f32<const LANES: usize, const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = add_product::<FMA>(lanes[i], a[i], b[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sum(lanes) + rest
}

/// `LANES` is a power of two; the bytes are signed.
#[inline(always)]
pub(super) fn dot_i8<const LANES: usize, const FMA: bool>(query: &[f32], row: &[u8]) -> f32 {
    let (query_chunks, query_rest) = query.as_chunks::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (query, row) in query_chunks.iter().zip(row_chunks) {
        for i in 0..LANES {
            lanes[i] = add_product::<FMA>(lanes[i], query[i], f32::from(row[i] as i8));
        }
    }
    let rest: f32 = query_rest
        .iter()
        .zip(row_rest)
        .map(|(query, &row)| query * f32::from(row as i8))
        .sum();
    sum(lanes) + rest
}

/// Steps of distance 1, 2, 4, 8 inside a chunk of 16, then the greater ones between runs of at least
/// 16, so that every loop has a length known to the compiler or long enough for it.
#[inline(always)]
pub(super) fn hadamard(x: &mut [f32]) {
    let (chunks, rest) = x.as_chunks_mut::<16>();
    for chunk in chunks {
        for distance in [1, 2, 4, 8] {
            let mut next = [0.0; 16];
            for (i, next) in next.iter_mut().enumerate() {
                let (a, b) = (chunk[i & !distance], chunk[i | distance]);
                *next = if i & distance == 0 { a + b } else { a - b };
            }
            *chunk = next;
        }
    }
    steps(rest, 1);
    steps(x, 16);
}

#[inline(always)]
fn steps(x: &mut [f32], mut distance: usize) {
    while distance < x.len() {
        for run in x.chunks_exact_mut(2 * distance) {
            let (first, second) = run.split_at_mut(distance);
            for (a, b) in first.iter_mut().zip(second) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        distance *= 2;
    }
}

/// `ROWS` vectors and `COLUMNS` columns at a time stay in registers.
#[inline(always)]
pub(super) fn inner_products<const ROWS: usize, const COLUMNS: usize, const FMA: bool>(
    vectors: &[f32],
    panel: &[f32],
) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    let (panel, _) = panel.as_chunks::<TILE_COLUMNS>();
    let dimension = panel.len();
    let mut products = [[0.0; TILE_COLUMNS]; TILE_ROWS];
    if dimension == 0 {
        return products;
    }
    let mut groups = vectors.chunks_exact(ROWS * dimension);
    let mut at = 0;
    for group in &mut groups {
        tile::<ROWS, COLUMNS, FMA>(group, panel, &mut products[at..]);
        at += ROWS;
    }
    for vector in groups.remainder().chunks_exact(dimension) {
        tile::<1, COLUMNS, FMA>(vector, panel, &mut products[at..]);
        at += 1;
    }
    products
}

#[inline(always)]
fn tile<const ROWS: usize, const COLUMNS: usize, const FMA: bool>(
    vectors: &[f32],
    panel: &[[f32; TILE_COLUMNS]],
    products: &mut [[f32; TILE_COLUMNS]],
) {
    let dimension = panel.len();
    let rows: [&[f32]; ROWS] =
        std::array::from_fn(|row| &vectors[row * dimension..(row + 1) * dimension]);
    for start in (0..TILE_COLUMNS).step_by(COLUMNS) {
        let mut sums = [[0.0; COLUMNS]; ROWS];
        for (i, columns) in panel.iter().enumerate() {
            let columns: &[f32] = &columns[start..start + COLUMNS];
            for row in 0..ROWS {
                let x = rows[row][i];
                for (sum, &y) in sums[row].iter_mut().zip(columns) {
                    *sum = add_product::<FMA>(*sum, x, y);
                }
            }
        }
        for (products, sums) in products.iter_mut().zip(sums) {
            products[start..start + COLUMNS].copy_from_slice(&sums);
        }
    }
}
