// A block as the team of core/team.h: a warp takes a strip at a time.
#pragma once

#include "core/team.h"
#include "cuda/block.cuh"

namespace infonoise::cuda {

class Block {
 public:
  static constexpr int kSlots = 2 * kMostStrips * 4;  // doubles of shared memory: two turns of strips of four values

  __device__ Block(double* slots, int bins) : slots_(slots), depth_(depth_of(bins)), strips_(strips_of(bins)) {}
  __device__ bool leads() const { return threadIdx.x == 0; }
  __device__ void sync() const { __syncthreads(); }

  template <class F>
  __device__ void each(int bins, const F& f) const {
    for_each_strip(bins, [&](int, int first, int end) {
      INX_ROLLED
      for (int k = first + lane(); k < end; k += kLanes) f(k);
    });
  }

  template <int N, class Of, class Merge>
  __device__ Values<N> reduce(int bins, const Values<N>& none, const Of& of, const Merge& merge, int = 0) {
    double* slots = next_slots();
    for_each_strip(bins, [&](int s, int first, int end) {
      int k = first + lane();
      Values<N> value = k < end ? of(k) : none;
      INX_ROLLED
      for (k += kLanes; k < end; k += kLanes) value = merge(value, of(k));
#pragma unroll
      for (int half = kLanes / 2; half > 0; half /= 2) value = merge(value, from(value, lane() ^ half));
      if (lane() == 0) put(slots, s, value);
    });
    PLANT(missing_strip_barrier, sync(), void());
    int half = tree_of(strips_) / 2, own = lane() & (2 * half - 1);
    if (half == 0) own = 0;
    Values<N> all = own < strips_ ? got<N>(slots, own) : none;
    INX_ROLLED
    for (; half > 0; half /= 2) all = merge(all, from(all, lane() ^ half));
    return all;
  }

  template <bool kUp, int N, class Of, class Merge, class Use>
  __device__ void scan(int bins, double* const (&rows)[N], const Values<N>& none, const Of& of, const Merge& merge,
                       const Use& use) {
    double* slots = next_slots();
    const int rank = kUp ? lane() : kLanes - 1 - lane();
    for_each_strip(bins, [&](int s, int first, int end) {
      Values<N> carry = none;
      INX_ROLLED
      for (int turn = 0; turn < depth_; ++turn) {
        const int k = first + kLanes * (kUp ? turn : depth_ - 1 - turn) + lane();
        Values<N> value = scanned<kUp>(k < end ? of(k) : none, merge);
        if (turn > 0) value = merge(carry, value);
        for (int i = 0; k < end && i < N; ++i) rows[i][k] = value.of[i];
        if (depth_ > 1) carry = from(value, kUp ? kLanes - 1 : 0);
        if (turn == depth_ - 1 && rank == kLanes - 1) put(slots, s, value);
      }
    });
    sync();
    for_each_strip(bins, [&](int own, int first, int end) {
      Values<N> before = none;
      if (kUp)
        for (int s = 0; s < own; ++s) before = merge(before, got<N>(slots, s));
      else
        for (int s = strips_ - 1; s > own; --s) before = merge(before, got<N>(slots, s));
      INX_ROLLED
      for (int k = first + lane(); k < end; k += kLanes) {
        Values<N> value;
        for (int i = 0; i < N; ++i) value.of[i] = rows[i][k];
        use(k, merge(before, value));
      }
    });
  }

  // Every warp looks for itself: few bins take part as a rule.
  template <class Count>
  __device__ int highest(int bins, double wanted, const Count& count) const {
    double above = 0;
    INX_ROLLED
    for (int first = (bins - 1) / kLanes * kLanes; first >= 0; first -= kLanes) {
      const int k = first + lane();
      Values<1> sum = scanned<false>(Values<1>{k < bins ? count(k) : 0.0}, Sum());
      sum.of[0] += above;
      const unsigned reached = __ballot_sync(kAllLanes, sum.of[0] >= wanted);
      if (reached) return first + kLanes - 1 - __clz(int(reached));
      above = from(sum, 0).of[0];
    }
    return -1;
  }

 private:
  double* slots_;
  int depth_, strips_;
  bool second_ = false;

  // By turns, since threads may still read those of the last time.
  __device__ double* next_slots() {
    second_ = !second_;
    return slots_ + (second_ ? kSlots / 2 : 0);
  }

  __device__ static int lane() { return threadIdx.x % kLanes; }

  template <class F>
  __device__ void for_each_strip(int bins, const F& f) const {  // f(strip, its first bin, one past its last)
    const int size = kLanes * depth_;
    INX_ROLLED
    for (int s = threadIdx.x / kLanes; s < strips_; s += blockDim.x / kLanes)
      f(s, s * size, (s + 1) * size < bins ? (s + 1) * size : bins);
  }

  template <int N>
  __device__ static Values<N> from(const Values<N>& value, int lane) {
    Values<N> out;
#pragma unroll
    for (int i = 0; i < N; ++i) out.of[i] = __shfl_sync(kAllLanes, value.of[i], lane);
    return out;
  }

  template <bool kUp, int N, class Merge>
  __device__ static Values<N> scanned(Values<N> value, const Merge& merge) {
    const int rank = kUp ? lane() : kLanes - 1 - lane();
#pragma unroll
    for (int half = 1; half < kLanes; half *= 2) {
      const int last = (rank | (half - 1)) & ~half;  // of the lower half of this lane's block
      const Values<N> lower = from(value, kUp ? last : kLanes - 1 - last);
      if (rank & half) value = merge(lower, value);
    }
    return value;
  }

  template <int N>
  __device__ static void put(double* slots, int s, const Values<N>& value) {
    static_assert(N <= 4, "slots are for four values");
    for (int i = 0; i < N; ++i) slots[N * s + i] = value.of[i];
  }

  template <int N>
  __device__ static Values<N> got(const double* slots, int s) {
    Values<N> out;
    for (int i = 0; i < N; ++i) out.of[i] = slots[N * s + i];
    return out;
  }
};

}  // namespace infonoise::cuda
