// Counting a step and refreshing a table: a block serves one group. Of several groups the refresh is a launch of its
// own, since one with too few losses takes those of all.
#pragma once

#include "core/refresh.h"
#include "cuda/team.cuh"

namespace infonoise::cuda {

inline size_t work_bytes(int bins) { return sizeof(double) * (kWork * bins + Block::kSlots); }

__device__ inline Block block_of(double* work, int bins) { return Block(work + kWork * bins, bins); }

constexpr int kPerRing = kChains / 4;  // lanes that share a ring; each has four chains
constexpr int kAtOnce = 8;             // loads of a lane in flight

struct alignas(16) Losses {  // four neighbours, as bits: those of numbers that are not negative are in their order
  uint32_t bits[4];
};

// Losses i .. i + 3 of a ring; those from `filled` on are 0.
__device__ inline Losses losses_at(const float* ring, int64_t i, int64_t filled, bool packed) {
  Losses x{};
  if (packed && i < filled) x = *reinterpret_cast<const Losses*>(ring + i);
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    if (!packed && i + j < filled) x.bits[j] = bit_cast<uint32_t>(ring[i + j]);
    if (i + j >= filled) x.bits[j] = 0;
  }
  return x;
}

struct Chains {  // the four of a lane
  double rest[4] = {};
  uint32_t largest[4] = {};

  // A loss becomes a double by its bits alone, which leaves it 2^896 times too small: exactly, however small it is.
  __device__ void add(const Losses& x) {
#pragma unroll
    for (int c = 0; c < 4; ++c) {
      const uint32_t one = x.bits[c], most = largest[c], less = one < most ? one : most;
      rest[c] += __hiloint2double(int(less >> 3), int(less << 29));
      largest[c] = one < most ? most : one;
    }
  }
  __device__ Pool pool(int c) const { return {0, rest[c] * 0x1p896, double(bit_cast<float>(largest[c]))}; }
};

// Of the losses in the rings from `first` on, one for each kPerRing lanes of a warp, in the order of core/estimate.h.
// The result is that of the lane's ring, and for rings from `end` on that of none.
__device__ inline Pool ring_pool(const float* ring, const int64_t* count, int64_t capacity, int64_t first,
                                 int64_t end) {
  const int64_t k = first + threadIdx.x % kLanes / kPerRing, begin = 4 * (threadIdx.x % kPerRing);
  const int64_t written = k < end ? count[k] : 0, filled = written < capacity ? written : capacity;
  const float* losses = ring + (k < end ? k : first) * capacity;
  const bool packed = capacity % 4 == 0 && reinterpret_cast<uintptr_t>(ring) % sizeof(Losses) == 0;
  Chains chains;
  int64_t i = begin;
  for (; packed && i + (kAtOnce - 1) * kChains + 4 <= filled; i += kAtOnce * kChains) {
    Losses x[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) x[j] = *reinterpret_cast<const Losses*>(losses + i + j * kChains);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) chains.add(x[j]);
  }
  for (; i < filled; i += kChains) chains.add(losses_at(losses, i, filled, packed));
  Pool pool = merged(merged(chains.pool(0), chains.pool(1)), merged(chains.pool(2), chains.pool(3)));
#pragma unroll
  for (int half = kPerRing / 2; half > 0; half /= 2)
    pool =
        merged(pool, {0, __shfl_xor_sync(kAllLanes, pool.rest, half), __shfl_xor_sync(kAllLanes, pool.largest, half)});
  return {double(filled), pool.rest, pool.largest};
}

// use(k, pool) for the rings k of `rings`, by all warps of the grid or of one block.
template <class Use>
__device__ void for_each_pool(const float* ring, const int64_t* count, int64_t rings, int64_t capacity, int64_t warp,
                              int64_t warps, const Use& use) {
  constexpr int kRings = kLanes / kPerRing;
  for (int64_t first = warp * kRings; first < rings; first += warps * kRings) {
    const Pool pool = ring_pool(ring, count, capacity, first, rings);
    const int64_t k = first + threadIdx.x % kLanes / kPerRing;
    if (threadIdx.x % kPerRing == 0 && k < rings) use(k, pool);
  }
}

// Counts the step of group g and, of a single group, refreshes its table when that is due. Begins with a barrier.
__device__ inline void step_group(const Rings& rings, const Tables& t, const Grid& grid, const Params& p, int64_t g,
                                  unsigned char* shared) {
  Header* header = header_of(shared);
  __syncthreads();
  if (threadIdx.x == 0) header->due = refresh_is_due(p, ++rings.counters[g * kCounters + kSteps]);
  __syncthreads();
  if (rings.groups > 1) return;
  if (PLANT(divergent_barrier, !header->due, !header->due || threadIdx.x < 32)) return;
  double* work = body_of<double>(shared);
  const int64_t bin = g * grid.bins;
  for_each_pool(rings.ring + bin * rings.capacity, rings.count + bin, grid.bins, rings.capacity, threadIdx.x / kLanes,
                blockDim.x / kLanes, [&](int64_t k, const Pool& pool) { pools_of(work, grid.bins).set(k, pool); });
  __syncthreads();
  Block block = block_of(work, grid.bins);
  refresh(block, p, grid, table_of(t, rings.count, rings.counters, grid.bins, g), work,
          [](const Pools&) { return false; });
}

}  // namespace infonoise::cuda
