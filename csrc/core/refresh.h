// One refresh of one group's table: moments -> mmse -> rate -> pivot -> signal -> gate -> density -> cdf.
// Float64 in a fixed order; the numbered steps are those of docs/how-it-works.md.
#pragma once

#include "core/estimate.h"
#include "core/pivot.h"
#include "core/signal.h"

namespace infonoise {

// The threads that share one refresh: this one of the CPU, or a block of the GPU. Loops over bins run
// from first() by step(); sums and searches belong to the thread whose first() is 0.
struct Alone {
  INX_HD int first() const { return 0; }
  INX_HD int step() const { return 1; }
  INX_HD void sync() const {}
};

struct Table {              // pointers into the state tensors of one group
  const int64_t* count;     // [K]
  int64_t* previous_count;  // [2, K]
  double* previous_cdf;     // [K + 1]
  double* mmse;             // [K]
  double* cdf;              // [K + 1]
  double* stats;            // [kStats]
  int64_t* counters;        // [kCounters]
};

INX_HD Table table_of(const Tables& t, const int64_t* count, int64_t* counters, int bins, int64_t g) {
  const int64_t row = g * bins, edges = g * (bins + 1);
  return {count + row,   t.previous_count + 2 * row, t.previous_cdf + edges,  t.mmse + row,
          t.cdf + edges, t.stats + g * kStats,       counters + g * kCounters};
}

INX_HD bool refresh_is_due(const Params& p, int64_t steps) {
  const int64_t past = int64_t(uint64_t(steps) - uint64_t(int64_t(p.warmup))), every = int64_t(p.refresh_every);
  return past >= 0 && every > 0 && past % every == 0;
}

// What the two last refreshes began with: how many losses, and the table that later ones were drawn from.
template <class Team>
INX_HD void remember(const Team& team, int bins, const Table& t) {
  for (int k = team.first(); k < bins; k += team.step()) {
    t.previous_count[k] = t.previous_count[bins + k];
    t.previous_count[bins + k] = t.count[k];
    t.previous_cdf[k + 1] = t.cdf[k + 1];
  }
}

INX_HD double gate(double sigma, double midpoint, double power) {  // Eq. 17
  return 1.0 / (1.0 + std::pow(midpoint / sigma, power));
}

// Step 5, into the cdf of `t`; false leaves the old table. Two buffers hold all there is on the way: `a` rho, then
// the gated signal, the density and the new cdf; `b` the signal, then the change of the cdf.
template <class Team>
INX_HD bool build_table(const Team& team, const Params& p, const Grid& grid, double midpoint, double variance,
                        const Table& t, double* a, double* b, double* shared_values) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  const bool leads = team.first() == 0;
  double information = 0, whole = 0, kept = 0;
  for (int k = 0; leads && k < grid.bins; ++k) information += a[k];
  team.sync();
  const double power = signal(team, p, grid, variance, a, b, shared_values);
  for (int k = team.first(); k < grid.bins; k += team.step())
    a[k] = b[k] * gate(sigma[k], midpoint, p.gate_power);  // Eqs. 13, 17
  team.sync();
  for (int k = 0; leads && k < grid.bins; ++k) whole += b[k], kept += a[k];
  team.sync();
  for (int k = team.first(); k < grid.bins; k += team.step()) a[k] /= weight[k];  // Eq. 16
  team.sync();
  if (leads) {
    double sum = 0;
    for (int k = 0; k < grid.bins; ++k) sum += a[k];
    *shared_values = sum;
  }
  team.sync();
  const double total = *shared_values;
  if (!(total > 0 && std::isfinite(total))) return false;
  for (int k = team.first(); k < grid.bins; k += team.step())
    a[k] = (1 - p.floor) * (a[k] / total) + p.floor / grid.bins;
  team.sync();
  double mass = 0, drift = 0;
  for (int k = 0; leads && k < grid.bins; ++k) {
    mass += a[k];
    a[k] = k == grid.bins - 1 || mass > 1 ? 1.0 : mass;
  }
  team.sync();
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    b[k] = std::fabs(a[k] - t.cdf[k + 1]);
    t.cdf[k + 1] = a[k];
  }
  team.sync();
  if (leads) {
    for (int k = 0; k < grid.bins; ++k) drift = b[k] > drift ? b[k] : drift;
    t.stats[kPivot] = midpoint;
    t.stats[kKept] = kept / whole;
    t.stats[kVariance] = variance;
    t.stats[kSharpness] = power;
    t.stats[kInformation] = information * p.width;
    t.stats[kDrift] = drift;
  }
  return true;
}

// Doubles of `work`: the pools of K bins, which become buffers, and what one thread tells all.
constexpr int kTold = 2;
constexpr int work_size(int bins) { return 3 * bins + kTold; }

INX_HD Pools pools_of(double* work, int bins) { return {work, work + bins, work + 2 * bins}; }

// With the moments of the rings as pools in `work`. While a group has too few losses, `everyone(pools)` puts those of
// all groups in their place, and says whether there are others.
template <class Team, class Everyone>
INX_HD void refresh(const Team& team, const Params& p, const Grid& grid, const Table& t, double* work,
                    const Everyone& everyone) {
  const int bins = grid.bins;
  const bool leads = team.first() == 0;
  const Pools pools = pools_of(work, bins);
  double* shared_values = work + 3 * bins;
  remember(team, bins, t);
  const bool own = enough(team, p, bins, pools, shared_values);
  if (!own) {
    if (leads) t.counters[kWaits] += 1, t.counters[kStatus] = kWaiting;
    if (!everyone(pools) || !enough(team, p, bins, pools, shared_values)) return;
  }
  const double variance = estimate(team, p, grid, pools, t.mmse, shared_values);
  double *a = pools.rest, *b = pools.largest;
  for (int k = team.first(); k < bins; k += team.step()) {
    const double sigma = grid.row(kSigma)[k];
    a[k] = t.mmse[k] / (sigma * sigma);  // Eq. 11
  }
  team.sync();
  const double midpoint = pivot(team, p, grid, a, b, shared_values);
  const bool good = build_table(team, p, grid, midpoint, variance, t, a, b, shared_values);
  if (leads && own)
    t.counters[good ? kRefreshes : kDegenerates] += 1, t.counters[kStatus] = good ? kActive : kDegenerate;
}

}  // namespace infonoise
