// Many samples of one table: its bins in shared memory, as words see them, and a bin for every beginning of a word.
#pragma once

#include "core/draw.h"
#include "cuda/block.cuh"

namespace infonoise::cuda {

// A word's first 12 bits are its cell. The last 12 bits of a cell's entry are the bin of its last word, the first 20
// where in the cell that bin begins; a word before there lies in the bin before. Where more bins than one begin in a
// cell, its entry is kManyBins.
constexpr uint32_t kWordCells = 4096, kWordCellShift = 20, kManyBins = 0xFFFFFFFF;
constexpr int kMostCopies = 8;  // of the bins: lanes that read 16 bytes each then never wait for one another
static_assert(kMaxBins <= kWordCells, "a bin fits into 12 bits");

struct WordTable {
  unsigned char* mine;  // this thread's copy of the bins, of which one begins every `stride` bytes
  int stride, last;
  uint32_t* cells;  // [kWordCells]

  __device__ const WordBin& bin(int k) const { return *reinterpret_cast<const WordBin*>(mine + k * stride); }
};

inline INX_BOTH int word_copies(int bins, bool cells) {
  const int fit = 2048 / bins;
  return !cells || fit < 1 ? 1 : fit < kMostCopies ? fit : kMostCopies;
}

inline size_t word_bytes(int bins, bool cells) {
  return sizeof(WordBin) * bins * word_copies(bins, cells) + (cells ? sizeof(uint32_t) * kWordCells : 0);
}

// at[j] = the bin of words[j], by searches that do not wait for one another.
template <int N>
__device__ void find_bins(const WordTable& t, const uint32_t words[N], int at[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) at[j] = 0;
  for (int left = t.last + 1; left > 1; left -= left / 2) {
#pragma unroll
    for (int j = 0; j < N; ++j)
      if (t.bin(at[j] + left / 2).first <= words[j]) at[j] += left / 2;
  }
}

__device__ inline uint32_t cell_entry(const WordTable& t, uint32_t cell) {
  const uint32_t word[1] = {cell << kWordCellShift};
  int k[1];
  find_bins<1>(t, word, k);
  const auto begins_in_cell = [&](int k) { return k <= t.last && t.bin(k).first - word[0] < 1u << kWordCellShift; };
  if (!begins_in_cell(k[0] + 1)) return uint32_t(k[0]);
  if (PLANT(crowded_cell, begins_in_cell(k[0] + 2), false)) return kManyBins;
  return (t.bin(k[0] + 1).first - word[0]) << (32 - kWordCellShift) | uint32_t(k[0] + 1);
}

// Ends with a barrier.
template <bool with_cells>
__device__ WordTable make_word_table(const double* cdf, const Grid& grid, unsigned char* place) {
  const int copies = word_copies(grid.bins, with_cells), size = int(sizeof(WordBin));
  WordTable t{place + int(threadIdx.x) % copies * size, copies * size, last_word_bin(cdf, grid.bins),
              reinterpret_cast<uint32_t*>(place + grid.bins * copies * size)};
  for (int k = threadIdx.x; k <= t.last; k += blockDim.x) {
    const WordBin bin = word_bin(cdf, k, grid.row(kEdges));
    for (int c = 0; c < copies; ++c) reinterpret_cast<WordBin*>(place)[k * copies + c] = bin;
  }
  PLANT(missing_table_barrier, __syncthreads(), void());
  if constexpr (with_cells) {
    for (uint32_t c = threadIdx.x; c < kWordCells; c += blockDim.x) t.cells[c] = cell_entry(t, c);
    __syncthreads();
  }
  return t;
}

// Of N samples from `first` on, those that there are.
template <int N>
__device__ void store(float* sigma, int64_t size, int64_t first, const float out[N]) {
  struct alignas(4 * N) All {
    float sigma[N];
  };
  if (first + N <= size) {
    All all;
#pragma unroll
    for (int j = 0; j < N; ++j) all.sigma[j] = out[j];
    *reinterpret_cast<All*>(sigma + first) = all;
    return;
  }
#pragma unroll
  for (int j = 0; j < N - 1; ++j)
    if (first + j < size) sigma[first + j] = out[j];
}

// draw(words, sigma) for the fours of words from thread `first` on; those of the last few samples by one thread.
template <class DrawFour>
__device__ void draw_fours(const Stream& stream, float* sigma, int64_t size, uint32_t first, uint32_t step,
                           const DrawFour& draw) {
  const uint32_t fours = uint32_t(size >> 2), rest = uint32_t(size) & 3;
  for (uint32_t four = first; four < fours; four += step) {
    uint32_t words[4];
    draw_words(stream, four, words);
    Four out;
    draw(words, out.of);
    reinterpret_cast<Four*>(sigma)[four] = out;
  }
  if (rest == 0 || first != fours % step) return;
  uint32_t words[4];
  draw_words(stream, fours, words);
  float out[4];
  draw(words, out);
#pragma unroll
  for (uint32_t j = 0; j < 3; ++j)
    if (j < rest) sigma[int64_t(4) * fours + j] = out[j];
}

// at[j] = the bin of words[j] by its cell; by search where a cell has many, or there are none.
template <bool with_cells>
__device__ void find_words(const WordTable& t, const uint32_t words[4], int at[4]) {
  bool many = !with_cells;
#pragma unroll
  for (int j = 0; with_cells && j < 4; ++j) {
    const uint32_t entry = t.cells[words[j] >> kWordCellShift];
    at[j] = int(entry % kWordCells) - int((words[j] << 12 | 0xFFFu) < entry);
    many = many || entry == kManyBins;
  }
  if (many) find_bins<4>(t, words, at);
}

// By the threads from `first` on, of which this block has its share. Has barriers.
template <bool with_cells>
__device__ void draw_by_words(const Params& p, const Grid& grid, const double* cdf, unsigned char* place,
                              const Stream& stream, float* sigma, int64_t size, uint32_t first, uint32_t step) {
  const WordTable t = make_word_table<with_cells>(cdf, grid, place);
  const float width = float(p.width), highest = float(grid.row(kEdges)[grid.bins]);
  const auto draw = [&](const auto& growth) {
    draw_fours(stream, sigma, size, first, step, [&](const uint32_t words[4], float out[4]) {
      int k[4];
      find_words<with_cells>(t, words, k);
#pragma unroll
      for (int j = 0; j < 4; ++j) out[j] = sigma_of_word(t.bin(k[j]), words[j], growth, highest);
    });
  };
  return with_cells && is_narrow(width) ? draw(NarrowGrowth(width)) : draw(width);
}

}  // namespace infonoise::cuda
