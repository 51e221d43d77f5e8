//! Eigenvectors of a symmetric matrix by the cyclic method of Jacobi.
//!
//! The covariance of a window has tens of rows. At that size the method is fast enough, as exact
//! as the numbers allow, and short enough to read; it needs no library.

/// Sweeps after which it gives up; convergence is quadratic and takes about eight.
const SWEEPS_MAX: usize = 60;

/// Eigenvalues, largest first, and their eigenvectors, of a symmetric `size` × `size` matrix in
/// row order. Vector `k` is `vectors[k * size..(k + 1) * size]`.
pub(super) fn eigen(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>) {
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|k| vectors[k * size + k] = 1.0);
    let scale: f64 = matrix.iter().map(|v| v * v).sum();
    for _ in 0..SWEEPS_MAX {
        let off: f64 = pairs(size).map(|(p, q)| matrix[p * size + q].powi(2)).sum();
        if off <= scale * 1e-26 {
            break;
        }
        for (p, q) in pairs(size) {
            rotate(&mut matrix, &mut vectors, size, p, q);
        }
    }
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| matrix[b * size + b].total_cmp(&matrix[a * size + a]));
    let values = order.iter().map(|k| matrix[k * size + k]).collect();
    let vectors = order.iter().flat_map(|k| vectors[k * size..(k + 1) * size].iter().copied()).collect();
    (values, vectors)
}

/// All places above the diagonal.
fn pairs(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..size).flat_map(move |p| (p + 1..size).map(move |q| (p, q)))
}

/// Turns the plane of axes `p` and `q` so that the element there becomes 0.
fn rotate(matrix: &mut [f64], vectors: &mut [f64], size: usize, p: usize, q: usize) {
    let apq = matrix[p * size + q];
    if apq == 0.0 {
        return;
    }
    let theta = (matrix[q * size + q] - matrix[p * size + p]) / (2.0 * apq);
    let tan = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let cos = 1.0 / (tan * tan + 1.0).sqrt();
    let sin = tan * cos;
    for k in 0..size {
        turn(matrix, k * size + p, k * size + q, cos, sin);
    }
    for k in 0..size {
        turn(matrix, p * size + k, q * size + k, cos, sin);
        turn(vectors, p * size + k, q * size + k, cos, sin);
    }
}

fn turn(values: &mut [f64], a: usize, b: usize, cos: f64, sin: f64) {
    let (x, y) = (values[a], values[b]);
    values[a] = cos * x - sin * y;
    values[b] = sin * x + cos * y;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_orthonormal_and_rebuild_the_matrix() {
        let size = 24;
        let mut rng = fastrand::Rng::with_seed(4);
        let half: Vec<f64> = (0..size * size).map(|_| rng.f64() - 0.5).collect();
        let at = |m: &[f64], r: usize, c: usize| m[r * size + c];
        let matrix: Vec<f64> = (0..size * size)
            .map(|i| (0..size).map(|k| at(&half, i / size, k) * at(&half, i % size, k)).sum())
            .collect();
        let (values, vectors) = eigen(matrix.clone(), size);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "largest first");
        for r in 0..size {
            for c in 0..size {
                let dot: f64 = (0..size).map(|k| at(&vectors, r, k) * at(&vectors, c, k)).sum();
                assert!((dot - f64::from(u8::from(r == c))).abs() < 1e-10);
                let rebuilt: f64 =
                    (0..size).map(|k| values[k] * at(&vectors, k, r) * at(&vectors, k, c)).sum();
                assert!((rebuilt - at(&matrix, r, c)).abs() < 1e-10);
            }
        }
    }
}
