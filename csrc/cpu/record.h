// Recording and what is recorded, as CPU loops over plain pointers.
#pragma once

#include <algorithm>
#include <limits>

#include "core/estimate.h"
#include "core/record.h"
#include "cpu/widest.h"

namespace infonoise::cpu {

constexpr int kChunk = 256;                                    // samples of a chunk, a multiple of 16
constexpr float kMostFinite = std::numeric_limits<float>::max();  // finite

struct Batch {  // one chunk, converted; null mask or group: all true, all zero
  const float* sigma;
  const float* error;
  const bool* mask;
  const int64_t* group;
  int size;
  bool recomputed;  // by backward: counted, not recorded
};

// Of the slots of a ring: that of its next loss. A count that wrapped names a slot still.
struct Slots {
  uint64_t capacity;
  bool power_of_two;
  explicit Slots(int64_t c) : capacity(uint64_t(c)), power_of_two((c & (c - 1)) == 0) {}
  uint64_t of(uint64_t written) const { return power_of_two ? written & (capacity - 1) : written % capacity; }
};

// Whether every sample of a chunk can be recorded by its sigma and its error.
inline bool are_sound(const Batch& b, const Range& range) {
  float low = float(range.low), high = float(range.high);  // as float, with the same sigmas inside
  if (double(low) < range.low) low = std::nextafter(low, kMostFinite);
  if (double(high) > range.high) high = std::nextafter(high, -kMostFinite);
  int bad = 0;
  widest([sigma = b.sigma, error = b.error, size = b.size, low, high, &bad] {
    int any = 0;
    for (int i = 0; i < size; ++i)
      any |=
          int(!(sigma[i] >= low)) | int(!(sigma[i] <= high)) | int(!(error[i] >= 0.0f)) | int(!(error[i] <= kMostFinite));
    bad = any;
  });
  return !bad;
}

// The usual chunk, of which every sample is recorded in the rings of group 0.
[[gnu::noinline]] inline void record_sound(float* ring, int64_t* count, const double* edges, int bins, const Slots& s,
                                           const float* sigma, const float* error, const int* guess, int size) {
  const Slots slots = s;
  for (int i = 0; i < size; ++i) {
    const int k = settle_bin(sigma[i], guess[i], edges, bins);
    const uint64_t written = uint64_t(count[k]);
    count[k] = int64_t(written + 1);
    ring[uint64_t(k) * slots.capacity + slots.of(written)] = error[i];
  }
}

// Appends a chunk to the FIFO rings of its bins, in batch order; what cannot be recorded is counted.
inline void record(const Rings& s, const Grid& grid, const Range& range, const Batch& b) {
  const double* edges = grid.row(kEdges);
  const int bins = grid.bins;
  const Slots slots(s.capacity);
  int guess[kChunk];
  widest([&guess, range, sigma = b.sigma, size = b.size, bins] {
    for (int i = 0; i < size; ++i) guess[i] = guess_bin(sigma[i], range, bins);
  });
  if (!b.mask && !b.group && !b.recomputed && s.groups > 0 && are_sound(b, range))
    return record_sound(s.ring, s.count, edges, bins, slots, b.sigma, b.error, guess, b.size);
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
    s.ring[bin * s.capacity + int64_t(slots.of(uint64_t(s.count[bin]++)))] = error;
  }
}

// [K, 3] of one group: the number of losses in the ring, the sum of all but the largest, the largest.
inline void ring_moments(const float* ring, const int64_t* count, int bins, int64_t capacity, double* moments) {
  for (int k = 0; k < bins; ++k) {
    const int64_t filled = std::min(count[k], capacity);
    const float* losses = ring + k * capacity;
    double rest[4] = {};
    float largest[4] = {};
    for (int64_t i = 0; i < filled; ++i) {
      const float x = losses[i], most = largest[i & 3];
      rest[i & 3] += double(x < most ? x : most);
      largest[i & 3] = x < most ? most : x;
    }
    Pool pool{0, 0, 0};
    for (int j = 0; j < 4; ++j) pool = merged(pool, {0, rest[j], largest[j]});
    moments[k * kMoments + kCount] = double(filled);
    moments[k * kMoments + kRest] = pool.rest;
    moments[k * kMoments + kLargest] = pool.largest;
  }
}

}  // namespace infonoise::cpu
