// Drawing: Philox words, four samples each, through the inverse of the table.
#pragma once

#include "cuda/words.cuh"

namespace infonoise::cuda {

constexpr uint64_t kTicket = 1ull << 40;  // draws a stream can make before tickets disturb it

struct Draw {
  float* sigma;
  int64_t size;
  Column group;
  bool cells = false;  // whether a block draws enough of one table to find bins by cells
};

__device__ inline float invert(const Params& p, const Grid& grid, const double* table, double u) {
  const int k = cdf_bin(u, table, grid.bins);
  const double x = log_sigma_at(p, k, u, table[k], table[k + 1] - table[k]);
  return clamp_sigma(exp_plain(x), grid.row(kEdges), grid.bins);
}

__device__ inline int64_t clamped_group(const Column& group, int64_t i, int64_t groups) {
  const int64_t g = group_at(group, i);
  return g < 0 ? 0 : g < groups ? g : groups - 1;
}

// The offset of this draw. Every reader adds a ticket above the offset's bits; the last one takes the
// tickets off and counts the draw, so that no block can read the next offset.
__device__ inline uint64_t take_offset(int64_t* rng, uint64_t readers) {
  auto* word = reinterpret_cast<unsigned long long*>(rng + 1);
  const uint64_t seen = atomicAdd(word, static_cast<unsigned long long>(kTicket));
  const uint64_t offset = seen & (kTicket - 1);
  if (PLANT(early_offset, seen / kTicket == readers - 1, true))
    atomicExch(word, static_cast<unsigned long long>(offset + 1));
  return offset;
}

// A word's sigma from any table, its bin found by search.
__device__ inline float search_sigma(const Params& p, const Grid& grid, const double* cdf, uint32_t word) {
  const double u = uniform(word), *edges = grid.row(kEdges);
  if (!draws_by_words(p)) return invert(p, grid, cdf, u);
  return sigma_of_word(word_bin(cdf, cdf_bin(u, cdf, grid.bins), edges), word, float(p.width), float(edges[grid.bins]));
}

// words[j], which stay in registers.
__device__ inline uint32_t word_of(const uint32_t words[4], int j) {
  return j & 2 ? (j & 1 ? words[3] : words[2]) : (j & 1 ? words[1] : words[0]);
}

// use(four, words) for every fourth sample from thread `first` on.
template <class Use>
__device__ void for_each_four(const Stream& stream, int64_t size, int64_t first, int64_t step, const Use& use) {
  for (int64_t four = first; four < (size + 3) / 4; four += step) {
    uint32_t words[4];
    draw_words(stream, four, words);
    use(four, words);
  }
}

// Draws the samples whose table is not null: table_of(i) is null of those that another block draws.
template <class TableOf>
__device__ void draw_tables(const Params& p, const Grid& grid, const Stream& stream, const Draw& d, int64_t first,
                            int64_t step, const TableOf& table_of) {
  for_each_four(stream, d.size, first, step, [&](int64_t four, const uint32_t* words) {
    INX_ROLLED
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * four + j;
      const double* table = i < d.size ? table_of(i) : nullptr;
      if (table) d.sigma[i] = search_sigma(p, grid, table, word_of(words, j));
    }
  });
}

struct StrataTable {  // in a block's shared memory, before the rows of one table
  Strata strata;
  int sums[kThreads / 32];
  __device__ double* rows() { return reinterpret_cast<double*>(this + 1); }
};

inline size_t strata_bytes(int bins) { return sizeof(StrataTable) + sizeof(double) * (bins + 1); }

// Of group g, to whose samples the table belongs. Ends with a barrier.
__device__ inline StrataTable* make_strata_table(const Params& p, const Stream& stream, const double* cdf, int bins,
                                                 int64_t g, uint64_t size, unsigned char* shared) {
  StrataTable* t = body_of<StrataTable>(shared);
  for (int k = threadIdx.x; k <= bins; k += blockDim.x) t->rows()[k] = cdf[k];
  if (threadIdx.x < kShuffleBlocks) shuffle_keys(stream, g, threadIdx.x, t->strata.keys + 4 * threadIdx.x);
  if (threadIdx.x == blockDim.x - 1) {
    t->strata.size = size;
    t->strata.world = double(world_of(p));
    t->strata.turn = turn_of(p, stream.offset);
  }
  __syncthreads();
  return t;
}

