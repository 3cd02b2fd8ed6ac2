// Recording and what is recorded, as CPU loops over plain pointers.
#pragma once

#include <algorithm>
#include <limits>

#include "core/estimate.h"
#include "core/record.h"
#include "cpu/widest.h"

namespace infonoise::cpu {

constexpr int kChunk = 256;  // samples converted, binned and drawn at a time; a multiple of 16
constexpr float kMostFinite = std::numeric_limits<float>::max();

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

// Whether sigma and error can be recorded; else skip_cause tells why not.
inline bool is_sound(float sigma, float error, const Range& range) {
  return (sigma >= range.low) & (sigma <= range.high) & (error >= 0) & (error <= kMostFinite);
}

inline bool all_sound(const Batch& b, const Range& range) {
  bool sound = true;
  widest([&sound, range, sigma = b.sigma, error = b.error, size = b.size] {
    int bad = 0;
    for (int i = 0; i < size; ++i) bad |= !is_sound(sigma[i], error[i], range);
    sound = !bad;
  });
  return sound;
}

// The usual chunk: every sample is recorded, in the rings of group 0. Inlined into `record` it took a fifth longer.
[[gnu::noinline]] inline void record_sound(float* ring, int64_t* count, const double* edges, int bins, Slots slots,
                                           const float* sigma, const float* error, const int* guess, int size) {
  for (int i = 0; i < size; ++i) {
    const int k = settle_bin(sigma[i], guess[i], edges, bins);
    ring[k * slots.capacity + slots.of(uint64_t(count[k]++))] = error[i];
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
  if (!b.mask && !b.group && !b.recomputed && s.groups > 0 && all_sound(b, range))
    return record_sound(s.ring, s.count, edges, bins, slots, b.sigma, b.error, guess, b.size);
  for (int i = 0; i < b.size; ++i) {
    int64_t group = b.group ? b.group[i] : 0;
    const bool known = uint64_t(group) < uint64_t(s.groups);
    if (!known) group = 0;
    int64_t* counters = s.counters + group * kCounters;
    const float sigma = b.sigma[i], error = b.error[i];
    const bool masked = b.mask && !b.mask[i];
    if (b.recomputed || masked || !known || !is_sound(sigma, error, range)) {
      const bool inside = sigma >= range.low && sigma <= range.high;
      counters[skip_cause(b.recomputed, masked, known, sigma, inside, error)] += 1;
      continue;
    }
    const int64_t bin = group * bins + settle_bin(sigma, guess[i], edges, bins);
    s.ring[bin * s.capacity + int64_t(slots.of(uint64_t(s.count[bin]++)))] = error;
  }
}

// The losses of one ring, in the order of core/estimate.h.
inline Pool ring_pool(const float* losses, int64_t filled) {
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
  if (first < filled) add(first, int(filled - first));  // a count that wrapped is negative
  Pool lane[kChains / 4];
  const auto chain = [&](int c) { return Pool{0, rest[c], largest[c]}; };
  for (int j = 0; j < kChains / 4; ++j)
    lane[j] = merged(merged(chain(4 * j), chain(4 * j + 1)), merged(chain(4 * j + 2), chain(4 * j + 3)));
  for (int half = kChains / 8; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) lane[j] = merged(lane[j], lane[j + half]);
  return {double(filled), lane[0].rest, lane[0].largest};
}

// [K, 3] of one group: the number of losses in the ring, the sum of all but the largest, the largest.
inline void ring_moments(const float* ring, const int64_t* count, int bins, int64_t capacity, double* moments) {
  widest([=] {
    for (int k = 0; k < bins; ++k) {
      const Pool pool = ring_pool(ring + k * capacity, std::min(count[k], capacity));
      moments[k * kMoments + kCount] = pool.count;
      moments[k * kMoments + kRest] = pool.rest;
      moments[k * kMoments + kLargest] = pool.largest;
    }
  });
}

}  // namespace infonoise::cpu
