// Drawing: Philox words, four samples each, through the inverse of the table.
#pragma once

#include "block.cuh"

namespace infonoise {

constexpr uint64_t kTicket = 1ull << 40;             // draws a stream can make before tickets disturb it

struct Draw {
  float* sigma;
  int64_t size;
  Column group;
};

__device__ inline float sigma_at(const Params& p, const Grid& grid, const double* table, double u) {
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
      if (p.stratified > 0) u = stratified(stream, i, u);
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
  const Stream stream = stream_of(p, rng[0], offset, d.size);
  const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x, step = int64_t(gridDim.x) * blockDim.x;
  draw_fours(p, grid, stream, d, first, step, [&](int64_t i) -> const double* {
    if (d.group.kind == kAbsent) return table;
    return cdf + clamped_group(d.group, i, groups) * (grid.bins + 1);
  });
}

}  // namespace infonoise
