//! NEON of 64-bit ARM: 128-bit registers, thirty-two of them. Knows the layout of a block (`codes`).

use std::arch::aarch64::{
    uint8x16_t, vaddq_u8, vaddw_high_u8, vaddw_u8, vandq_u8, vdupq_n_u8, vdupq_n_u16, vget_low_u8,
    vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u16,
};

use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS, portable};
use crate::codes::SEGMENT_BYTES;

/// Segments summed as bytes before they are widened: four entries of a table are at most 240.
const GROUP: usize = 4;

#[target_feature(enable = "neon")]
pub(super) fn estimate(
    query: &ScanQuery,
    block: &[u8],
    threshold: f32,
    estimates: &mut [f32; BLOCK_ROWS],
) -> bool {
    let (segments, factors) = block.split_at(query.tables.len());
    let sums = sums(&query.tables, segments);
    portable::finish(query, &sums, factors, threshold, estimates)
}

/// Looks up a segment at a time: the low nibbles are rows 0 to 15, the high ones 16 to 31.
#[target_feature(enable = "neon")]
fn sums(tables: &[u8], segments: &[u8]) -> [u16; BLOCK_ROWS] {
    let nibble = vdupq_n_u8(0x0F);
    let mut sums = [vdupq_n_u16(0); 4];
    let (tables, _) = tables.as_chunks::<{ GROUP * SEGMENT_BYTES }>();
    let (segments, _) = segments.as_chunks::<{ GROUP * SEGMENT_BYTES }>();
    for (tables, segments) in tables.iter().zip(segments) {
        let (mut low, mut high) = (vdupq_n_u8(0), vdupq_n_u8(0));
        for i in 0..GROUP {
            let table = load(tables, i);
            let codes = load(segments, i);
            low = vaddq_u8(low, vqtbl1q_u8(table, vandq_u8(codes, nibble)));
            high = vaddq_u8(high, vqtbl1q_u8(table, vshrq_n_u8::<4>(codes)));
        }
        sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
        sums[1] = vaddw_high_u8(sums[1], low);
        sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
        sums[3] = vaddw_high_u8(sums[3], high);
    }
    let mut rows = [0; BLOCK_ROWS];
    let (parts, _) = rows.as_chunks_mut::<8>();
    for (part, sums) in parts.iter_mut().zip(sums) {
        // SAFETY: the part is as long as the register, and the store needs no alignment.
        unsafe { vst1q_u16(part.as_mut_ptr(), sums) };
    }
    rows
}

/// The segment at place `i` of a group.
#[target_feature(enable = "neon")]
#[inline]
fn load(group: &[u8; GROUP * SEGMENT_BYTES], i: usize) -> uint8x16_t {
    let bytes = &group[i * SEGMENT_BYTES..(i + 1) * SEGMENT_BYTES];
    // SAFETY: the slice is as long as the register, and the load needs no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[target_feature(enable = "neon")]
pub(super) fn dot_i8(query: &[f32], row: &[u8]) -> f32 {
    portable::dot_i8::<4, true>(query, row)
}

#[target_feature(enable = "neon")]
pub(super) fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    portable::dot_f32::<4, true>(a, b)
}

#[target_feature(enable = "neon")]
pub(super) fn hadamard(x: &mut [f32]) {
    portable::hadamard(x);
}

#[target_feature(enable = "neon")]
pub(super) fn inner_products(vectors: &[f32], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    portable::inner_products::<8, 8, true>(vectors, panel)
}
