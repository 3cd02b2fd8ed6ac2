// CPU loops of every op over plain pointers. Knows no torch.
#pragma once

#include <algorithm>

#include "refresh.h"

namespace infonoise {

constexpr int kChunk = 256;   // samples converted, binned and drawn at a time; a multiple of 4

struct Batch {                // one chunk, converted; null mask or group: all true, all zero
  const float* sigma;
  const float* error;
  const bool* mask;
  const int64_t* group;
  int size;
  bool recomputed;            // by backward: counted, not recorded
};

// Appends a chunk to the FIFO rings of its bins, in batch order; what cannot be recorded is counted.
inline void observe_chunk(const Rings& s, const Grid& grid, const Batch& b) {
  const double* edges = grid.row(kEdges);
  const int bins = grid.bins;
  const Range range = range_of(edges, bins);
  const bool power_of_two = (s.capacity & (s.capacity - 1)) == 0;
  int guess[kChunk];
  for (int i = 0; i < b.size; ++i) guess[i] = guess_bin(b.sigma[i], range.offset, range.scale, bins);
  for (int i = 0; i < b.size; ++i) {
    int64_t group = b.group ? b.group[i] : 0;
    const bool known = uint64_t(group) < uint64_t(s.groups);
    if (!known) group = 0;
    int64_t* counters = s.counters + group * kCounters;
    const float sigma = b.sigma[i], error = b.error[i];
    const bool masked = b.mask && !b.mask[i], inside = sigma >= range.low && sigma <= range.high;
    if (b.recomputed || masked || !known || !inside || !(error >= 0) || !std::isfinite(error)) {
      counters[skip_cause(b.recomputed, masked, known, sigma, inside, error)] += 1;
      continue;
    }
    const int64_t bin = group * bins + settle_bin(sigma, guess[i], edges, bins);
    const int64_t written = s.count[bin]++;
    const int64_t slot = power_of_two ? written & (s.capacity - 1) : written % s.capacity;
    s.ring[bin * s.capacity + slot] = error;
  }
}

// [K, 3] of one group: losses in the ring, their sum and the sum of their squares.
inline void ring_moments(const float* ring, const int64_t* count, int bins, int64_t capacity,
                         double* moments) {
  for (int k = 0; k < bins; ++k) {
    const int64_t filled = std::min(count[k], capacity);
    const float* losses = ring + k * capacity;
    double sum[4] = {}, squares[4] = {};
    for (int64_t i = 0; i < filled; ++i) {
      const double x = losses[i];
      sum[i & 3] += x;
      squares[i & 3] += x * x;
    }
    moments[k * kMoments + kCount] = double(filled);
    moments[k * kMoments + kSum] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    moments[k * kMoments + kSquares] = (squares[0] + squares[1]) + (squares[2] + squares[3]);
  }
}

// Words of the chunk of samples that starts at `start`, a multiple of 4; room for whole fours.
inline void draw_chunk(const Params& p, const Stream& s, int64_t start, int size, uint32_t* words) {
  for (int j = 0; j < size; j += 4) draw_words(p, s, (start + j) / 4, words + j);
}

// The u of those words.
inline void uniform_chunk(const Params& p, const Stream& s, int64_t start, int size, const uint32_t* words, double* u) {
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
    for (int i = 0; i < kCells; ++i) {
      while (k < bins - 1 && cdf[k + 1] * kCells <= i) ++k;
      start_[i] = uint16_t(k);
    }
  }

  int bin(double u) const {
    const double cell = u * kCells;
    int k = start_[!(cell > 0) ? 0 : cell >= kCells ? kCells - 1 : int(cell)];   // NaN: 0
    while (k < bins_ - 1 && cdf_[k + 1] <= u) ++k;
    return k;
  }

 private:
  static constexpr int kCells = 1024;
  const double* cdf_;
  int bins_;
  uint16_t start_[kCells];
};

// Sigmas of a chunk of uniforms, of the tables that `group` names; `find(u, table)` gives the bin.
template <class Find>
void invert_chunk(const Params& p, const Grid& grid, const double* cdf, const double* u,
                  const int64_t* group, int size, float* sigma, const Find& find) {
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

// The rows of a table, soon found.
class Rows {
 public:
  Rows(const double* cdf, const double* edges, int bins) {
    const int last = last_row(cdf, bins);
    for (int k = 0; k <= last; ++k) rows_[k] = draw_row(cdf, k, edges);
    int k = 0;
    for (uint32_t c = 0; c < kCells; ++c) {
      while (k < last && rows_[k + 1].first <= c << kCellShift) ++k;
      cells_[c] = uint16_t(k);
    }
    cells_[kCells] = uint16_t(last);
  }

  const DrawRow& of(uint32_t word) const { return rows_[find_row_in_cell(rows_, cells_, word)]; }

 private:
  uint16_t cells_[kCells + 1];
  DrawRow rows_[kMaxBins];
};

// Sigmas of a chunk of words; `row_of(i)` is the row of sample i.
template <class RowOf>
void draw_rows(const Params& p, const Grid& grid, const uint32_t* words, int size, float* sigma, const RowOf& row_of) {
  DrawRow rows[kChunk];
  for (int i = 0; i < size; ++i) rows[i] = row_of(i);
  const float width = float(p.width), highest = float(grid.row(kEdges)[grid.bins]);
  for (int i = 0; i < size; ++i) sigma[i] = sigma_of_word(rows[i], words[i], width, highest);
}

}  // namespace infonoise
