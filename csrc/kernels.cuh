// CUDA kernels of every op over plain pointers. Knows no torch; tests run this same text on the CPU.
// No result depends on the order in which threads or blocks run.
#pragma once

#include "draw.cuh"
#include "loss.cuh"
#include "record.cuh"

#if defined(__CUDACC__)
#define INX_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace infonoise {

constexpr int kThreads = 512;                        // the most a block may have

struct Sums {
  double sum, squares;
};

// Of the losses in one ring, by one warp, in an order that only C decides.
__device__ inline Sums ring_sums(const float* losses, int64_t filled) {
  Sums s{0, 0};
#pragma unroll 4
  for (int64_t i = threadIdx.x % 32; i < filled; i += 32) {
    const double x = losses[i];
    s.sum += x;
    s.squares += x * x;
  }
  for (int step = 16; step > 0; step /= 2) {
    s.sum += __shfl_xor_sync(kAllLanes, s.sum, step);
    s.squares += __shfl_xor_sync(kAllLanes, s.squares, step);
  }
  return s;
}

// Counts the step of group g and refreshes its table when that is due. Begins with a barrier.
__device__ inline void step_group(const Rings& rings, const Tables& t, const Grid& grid, const Params& p, int64_t g,
                                  unsigned char* shared) {
  Header* header = header_of(shared);
  __syncthreads();
  if (threadIdx.x == 0) header->due = refresh_is_due(p, ++rings.counters[g * kCounters + kSteps]);
  __syncthreads();
  if (!header->due) return;
  double* work = body_of<double>(shared);
  for (int k = threadIdx.x / 32; k < grid.bins; k += blockDim.x / 32) {
    const int64_t row = g * grid.bins + k, written = rings.count[row];
    const int64_t filled = written < rings.capacity ? written : rings.capacity;
    const Sums s = ring_sums(rings.ring + row * rings.capacity, filled);
    if (threadIdx.x % 32 == 0) work[k] = measured_mean(p, double(filled), s.sum);
  }
  __syncthreads();
  refresh_group(Block(), p, grid, group_of(t, rings.counters, grid.bins, g), work);
}

#define INX_KERNEL __global__ void __launch_bounds__(kThreads, 1)

INX_KERNEL observe_kernel(Rings rings, Grid grid, Samples b, int workers) {   // a block a group
  INX_SHARED(shared);
  record(rings, grid, b, blockIdx.x, workers, shared);
}

INX_KERNEL advance_kernel(Rings rings, Tables t, Grid grid, const Params* params, int64_t* rng, Samples b, Draw d,
                          int workers) {   // a block a group
  INX_SHARED(shared);
  const int64_t g = blockIdx.x;
  const bool alone = d.group.kind == kAbsent;   // then all samples are group 0's
  const bool draws = d.size > 0 && (!alone || g == 0);
  if (draws && threadIdx.x == blockDim.x - 1) header_of(shared)->offset = take_offset(rng, alone ? 1 : gridDim.x);
  record(rings, grid, b, g, workers, shared);
  if (draws) {
    const Params p = *params;
    const Stream stream = stream_of(p, rng[0], header_of(shared)->offset, d.size);
    const double* cdf = t.cdf + g * (grid.bins + 1);
    const int64_t first = threadIdx.x, step = blockDim.x;
    if (alone) draw_one_table(p, grid, cdf, stream, d, 1, first, step, shared);
    else draw_tables(p, grid, stream, d, first, step, [&](int64_t i) -> const double* {
      return clamped_group(d.group, i, rings.groups) == g ? cdf : nullptr;
    });
  }
  step_group(rings, t, grid, *params, g, shared);
}

// Three launches for batches beyond one block: tallies of every tile, rings and draws, counts and tables.
// Block j works on tile j / G for group j % G; tallies are [tiles, G, columns].
__device__ inline Tile large_tile(const Rings& rings, const Samples& b, int bins, int tiles, int workers,
                                  unsigned char* shared) {
  const int64_t index = blockIdx.x / rings.groups, size = (b.size + tiles - 1) / tiles;
  const int64_t first = index * size, last = first + size;
  return tile_of(first < b.size ? first : b.size, last < b.size ? last : b.size, bins, workers, shared);
}

INX_KERNEL tally_kernel(Rings rings, Grid grid, Samples b, int* tallies, int tiles, int workers) {
  INX_SHARED(shared);
  const Tile tile = large_tile(rings, b, grid.bins, tiles, workers, shared);
  tally_tile(tile, rings, grid, header_of(shared), b, blockIdx.x % rings.groups);
  for (int k = threadIdx.x; k < tile.columns; k += blockDim.x)
    tallies[int64_t(blockIdx.x) * tile.columns + k] = rank_workers(tile, k, 0);
}

