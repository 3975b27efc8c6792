//! NEON of 64-bit ARM: 128-bit registers, thirty-two of them. Knows the layout of a block (`codes`).

use std::arch::aarch64::{
    uint8x16_t, uint16x8_t, uint32x4_t, vaddq_f32, vaddq_u8, vaddvq_f32, vaddw_high_u8, vaddw_u8,
    vandq_u8, vbslq_f32, vcvtq_f32_u32, vdupq_n_f32, vdupq_n_u8, vdupq_n_u16, vfmaq_f32,
    vget_high_u8, vget_high_u16, vget_low_u8, vget_low_u16, vld1q_f32, vld1q_u8, vld1q_u32,
    vmovl_u8, vmovl_u16, vnegq_f32, vqtbl1q_u8, vreinterpretq_u32_u8, vshrq_n_u8, vst1q_u16,
    vtstq_u32,
};

use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS, portable};
use crate::codes::{SEGMENT_BYTES, SEGMENT_COORDINATES};

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

/// Coordinates that are taken at a time: sixteen magnitudes are a register, and their signs are in a group.
const LANES: usize = GROUP * SEGMENT_COORDINATES;

/// The byte of the row in each segment goes to the four lanes of its coordinates, where one bit says whether
/// to add or to subtract.
#[target_feature(enable = "neon")]
pub(super) fn dot_signed(query: &[f32], magnitudes: &[u8], segments: &[u8], place: usize) -> f32 {
    let byte = vdupq_n_u8((place % SEGMENT_BYTES) as u8);
    let bit = 1_u32 << (place / SEGMENT_BYTES * SEGMENT_COORDINATES);
    let bits = [bit, bit << 1, bit << 2, bit << 3];
    // SAFETY: the array is as long as the register, and the load needs no alignment.
    let bits = unsafe { vld1q_u32(bits.as_ptr()) };
    let mut sums = [vdupq_n_f32(0.0); GROUP];
    let (queries, query) = query.as_chunks::<LANES>();
    let (numbers, rest) = magnitudes.as_chunks::<LANES>();
    let (codes, _) = segments.as_chunks::<{ GROUP * SEGMENT_BYTES }>();
    for ((query, numbers), codes) in queries.iter().zip(numbers).zip(codes) {
        // SAFETY: the array is as long as the register, and the load needs no alignment.
        let numbers = widened(unsafe { vld1q_u8(numbers.as_ptr()) });
        let (query, _) = query.as_chunks::<SEGMENT_COORDINATES>();
        for i in 0..GROUP {
            // SAFETY: as above.
            let query = unsafe { vld1q_f32(query[i].as_ptr()) };
            let own = vreinterpretq_u32_u8(vqtbl1q_u8(load(codes, i), byte));
            let query = vbslq_f32(vtstq_u32(own, bits), query, vnegq_f32(query));
            sums[i] = vfmaq_f32(sums[i], vcvtq_f32_u32(numbers[i]), query);
        }
    }
    let [a, b, c, d] = sums;
    let sum = vaddvq_f32(vaddq_f32(vaddq_f32(a, b), vaddq_f32(c, d)));
    let codes = &segments[queries.len() * GROUP * SEGMENT_BYTES..];
    sum + portable::dot_signed(query, rest, codes, place)
}

/// Sixteen bytes as numbers of 32 bits.
#[target_feature(enable = "neon")]
#[inline]
fn widened(bytes: uint8x16_t) -> [uint32x4_t; GROUP] {
    let low: uint16x8_t = vmovl_u8(vget_low_u8(bytes));
    let high: uint16x8_t = vmovl_u8(vget_high_u8(bytes));
    [
        vmovl_u16(vget_low_u16(low)),
        vmovl_u16(vget_high_u16(low)),
        vmovl_u16(vget_low_u16(high)),
        vmovl_u16(vget_high_u16(high)),
    ]
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
