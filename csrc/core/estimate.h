// Step 1 of a refresh: from the moments of the rings to the mmse of every bin (docs/how-it-works.md).
// Bins are pooled until enough losses are known, and no loss decides a mean by itself.
#pragma once

#include "core/team.h"

namespace infonoise {

struct Pool {                   // of the losses of one or more bins
  double count, rest, largest;  // their number, the sum of all but the largest, the largest
};

INX_HD Pool merged(const Pool& a, const Pool& b) {
  const bool first = a.largest > b.largest;
  return {a.count + b.count, a.rest + b.rest + (first ? b.largest : a.largest), first ? a.largest : b.largest};
}

// The mean, to which the largest loss adds no more than about a sixteenth.
INX_HD double mean(const Pool& pool) {
  if (pool.count < 2) return pool.rest + pool.largest;
  const double others = pool.count - 1, share = 1 + kInfluence * pool.count;
  return (pool.rest + (pool.largest * others < pool.rest * share ? pool.largest : pool.rest / others * share)) /
         pool.count;
}

// Loss i of a ring belongs to chain i mod kChains, which takes its losses in order; chains meet as pairs of neighbours,
// then as pairs of pairs, then as the lanes of core/team.h.
constexpr int kChains = 32;

struct Pools {  // of K bins
  double *count, *rest, *largest;
  INX_HD Pool at(int k) const { return {count[k], rest[k], largest[k]}; }
  INX_HD void set(int k, const Pool& pool) const {
    count[k] = pool.count, rest[k] = pool.rest, largest[k] = pool.largest;
  }
};

template <class Team>
INX_HD void load_pools(const Team& team, int bins, const double* moments, const Pools& pools) {
  team.each(bins, [&](int k) {
    const double* m = moments + k * kMoments;
    pools.set(k, {m[kCount], m[kRest], m[kLargest]});
  });
  team.sync();
}

// The losses of all groups as of one, from the moments [G, K, kMoments].
template <class Team>
INX_HD void load_everyone(const Team& team, int64_t groups, int bins, const double* moments, const Pools& pools) {
  team.each(bins, [&](int k) {
    Pool pool{0, 0, 0};
    for (int64_t g = 0; g < groups; ++g) {
      const double* m = moments + (g * bins + k) * kMoments;
      pool = merged(pool, {m[kCount], m[kRest], m[kLargest]});
    }
    pools.set(k, pool);
  });
  team.sync();
}

// Of an element of the data: that of Gaussian data with the mean error of the losses in the bins from `lowest` on.
template <class Team>
INX_HD double variance(Team& team, const Grid& grid, const Pools& pools, int lowest) {
  const double* sigma = grid.row(kSigma);
  const auto found = team.reduce(
      grid.bins, Values<4>{},
      [&](int k) {
        if (k < lowest) return Values<4>{};
        const Pool pool = pools.at(k);
        return Values<4>{{pool.count, pool.rest, pool.largest, pool.count / (sigma[k] * sigma[k])}};
      },
      [](const Values<4>& a, const Values<4>& b) {
        const Pool both = merged({a.of[0], a.of[1], a.of[2]}, {b.of[0], b.of[1], b.of[2]});
        return Values<4>{{both.count, both.rest, both.largest, a.of[3] + b.of[3]}};
      },
      lowest);
  const Pool pool{found.of[0], found.of[1], found.of[2]};
  const double bound = grid.row(kBound)[grid.bins - 1], most = mean(pool), error = most < bound ? most : bound;
  const double share = error * found.of[3] / pool.count;
  return error / (1 - (share < kCertain ? share : kCertain));
}

// The losses of bin k and of as many neighbours, the same to both sides, as `min_count` losses take.
INX_HD Pool pooled(const Params& p, int bins, const Pools& pools, int k) {
  Pool window = pools.at(k);
  for (int reach = 1; window.count < p.min_count && reach < bins; ++reach) {
    if (k - reach >= 0) window = merged(window, pools.at(k - reach));
    if (k + reach < bins) window = merged(window, pools.at(k + reach));
  }
  return window;
}

INX_HD double gaussian_mmse(double variance, double sigma) { return variance / (1 + variance / (sigma * sigma)); }

// The variance of the data, and the mmse of every bin into `mmse`; the bins from `lowest` on are the highest that hold
// `min_count` losses. Spoils the pools.
//
// Bins are pooled by their error relative to Gaussian data, which hardly changes from one bin to the next. The mmse
// does not fall as sigma rises, so that a bin has no more than any above it.
template <class Team>
INX_HD double estimate(Team& team, const Params& p, const Grid& grid, const Pools& pools, int lowest, double* mmse) {
  const double *sigma = grid.row(kSigma), *bound = grid.row(kBound);
  const double found = variance(team, grid, pools, lowest);
  team.each(grid.bins, [&](int k) {
    const double gaussian = gaussian_mmse(found, sigma[k]), unit = gaussian > kTiny ? gaussian : 1.0;
    pools.rest[k] /= unit, pools.largest[k] /= unit, mmse[k] = gaussian;
  });
  PLANT(missing_pool_barrier, team.sync(), void());
  team.template scan<false>(
      grid.bins, {mmse}, Values<1>{{INFINITY}},
      [&](int k) {
        const double m = mean(pooled(p, grid.bins, pools, k)) * mmse[k];
        return Values<1>{{m < bound[k] ? m : bound[k]}};
      },
      Least(), [&](int k, const Values<1>& least) { mmse[k] = least.of[0]; });
  return found;
}

}  // namespace infonoise
