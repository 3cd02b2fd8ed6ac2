// The threads that share one refresh: one of the CPU (cpu/team.h), or a block of the GPU (cuda/team.cuh). What they add
// up and compare goes through one tree, whatever their number, so that both find the same bits.
//
// Bins form at most kMostStrips strips of kLanes lanes; a strip is `depth` bins deep from 1025 bins on. A lane takes
// its bins in order, lanes meet by halves, and so do strips. Running sums grow by doubling: the upper half of each
// block begins where the lower ends, so that they never fall.
#pragma once

#include "core/layout.h"

namespace infonoise {

constexpr int kLanes = 32, kMostStrips = 32;

INX_HD int depth_of(int bins) { return (bins + kLanes * kMostStrips - 1) / (kLanes * kMostStrips); }

INX_HD int strips_of(int bins) { return (bins + kLanes * depth_of(bins) - 1) / (kLanes * depth_of(bins)); }

// Leaves of a tree over n strips: the power of two from n on.
INX_HD int tree_of(int n) {
  int leaves = 1;
  while (leaves < n) leaves *= 2;
  return leaves;
}

template <int N>
struct Values {
  double of[N];
};

struct Sum {
  template <int N>
  INX_HD Values<N> operator()(Values<N> a, const Values<N>& b) const {
    for (int i = 0; i < N; ++i) a.of[i] += b.of[i];
    return a;
  }
};

struct Most {
  INX_HD Values<1> operator()(const Values<1>& a, const Values<1>& b) const { return a.of[0] > b.of[0] ? a : b; }
};

struct Least {
  INX_HD Values<1> operator()(const Values<1>& a, const Values<1>& b) const { return a.of[0] < b.of[0] ? a : b; }
};

}  // namespace infonoise