// use(i, place) in batch order for every sample i of group g, before which there are `place` of them. Returns how many
// there are. For whole blocks.
template <class Use>
__device__ int64_t walk_group(const Draw& d, int64_t groups, int64_t g, int* sums, const Use& use) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  int64_t before = 0;
  for (int64_t start = 0; start < d.size; start += blockDim.x) {
    const int64_t i = start + threadIdx.x;
    const bool ours = i < d.size && clamped_group(d.group, i, groups) == g;
    const unsigned equal = __match_any_sync(kAllLanes, int(ours)), lanes = ours ? equal : ~equal;
    if (lane == 0) sums[warp] = __popc(lanes);
    PLANT(missing_sums_barrier, __syncthreads(), void());
    int64_t place = before + __popc(lanes & ((1u << lane) - 1));
    for (int w = 0; w < int(blockDim.x / 32); ++w) {
      if (w < warp) place += sums[w];
      before += sums[w];
    }
    if (ours) use(i, place);
    __syncthreads();
  }
  return before;
}

// Group g's samples in their strata, by one whole block. Begins with a barrier.
__device__ inline void draw_group_strata(const Params& p, const Grid& grid, const double* cdf, const Stream& stream,
                                         const Draw& d, int64_t groups, int64_t g, unsigned char* shared) {
  __syncthreads();
  int* sums = body_of<StrataTable>(shared)->sums;
  const int64_t size = walk_group(d, groups, g, sums, [](int64_t, int64_t) {});
  StrataTable* t = make_strata_table(p, stream, cdf + g * (grid.bins + 1), grid.bins, g, size, shared);
  walk_group(d, groups, g, sums, [&](int64_t i, int64_t place) {
    uint32_t words[4];
    draw_words(stream, i / 4, words);
    const double u = uniform(word_of(words, int(i & 3)));
    d.sigma[i] = invert(p, grid, t->rows(), stratified(t->strata, uint32_t(place), u));
  });
}

inline size_t draw_bytes(int bins, bool cells) { return std::max(strata_bytes(bins), word_bytes(bins, cells)); }

// Samples of one table by the threads from `first` on, of which this block has its share, from u in float64. Begins
// with a barrier.
__device__ inline void draw_in_float64(const Params& p, const Grid& grid, const double* cdf, const Stream& stream,
                                       const Draw& d, int64_t first, int64_t step, unsigned char* shared) {
  __syncthreads();
  StrataTable* t = make_strata_table(p, stream, cdf, grid.bins, 0, d.size, shared);
  for_each_four(stream, d.size, first, step, [&](int64_t four, const uint32_t* words) {
    INX_ROLLED
    for (int j = 0; j < 4; ++j) {
      const int64_t i = 4 * four + j;
      if (i >= d.size) break;
      const double u = uniform(word_of(words, j));
      d.sigma[i] = invert(p, grid, t->rows(), p.stratified > 0 ? stratified(t->strata, uint32_t(i), u) : u);
    }
  });
}

// The same from words, of so few samples that cells do not pay. Begins with a barrier.
__device__ inline void draw_some_by_words(const Params& p, const Grid& grid, const double* cdf, const Stream& stream,
                                          const Draw& d, int64_t first, int64_t step, unsigned char* shared) {
  __syncthreads();
  draw_by_words<false>(p, grid, cdf, body_of<unsigned char>(shared), stream, d.sigma, d.size, uint32_t(first),
                       uint32_t(step));
}

__device__ inline void draw_one_table(const Params& p, const Grid& grid, const double* cdf, const Stream& stream,
                                      const Draw& d, int64_t first, int64_t step, unsigned char* shared) {
  if (!draws_by_words(p)) return draw_in_float64(p, grid, cdf, stream, d, first, step, shared);
  if (!d.cells) return draw_some_by_words(p, grid, cdf, stream, d, first, step, shared);
  __syncthreads();
  draw_by_words<true>(p, grid, cdf, body_of<unsigned char>(shared), stream, d.sigma, d.size, uint32_t(first),
                      uint32_t(step));
}

// All samples, spread over the whole launch. Begins with a barrier.
__device__ inline void draw_all(const Params& p, const Grid& grid, const double* cdf, int64_t groups,
                                const int64_t* rng, uint64_t offset, const Draw& d, unsigned char* shared) {
  const Stream stream = stream_of(p, rng, offset);
  // Warp by warp, so that of few samples every block draws some.
  const int64_t warp = threadIdx.x / 32 * gridDim.x + blockIdx.x, lane = threadIdx.x % 32;
  const int64_t first = warp * 32 + lane, step = int64_t(gridDim.x) * blockDim.x;
  if (d.group.kind == kAbsent) return draw_one_table(p, grid, cdf, stream, d, first, step, shared);
  if (p.stratified > 0) {
    for (int64_t g = blockIdx.x; g < groups; g += gridDim.x)
      draw_group_strata(p, grid, cdf, stream, d, groups, g, shared);
    return;
  }
  draw_tables(p, grid, stream, d, first, step,
              [&](int64_t i) { return cdf + clamped_group(d.group, i, groups) * (grid.bins + 1); });
}

}  // namespace infonoise::cuda
