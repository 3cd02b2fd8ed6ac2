// Step 1 of a refresh: from the moments of the rings to the mmse of every bin (docs/how-it-works.md).
// Bins are pooled until enough losses are known, and no loss decides a mean by itself.
#pragma once

#include "core/layout.h"

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
  const double most = pool.rest / (pool.count - 1) * (1 + kInfluence * pool.count);
  return (pool.rest + (pool.largest < most ? pool.largest : most)) / pool.count;
}

struct Pools {  // of K bins
  double *count, *rest, *largest;
  INX_HD Pool at(int k) const { return {count[k], rest[k], largest[k]}; }
  INX_HD void set(int k, const Pool& pool) const {
    count[k] = pool.count, rest[k] = pool.rest, largest[k] = pool.largest;
  }
};

template <class Team>
INX_HD void load_pools(const Team& team, int bins, const double* moments, const Pools& pools) {
  for (int k = team.first(); k < bins; k += team.step()) {
    const double* m = moments + k * kMoments;
    pools.set(k, {m[kCount], m[kRest], m[kLargest]});
  }
  team.sync();
}

// The losses of all groups as of one, from the moments [G, K, kMoments].
template <class Team>
INX_HD void load_everyone(const Team& team, int64_t groups, int bins, const double* moments, const Pools& pools) {
  for (int k = team.first(); k < bins; k += team.step()) {
    Pool pool{0, 0, 0};
    for (int64_t g = 0; g < groups; ++g) {
      const double* m = moments + (g * bins + k) * kMoments;
      pool = merged(pool, {m[kCount], m[kRest], m[kLargest]});
    }
    pools.set(k, pool);
  }
  team.sync();
}

// Whether they are so many losses that an estimate is made. Ends with a barrier.
template <class Team>
INX_HD bool enough(const Team& team, const Params& p, int bins, const Pools& pools, double* shared_value) {
  double total = 0;
  for (int k = 0; team.first() == 0 && k < bins; ++k) total += pools.count[k];
  if (team.first() == 0) *shared_value = total;
  team.sync();
  total = *shared_value;
  team.sync();
  return total >= p.min_count && total > 0;
}

// Of an element of the data: that of Gaussian data with the mean error of the highest `min_count` losses.
INX_HD double variance(const Params& p, const Grid& grid, const Pools& pools) {
  const double* sigma = grid.row(kSigma);
  Pool pool{0, 0, 0};
  double inverse = 0;
  for (int k = grid.bins - 1; k >= 0 && pool.count < p.min_count; --k) {
    pool = merged(pool, pools.at(k));
    inverse += pools.count[k] / (sigma[k] * sigma[k]);
  }
  const double bound = grid.row(kBound)[grid.bins - 1], found = mean(pool), error = found < bound ? found : bound;
  const double share = error * inverse / pool.count;
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

// The variance of the data, and the mmse of every bin into `mmse`. Spoils the pools.
//
// Bins are pooled by their error relative to Gaussian data, which hardly changes from one bin to the next. The mmse
// does not fall as sigma rises, so that a bin has no more than any above it.
template <class Team>
INX_HD double estimate(const Team& team, const Params& p, const Grid& grid, const Pools& pools, double* mmse,
                       double* shared_value) {
  const double *sigma = grid.row(kSigma), *bound = grid.row(kBound);
  if (team.first() == 0) *shared_value = variance(p, grid, pools);
  team.sync();
  const double found = *shared_value;
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double gaussian = gaussian_mmse(found, sigma[k]), unit = gaussian > kTiny ? gaussian : 1.0;
    pools.rest[k] /= unit, pools.largest[k] /= unit;
  }
  PLANT(missing_pool_barrier, team.sync(), void());
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double m = mean(pooled(p, grid.bins, pools, k)) * gaussian_mmse(found, sigma[k]);
    mmse[k] = m < bound[k] ? m : bound[k];
  }
  team.sync();
  double* copy = pools.rest;
  for (int k = team.first(); k < grid.bins; k += team.step()) copy[k] = mmse[k];
  team.sync();
  for (int k = grid.bins - 2; team.first() == 0 && k >= 0; --k) copy[k] = copy[k + 1] < copy[k] ? copy[k + 1] : copy[k];
  team.sync();
  for (int k = team.first(); k < grid.bins; k += team.step()) mmse[k] = copy[k];
  team.sync();
  return found;
}

}  // namespace infonoise
