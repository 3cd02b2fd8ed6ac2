// Which kernels an op launches, with how many blocks and how much shared memory:
// `on` launches (`on(kernel, blocks, threads, shared, arguments...)`) and provides scratch memory.
#pragma once

#include "cuda/kernels.cuh"

namespace infonoise::cuda {

inline size_t tally_bytes(int bins, int workers) { return sizeof(int) * (workers + kPlans) * (bins + kCauses); }

// Warps that take part in ranking: no more than there are strips, places for tallies, or warps.
inline int workers_for(const Limits& limits, int bins, int64_t samples) {
  const int64_t fit = int64_t((limits.shared - kHeaderBytes) / tally_bytes(bins, 1 - kPlans));
  const int64_t strips = std::max<int64_t>(1, (samples + 31) / 32);
  return int(std::min({fit - kPlans, strips, int64_t(limits.threads / 32)}));
}

// Samples that each thread of one block holds in registers; 0 where one block does not hold all.
inline int held_for(const Limits& limits, const Rings& r, int bins, const Batch& b, const Draw& d) {
  if (r.groups > 1 || d.group.kind != kAbsent || bins + kCauses > limits.threads) return 0;
  if (kHeaderBytes + desk_bytes(bins, limits.threads) > limits.shared) return 0;
  const int64_t each = (std::max<int64_t>({b.size, d.size, 1}) + limits.threads - 1) / limits.threads;
  return each <= kHeld ? int(each) : 0;
}

// Short tiles until every multiprocessor has one, and more of them where they would be long.
inline int tiles_for(const Limits& limits, int64_t groups, int bins, int64_t samples) {
  const int64_t fit = std::max<int64_t>(1, limits.tallies / (groups * (bins + kCauses)));
  const int64_t short_ones = (samples + limits.tile - 1) / limits.tile;
  const int64_t full_ones = (samples + limits.full_tile - 1) / limits.full_tile;
  return int(std::min({std::max(full_ones, std::min(short_ones, limits.multiprocessors)), fit, int64_t(512)}));
}

inline Draw by_cells(const Limits& limits, Draw d, int64_t blocks) {
  d.cells = d.group.kind == kAbsent && d.size >= limits.cells * blocks;
  return d;
}

// Of a step the tables, and what is drawn; of recording alone neither.
template <class On>
void launch_tiles(On& on, const Rings& r, const Tables& t, const Grid& grid, const Params* p, int64_t* rng,
                  const Batch& b, const Draw& d, bool steps) {
  const int number = tiles_for(on.limits, r.groups, grid.bins, std::max(b.size, d.size));
  const int64_t size = tile_size(b.size, number), blocks = number * r.groups;
  Tiles tiles{on.scratch(scratch_ints(number, r.groups, grid.bins)), number, workers_for(on.limits, grid.bins, size),
              kAnyWay};
  const size_t tally = tally_bytes(grid.bins, tiles.workers), with_edges = tally + sizeof(float) * (grid.bins + 1);
  const size_t most = on.limits.shared - kHeaderBytes;
  if (r.groups == 1 && size <= 32 * tiles.workers && with_edges <= most)
    tiles.way = kHeldByWarps;
  else if (is_plain(r, b) && tally + plain_bytes(grid.bins) <= most)
    tiles.way = kPlain;
  const Draw draw = by_cells(on.limits, d, blocks);
  const size_t record = tiles.way == kHeldByWarps ? with_edges : tally, work = steps ? work_bytes(grid.bins) : 0;
  on(tally_kernel, blocks, on.limits.threads,
     shared_bytes(tiles.way == kPlain ? tally + plain_bytes(grid.bins) : record), r, grid, b, tiles);
  on(place_kernel, blocks, on.limits.threads, shared_bytes(record, draw_bytes(grid.bins, draw.cells), work), r, t, grid,
     p, rng, b, draw, tiles, steps);
}

template <class On>
void launch_observe(On& on, const Rings& r, const Grid& grid, const Batch& b) {
  if (b.size == 0 || r.groups == 0) return;
  if (b.size <= on.limits.one_launch) {
    const int workers = workers_for(on.limits, grid.bins, b.size);
    return on(observe_kernel, r.groups, on.limits.threads, shared_bytes(tally_bytes(grid.bins, workers)), r, grid, b,
              workers);
  }
  launch_tiles(on, r, Tables{}, grid, nullptr, nullptr, b, Draw{}, false);
}

inline int64_t blocks_for(int64_t most, int64_t threads_wanted, int threads) {
  return std::min((threads_wanted + threads - 1) / threads, most);
}

template <class On>
void launch_bin_stats(On& on, const Rings& r, int bins, double* moments, const Params* p = nullptr,
                      const int64_t* counters = nullptr) {
  const int64_t all = r.groups * bins;
  if (all == 0) return;
  const int threads = std::min(128, on.limits.threads);
  on(bin_stats_kernel, blocks_for(16 * on.limits.multiprocessors, kPerRing * all, threads), threads, size_t(0),
     static_cast<const float*>(r.ring), static_cast<const int64_t*>(r.count), all, r.capacity, moments, p, counters);
}

template <class On>
void launch_refresh(On& on, const double* moments, const Tables& t, const Grid& grid, const Params* p,
                    const int64_t* count, int64_t* counters, int64_t groups, bool if_due = false) {
  if (groups == 0) return;
  on(refresh_kernel, groups, on.limits.threads, shared_bytes(work_bytes(grid.bins)), moments, t, grid, p, count,
     counters, if_due);
}

template <class On>
void launch_advance(On& on, const Rings& r, const Tables& t, const Grid& grid, const Params* p, int64_t* rng,
                    const Batch& b, const Draw& d) {
  if (r.groups == 0) return;
  const int64_t size = std::max(b.size, d.size);
  const size_t draw = draw_bytes(grid.bins, false), work = work_bytes(grid.bins);
  if (size <= on.limits.one_launch) {
    const int workers = workers_for(on.limits, grid.bins, b.size), held = held_for(on.limits, r, grid.bins, b, d);
    const size_t record = held > 0 ? desk_bytes(grid.bins, on.limits.threads) : tally_bytes(grid.bins, workers);
    on(advance_kernel, r.groups, on.limits.threads, shared_bytes(record, draw, work), r, t, grid, p, rng, b, d, workers,
       held);
  } else {
    launch_tiles(on, r, t, grid, p, rng, b, d, true);
  }
  if (r.groups == 1) return;
  double* moments = reinterpret_cast<double*>(on.scratch(2 * r.groups * grid.bins * kMoments));
  launch_bin_stats(on, r, grid.bins, moments, p, static_cast<const int64_t*>(r.counters));
  launch_refresh(on, moments, t, grid, p, r.count, r.counters, r.groups, true);
}

template <class On>
void launch_sample(On& on, const double* cdf, const Grid& grid, const Params* p, int64_t* rng, int64_t groups,
                   const Draw& d) {
  if (d.size == 0) return;
  const int threads = std::min(d.size < kWordCells ? 128 : kDrawThreads, on.limits.threads);
  const int64_t walkers = d.group.kind == kAbsent ? 0 : groups * threads;  // of strata: a block a group
  const int64_t blocks = blocks_for(2 * on.limits.multiprocessors, std::max((d.size + 3) / 4, walkers), threads);
  const Draw draw = by_cells(on.limits, d, blocks);
  on(sample_kernel, blocks, threads, shared_bytes(draw_bytes(grid.bins, draw.cells)), cdf, grid, p, rng, groups, draw);
}

}  // namespace infonoise::cuda
