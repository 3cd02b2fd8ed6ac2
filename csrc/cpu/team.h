// One thread as the team of core/team.h.
#pragma once

#include "core/team.h"

namespace infonoise::cpu {

// A number of Values side by side, so that a CPU works on several at once.
template <int N>
struct Lanes {
  double of[N][kLanes];
  Values<N> at(int j) const {
    Values<N> value;
    for (int i = 0; i < N; ++i) value.of[i] = of[i][j];
    return value;
  }
  void set(int j, const Values<N>& value) {
    for (int i = 0; i < N; ++i) of[i][j] = value.of[i];
  }
};

// Every team has these members; a bin belongs to the same thread in all of them.
struct Alone {
  bool leads() const { return true; }
  void sync() const {}

  // f(k) of every bin.
  template <class F>
  void each(int bins, const F& f) const {
    for (int k = 0; k < bins; ++k) f(k);
  }

  // All values of(k) merged, for every thread; below `lowest` they are `none`. No barrier before, one inside.
  template <int N, class Of, class Merge>
  Values<N> reduce(int bins, const Values<N>& none, const Of& of, const Merge& merge, int lowest = 0) const {
    const int strip = kLanes * depth_of(bins), strips = strips_of(bins), leaves = tree_of(strips);
    Lanes<N> totals;
    for (int s = 0; s < leaves; ++s) totals.set(s, none);
    for (int s = lowest / strip; s < strips; ++s) {
      const int first = s * strip;
      Lanes<N> lanes;
      if (first + kLanes <= bins) {
        for (int j = 0; j < kLanes; ++j) lanes.set(j, of(first + j));
      } else {
        for (int j = 0; j < kLanes; ++j) lanes.set(j, none);
        for (int k = first; k < bins; ++k) lanes.set(k - first, of(k));
      }
      for (int k = first + kLanes; k < bins && k < first + strip; ++k)
        lanes.set(k % kLanes, merge(lanes.at(k % kLanes), of(k)));
      totals.set(s, folded(lanes, kLanes, merge));
    }
    return folded(totals, leaves, merge);
  }

  // use(k, the values of(j) merged for j <= k, or with `kUp` false for j >= k), after every of(k) has been called;
  // `rows` hold [N, K] meanwhile.
  template <bool kUp, int N, class Of, class Merge, class Use>
  void scan(int bins, double* const (&rows)[N], const Values<N>& none, const Of& of, const Merge& merge,
            const Use& use) const {
    const int depth = depth_of(bins), strip = kLanes * depth, strips = strips_of(bins);
    Values<N> totals[kMostStrips];
    for (int s = 0; s < strips; ++s) {
      Values<N> carry = none;
      for (int turn = 0; turn < depth; ++turn) {
        const int first = s * strip + kLanes * (kUp ? turn : depth - 1 - turn);
        const int last = bins - first < kLanes ? bins - first : kLanes;
        Lanes<N> lanes;
        for (int j = 0; j < kLanes; ++j) lanes.set(j, none);
        for (int j = 0; j < last; ++j) lanes.set(j, of(first + j));
        const auto at = [](int rank) { return kUp ? rank : kLanes - 1 - rank; };
        for (int half = 1; half < kLanes; half *= 2)
          for (int block = half; block < kLanes; block += 2 * half) {
            const Values<N> lower = lanes.at(at(block - 1));
            for (int j = block; j < block + half; ++j) lanes.set(at(j), merge(lower, lanes.at(at(j))));
          }
        for (int j = 0; turn > 0 && j < kLanes; ++j) lanes.set(j, merge(carry, lanes.at(j)));
        for (int i = 0; i < N; ++i)
          for (int j = 0; j < last; ++j) rows[i][first + j] = lanes.of[i][j];
        carry = lanes.at(at(kLanes - 1));
      }
      totals[s] = carry;
    }
    Values<N> before = none;
    for (int turn = 0; turn < strips; ++turn) {
      const int s = kUp ? turn : strips - 1 - turn;
      for (int k = s * strip; k < bins && k < (s + 1) * strip; ++k) {
        Values<N> value;
        for (int i = 0; i < N; ++i) value.of[i] = rows[i][k];
        use(k, merge(before, value));
      }
      before = merge(before, totals[s]);
    }
  }

  // The largest k for which the whole numbers count(j), j >= k, add up to `wanted` or more; -1 if all do not.
  template <class Count>
  int highest(int bins, double wanted, const Count& count) const {
    double total = 0;
    for (int k = bins - 1; k >= 0; --k)
      if ((total += count(k)) >= wanted) return k;
    return -1;
  }

 private:
  template <int N, class Merge>
  static Values<N> folded(Lanes<N>& lanes, int size, const Merge& merge) {
    for (int half = size / 2; half > 0; half /= 2)
      for (int j = 0; j < half; ++j) lanes.set(j, merge(lanes.at(j), lanes.at(j + half)));
    return lanes.at(0);
  }
};

}  // namespace infonoise::cpu
