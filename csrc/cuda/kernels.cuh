// CUDA kernels of the schedule's ops over plain pointers. Tests run this same text on the CPU.
// No result depends on the order in which threads or blocks run.
#pragma once

#include "cuda/tiles.cuh"

namespace infonoise::cuda {

#define INX_KERNEL __global__ void __launch_bounds__(kThreads, 1)

INX_KERNEL observe_kernel(Rings rings, Grid grid, Batch b, int workers) {  // a block a group
  INX_SHARED(shared);
  record(rings, grid, b, blockIdx.x, workers, shared);
}

// Draws but for one table from u in float64.
__device__ inline void large_step(const Rings& rings, const Tables& t, const Grid& grid, const Params* params,
                                  int64_t* rng, const Batch& b, const Draw& d, int workers, unsigned char* shared) {
  const int64_t g = blockIdx.x;
  const bool alone = d.group.kind == kAbsent;  // then all samples are group 0's
  const bool draws = d.size > 0 && (!alone || g == 0);
  if (draws && threadIdx.x == blockDim.x - 1) header_of(shared)->offset = take_offset(rng, alone ? 1 : gridDim.x);
  record(rings, grid, b, g, workers, shared);
  if (!draws) return;
  const Params p = *params;
  const Stream stream = stream_of(p, rng, header_of(shared)->offset);
  const double* cdf = t.cdf + g * (grid.bins + 1);
  const int64_t first = threadIdx.x, step = blockDim.x;
  if (alone) return draws_by_words(p) ? draw_some_by_words(p, grid, cdf, stream, d, first, step, shared) : void();
  if (p.stratified > 0) return draw_group_strata(p, grid, t.cdf, stream, d, rings.groups, g, shared);
  draw_tables(p, grid, stream, d, first, step,
              [&](int64_t i) -> const double* { return clamped_group(d.group, i, rings.groups) == g ? cdf : nullptr; });
}

INX_KERNEL advance_kernel(Rings rings, Tables t, Grid grid, const Params* params, int64_t* rng, Batch b, Draw d,
                          int workers, int held) {  // a block a group, or one that holds that many samples a thread
  INX_SHARED(shared);
  Left left{false, true};
  if (held == 0) {
    left.draws = d.size > 0 && d.group.kind == kAbsent && blockIdx.x == 0 && !draws_by_words(*params);
    large_step(rings, t, grid, params, rng, b, d, workers, shared);
  } else {
    left = held == 1 ? small_step<1>(rings, t, grid, params, rng, b, d, held, shared)
                     : small_step<kHeld>(rings, t, grid, params, rng, b, d, held, shared);
    if (!left.draws && !left.count) return;
  }
  if (left.draws) {
    const Params p = *params;
    const Stream stream = stream_of(p, rng, header_of(shared)->offset);
    draw_in_float64(p, grid, t.cdf, stream, d, threadIdx.x, blockDim.x, shared);
  }
  if (left.count) step_group(rings, t, grid, *params, blockIdx.x, shared);
}

INX_KERNEL tally_kernel(Rings rings, Grid grid, Batch b, Tiles tiles) {  // a block a tile and group
  INX_SHARED(shared);
  const Tile tile = large_tile(tiles, rings, b, grid.bins, shared);
  const int64_t g = blockIdx.x % rings.groups;
  Header* header = header_of(shared);
  clear_tile(tile, grid, header);
  if (tiles.way == kHeldByWarps) {
    tally_held(tile, rings, grid, header, b);
  } else {
    __syncthreads();
    if (tiles.way == kPlain && has_cells(grid))
      tally_plain(tile, rings, grid, header, b, reinterpret_cast<unsigned char*>(tile.row(tiles.workers + kPlans)));
    else
      tally_tile(tile, rings, grid, header, b, g);
  }
  for (int k = threadIdx.x; k < tile.columns; k += blockDim.x) {
    const int total = rank_workers(tile, k, 0);
    tiles.tallies[int64_t(blockIdx.x) * tile.columns + k] = total;
    auto* count = reinterpret_cast<unsigned long long*>(counter_of(rings, grid.bins, g, k));
    if (total > 0) atomicAdd(count, static_cast<unsigned long long>(total));
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *done_of(tiles, rings, grid.bins) = 0;
}

INX_KERNEL place_kernel(Rings rings, Tables t, Grid grid, const Params* params, int64_t* rng, Batch b, Draw d,
                        Tiles tiles, bool steps) {  // a block a tile and group
  INX_SHARED(shared);
  const Tile tile = large_tile(tiles, rings, b, grid.bins, shared);
  const int64_t g = blockIdx.x % rings.groups;
  Header* header = header_of(shared);
  clear_tile(tile, grid, header);
  // Of a huge batch the last tiles alone write.
  if (tiles.way == kHeldByWarps) {
    HeldTile samples(tile, grid, b);
    if (__syncthreads_or(plan_tile(tiles, tile, rings, grid.bins, g)))
      place_held(tile, rings, grid, header, b, samples);
  } else if (__syncthreads_or(plan_tile(tiles, tile, rings, grid.bins, g))) {
    place_tile(tile, rings, grid, header, b, g);
  }
  if (!steps) return;
  const Params p = *params;
  if (d.size > 0) draw_all(p, grid, t.cdf, rings.groups, rng, uint64_t(rng[1]), d, shared);
  if (!comes_last(done_of(tiles, rings, grid.bins))) return;
  if (d.size > 0 && threadIdx.x == 0) rng[1] += 1;
  for (int64_t group = 0; group < rings.groups; ++group) step_group(rings, t, grid, p, group, shared);
}

__global__ void __launch_bounds__(kDrawThreads, 2)
    sample_kernel(const double* cdf, Grid grid, const Params* params, int64_t* rng, int64_t groups, Draw d) {
  INX_SHARED(shared);
  if (threadIdx.x == 0) header_of(shared)->offset = take_offset(rng, gridDim.x);
  __syncthreads();
  const Params p = *params;
  draw_all(p, grid, cdf, groups, rng, header_of(shared)->offset, d, shared);
}

// Given counters, both only if the step that was counted makes a refresh due.
INX_KERNEL bin_stats_kernel(const float* ring, const int64_t* count, int64_t bins, int64_t capacity, double* moments,
                            const Params* params, const int64_t* counters) {
  if (counters && !refresh_is_due(*params, counters[kSteps])) return;
  const int64_t warps = blockDim.x / kLanes;
  for_each_pool(ring, count, bins, capacity, blockIdx.x * warps + threadIdx.x / kLanes, gridDim.x * warps,
                [&](int64_t k, const Pool& pool) {
                  moments[k * kMoments + kCount] = pool.count;
                  moments[k * kMoments + kRest] = pool.rest;
                  moments[k * kMoments + kLargest] = pool.largest;
                });
}

INX_KERNEL refresh_kernel(const double* moments, Tables t, Grid grid, const Params* params, const int64_t* count,
                          int64_t* counters, bool if_due) {
  INX_SHARED(shared);  // a block a group
  if (if_due && !refresh_is_due(*params, counters[kSteps])) return;
  const int64_t g = blockIdx.x;
  double* work = body_of<double>(shared);
  Block block = block_of(work, grid.bins);
  load_pools(block, grid.bins, moments + g * grid.bins * kMoments, pools_of(work, grid.bins));
  refresh(block, *params, grid, table_of(t, count, counters, grid.bins, g), work, [&](const Pools& pools) {
    if (gridDim.x == 1) return false;
    load_everyone(block, gridDim.x, grid.bins, moments, pools);
    return true;
  });
}

}  // namespace infonoise::cuda
