//! Eigenvectors of a symmetric matrix: Householder's reduction to three diagonals, then QL steps with
//! implicit shifts (EISPACK `tred2`, `tql2`).
//!
//! A window of 20 tags and 10 rows has 200 columns. At that size the cyclic method of Jacobi takes some
//! thirty times as many operations. All inner loops run along rows, so that they can be vectorised.

/// QL steps for one eigenvalue after which it is taken as it is; mostly there are one or two.
const STEPS_MAX: usize = 60;

/// What is smaller is as good as 0: its square would be.
const NOTHING: f64 = 1e-150;

/// Eigenvalues, largest first, and the first of their eigenvectors, of a symmetric `size` × `size` matrix
/// in row order: as many as `wanted` says of the eigenvalues. Vector `k` is
/// `vectors[k * size..(k + 1) * size]`.
pub(super) fn eigen(
    mut matrix: Vec<f64>,
    size: usize,
    wanted: impl FnOnce(&[f64]) -> usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut three = reduce(&mut matrix, size);
    let mut vectors = vec![0.0; size * size];
    (0..size).for_each(|k| vectors[k * size + k] = 1.0);
    three.diagonalise(&mut vectors, size);
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| three.diagonal[*b].total_cmp(&three.diagonal[*a]));
    let values: Vec<f64> = order.iter().map(|k| three.diagonal[*k]).collect();
    let count = wanted(&values).min(size);
    let mut found = Vec::with_capacity(count * size);
    for k in order.into_iter().take(count) {
        found.extend_from_slice(&vectors[k * size..(k + 1) * size]);
    }
    found.chunks_exact_mut(size.max(1)).for_each(|vector| three.turn_back(vector));
    (values, found)
}

/// A matrix with values on its diagonal and beside it only.
struct Three {
    diagonal: Vec<f64>,
    /// Value `k` stands beside the diagonal in rows `k` and `k + 1`; the last one is 0.
    beside: Vec<f64>,
    /// The mirrors that made it, in their order: for the elements behind `k`, with twice one over its
    /// square. An empty one changes nothing.
    mirrors: Vec<(Vec<f64>, f64)>,
}

/// Mirrors a symmetric matrix until it has three diagonals.
fn reduce(matrix: &mut [f64], size: usize) -> Three {
    let (mut diagonal, mut beside) = (vec![0.0; size], vec![0.0; size]);
    let mut mirrors = Vec::with_capacity(size);
    for k in 0..size {
        diagonal[k] = matrix[k * size + k];
        let row = &matrix[k * size + k + 1..(k + 1) * size];
        let Some((&first, rest)) = row.split_first() else { break };
        if rest.iter().all(|value| value.abs() < NOTHING) {
            beside[k] = first;
            mirrors.push((Vec::new(), 0.0));
            continue;
        }
        let length = dot(row, row).sqrt();
        beside[k] = if first > 0.0 { -length } else { length };
        let mut mirror = row.to_vec();
        mirror[0] -= beside[k];
        let twice = 2.0 / dot(&mirror, &mirror);
        fold(matrix, size, k + 1, &mirror, twice);
        mirrors.push((mirror, twice));
    }
    Three { diagonal, beside, mirrors }
}

/// Mirrors the part of a matrix behind `from` from both sides.
fn fold(matrix: &mut [f64], size: usize, from: usize, mirror: &[f64], twice: f64) {
    let mut part: Vec<f64> =
        (from..size).map(|row| twice * dot(&matrix[row * size + from..(row + 1) * size], mirror)).collect();
    let half = twice / 2.0 * dot(mirror, &part);
    part.iter_mut().zip(mirror).for_each(|(part, mirror)| *part -= half * mirror);
    for (row, (v, w)) in (from..size).zip(mirror.iter().zip(&part)) {
        let cells = &mut matrix[row * size + from..(row + 1) * size];
        for ((cell, mirror), part) in cells.iter_mut().zip(mirror).zip(&part) {
            *cell -= v * part + w * mirror;
        }
    }
}

impl Three {
    /// Turns what is beside the diagonal to 0; the rows of `vectors` turn with it.
    fn diagonalise(&mut self, vectors: &mut [f64], size: usize) {
        let (mut shift, mut scale) = (0.0, 0.0_f64);
        for low in 0..size {
            scale = scale.max(self.diagonal[low].abs() + self.beside[low].abs());
            let is_small = |value: f64| value.abs() <= f64::EPSILON * scale;
            let high = (low..size).find(|k| is_small(self.beside[*k])).unwrap_or(size - 1);
            for _ in 0..STEPS_MAX {
                if high == low || is_small(self.beside[low]) {
                    break;
                }
                shift += self.shift(low);
                self.step(low, high, vectors, size);
            }
            self.diagonal[low] += shift;
            self.beside[low] = 0.0;
        }
    }

    /// Takes a value near the eigenvalue off the diagonal; gives it.
    fn shift(&mut self, low: usize) -> f64 {
        let (here, beside) = (self.diagonal[low], self.beside[low]);
        let p = (self.diagonal[low + 1] - here) / (2.0 * beside);
        let r = p.hypot(1.0).copysign(p);
        self.diagonal[low] = beside / (p + r);
        self.diagonal[low + 1] = beside * (p + r);
        let off = here - self.diagonal[low];
        self.diagonal[low + 2..].iter_mut().for_each(|value| *value -= off);
        off
    }

