//! AVX-512 F, BW and VL: 512-bit registers, thirty-two of them. Knows the layout of a block (`codes`).

use std::arch::x86_64::{
    __m512i, _mm_loadu_si128, _mm_setr_epi32, _mm512_add_epi8, _mm512_add_epi16, _mm512_add_ps,
    _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_sub_ps, _mm512_reduce_add_ps,
    _mm512_set1_epi8, _mm512_set1_epi16, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_epi8, _mm512_shuffle_i64x2, _mm512_srli_epi16, _mm512_storeu_si512,
    _mm512_testn_epi32_mask,
};

use super::portable::CHAINS;
use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS, portable};
use crate::codes::{SEGMENT_BYTES, SEGMENT_COORDINATES};

/// Registers summed as bytes before they are widened: four entries of a table are at most 240.
const GROUP: usize = 4;
const BYTES: usize = size_of::<__m512i>();

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
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

/// Looks up four segments at a time: the low nibbles are rows 0 to 15, the high ones 16 to 31.
#[target_feature(enable = "avx512f,avx512bw")]
fn sums(tables: &[u8], segments: &[u8]) -> [u16; BLOCK_ROWS] {
    let nibble = _mm512_set1_epi8(0x0F);
    let even_byte = _mm512_set1_epi16(0x00FF);
    let zero = _mm512_setzero_si512();
    // Sums of even and odd rows among the low, then among the high ones; each quarter of a register
    // has summed every fourth segment.
    let mut sums = [zero; 4];
    let (tables, _) = tables.as_chunks::<{ GROUP * BYTES }>();
    let (segments, _) = segments.as_chunks::<{ GROUP * BYTES }>();
    for (tables, segments) in tables.iter().zip(segments) {
        let (mut low, mut high) = (zero, zero);
        for i in 0..GROUP {
            let table = load(tables, i);
            let codes = load(segments, i);
            let low_codes = _mm512_and_si512(codes, nibble);
            let high_codes = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), nibble);
            low = _mm512_add_epi8(low, _mm512_shuffle_epi8(table, low_codes));
            high = _mm512_add_epi8(high, _mm512_shuffle_epi8(table, high_codes));
        }
        sums[0] = _mm512_add_epi16(sums[0], _mm512_and_si512(low, even_byte));
        sums[1] = _mm512_add_epi16(sums[1], _mm512_srli_epi16::<8>(low));
        sums[2] = _mm512_add_epi16(sums[2], _mm512_and_si512(high, even_byte));
        sums[3] = _mm512_add_epi16(sums[3], _mm512_srli_epi16::<8>(high));
    }
    let quarters = add_halves(add_halves(sums[0], sums[1]), add_halves(sums[2], sums[3]));
    let mut apart = [0_u16; BLOCK_ROWS];
    // SAFETY: the array is 64 bytes, as long as the register, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(apart.as_mut_ptr().cast(), quarters) };
    let mut rows = [0; BLOCK_ROWS];
    for (row, sum) in rows.iter_mut().enumerate() {
        let half = row / SEGMENT_BYTES * SEGMENT_BYTES;
        *sum = apart[half + row % 2 * 8 + row % SEGMENT_BYTES / 2];
    }
    rows
}

/// Quarters 0 + 1 and 2 + 3 of `a`, then of `b`. Of four registers, twice this leaves one whose quarters
/// are their sums.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add_halves(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi16(
        _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b),
        _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b),
    )
}

/// The register at place `i` of a group.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(group: &[u8; GROUP * BYTES], i: usize) -> __m512i {
    let bytes = &group[i * BYTES..(i + 1) * BYTES];
    // SAFETY: the slice is as long as the register, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Coordinates of a register, whose signs are in four segments: as many bytes as a register has.
const LANES: usize = 16;

/// The byte of the row in each of four segments goes to the four lanes of its coordinates, where one bit says
/// whether to add or to subtract.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn dot_signed(query: &[f32], magnitudes: &[u8], segments: &[u8], place: usize) -> f32 {
    let byte = _mm512_set1_epi8((place % SEGMENT_BYTES) as i8);
    let bit = 1 << (place / SEGMENT_BYTES * SEGMENT_COORDINATES);
    let bits = _mm512_broadcast_i32x4(_mm_setr_epi32(bit, bit << 1, bit << 2, bit << 3));
    let zero = _mm512_setzero_ps();
    let mut sums = [zero; CHAINS];
    let (queries, query_rest) = query.as_chunks::<{ CHAINS * LANES }>();
    let (numbers, rest) = magnitudes.as_chunks::<{ CHAINS * LANES }>();
    let (codes, _) = segments.as_chunks::<{ CHAINS * BYTES }>();
    for ((query, numbers), codes) in queries.iter().zip(numbers).zip(codes) {
        for (chain, sum) in sums.iter_mut().enumerate() {
            let lanes = chain * LANES..(chain + 1) * LANES;
            // SAFETY: the slices are as long as the registers, and the loads need no alignment.
            let (query, numbers) = unsafe {
                (
                    _mm512_loadu_ps(query[lanes.clone()].as_ptr()),
                    _mm_loadu_si128(numbers[lanes].as_ptr().cast()),
                )
            };
            let numbers = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(numbers));
            let own = _mm512_shuffle_epi8(load(codes, chain), byte);
            let is_below = _mm512_testn_epi32_mask(own, bits);
            let query = _mm512_mask_sub_ps(query, is_below, zero, query);
            *sum = _mm512_fmadd_ps(numbers, query, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
    let codes = &segments[queries.len() * CHAINS * BYTES..];
    _mm512_reduce_add_ps(sum) + portable::dot_signed(query_rest, rest, codes, place)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    portable::dot_f32::<16, true>(a, b)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn hadamard(x: &mut [f32]) {
    portable::hadamard(x);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
pub(super) fn inner_products(vectors: &[f32], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    portable::inner_products::<8, 32, true>(vectors, panel)
}
