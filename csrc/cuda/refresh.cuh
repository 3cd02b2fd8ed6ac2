// Counting a step and refreshing a table: a block serves one group. Of several groups the refresh is a launch of its
// own, since one with too few losses takes those of all.
#pragma once

#include "core/refresh.h"
#include "cuda/block.cuh"

namespace infonoise::cuda {

struct Block {  // the team of core/refresh.h
  __device__ int first() const { return threadIdx.x; }
  __device__ int step() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};

inline size_t work_bytes(int bins) { return sizeof(double) * work_size(bins); }

// Of the losses in one ring, by one warp, in an order that only C decides.
__device__ inline Pool ring_pool(const float* losses, int64_t filled) {
  double rest = 0;
  float largest = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x % 32; i < filled; i += 32) {
    const float x = losses[i];
    rest += double(x < largest ? x : largest);
    largest = x < largest ? largest : x;
  }
  for (int step = 16; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, rest, step);
    const float most = __shfl_xor_sync(kAllLanes, largest, step);
    rest = rest + other + double(most < largest ? most : largest);
    largest = most < largest ? largest : most;
  }
  return {double(filled), rest, largest};
}

// Counts the step of group g and, of a single group, refreshes its table when that is due. Begins with a barrier.
__device__ inline void step_group(const Rings& rings, const Tables& t, const Grid& grid, const Params& p, int64_t g,
                                  unsigned char* shared) {
  Header* header = header_of(shared);
  __syncthreads();
  if (threadIdx.x == 0) header->due = refresh_is_due(p, ++rings.counters[g * kCounters + kSteps]);
  __syncthreads();
  if (gridDim.x > 1) return;
  if (PLANT(divergent_barrier, !header->due, !header->due || threadIdx.x < 32)) return;
  double* work = body_of<double>(shared);
  for (int k = threadIdx.x / 32; k < grid.bins; k += blockDim.x / 32) {
    const int64_t bin = g * grid.bins + k, written = rings.count[bin];
    const int64_t filled = written < rings.capacity ? written : rings.capacity;
    const Pool pool = ring_pool(rings.ring + bin * rings.capacity, filled);
    if (threadIdx.x % 32 == 0) pools_of(work, grid.bins).set(k, pool);
  }
  __syncthreads();
  refresh(Block(), p, grid, table_of(t, rings.count, rings.counters, grid.bins, g), work,
          [](const Pools&) { return false; });
}

}  // namespace infonoise::cuda
