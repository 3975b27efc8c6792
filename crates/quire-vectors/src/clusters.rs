//! Which clusters of vectors a query should look at first: spherical k-means. Knows vectors of equal
//! length and their directions, not which rows lie in a cluster.

use crate::error::{Error, check_dimension, check_length};
use crate::kernels::{self, Level, TILE_COLUMNS, TILE_ROWS};
use crate::random::SplitMix64;

/// Vectors that stay in the cache while all centroids pass by.
const ASSIGNED_AT_ONCE: usize = 128;

const HEADER_BYTES: usize = 8;

/// Directions of clusters: unit vectors, each the mean direction of its vectors.
#[derive(Debug, Clone)]
pub struct Centroids {
    dimension: usize,
    count: usize,
    /// Panels of [`TILE_COLUMNS`] centroids: for each coordinate the numbers of all of them, so that
    /// one load serves many centroids. The last panel is filled up with zeros.
    panels: Vec<f32>,
    level: Level,
}

/// Finds `clusters` directions in a sample (some hundred vectors for each are plenty): a random start,
/// then `iterations` of assigning each vector to the centroid of the largest inner product and moving
/// the centroids. A cluster that lost all vectors starts again at a random one. Vectors have one
/// length, best 1; rotated or not makes no difference. The seed decides the start; rounding differs
/// between processors, so the result is not the same to the bit everywhere.
///
/// # Errors
/// [`Error::Dimension`], [`Error::Length`] if the sample is no whole number of vectors,
/// [`Error::Clusters`] for no cluster or more clusters than vectors.
pub fn train(
    sample: &[f32],
    dimension: usize,
    clusters: usize,
    iterations: usize,
    seed: u64,
) -> Result<Centroids, Error> {
    let vectors = count_vectors(sample, dimension)?;
    if clusters == 0 || clusters > vectors || u32::try_from(clusters).is_err() {
        return Err(Error::Clusters { vectors, clusters });
    }
    let vector = |i: usize| &sample[i * dimension..(i + 1) * dimension];
    let mut random = SplitMix64::new(seed);
    let mut means = Vec::with_capacity(clusters * dimension);
    for i in choose(vectors, clusters, &mut random) {
        means.extend_from_slice(vector(i));
    }
    let mut centroids = Centroids::new(dimension, &mut means);
    for _ in 0..iterations {
        means.fill(0.0);
        let mut sizes = vec![0_u32; clusters];
        for (i, cluster) in centroids.assign_all(sample)?.into_iter().enumerate() {
            let cluster = cluster as usize;
            sizes[cluster] += 1;
            let mean = &mut means[cluster * dimension..(cluster + 1) * dimension];
            mean.iter_mut()
                .zip(vector(i))
                .for_each(|(sum, x)| *sum += x);
        }
        for (mean, &size) in means.chunks_exact_mut(dimension).zip(&sizes) {
            if size == 0 {
                mean.copy_from_slice(vector(random.below(vectors)));
            }
        }
        centroids = Centroids::new(dimension, &mut means);
    }
    Ok(centroids)
}

impl Centroids {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Coordinates of each.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The centroid with the largest inner product, for each of the vectors; the first of equal ones.
    ///
    /// # Errors
    /// [`Error::Length`] if it is no whole number of vectors.
    pub fn assign_all(&self, vectors: &[f32]) -> Result<Vec<u32>, Error> {
        let mut assigned = Vec::with_capacity(count_vectors(vectors, self.dimension)?);
        let mut best = [(0, f32::NEG_INFINITY); ASSIGNED_AT_ONCE];
        for vectors in vectors.chunks(ASSIGNED_AT_ONCE * self.dimension) {
            best.fill((0, f32::NEG_INFINITY));
            self.products(vectors, |i, centroid, product| {
                if product > best[i].1 {
                    best[i] = (centroid, product);
                }
            });
            let count = vectors.len() / self.dimension;
            assigned.extend(best[..count].iter().map(|&(centroid, _)| centroid));
        }
        Ok(assigned)
    }

