// Drawing, as CPU loops over plain pointers.
#pragma once

#include "core/draw.h"
#include "cpu/record.h"

namespace infonoise::cpu {

// Words of the chunk of samples that starts at `start`, a multiple of 4; room for whole fours.
inline void words_of_chunk(const Params& p, const Stream& s, int64_t start, int size, uint32_t* words) {
  for (int j = 0; j < size; j += 4) draw_words(p, s, (start + j) / 4, words + j);
}

// The u of those words.
inline void uniforms(const Params& p, const Stream& s, int64_t start, int size, const uint32_t* words, double* u) {
  for (int i = 0; i < size; ++i) u[i] = uniform(words[i]);
  if (p.stratified > 0)
    for (int i = 0; i < size; ++i) u[i] = stratified(s, start + i, u[i]);
}

// Where to start looking for the bin of u in a table: worth its making for a few hundred samples.
class Guide {
 public:
  static constexpr int kWorth = 512;

  Guide(const double* cdf, int bins) : cdf_(cdf), bins_(bins) {
    int k = 0;
    for (int i = 0; i < kStarts; ++i) {
      while (k < bins - 1 && cdf[k + 1] * kStarts <= i) ++k;
      start_[i] = uint16_t(k);
    }
  }

  int bin(double u) const {
    const double cell = u * kStarts;
    int k = start_[!(cell > 0) ? 0 : cell >= kStarts ? kStarts - 1 : int(cell)];  // NaN: 0
    while (k < bins_ - 1 && cdf_[k + 1] <= u) ++k;
    return k;
  }

 private:
  static constexpr int kStarts = 1024;
  const double* cdf_;
  int bins_;
  uint16_t start_[kStarts];
};

// Sigmas of a chunk of uniforms, of the tables that `group` names; `find(u, table)` gives the bin.
template <class Find>
void invert(const Params& p, const Grid& grid, const double* cdf, const double* u, const int64_t* group, int size,
            float* sigma, const Find& find) {
  double x[kChunk];
  for (int i = 0; i < size; ++i) {
    const double* table = cdf + (group ? group[i] * (grid.bins + 1) : 0);
    const int k = find(u[i], table);
    x[i] = log_sigma_at(p, k, u[i], table[k], table[k + 1] - table[k]);
  }
  for (int i = 0; i < size; ++i) x[i] = exp_plain(x[i]);
  const double* edges = grid.row(kEdges);
  for (int i = 0; i < size; ++i) sigma[i] = clamp_sigma(x[i], edges, grid.bins);
}

// A table as words see it, made once where that pays.
class DrawTable {
 public:
  DrawTable(const double* cdf, const double* edges, int bins) {
    const int last = last_word_bin(cdf, bins);
    for (int k = 0; k <= last; ++k) bins_[k] = word_bin(cdf, k, edges);
    int k = 0;
    for (uint32_t c = 0; c < kCells; ++c) {
      while (k < last && bins_[k + 1].first <= c << kCellShift) ++k;
      cells_[c] = uint16_t(k);
    }
    cells_[kCells] = uint16_t(last);
  }

  const WordBin& of(uint32_t word) const { return bins_[find_bin_in_cell(bins_, cells_, word)]; }

 private:
  uint16_t cells_[kCells + 1];
  WordBin bins_[kMaxBins];
};

// Sigmas of a chunk of words; `find(i)` gives the bin of sample i.
template <class Find>
void draw_by_words(const Params& p, const Grid& grid, const uint32_t* words, int size, float* sigma, const Find& find) {
  WordBin bins[kChunk];
  for (int i = 0; i < size; ++i) bins[i] = find(i);
  const float width = float(p.width), highest = float(grid.row(kEdges)[grid.bins]);
  for (int i = 0; i < size; ++i) sigma[i] = sigma_of_word(bins[i], words[i], width, highest);
}

}  // namespace infonoise::cpu
