// Which kernels an op launches, with how many blocks and how much shared memory. Knows no torch:
// `on` launches (`on(kernel, blocks, threads, shared, arguments...)`) and provides scratch memory.
#pragma once

#include <algorithm>

#include "kernels.cuh"

namespace infonoise {

constexpr size_t kMostShared = 96 * 1024;   // every GPU from sm_80 on has it

struct Limits {
  int threads = kThreads;
  int64_t one_launch = 65536;               // samples that one block a group works through
  int64_t tile = 8192;                      // samples of a tile beyond that
  int64_t tallies = 1 << 24;                // the most ints of scratch memory
  int64_t draw_blocks = 2048;
  int64_t piece = 8192;                     // the fewest elements of a sample that a block sums
  int64_t pieces = 4096;                    // the most pieces of a sample
};

inline size_t tally_bytes(int bins, int workers) { return sizeof(int) * (workers + kPlans) * (bins + kCauses); }
inline size_t table_bytes(int bins) { return sizeof(double) * (bins + 1); }
inline size_t rows_bytes(int bins) { return sizeof(DrawRow) * bins + sizeof(uint16_t) * (kCells + 1); }
inline size_t draw_bytes(int bins) { return std::max(table_bytes(bins), rows_bytes(bins)); }
inline size_t work_bytes(int bins) { return sizeof(double) * (2 * bins + kTold); }

template <class... Sizes>
size_t shared_bytes(Sizes... sizes) {
  return kHeaderBytes + std::max({size_t(0), size_t(sizes)...});
}

// Warps that take part in ranking: no more than there are strips, rows of tallies, or warps.
inline int workers_for(const Limits& limits, int bins, int64_t samples) {
  const int64_t rows = int64_t((kMostShared - kHeaderBytes) / tally_bytes(bins, 1 - kPlans));
  const int64_t strips = std::max<int64_t>(1, (samples + 31) / 32);
  return int(std::min({rows - kPlans, strips, int64_t(limits.threads / 32)}));
}

inline int tiles_for(const Limits& limits, int64_t groups, int bins, int64_t samples) {
  const int64_t fit = std::max<int64_t>(1, limits.tallies / (groups * (bins + kCauses)));
  return int(std::min((samples + limits.tile - 1) / limits.tile, std::min<int64_t>(fit, 512)));
}

template <class On>
int* launch_tiles(On& on, const Rings& r, const Tables& t, const Grid& grid, const Params* p, const int64_t* rng,
                  const Samples& b, const Draw& d, int tiles) {
  const int workers = workers_for(on.limits, grid.bins, (b.size + tiles - 1) / tiles), threads = on.limits.threads;
  const size_t tally = tally_bytes(grid.bins, workers);
  int* tallies = on.scratch(tiles * r.groups * (grid.bins + kCauses));
  on(tally_kernel, tiles * r.groups, threads, shared_bytes(tally), r, grid, b, tallies, tiles, workers);
  on(place_kernel, tiles * r.groups, threads, shared_bytes(tally, draw_bytes(grid.bins)), r, t, grid, p, rng, b, d,
     static_cast<const int*>(tallies), tiles, workers);
  return tallies;
}

template <class On>
void launch_observe(On& on, const Rings& r, const Grid& grid, const Samples& b) {
  if (b.size == 0 || r.groups == 0) return;
  if (b.size <= on.limits.one_launch) {
    const int workers = workers_for(on.limits, grid.bins, b.size);
    return on(observe_kernel, r.groups, on.limits.threads, shared_bytes(tally_bytes(grid.bins, workers)), r, grid, b,
              workers);
  }
  const int tiles = tiles_for(on.limits, r.groups, grid.bins, b.size);
  const Tables none{};
  const Params* p = nullptr;
  int64_t* rng = nullptr;
  const int* tallies = launch_tiles(on, r, none, grid, p, rng, b, Draw{}, tiles);
  on(finish_kernel, r.groups, on.limits.threads, shared_bytes(), r, none, grid, p, rng, tallies, tiles, false, false);
}

template <class On>
void launch_advance(On& on, const Rings& r, const Tables& t, const Grid& grid, const Params* p, int64_t* rng,
                    const Samples& b, const Draw& d) {
  if (r.groups == 0) return;
  const int64_t size = std::max(b.size, d.size);
  const size_t draw = draw_bytes(grid.bins), work = work_bytes(grid.bins);
  if (size <= on.limits.one_launch) {
    const int workers = workers_for(on.limits, grid.bins, b.size);
    return on(advance_kernel, r.groups, on.limits.threads,
              shared_bytes(tally_bytes(grid.bins, workers), draw, work), r, t, grid, p, rng, b, d, workers);
  }
  const int tiles = tiles_for(on.limits, r.groups, grid.bins, size);
  const int* tallies = launch_tiles(on, r, t, grid, p, rng, b, d, tiles);
  on(finish_kernel, r.groups, on.limits.threads, shared_bytes(work), r, t, grid, p, rng, tallies, tiles, true,
     d.size > 0);
}

inline int64_t blocks_for(const Limits& limits, int64_t threads_wanted, int threads) {
  return std::min((threads_wanted + threads - 1) / threads, limits.draw_blocks);
}

template <class On>
void launch_sample(On& on, const double* cdf, const Grid& grid, const Params* p, int64_t* rng, int64_t groups,
                   const Draw& d) {
  if (d.size == 0) return;
  const int threads = std::min(128, on.limits.threads);
  on(sample_kernel, blocks_for(on.limits, (d.size + 3) / 4, threads), threads, shared_bytes(draw_bytes(grid.bins)),
     cdf, grid, p, rng, groups, d);
}

template <class On>
void launch_icdf(On& on, const double* cdf, const Grid& grid, const Params* p, int64_t groups, const Column& u,
                 const Draw& d) {
  if (d.size == 0) return;
  const int threads = std::min(128, on.limits.threads);
  on(icdf_kernel, blocks_for(on.limits, d.size, threads), threads, shared_bytes(table_bytes(grid.bins)), cdf, grid, p,
     groups, u, d);
}

template <class On>
void launch_bin_stats(On& on, const Rings& r, int bins, double* moments) {
  const int64_t rows = r.groups * bins;
  if (rows == 0) return;
  const int threads = std::min(128, on.limits.threads);
  on(bin_stats_kernel, blocks_for(on.limits, 32 * rows, threads), threads, size_t(0),
     static_cast<const float*>(r.ring), static_cast<const int64_t*>(r.count), rows, r.capacity, moments);
}

template <class On>
void launch_refresh(On& on, const double* moments, const Tables& t, const Grid& grid, const Params* p,
                    int64_t* counters, int64_t groups) {
  if (groups == 0) return;
  on(refresh_kernel, groups, on.limits.threads, shared_bytes(work_bytes(grid.bins)), moments, t, grid, p, counters);
}

inline int pack_of(const Pair& pair) {
  const auto bytes = [](Kind kind) { return kind == kFloat64 ? 8 : kind == kFloat32 ? 4 : 2; };
  return kPackBytes / std::max(bytes(pair.denoised_kind), bytes(pair.target_kind));
}

// `gradient`, when there is one, is written in packs too.
inline Pair pair_of(const Column& denoised, const Column& target, int64_t samples, int64_t size,
                    const void* gradient = nullptr) {
  Pair pair{denoised.data, target.data, denoised.kind, target.kind, samples, size, true};
  if (size % pack_of(pair) != 0) pair.packed = false;
  for (const void* data : {denoised.data, target.data, gradient})
    if (reinterpret_cast<uintptr_t>(data) % kPackBytes != 0) pair.packed = false;
  return pair;
}

// Lanes of a warp for a sample of few packs, a block for one of more, many blocks for a large one.
inline Pieces pieces_for(const Limits& limits, const Pair& pair, int threads) {
  const int64_t pack = pack_of(pair);
  if (pair.size <= 8 * 32 * pack) {
    int team = 1;
    while (team < 32 && team * pack < pair.size) team *= 2;
    return {1, pair.size, team};
  }
  const int64_t count = std::min((pair.size + limits.piece - 1) / limits.piece, limits.pieces);
  const int64_t length = (pair.size + count * kPackBytes - 1) / (count * kPackBytes) * kPackBytes;   // whole packs
  return {(pair.size + length - 1) / length, length, threads};
}

inline int64_t blocks_for(const Pair& pair, const Pieces& p, int threads) {
  const int teams = threads / p.team;
  return (pair.samples * p.count + teams - 1) / teams;
}

template <class On>
void launch_denoising_error(On& on, const Pair& pair, const Errors& errors) {
  if (pair.samples == 0) return;
  const int threads = std::min(kLossThreads, on.limits.threads);
  const size_t shared = shared_bytes(sizeof(double) * threads / 32);
  const Pieces p = pieces_for(on.limits, pair, threads);
  double* sums = p.count > 1 ? reinterpret_cast<double*>(on.scratch(2 * pair.samples * p.count)) : nullptr;
  on(denoising_error_kernel, blocks_for(pair, p, threads), threads, shared, pair, p, sums, errors);
  if (p.count > 1)
    on(denoising_fold_kernel, pair.samples, threads, shared, static_cast<const double*>(sums), p.count, pair.size,
       errors);
}

template <class On>
void launch_denoising_gradient(On& on, const Pair& pair, const Column& grad_error, void* gradient) {
  if (pair.samples == 0) return;
  const int threads = std::min(kLossThreads, on.limits.threads);
  const Pieces p = pieces_for(on.limits, pair, threads);
  on(denoising_gradient_kernel, blocks_for(pair, p, threads), threads, size_t(0), pair, p, grad_error, gradient);
}

}  // namespace infonoise
