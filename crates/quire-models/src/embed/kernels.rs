//! Two passes over memory that the tensor library would do slowly: adding a bias row by row, and the
//! activation after it. Refuses to know the network around them.

use candle_core::{CpuStorage, Error, InplaceOp2, Layout, Result};
use rayon::prelude::*;

/// Rows that one thread takes at a time.
const ROWS: usize = 32;

/// Adds a row to every row of a matrix.
pub(super) struct AddBias;

/// Adds a row to every row of a matrix, then applies GELU in its exact form, x · Φ(x).
pub(super) struct AddBiasGelu;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        for_rows(rows, layout, bias, bias_layout, |value, bias| value + bias)
    }
}

impl InplaceOp2 for AddBiasGelu {
    fn name(&self) -> &'static str {
        "add-bias-gelu"
    }

    fn cpu_fwd(
        &self,
        rows: &mut CpuStorage,
        layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        for_rows(rows, layout, bias, bias_layout, |value, bias| {
            gelu(value + bias)
        })
    }
}

fn for_rows(
    rows: &mut CpuStorage,
    layout: &Layout,
    bias: &CpuStorage,
    bias_layout: &Layout,
    apply: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<()> {
    let (CpuStorage::F32(rows), CpuStorage::F32(bias)) = (rows, bias) else {
        return Err(Error::Msg(
            "a bias is added to 32-bit floats only".to_owned(),
        ));
    };
    let (Some((start, end)), Some((bias_start, bias_end))) = (
        layout.contiguous_offsets(),
        bias_layout.contiguous_offsets(),
    ) else {
        return Err(Error::Msg(
            "a bias is added to contiguous rows only".to_owned(),
        ));
    };
    let bias = &bias[bias_start..bias_end];
    rows[start..end]
        .par_chunks_mut(bias.len() * ROWS)
        .for_each(|chunk| {
            for row in chunk.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(bias) {
                    *value = apply(*value, *bias);
                }
            }
        });
    Ok(())
}

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function as a quotient of two polynomials, fitted by weighted least squares on 0 to 4; off by
/// at most 5e-7. Without branches and calls, so that the compiler works on several values at once; the
/// library function would take a fifth of all the time of the model.
fn erf(x: f32) -> f32 {
    const ABOVE: [f32; 6] = [
        1.975_029e-6,
        2.880_157e-4,
        4.002_498e-3,
        5.346_392e-2,
        1.962_220_8e-1,
        std::f32::consts::FRAC_2_SQRT_PI,
    ];
    const BELOW: [f32; 6] = [
        3.748_16e-5,
        1.216_082_3e-3,
        1.544_211_7e-2,
        1.164_653e-1,
        5.072_284_3e-1,
        1.0,
    ];

    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let polynomial = |coefficients: [f32; 6]| {
        coefficients
            .iter()
            .fold(0.0, |sum, coefficient| sum * square + coefficient)
    };
    x * polynomial(ABOVE) / polynomial(BELOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its power series, in double precision.
    fn exact_erf(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn the_error_function_is_exact_enough() {
        for step in -4500..=4500_i16 {
            let x = f32::from(step) / 1000.0;
            let off = (f64::from(erf(x)) - exact_erf(f64::from(x))).abs();
            assert!(off < 6e-7, "erf({x}) is off by {off:e}");
        }
    }

    #[test]
    fn the_activation_is_linear_far_right_and_silent_far_left() {
        assert!((gelu(9.0) - 9.0).abs() < 1e-5);
        assert!(gelu(-9.0).abs() < 1e-5);
        assert!((gelu(1.0) - 0.841_344_8).abs() < 1e-6);
    }
}
