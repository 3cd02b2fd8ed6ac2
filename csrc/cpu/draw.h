// Drawing, as CPU loops over plain pointers.
#pragma once

#include <vector>

#include "core/draw.h"
#include "cpu/record.h"

namespace infonoise::cpu {

// Words of the chunk of samples that starts at `start`, a multiple of 4; room for whole fours.
inline void words_of_chunk(const Stream& s, int64_t start, int size, uint32_t* words) {
  for (int j = 0; j < size; j += 4) draw_words(s, (start + j) / 4, words + j);
}

// The strata of a call's samples, group by group: count them all, prepare, then move chunk after chunk of uniforms.
class AllStrata {
 public:
  explicit AllStrata(int64_t groups) : groups_(groups), before_(groups) {}

  void count(int64_t group, int64_t samples) { groups_[group].size += samples; }

  void prepare(const Params& p, const Stream& s) {
    const double world = double(world_of(p)), turn = turn_of(p, s.offset);
    for (size_t g = 0; g < groups_.size(); ++g) {
      Strata& strata = groups_[g];
      strata.world = world;
      strata.turn = turn;
      for (int j = 0; strata.size > 0 && j < kShuffleBlocks; ++j) shuffle_keys(s, g, j, strata.keys + 4 * j);
    }
  }

  void move(const int64_t* group, int size, double* u) {
    for (int i = 0; i < size; ++i) {
      const int64_t g = group ? group[i] : 0;
      u[i] = stratified(groups_[g], before_[g]++, u[i]);
    }
  }

 private:
  std::vector<Strata> groups_;
  std::vector<uint32_t> before_;
};

// The u of a chunk's words, in their strata where there are any.
inline void uniforms(const uint32_t* words, const int64_t* group, int size, AllStrata* strata, double* u) {
  for (int i = 0; i < size; ++i) u[i] = uniform(words[i]);
  if (strata) strata->move(group, size, u);
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
