//! Loops in plain Rust with a fixed number of lanes. They are inlined into functions that name an
//! instruction set, and become its instructions there. Refuses to name one itself.

use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS};
use crate::codes::{SEGMENT_BYTES, SEGMENT_COORDINATES};

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
    let Some(factors) = factors.first_chunk::<BLOCK_ROWS>() else {
        return false;
    };
    for row in 0..BLOCK_ROWS {
        let product = (2 * i32::from(sums[row]) - query.total) as f32 * query.scale;
        estimates[row] = product * f32::from_le_bytes(factors[row]);
    }
    estimates
        .iter()
        .fold(false, |above, &estimate| above | (estimate > threshold))
}

/// `a · b + sum`, in one rounding where the processor can; elsewhere that would be a function call.
#[inline(always)]
fn add_product<const FMA: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FMA { a.mul_add(b, sum) } else { a * b + sum }
}

/// Independent sums of a product, so that one addition need not wait for the one before.
pub(super) const CHAINS: usize = 4;

/// Adds up a register; `LANES` is a power of two. Not inlined: the compiler would shape the loops before
/// it after this tree, in pairs instead of whole registers.
#[inline(never)]
fn sum<const LANES: usize>(lanes: &[f32; LANES]) -> f32 {
    let mut lanes = *lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `LANES` numbers are a register.
#[inline(always)]
pub(super) fn dot_f32<const LANES: usize, const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<LANES>();
    let (b_lanes, b_rest) = b.as_chunks::<LANES>();
    let (a_groups, a_lanes) = a_lanes.as_chunks::<CHAINS>();
    let (b_groups, b_lanes) = b_lanes.as_chunks::<CHAINS>();
    let mut chains = [[0.0; LANES]; CHAINS];
    for (a, b) in a_groups.iter().zip(b_groups) {
        for chain in 0..CHAINS {
            for i in 0..LANES {
                chains[chain][i] = add_product::<FMA>(chains[chain][i], a[chain][i], b[chain][i]);
            }
        }
    }
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for i in 0..LANES {
            chains[0][i] = add_product::<FMA>(chains[0][i], a[i], b[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&a, &b)| a * b).sum();
    let [a, b, c, d] = chains;
    sum::<LANES>(&std::array::from_fn(|i| (a[i] + b[i]) + (c[i] + d[i]))) + rest
}

/// The reference, and what is left over of a vector that does not fill the last register.
pub(super) fn dot_signed(query: &[f32], magnitudes: &[u8], segments: &[u8], place: usize) -> f32 {
    let (queries, _) = query.as_chunks::<SEGMENT_COORDINATES>();
    let (magnitudes, _) = magnitudes.as_chunks::<SEGMENT_COORDINATES>();
    let (segments, _) = segments.as_chunks::<SEGMENT_BYTES>();
    let shift = place / SEGMENT_BYTES * SEGMENT_COORDINATES;
    let mut sums = [0.0; SEGMENT_COORDINATES];
    for ((query, magnitudes), segment) in queries.iter().zip(magnitudes).zip(segments) {
        let signs = segment[place % SEGMENT_BYTES] >> shift;
        for bit in 0..SEGMENT_COORDINATES {
            let product = query[bit] * f32::from(magnitudes[bit]);
            sums[bit] += if signs >> bit & 1 == 1 {
                product
            } else {
                -product
            };
        }
    }
    sums.iter().sum()
}

/// Steps of distance 1, 2, 4, 8 inside a chunk of 16, then the greater ones between runs of at least
/// 16: loops of a length that the compiler knows, or that is long enough for it.
#[inline(always)]
pub(super) fn hadamard(x: &mut [f32]) {
    let (chunks, rest) = x.as_chunks_mut::<16>();
    for chunk in chunks {
        *chunk = step::<8>(step::<4>(step::<2>(step::<1>(*chunk))));
    }
    steps(rest, 1);
    steps(x, 16);
}

/// Sums at the places without the bit `DISTANCE`, differences at those with it.
#[inline(always)]
fn step<const DISTANCE: usize>(chunk: [f32; 16]) -> [f32; 16] {
    let mut next = [0.0; 16];
    for (i, next) in next.iter_mut().enumerate() {
        let sign = if i & DISTANCE == 0 { 1.0 } else { -1.0 };
        *next = chunk[i ^ DISTANCE] + sign * chunk[i];
    }
    next
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
