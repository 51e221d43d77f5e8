//! Covariance of windows, in one pass and without memory for each window.
//!
//! A window of 20 tags and 10 rows has 20,100 products, far more than fit the first cache. So some windows
//! are gathered, and each small square of the result takes all of them while it stands in registers.

/// Windows that are gathered.
const GATHERED: usize = 16;
/// Side of a square.
const SIDE: usize = 4;

/// A square of the result.
type Square = [[f64; SIDE]; SIDE];

/// Sums of products of the values of windows.
#[derive(Debug, Clone)]
pub(super) struct Covariance {
    width: usize,
    /// Width in squares.
    squares: usize,
    /// Squares on and above the diagonal, row after row.
    sums: Vec<Square>,
    /// Windows that are not in the sums yet, each with zeros up to a whole number of squares.
    gathered: Vec<[f64; SIDE]>,
    count: usize,
}

impl Covariance {
    /// Of windows with `width` values, none yet.
    pub(super) fn new(width: usize) -> Self {
        let squares = width.div_ceil(SIDE);
        let sums = vec![Square::default(); squares * (squares + 1) / 2];
        Self { width, squares, sums, gathered: Vec::with_capacity(GATHERED * squares), count: 0 }
    }

    /// Takes a window, of which `write` writes the values.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut [f64])) {
        let from = self.gathered.len();
        self.gathered.resize(from + self.squares, [0.0; SIDE]);
        write(&mut self.gathered[from..].as_flattened_mut()[..self.width]);
        self.count += 1;
        if self.gathered.len() == GATHERED * self.squares {
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        let mut sums = self.sums.iter_mut();
        for row in 0..self.squares {
            for (column, square) in (row..self.squares).zip(&mut sums) {
                let mut local = *square;
                for window in self.gathered.chunks_exact(self.squares) {
                    let (a, b) = (&window[row], &window[column]);
                    for (local, a) in local.iter_mut().zip(a) {
                        for (local, b) in local.iter_mut().zip(b) {
                            *local += a * b;
                        }
                    }
                }
                *square = local;
            }
        }
        self.gathered.clear();
    }

    /// Takes the windows of another one of the same width.
    pub(super) fn add(&mut self, other: &Self) {
        let other = {
            // What it has gathered counts as well.
            let mut other = other.clone();
            other.sum_up();
            other
        };
        self.count += other.count;
        let cells = self.sums.as_flattened_mut().as_flattened_mut().iter_mut();
        cells.zip(other.sums.as_flattened().as_flattened()).for_each(|(sum, other)| *sum += other);
    }

    /// Mean of the products of all windows: `width` × `width` values in row order.
    pub(super) fn mean(mut self) -> Vec<f64> {
        self.sum_up();
        #[allow(clippy::cast_precision_loss)] // windows in memory are far below 2^53
        let count = self.count as f64;
        let mut mean = vec![0.0; self.width * self.width];
        let places = (0..self.squares).flat_map(|row| (row..self.squares).map(move |column| (row, column)));
        for ((row, column), square) in places.zip(&self.sums) {
            for (y, values) in square.iter().enumerate() {
                for (x, value) in values.iter().enumerate() {
                    let (row, column) = (row * SIDE + y, column * SIDE + x);
                    if row < self.width && column < self.width {
                        mean[row * self.width + column] = value / count;
                        mean[column * self.width + row] = value / count;
                    }
                }
            }
        }
        mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_mean_of_the_products_however_many_there_are() {
        let mut rng = fastrand::Rng::with_seed(8);
        for (width, count) in [(1, 3), (4, 16), (5, 17), (13, 40), (20, 15)] {
            let windows: Vec<Vec<f64>> =
                (0..count).map(|_| (0..width).map(|_| rng.f64() - 0.3).collect()).collect();
            let (early, late) = windows.split_at(count / 3);
            let of = |windows: &[Vec<f64>]| {
                let mut covariance = Covariance::new(width);
                windows.iter().for_each(|window| covariance.push(|into| into.copy_from_slice(window)));
                covariance
            };
            let mut both = of(early);
            both.add(&of(late));
            for found in [of(&windows).mean(), both.mean()] {
                for (place, found) in found.into_iter().enumerate() {
                    let (row, column) = (place / width, place % width);
                    let sum: f64 = windows.iter().map(|window| window[row] * window[column]).sum();
                    let expected = sum / f64::from(u32::try_from(count).unwrap());
                    assert!((found - expected).abs() < 1e-12, "{width} {count}: {found} {expected}");
                }
            }
        }
    }
}