INX_KERNEL place_kernel(Rings rings, Tables t, Grid grid, const Params* params, const int64_t* rng, Samples b, Draw d,
                        const int* tallies, int tiles, int workers) {
  INX_SHARED(shared);
  const Tile tile = large_tile(rings, b, grid.bins, tiles, workers, shared);
  const int64_t g = blockIdx.x % rings.groups, index = blockIdx.x / rings.groups;
  Header* header = header_of(shared);
  if (threadIdx.x == 0) header->keeps = false;
  __syncthreads();
  for (int k = threadIdx.x; k < grid.bins; k += blockDim.x) {
    const int* column = tallies + g * tile.columns + k;
    const int64_t row = rings.groups * tile.columns;
    int before = 0, total = 0;
#pragma unroll 8
    for (int64_t j = 0; j < tiles; ++j) {
      if (j == index) before = total;
      total += column[j * row];
    }
    const int kept = plan_bin(tile, rings, k, rings.count[g * grid.bins + k], total);
    tile.before()[k] = before;
    if (before + column[index * row] > kept) header->keeps = true;
  }
  __syncthreads();
  if (header->keeps) {                       // of a huge batch the last tiles alone fill the rings
    tally_tile(tile, rings, grid, header, b, g);
    for (int k = threadIdx.x; k < grid.bins; k += blockDim.x) rank_workers(tile, k, tile.before()[k]);
    __syncthreads();
    write_rings(tile, rings, grid, header, b, g);
  }
  if (d.size == 0) return;
  const Params p = *params;
  draw_all(p, grid, t.cdf, rings.groups, rng, uint64_t(rng[1]), d, shared);
}

INX_KERNEL finish_kernel(Rings rings, Tables t, Grid grid, const Params* params, int64_t* rng, const int* tallies,
                         int tiles, bool steps, bool drawn) {   // a block a group
  INX_SHARED(shared);
  const int columns = grid.bins + kCauses;
  const int64_t g = blockIdx.x;
  for (int k = threadIdx.x; k < columns; k += blockDim.x) {
    int total = 0;
    for (int64_t j = 0; j < tiles; ++j) total += tallies[(j * rings.groups + g) * columns + k];
    add_total(rings, grid.bins, g, k, total);
  }
  if (drawn && g == 0 && threadIdx.x == 0) rng[1] += 1;
  if (steps) step_group(rings, t, grid, *params, g, shared);
}

INX_KERNEL sample_kernel(const double* cdf, Grid grid, const Params* params, int64_t* rng, int64_t groups, Draw d) {
  INX_SHARED(shared);
  if (threadIdx.x == 0) header_of(shared)->offset = take_offset(rng, gridDim.x);
  __syncthreads();
  const Params p = *params;
  draw_all(p, grid, cdf, groups, rng, header_of(shared)->offset, d, shared);
}

INX_KERNEL icdf_kernel(const double* cdf, Grid grid, const Params* params, int64_t groups, Column u, Draw d) {
  INX_SHARED(shared);
  const Params p = *params;
  double* table = body_of<double>(shared);
  if (d.group.kind == kAbsent) copy_table(cdf, grid.bins, table);
  __syncthreads();
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < d.size; i += int64_t(gridDim.x) * blockDim.x) {
    const double* row = cdf + clamped_group(d.group, i, groups) * (grid.bins + 1);
    double value[1];
    read<1>(u, i, d.size, value);
    d.sigma[i] = sigma_at(p, grid, d.group.kind == kAbsent ? table : row, value[0]);
  }
}

INX_KERNEL bin_stats_kernel(const float* ring, const int64_t* count, int64_t rows, int64_t capacity, double* moments) {
  const int64_t step = int64_t(gridDim.x) * (blockDim.x / 32);
  for (int64_t row = int64_t(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; row < rows; row += step) {
    const int64_t filled = count[row] < capacity ? count[row] : capacity;
    const Sums s = ring_sums(ring + row * capacity, filled);
    if (threadIdx.x % 32 != 0) continue;
    moments[row * kMoments + kCount] = double(filled);
    moments[row * kMoments + kSum] = s.sum;
    moments[row * kMoments + kSquares] = s.squares;
  }
}

INX_KERNEL refresh_kernel(const double* moments, Tables t, Grid grid, const Params* params, int64_t* counters) {
  INX_SHARED(shared);                                                        // a block a group
  const int64_t g = blockIdx.x;
  double* work = body_of<double>(shared);
  measured_means(Block(), *params, grid.bins, moments + g * grid.bins * kMoments, work);
  __syncthreads();
  refresh_group(Block(), *params, grid, group_of(t, counters, grid.bins, g), work);
}

#define INX_LOSS_KERNEL __global__ void __launch_bounds__(kLossThreads, 4)

// Sums of squares of the pieces of samples, or errors where a sample is one piece.
INX_LOSS_KERNEL denoising_error_kernel(Pair pair, Pieces pieces, double* sums, Errors errors) {
  INX_SHARED(shared);
  const Span span = span_of(pair, pieces);
  const double mine = span.exists ? squares_of(pair, span, pieces.team) : 0.0;
  const double sum = team_sum(mine, pieces.team, body_of<double>(shared));
  if (!span.exists || span.thread != 0) return;
  if (pieces.count > 1) sums[span.sample * pieces.count + span.piece] = sum;
  else errors.set(span.sample, sum / double(pair.size));
}

INX_LOSS_KERNEL denoising_fold_kernel(const double* sums, int64_t count, int64_t size, Errors errors) {   // a block a sample
  INX_SHARED(shared);
  double mine = 0;
  for (int64_t j = threadIdx.x; j < count; j += blockDim.x) mine += sums[blockIdx.x * count + j];
  const double sum = team_sum(mine, blockDim.x, body_of<double>(shared));
  if (threadIdx.x == 0) errors.set(blockIdx.x, sum / double(size));
}

INX_LOSS_KERNEL denoising_gradient_kernel(Pair pair, Pieces pieces, Column grad_error, void* gradient) {
  const Span span = span_of(pair, pieces);
  if (!span.exists) return;
  double grad[1];
  read<1>(grad_error, span.sample, pair.samples, grad);
  write_gradient(pair, span, pieces.team, 2.0 / double(pair.size) * grad[0], gradient);
}

}  // namespace infonoise
