// CUDA kernels of every op over plain pointers. Knows no torch; tests run this same text on the CPU.
//
// Nothing depends on the order in which threads or blocks run. A block works for one group. Its first
// warps, the workers, take stretches of the batch: they tally what each bin gets, the tallies become
// ranks in batch order, and the workers walk their stretches again and write the rings.
#pragma once

#include "refresh.h"

#if defined(__CUDACC__)
#define INX_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

namespace infonoise {

constexpr int kThreads = 512;                        // the most a block may have
constexpr int kStrips = 4;                           // strips of 32 samples a warp reads at once
constexpr int kCauses = kCounters - kMasked;         // of skipping; each is tallied like a bin
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr uint64_t kTicket = 1ull << 40;             // draws a stream can make before tickets disturb it

enum Kind { kAbsent, kFloat32, kFloat64, kFloat16, kBfloat16, kInt64, kInt32, kBool };

struct Column {               // a strided vector argument
  const void* data;
  int64_t stride;
  Kind kind;
};

struct Samples {
  Column sigma, error, mask, group;
  int64_t size;
};

struct Draw {
  float* sigma;
  int64_t size;
  Column group;
};

struct Block {                // the team of refresh.h
  __device__ int first() const { return threadIdx.x; }
  __device__ int step() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};

struct Header {               // at the front of a block's shared memory
  Range range;
  uint64_t offset;
  bool due;
};
constexpr int kHeaderBytes = 64;
static_assert(sizeof(Header) <= kHeaderBytes, "the header has outgrown its place");

__device__ inline Header* header_of(unsigned char* shared) { return reinterpret_cast<Header*>(shared); }

template <class T>
__device__ T* body_of(unsigned char* shared) {
  return reinterpret_cast<T*>(shared + kHeaderBytes);
}

__device__ inline float from_half(uint16_t bits) {
  const uint32_t size = bits & 0x7FFFu, sign = uint32_t(bits & 0x8000u) << 16;
  const uint32_t wide = size >= 0x7C00u ? 0x7F800000u | size << 13 : size << 13;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  value = size >= 0x7C00u ? value : value * 0x1p112f;
  return sign ? -value : value;
}

__device__ inline float from_bfloat(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// out[j] = element i + 32 j, for those below `end`: one branch on the type, so that the loads overlap.
template <int N, class To>
__device__ void read(const Column& c, int64_t i, int64_t end, To out[N]) {
  const auto each = [&](const auto* data, const auto& convert) {
#pragma unroll
    for (int j = 0; j < N; ++j) out[j] = To(i + 32 * j < end ? convert(data[(i + 32 * j) * c.stride]) : 0);
  };
  const auto same = [](auto x) { return x; };
  switch (c.kind) {
    case kFloat32: return each(static_cast<const float*>(c.data), same);
    case kFloat64: return each(static_cast<const double*>(c.data), same);
    case kFloat16: return each(static_cast<const uint16_t*>(c.data), [](uint16_t x) { return from_half(x); });
    default: return each(static_cast<const uint16_t*>(c.data), [](uint16_t x) { return from_bfloat(x); });
  }
}

__device__ inline int64_t group_at(const Column& c, int64_t i) {
  if (c.kind == kAbsent) return 0;
  i *= c.stride;
  return c.kind == kInt64 ? static_cast<const int64_t*>(c.data)[i] : static_cast<const int32_t*>(c.data)[i];
}

// ---- record

struct Row {
  int key;
  float error;
};

// A sample as group g sees it: its bin, or K + its cause of skipping; -1 when it is another group's.
__device__ inline int key_of(const Rings& rings, const Grid& grid, const Range& range, const Samples& b, int64_t g,
                             int64_t i, float sigma, float error) {
  const int64_t group = group_at(b.group, i);
  const bool known = uint64_t(group) < uint64_t(rings.groups);
  if ((known ? group : 0) != g) return -1;
  const bool masked = b.mask.kind != kAbsent && !static_cast<const bool*>(b.mask.data)[i * b.mask.stride];
  const bool inside = sigma >= range.low && sigma <= range.high;
  const Counter cause = skip_cause(masked, known, sigma, inside, error);
  if (cause != kCounters) return grid.bins + cause - kMasked;
  return settle_bin(sigma, guess_bin(sigma, range.offset, range.scale, grid.bins), grid.row(kEdges), grid.bins);
}

struct Tile {                 // a stretch of the batch and its tallies in shared memory
  int64_t first, last;
  int* rows;                  // [workers + 2, columns]
  int workers, columns;
  __device__ int* row(int w) const { return rows + w * columns; }
  __device__ int* kept() const { return row(workers); }        // the rank from which on a loss stays
  __device__ int* start() const { return row(workers + 1); }   // the slot of that loss
};

__device__ inline Tile tile_of(int64_t first, int64_t last, int bins, int workers, unsigned char* shared) {
  return {first, last, body_of<int>(shared), workers, bins + kCauses};
}

// visit(row, peers): every sample of this worker, strip by strip; peers are the lanes of equal key.
template <class Visit>
__device__ void for_each_row(const Tile& tile, const Rings& rings, const Grid& grid, const Range& range,
                             const Samples& b, int64_t g, const Visit& visit) {
  const int worker = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (worker >= tile.workers) return;
  const int64_t across = int64_t(tile.workers) * 32;
  const int64_t stretch = (tile.last - tile.first + across - 1) / across * 32;
  const int64_t begin = tile.first + worker * stretch;
  const int64_t end = begin + stretch < tile.last ? begin + stretch : tile.last;
  for (int64_t i = begin + lane; i - lane < end; i += 32 * kStrips) {
    float sigma[kStrips], error[kStrips];
    int key[kStrips];
    read<kStrips>(b.sigma, i, end, sigma);
    read<kStrips>(b.error, i, end, error);
#pragma unroll
    for (int j = 0; j < kStrips; ++j)
      key[j] = i + 32 * j < end ? key_of(rings, grid, range, b, g, i + 32 * j, sigma[j], error[j]) : -1;
#pragma unroll
    for (int j = 0; j < kStrips; ++j) visit(Row{key[j], error[j]}, __match_any_sync(kAllLanes, key[j]));
  }
}

// Leaves in each worker's row how many samples of its stretch have each key. Ends with a barrier.
__device__ inline void tally_tile(const Tile& tile, const Rings& rings, const Grid& grid, Header* header,
                                  const Samples& b, int64_t g) {
  for (int j = threadIdx.x; j < tile.workers * tile.columns; j += blockDim.x) tile.rows[j] = 0;
  if (threadIdx.x == 0) header->range = range_of(grid.row(kEdges), grid.bins);
  __syncthreads();
  int* mine = tile.row(threadIdx.x / 32);
  const int lane = threadIdx.x % 32;
  for_each_row(tile, rings, grid, header->range, b, g, [&](const Row& row, unsigned peers) {
    if (row.key >= 0 && __ffs(peers) - 1 == lane) mine[row.key] += __popc(peers);
    __syncwarp();
  });
  __syncthreads();
}

// Turns one column of tallies into the ranks at which the workers begin; returns the rank after the last.
__device__ inline int rank_workers(const Tile& tile, int column, int rank) {
  for (int w = 0; w < tile.workers; ++w) {
    const int tally = tile.row(w)[column];
    tile.row(w)[column] = rank;
    rank += tally;
  }
  return rank;
}

// Of `total` losses of a bin the last C stay.
__device__ inline void plan_bin(const Tile& tile, const Rings& rings, int k, int64_t written, int total) {
  const int64_t kept = total > rings.capacity ? total - rings.capacity : 0;
  tile.kept()[k] = int(kept);
  tile.start()[k] = int((written + kept) % rings.capacity);
}

__device__ inline void write_rings(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                   const Samples& b, int64_t g) {
  int* mine = tile.row(threadIdx.x / 32);
  const int lane = threadIdx.x % 32;
  for_each_row(tile, rings, grid, header->range, b, g, [&](const Row& row, unsigned peers) {
    const bool recorded = row.key >= 0 && row.key < grid.bins;
    const int rank = recorded ? mine[row.key] + __popc(peers & ((1u << lane) - 1)) : 0;
    __syncwarp();
    if (recorded && __ffs(peers) - 1 == lane) mine[row.key] += __popc(peers);
    __syncwarp();
    const int kept = recorded ? tile.kept()[row.key] : 0;
    if (recorded && rank >= kept) {
      const int64_t slot = int64_t(tile.start()[row.key]) + rank - kept;
      float* ring = rings.ring + (g * grid.bins + row.key) * rings.capacity;
      ring[slot < rings.capacity ? slot : slot - rings.capacity] = row.error;
    }
  });
}

// Adds what one call brought to a bin's count or to a cause's counter.
__device__ inline void add_total(const Rings& rings, int bins, int64_t g, int column, int total) {
  if (column < bins) rings.count[g * bins + column] += total;
  else rings.counters[g * kCounters + kMasked + column - bins] += total;
}

__device__ inline void record(const Rings& rings, const Grid& grid, const Samples& b, int64_t g, int workers,
                              unsigned char* shared) {
  const Tile tile = tile_of(0, b.size, grid.bins, workers, shared);
  tally_tile(tile, rings, grid, header_of(shared), b, g);
  for (int k = threadIdx.x; k < tile.columns; k += blockDim.x) {
    const int total = rank_workers(tile, k, 0);
    if (k < grid.bins) plan_bin(tile, rings, k, rings.count[g * grid.bins + k], total);
    add_total(rings, grid.bins, g, k, total);
  }
  __syncthreads();
  write_rings(tile, rings, grid, header_of(shared), b, g);
}

// ---- draw

__device__ inline float sigma_at(const Params& p, const Grid& grid, const double* table, double u) {
  const int k = cdf_bin(u, table, grid.bins);
  const double x = log_sigma_at(p, k, u, table[k], table[k + 1] - table[k]);
  return clamp_sigma(exp_plain(x), grid.row(kEdges), grid.bins);
}

__device__ inline int64_t clamped_group(const Column& group, int64_t i, int64_t groups) {
  const int64_t g = group_at(group, i);
  return g < 0 ? 0 : g < groups ? g : groups - 1;
}

__device__ inline Stream stream_of(const Params& p, const int64_t* rng, uint64_t offset, int64_t n) {
  return {uint64_t(rng[0]), offset, int64_t(p.rank) * n, int64_t(p.world) * n};
}

// The offset of this draw. Every reader adds a ticket above the offset's bits; the last one takes the
// tickets off and counts the draw, so that no block can read the next offset.
__device__ inline uint64_t take_offset(int64_t* rng, uint64_t readers) {
  auto* word = reinterpret_cast<unsigned long long*>(rng + 1);
  const uint64_t seen = atomicAdd(word, static_cast<unsigned long long>(kTicket));
  const uint64_t offset = seen & (kTicket - 1);
  if (seen / kTicket == readers - 1) atomicExch(word, static_cast<unsigned long long>(offset + 1));
  return offset;
}

// Draws by fours from thread `first` on; table_of(i) is the table of sample i, null if another block's.
template <class TableOf>
__device__ void draw_fours(const Params& p, const Grid& grid, const Stream& stream, const Draw& d, int64_t first,
                           int64_t step, const TableOf& table_of) {
  for (int64_t four = first; four < (d.size + 3) / 4; four += step) {
    uint32_t words[4];
    draw_words(p, stream, four, words);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * four + j;
      const double* table = i < d.size ? table_of(i) : nullptr;
      if (!table) continue;
      double u = uniform(words[j]);
      if (p.stratified > 0) u = (double(stream.first + i) + u) / double(stream.total);
      d.sigma[i] = sigma_at(p, grid, table, u);
    }
  }
}

__device__ inline void copy_table(const double* cdf, int bins, double* table) {
  for (int k = threadIdx.x; k <= bins; k += blockDim.x) table[k] = cdf[k];
}

// All samples, spread over the whole launch.
__device__ inline void draw_all(const Params& p, const Grid& grid, const double* cdf, int64_t groups,
                                const int64_t* rng, uint64_t offset, const Draw& d, double* table) {
  if (d.group.kind == kAbsent) copy_table(cdf, grid.bins, table);
  __syncthreads();
  const Stream stream = stream_of(p, rng, offset, d.size);
  const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, step = int64_t(gridDim.x) * blockDim.x;
  draw_fours(p, grid, stream, d, first, step, [&](int64_t i) -> const double* {
    if (d.group.kind == kAbsent) return table;
    return cdf + clamped_group(d.group, i, groups) * (grid.bins + 1);
  });
}

// ---- refresh

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

// ---- kernels

#define INX_KERNEL __global__ void __launch_bounds__(kThreads, 1)

INX_KERNEL observe_kernel(Rings rings, Grid grid, Samples b, int workers) {   // a block a group
  INX_SHARED(shared);
  record(rings, grid, b, blockIdx.x, workers, shared);
}

INX_KERNEL advance_kernel(Rings rings, Tables t, Grid grid, const Params* params, int64_t* rng, Samples b, Draw d,
                          int workers) {   // a block a group
  INX_SHARED(shared);
  const Params& p = *params;
  const int64_t g = blockIdx.x;
  record(rings, grid, b, g, workers, shared);
  const bool alone = d.group.kind == kAbsent;   // then all samples are group 0's
  if (d.size > 0 && (!alone || g == 0)) {
    double* table = body_of<double>(shared);
    __syncthreads();
    if (threadIdx.x == 0) header_of(shared)->offset = take_offset(rng, alone ? 1 : gridDim.x);
    copy_table(t.cdf + g * (grid.bins + 1), grid.bins, table);
    __syncthreads();
    const Stream stream = stream_of(p, rng, header_of(shared)->offset, d.size);
    draw_fours(p, grid, stream, d, threadIdx.x, blockDim.x, [&](int64_t i) -> const double* {
      return alone || clamped_group(d.group, i, rings.groups) == g ? table : nullptr;
    });
  }
  step_group(rings, t, grid, p, g, shared);
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
  tally_tile(tile, rings, grid, header_of(shared), b, g);
  for (int k = threadIdx.x; k < grid.bins; k += blockDim.x) {
    int before = 0, total = 0;
    for (int64_t j = 0; j < tiles; ++j) {
      if (j == index) before = total;
      total += tallies[(j * rings.groups + g) * tile.columns + k];
    }
    rank_workers(tile, k, before);
    plan_bin(tile, rings, k, rings.count[g * grid.bins + k], total);
  }
  __syncthreads();
  write_rings(tile, rings, grid, header_of(shared), b, g);
  if (d.size == 0) return;
  __syncthreads();
  draw_all(*params, grid, t.cdf, rings.groups, rng, uint64_t(rng[1]), d, body_of<double>(shared));
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
  draw_all(*params, grid, cdf, groups, rng, header_of(shared)->offset, d, body_of<double>(shared));
}

INX_KERNEL icdf_kernel(const double* cdf, Grid grid, const Params* params, int64_t groups, Column u, Draw d) {
  INX_SHARED(shared);
  double* table = body_of<double>(shared);
  if (d.group.kind == kAbsent) copy_table(cdf, grid.bins, table);
  __syncthreads();
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < d.size; i += int64_t(gridDim.x) * blockDim.x) {
    const double* row = cdf + clamped_group(d.group, i, groups) * (grid.bins + 1);
    double value[1];
    read<1>(u, i, d.size, value);
    d.sigma[i] = sigma_at(*params, grid, d.group.kind == kAbsent ? table : row, value[0]);
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

}  // namespace infonoise