    /// The centroid with the largest inner product.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn assign(&self, vector: &[f32]) -> Result<u32, Error> {
        check_length("coordinates of a vector", vector.len(), self.dimension)?;
        Ok(self.assign_all(vector)?.into_iter().next().unwrap_or(0))
    }

    /// Up to `n` centroids with their inner products, the largest first.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn nearest(&self, query: &[f32], n: usize) -> Result<Vec<(u32, f32)>, Error> {
        check_length("coordinates of a query", query.len(), self.dimension)?;
        let mut products = Vec::with_capacity(self.count);
        self.products(query, |_, centroid, product| {
            products.push((centroid, product))
        });
        products.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        products.truncate(n);
        Ok(products)
    }

    /// Dimension and count as `u32`, then the coordinates of each centroid as `f32`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = self.count * self.dimension;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + numbers * size_of::<f32>());
        bytes.extend_from_slice(&(self.dimension as u32).to_le_bytes());
        bytes.extend_from_slice(&(self.count as u32).to_le_bytes());
        for centroid in 0..self.count {
            for coordinate in 0..self.dimension {
                let x = self.panels[self.place(centroid, coordinate)];
                bytes.extend_from_slice(&x.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads what [`Centroids::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Length`] when bytes are missing or left over, [`Error::Dimension`], [`Error::Clusters`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let short = Error::Length {
            what: "bytes of centroids",
            expected: HEADER_BYTES,
            found: bytes.len(),
        };
        let (&header, coordinates) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(short)?;
        let [a, b, c, d, e, f, g, h] = header;
        let dimension = u32::from_le_bytes([a, b, c, d]) as usize;
        let count = u32::from_le_bytes([e, f, g, h]) as usize;
        check_dimension(dimension)?;
        if count == 0 {
            return Err(Error::Clusters {
                vectors: 0,
                clusters: 0,
            });
        }
        let expected = count.saturating_mul(dimension * size_of::<f32>());
        check_length("bytes of centroids", coordinates.len(), expected)?;
        let (numbers, _) = coordinates.as_chunks();
        let means: Vec<f32> = numbers.iter().copied().map(f32::from_le_bytes).collect();
        Ok(Self::pack(dimension, &means))
    }

    /// Makes each mean a direction. A mean of zero stays: it wins only where all others are negative.
    fn new(dimension: usize, means: &mut [f32]) -> Self {
        for mean in means.chunks_exact_mut(dimension) {
            let length = mean.iter().map(|x| x * x).sum::<f32>().sqrt();
            if length > 0.0 {
                mean.iter_mut().for_each(|x| *x /= length);
            }
        }
        Self::pack(dimension, means)
    }

    fn pack(dimension: usize, centroids: &[f32]) -> Self {
        let count = centroids.len() / dimension;
        let mut packed = Self {
            dimension,
            count,
            panels: vec![0.0; count.next_multiple_of(TILE_COLUMNS) * dimension],
            level: Level::detect(),
        };
        for (centroid, coordinates) in centroids.chunks_exact(dimension).enumerate() {
            for (coordinate, &x) in coordinates.iter().enumerate() {
                let place = packed.place(centroid, coordinate);
                packed.panels[place] = x;
            }
        }
        packed
    }

    fn place(&self, centroid: usize, coordinate: usize) -> usize {
        let panel = centroid / TILE_COLUMNS * self.dimension;
        (panel + coordinate) * TILE_COLUMNS + centroid % TILE_COLUMNS
    }

    /// Tells the inner product of each vector with each centroid, in the order of centroids for each.
    fn products(&self, vectors: &[f32], mut tell: impl FnMut(usize, u32, f32)) {
        let panels = self.panels.chunks_exact(self.dimension * TILE_COLUMNS);
        for (panel, first) in panels.zip((0..self.count).step_by(TILE_COLUMNS)) {
            let columns = TILE_COLUMNS.min(self.count - first);
            let groups = vectors.chunks(TILE_ROWS * self.dimension);
            for (group, vectors) in groups.enumerate() {
                let products = kernels::inner_products(self.level, vectors, panel);
                let count = vectors.len() / self.dimension;
                for (row, products) in products[..count].iter().enumerate() {
                    for (column, &product) in products[..columns].iter().enumerate() {
                        tell(group * TILE_ROWS + row, (first + column) as u32, product);
                    }
                }
            }
        }
    }
}

/// `count` different numbers below `end`, each set as likely (Floyd's method would do; a partial
/// shuffle says it plainly).
fn choose(end: usize, count: usize, random: &mut SplitMix64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..end).collect();
    for i in 0..count {
        let other = i + random.below(end - i);
        numbers.swap(i, other);
    }
    numbers.truncate(count);
    numbers
}

fn count_vectors(vectors: &[f32], dimension: usize) -> Result<usize, Error> {
    check_dimension(dimension)?;
    let count = vectors.len() / dimension;
    check_length(
        "coordinates of whole vectors",
        vectors.len(),
        count * dimension,
    )?;
    Ok(count)
}
