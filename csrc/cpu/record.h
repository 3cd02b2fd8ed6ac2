// Recording and what is recorded, as CPU loops over plain pointers.
#pragma once

#include <algorithm>

#include "core/estimate.h"
#include "core/record.h"

namespace infonoise::cpu {

constexpr int kChunk = 256;  // samples converted, binned and drawn at a time; a multiple of 4

struct Batch {  // one chunk, converted; null mask or group: all true, all zero
  const float* sigma;
  const float* error;
  const bool* mask;
  const int64_t* group;
  int size;
  bool recomputed;  // by backward: counted, not recorded
};

// Appends a chunk to the FIFO rings of its bins, in batch order; what cannot be recorded is counted.
inline void record(const Rings& s, const Grid& grid, const Batch& b) {
  const double* edges = grid.row(kEdges);
  const int bins = grid.bins;
  const Range range = range_of(edges, bins);
  const bool power_of_two = (s.capacity & (s.capacity - 1)) == 0;
  int guess[kChunk];
  for (int i = 0; i < b.size; ++i) guess[i] = guess_bin(b.sigma[i], range, bins);
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
    const uint64_t written = s.count[bin]++, capacity = s.capacity;  // a count that wrapped names a slot still
    const uint64_t slot = power_of_two ? written & (capacity - 1) : written % capacity;
    s.ring[bin * s.capacity + slot] = error;
  }
}

// [K, 3] of one group: the number of losses in the ring, the sum of all but the largest, the largest.
inline void ring_moments(const float* ring, const int64_t* count, int bins, int64_t capacity, double* moments) {
  for (int k = 0; k < bins; ++k) {
    const int64_t filled = std::min(count[k], capacity);
    const float* losses = ring + k * capacity;
    double rest[kChains] = {};
    float largest[kChains] = {};
    const auto add = [&](int64_t first, int size) {
      for (int j = 0; j < size; ++j) {
        const float x = losses[first + j], most = largest[j];
        rest[j] += double(x < most ? x : most);
        largest[j] = x < most ? most : x;
      }
    };
    int64_t first = 0;
    for (; first + kChains <= filled; first += kChains) add(first, kChains);
    add(first, int(filled - first));
    Pool lane[kChains / 4], pair[2];
    for (int j = 0; j < kChains / 4; ++j) {
      for (int i = 0; i < 2; ++i) {
        const int c = 4 * j + 2 * i;
        pair[i] = merged({0, rest[c], largest[c]}, {0, rest[c + 1], largest[c + 1]});
      }
      lane[j] = merged(pair[0], pair[1]);
    }
    for (int half = kChains / 8; half > 0; half /= 2)
      for (int j = 0; j < half; ++j) lane[j] = merged(lane[j], lane[j + half]);
    const Pool& pool = lane[0];
    moments[k * kMoments + kCount] = double(filled);
    moments[k * kMoments + kRest] = pool.rest;
    moments[k * kMoments + kLargest] = pool.largest;
  }
}

}  // namespace infonoise::cpu
