//! AVX2 and FMA: 256-bit registers, sixteen of them. Knows the layout of a block (`codes`).

use std::arch::x86_64::{
    __m256i, _mm_add_epi16, _mm_loadl_epi64, _mm_setr_epi32, _mm_storeu_si128, _mm_unpackhi_epi16,
    _mm_unpacklo_epi16, _mm256_add_epi8, _mm256_add_epi16, _mm256_add_ps, _mm256_and_si256,
    _mm256_andnot_ps, _mm256_broadcastsi128_si256, _mm256_castsi256_ps, _mm256_castsi256_si128,
    _mm256_cmpeq_epi32, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_extracti128_si256,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_shuffle_epi8,
    _mm256_srli_epi16, _mm256_storeu_ps, _mm256_xor_ps,
};

use super::portable::CHAINS;
use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS, portable};
use crate::codes::{SEGMENT_BYTES, SEGMENT_COORDINATES};

/// Registers summed as bytes before they are widened: four entries of a table are at most 240.
const GROUP: usize = 4;
const BYTES: usize = size_of::<__m256i>();

#[target_feature(enable = "avx2,fma")]
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

/// Looks up two segments at a time: the low nibbles are rows 0 to 15, the high ones 16 to 31.
#[target_feature(enable = "avx2")]
fn sums(tables: &[u8], segments: &[u8]) -> [u16; BLOCK_ROWS] {
    let nibble = _mm256_set1_epi8(0x0F);
    let even_byte = _mm256_set1_epi16(0x00FF);
    let zero = _mm256_setzero_si256();
    // Sums of even and odd rows among the low, then among the high ones; each half of a register has
    // summed every other segment.
    let mut sums = [zero; 4];
    let (tables, _) = tables.as_chunks::<{ GROUP * BYTES }>();
    let (segments, _) = segments.as_chunks::<{ GROUP * BYTES }>();
    for (tables, segments) in tables.iter().zip(segments) {
        let (mut low, mut high) = (zero, zero);
        for i in 0..GROUP {
            let table = load(tables, i);
            let codes = load(segments, i);
            let low_codes = _mm256_and_si256(codes, nibble);
            let high_codes = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
            low = _mm256_add_epi8(low, _mm256_shuffle_epi8(table, low_codes));
            high = _mm256_add_epi8(high, _mm256_shuffle_epi8(table, high_codes));
        }
        sums[0] = _mm256_add_epi16(sums[0], _mm256_and_si256(low, even_byte));
        sums[1] = _mm256_add_epi16(sums[1], _mm256_srli_epi16::<8>(low));
        sums[2] = _mm256_add_epi16(sums[2], _mm256_and_si256(high, even_byte));
        sums[3] = _mm256_add_epi16(sums[3], _mm256_srli_epi16::<8>(high));
    }
    let [low_even, low_odd, high_even, high_odd] = sums.map(|sum| {
        _mm_add_epi16(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        )
    });
    let rows = [
        _mm_unpacklo_epi16(low_even, low_odd),
        _mm_unpackhi_epi16(low_even, low_odd),
        _mm_unpacklo_epi16(high_even, high_odd),
        _mm_unpackhi_epi16(high_even, high_odd),
    ];
    let mut out = [0; BLOCK_ROWS];
    let (parts, _) = out.as_chunks_mut::<8>();
    for (part, rows) in parts.iter_mut().zip(rows) {
        // SAFETY: the part is 16 bytes, and the store needs no alignment.
        unsafe { _mm_storeu_si128(part.as_mut_ptr().cast(), rows) };
    }
    out
}

/// The register at place `i` of a group.
#[target_feature(enable = "avx2")]
#[inline]
fn load(group: &[u8; GROUP * BYTES], i: usize) -> __m256i {
    let bytes = &group[i * BYTES..(i + 1) * BYTES];
    // SAFETY: the slice is as long as the register, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// Coordinates of a register, whose signs are in two segments: as many bytes as a register has.
const LANES: usize = 8;

/// The byte of the row in each of two segments goes to the four lanes of its coordinates, where one bit says
/// whether to add or to subtract.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dot_signed(query: &[f32], magnitudes: &[u8], segments: &[u8], place: usize) -> f32 {
    let byte = _mm256_set1_epi8((place % SEGMENT_BYTES) as i8);
    let bit = 1 << (place / SEGMENT_BYTES * SEGMENT_COORDINATES);
    let bits = _mm256_broadcastsi128_si256(_mm_setr_epi32(bit, bit << 1, bit << 2, bit << 3));
    let minus = _mm256_set1_ps(-0.0);
    let mut sums = [_mm256_setzero_ps(); CHAINS];
    let (queries, query_rest) = query.as_chunks::<{ CHAINS * LANES }>();
    let (numbers, rest) = magnitudes.as_chunks::<{ CHAINS * LANES }>();
    let (codes, _) = segments.as_chunks::<{ CHAINS * BYTES }>();
    for ((query, numbers), codes) in queries.iter().zip(numbers).zip(codes) {
        for (chain, sum) in sums.iter_mut().enumerate() {
            let lanes = chain * LANES..(chain + 1) * LANES;
            // SAFETY: the slices are as long as what is loaded, and the loads need no alignment.
            let (query, numbers) = unsafe {
                (
                    _mm256_loadu_ps(query[lanes.clone()].as_ptr()),
                    _mm_loadl_epi64(numbers[lanes].as_ptr().cast()),
                )
            };
            let numbers = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(numbers));
            let own = _mm256_and_si256(_mm256_shuffle_epi8(load(codes, chain), byte), bits);
            let is_above = _mm256_castsi256_ps(_mm256_cmpeq_epi32(own, bits));
            let query = _mm256_xor_ps(query, _mm256_andnot_ps(is_above, minus));
            *sum = _mm256_fmadd_ps(numbers, query, *sum);
        }
    }
    let [a, b, c, d] = sums;
    let sum = _mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d));
    let mut lanes = [0.0; LANES];
    // SAFETY: the array is as long as the register, and the store needs no alignment.
    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
    let codes = &segments[queries.len() * CHAINS * BYTES..];
    lanes.iter().sum::<f32>() + portable::dot_signed(query_rest, rest, codes, place)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    portable::dot_f32::<8, true>(a, b)
}

#[target_feature(enable = "avx2")]
pub(super) fn hadamard(x: &mut [f32]) {
    portable::hadamard(x);
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn inner_products(vectors: &[f32], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    portable::inner_products::<4, 16, true>(vectors, panel)
}