    /// One QL step between two rows.
    fn step(&mut self, low: usize, high: usize, vectors: &mut [f64], size: usize) {
        let (d, e) = (&mut self.diagonal, &mut self.beside);
        let (next, below) = (d[low + 1], e[low + 1]);
        let mut p = d[high];
        let (mut cos, mut cos_before, mut cos_first) = (1.0, 1.0, 1.0);
        let (mut sin, mut sin_before) = (0.0, 0.0);
        for k in (low..high).rev() {
            (cos_first, cos_before, sin_before) = (cos_before, cos, sin);
            let (g, h) = (cos * e[k], cos * p);
            let r = p.hypot(e[k]);
            e[k + 1] = sin * r;
            (sin, cos) = if r > 0.0 { (e[k] / r, p / r) } else { (0.0, 1.0) };
            p = cos * d[k] - sin * g;
            d[k + 1] = h + sin * (cos * g + sin * d[k]);
            let (upper, lower) = vectors[k * size..(k + 2) * size].split_at_mut(size);
            for (a, b) in upper.iter_mut().zip(lower) {
                (*a, *b) = (cos * *a - sin * *b, sin * *a + cos * *b);
            }
        }
        p = -sin * sin_before * cos_first * below * e[low] / next;
        (e[low], d[low]) = (sin * p, cos * p);
    }

    /// Mirrors a vector back to where the matrix was.
    fn turn_back(&self, vector: &mut [f64]) {
        for (k, (mirror, twice)) in self.mirrors.iter().enumerate().rev() {
            // An empty mirror is shorter than what is behind.
            let behind = &mut vector[k + 1..][..mirror.len()];
            let share = twice * dot(mirror, behind);
            behind.iter_mut().zip(mirror).for_each(|(value, mirror)| *value -= share * mirror);
        }
    }
}

/// Sum of products, in lanes that can be vectorised: one after another would wait for each sum.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(matrix: &[f64], size: usize, row: usize, column: usize) -> f64 {
        matrix[row * size + column]
    }

    fn check(matrix: &[f64], size: usize, what: &str) {
        let (values, vectors) = eigen(matrix.to_vec(), size, <[f64]>::len);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{what}: largest first");
        let scale = matrix.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        for r in 0..size {
            for c in 0..size {
                let dot: f64 = (0..size).map(|k| at(&vectors, size, r, k) * at(&vectors, size, c, k)).sum();
                assert!((dot - f64::from(u8::from(r == c))).abs() < 1e-10, "{what}: {r} {c} {dot}");
                let vector = |k: usize, place: usize| at(&vectors, size, k, place);
                let rebuilt: f64 = (0..size).map(|k| values[k] * vector(k, r) * vector(k, c)).sum();
                let expected = at(matrix, size, r, c);
                assert!((rebuilt - expected).abs() < 1e-10 * scale, "{what}: {rebuilt} {expected}");
            }
        }
    }

    #[test]
    fn vectors_are_orthonormal_and_rebuild_the_matrix() {
        let mut rng = fastrand::Rng::with_seed(4);
        // Of fewer columns the rest of the eigenvalues is 0: as with a tag that never moved.
        for (size, columns) in [(1, 1), (2, 2), (3, 1), (24, 24), (24, 5), (70, 90)] {
            let half: Vec<f64> = (0..size * columns).map(|_| rng.f64() - 0.5).collect();
            let product = |r: usize, c: usize| {
                (0..columns).map(|k| half[r * columns + k] * half[c * columns + k]).sum()
            };
            let matrix: Vec<f64> = (0..size * size).map(|i| product(i / size, i % size)).collect();
            check(&matrix, size, &format!("{size} of {columns}"));
        }
    }

    #[test]
    fn equal_values_zeros_and_blocks_are_no_trouble() {
        let size = 12;
        let of = |cell: fn(usize, usize) -> f64| -> Vec<f64> {
            (0..size * size).map(|i| cell(i / size, i % size)).collect()
        };
        check(&of(|_, _| 0.0), size, "zeros");
        check(&of(|r, c| if r == c { 2.0 } else { 0.0 }), size, "the same on the diagonal");
        check(&of(|_, _| 1e6), size, "all the same");
        check(&of(|r, c| if r / 4 == c / 4 { 1.0 } else { 0.0 }), size, "blocks");
        check(&of(|r, c| if r.abs_diff(c) == 1 { -1.0 } else { 0.0 }), size, "beside the diagonal only");
    }

    #[test]
    fn only_the_vectors_that_are_wanted_are_made() {
        let matrix = vec![2.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 3.0];
        let (values, vectors) = eigen(matrix, 3, |_| 1);
        assert_eq!((values.len(), vectors.len()), (3, 3));
        assert!((values[0] - 5.0).abs() < 1e-12 && (vectors[1].abs() - 1.0).abs() < 1e-12, "{vectors:?}");
    }
}
