// Recording a batch: a block writes the rings of one group, in batch order whatever the order of threads.
//
// The first warps of the block, its workers, take stretches of the batch. They tally what each bin gets,
// the tallies become ranks, and the workers walk their stretches again and write.
#pragma once

#include <cfloat>

#include "cuda/block.cuh"

namespace infonoise::cuda {

constexpr int kStrips = 4;                    // strips of 32 samples a warp reads at once
constexpr int kPlans = 2;                     // rows of a tile beside the tallies of its workers
constexpr int kCauses = kCounters - kMasked;  // of skipping; each is tallied like a bin

struct Batch {
  Column sigma, error, mask, group;
  int64_t size;
  bool recomputed;  // by backward: counted, not recorded
};

struct Sample {
  int key;
  float error;
};

// A sample as group g sees it: its bin, or K + its cause of skipping; -1 when it is another group's.
__device__ inline int key_of(const Rings& rings, int bins, const Range& range, const double* edges, const Batch& b,
                             int64_t g, int64_t i, float sigma, float error) {
  const int64_t group = group_at(b.group, i);
  const bool known = uint64_t(group) < uint64_t(rings.groups);
  if ((known ? group : 0) != g) return -1;
  const bool masked = b.mask.kind != kAbsent && !static_cast<const bool*>(b.mask.data)[i * b.mask.stride];
  const bool inside = sigma >= range.low && sigma <= range.high;
  const Counter cause = skip_cause(b.recomputed, masked, known, sigma, inside, error);
  if (cause != kCounters) return bins + cause - kMasked;
  return bin_of(sigma, range, edges, bins);
}

// The least float that is not below x, and the largest that is not above: a float compares with them as with x.
__device__ inline float float_above(double x) {
  const float f = float(x);
  return double(f) < x ? nextafterf(f, HUGE_VALF) : f;
}
__device__ inline float float_below(double x) { return -float_above(-x); }

__device__ inline void set_range(Header* header, const Grid& grid) {
  header->range = range_of(grid.row(kEdges), grid.bins);
  header->low = float_above(header->range.low);
  header->high = float_below(header->range.high > FLT_MAX ? FLT_MAX : header->range.high);
}

struct Tile {  // a stretch of the batch and its tallies in shared memory
  int64_t first, last;
  int* tallies;  // [workers + kPlans, columns]
  int workers, columns;
  __device__ int* row(int w) const { return tallies + w * columns; }
  __device__ int* kept() const { return row(workers); }       // the rank from which on a loss stays
  __device__ int* start() const { return row(workers + 1); }  // the slot of that loss
};

__device__ inline Tile tile_of(int64_t first, int64_t last, int bins, int workers, unsigned char* shared) {
  return {first, last, body_of<int>(shared), workers, bins + kCauses};
}

// visit(sample, peers): every sample of this worker, strip by strip; peers are the lanes of equal key.
template <class Visit>
__device__ void for_each_sample(const Tile& tile, const Rings& rings, const Grid& grid, const Range& range,
                                const Batch& b, int64_t g, const Visit& visit) {
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
    for (int j = 0; j < kStrips; ++j) {
      const bool inside = PLANT(strip_edge, i + 32 * j < end, i + 32 * j + 1 < end);
      key[j] = inside ? key_of(rings, grid.bins, range, grid.row(kEdges), b, g, i + 32 * j, sigma[j], error[j]) : -1;
    }
#pragma unroll
    for (int j = 0; j < kStrips; ++j)
      visit(Sample{key[j], error[j]}, __match_any_sync(PLANT(missing_lane, kAllLanes, 1u), key[j]));
  }
}

// What `tally_tile` needs, a barrier earlier.
__device__ inline void clear_tile(const Tile& tile, const Grid& grid, Header* header) {
  for (int j = threadIdx.x; j < tile.workers * tile.columns; j += blockDim.x) tile.tallies[j] = 0;
  if (threadIdx.x == blockDim.x - 1) set_range(header, grid);
}

// Leaves in each worker's row how many samples of its stretch have each key. Ends with a barrier.
__device__ inline void tally_tile(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                  const Batch& b, int64_t g) {
  int* mine = tile.row(threadIdx.x / 32);
  const int lane = threadIdx.x % 32;
  for_each_sample(tile, rings, grid, header->range, b, g, [&](const Sample& sample, unsigned peers) {
    if (sample.key >= 0 && __ffs(peers) - 1 == lane) mine[sample.key] += __popc(peers);
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

// Of `own` losses of a bin, `written` before them and `after` behind, those from the returned rank on stay.
__device__ inline int plan_bin(const Tile& tile, const Rings& rings, int k, int64_t written, int own, int after) {
  const int64_t known = int64_t(own) + after, kept = known > rings.capacity ? known - rings.capacity : 0;
  tile.kept()[k] = int(kept);
  tile.start()[k] = int(uint64_t(written + kept) % uint64_t(rings.capacity));
  return int(kept);
}

// A loss of the given rank among those of its bin in this tile, if it stays.
__device__ inline void write_loss(const Tile& tile, const Rings& rings, int bins, int64_t g, int k, int rank,
                                  float error) {
  const int kept = tile.kept()[k];
  if (rank < kept) return;
  const int64_t slot = int64_t(tile.start()[k]) + rank - kept;
  rings.ring[(g * bins + k) * rings.capacity + (slot < rings.capacity ? slot : slot - rings.capacity)] = error;
}

__device__ inline void write_rings(const Tile& tile, const Rings& rings, const Grid& grid, const Header* header,
                                   const Batch& b, int64_t g) {
  int* mine = tile.row(threadIdx.x / 32);
  const int lane = threadIdx.x % 32;
  for_each_sample(tile, rings, grid, header->range, b, g, [&](const Sample& sample, unsigned peers) {
    const bool recorded = sample.key >= 0 && sample.key < grid.bins;
    const int rank = recorded ? mine[sample.key] + __popc(peers & ((1u << lane) - 1)) : 0;
    PLANT(missing_warp_barrier, __syncwarp(), void());
    if (recorded && __ffs(peers) - 1 == lane) mine[sample.key] += __popc(peers);
    __syncwarp();
    if (recorded) write_loss(tile, rings, grid.bins, g, sample.key, rank, sample.error);
  });
}

// A bin's count, or a cause's counter.
__device__ inline int64_t* counter_of(const Rings& rings, int bins, int64_t g, int column) {
  return (column < bins ? rings.count + g * bins : rings.counters + g * kCounters + kMasked - bins) + column;
}

__device__ inline void record(const Rings& rings, const Grid& grid, const Batch& b, int64_t g, int workers,
                              unsigned char* shared) {
  const Tile tile = tile_of(0, b.size, grid.bins, workers, shared);
  clear_tile(tile, grid, header_of(shared));
  __syncthreads();
  tally_tile(tile, rings, grid, header_of(shared), b, g);
  for (int k = threadIdx.x; k < tile.columns; k += blockDim.x) {
    const int total = rank_workers(tile, k, 0);
    int64_t* count = counter_of(rings, grid.bins, g, k);
    if (k < grid.bins) plan_bin(tile, rings, k, *count, total, 0);
    *count += total;
  }
  PLANT(missing_barrier, __syncthreads(), void());
  write_rings(tile, rings, grid, header_of(shared), b, g);
}

}  // namespace infonoise::cuda
