// One refresh of one group's table: moments -> mmse -> rate -> pivot -> signal -> gate -> density -> cdf.
// Float64 in a fixed order; the numbered steps are those of docs/how-it-works.md.
#pragma once

#include "core/estimate.h"
#include "core/pivot.h"
#include "core/signal.h"

namespace infonoise {

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
  team.each(bins, [&](int k) {
    const int64_t last = t.previous_count[bins + k], now = t.count[k];
    const double cdf = t.cdf[k + 1];
    t.previous_count[k] = last;
    t.previous_count[bins + k] = now;
    t.previous_cdf[k + 1] = cdf;
  });
}

INX_HD double gate(double sigma, double midpoint, double power) {  // Eq. 17
  const double x = midpoint / sigma;
  return 1.0 / (1.0 + (power == 3 ? x * x * x : std::pow(x, power)));
}

// Step 5, into the cdf of `t`; false leaves the old table. The rows are rho; the gate, then the density and the
// new cdf; the signal, then the change of the cdf.
template <class Team>
INX_HD bool build_table(Team& team, const Params& p, const Grid& grid, double midpoint, double variance, const Table& t,
                        double* rho, double* a, double* b) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  const int bins = grid.bins;
  team.each(bins, [&](int k) { rho[k] = rate(grid, t.mmse, k); });
  const double power = signal(team, p, grid, variance, rho, a, b);
  const bool gated = midpoint != 0;
  if (gated) team.each(bins, [&](int k) { a[k] = gate(sigma[k], midpoint, p.gate_power); });  // Eq. 17
  const auto sums = team.reduce(
      bins, Values<4>{},
      [&](int k) {
        const double whole = b[k], kept = gated ? whole * a[k] : whole, density = kept / weight[k];  // Eqs. 13, 16
        a[k] = density;
        return Values<4>{{whole, kept, density, rho[k]}};
      },
      Sum());
  const double total = sums.of[2], least = p.floor / bins;
  if (!(total > 0 && std::isfinite(total))) return false;
  team.template scan<true>(
      bins, {a}, Values<1>{}, [&](int k) { return Values<1>{{(1 - p.floor) * (a[k] / total) + least}}; }, Sum(),
      [&](int k, const Values<1>& mass) {
        const double cdf = k == bins - 1 || mass.of[0] > 1 ? 1.0 : mass.of[0];
        b[k] = std::fabs(cdf - t.cdf[k + 1]);
        t.cdf[k + 1] = cdf;
      });
  const auto change = [&](int k) { return Values<1>{{b[k]}}; };
  const double drift = team.reduce(bins, Values<1>{}, change, Most()).of[0];
  if (team.leads()) {
    t.stats[kPivot] = midpoint;
    t.stats[kKept] = sums.of[1] / sums.of[0];
    t.stats[kVariance] = variance;
    t.stats[kSharpness] = power;
    t.stats[kInformation] = sums.of[3] * p.width;
    t.stats[kDrift] = drift;
  }
  return true;
}

// Doubles of `work` a bin: the pools, which become rows.
constexpr int kWork = 3;

INX_HD Pools pools_of(double* work, int bins) { return {work, work + bins, work + 2 * bins}; }

// The lowest of the highest bins that hold `min_count` losses, which an estimate takes; -1 if all do not.
template <class Team>
INX_HD int lowest_of(const Team& team, const Params& p, int bins, const Pools& pools) {
  return team.highest(bins, p.min_count > 1 ? p.min_count : 1, [&](int k) { return pools.count[k]; });
}

// With the moments of the rings as pools in `work`, which all threads see. While a group has too few losses,
// `everyone(pools)` puts those of all groups in their place, and says whether there are others.
template <class Team, class Everyone>
INX_HD void refresh(Team& team, const Params& p, const Grid& grid, const Table& t, double* work,
                    const Everyone& everyone) {
  const int bins = grid.bins;
  const Pools pools = pools_of(work, bins);
  remember(team, bins, t);
  int lowest = lowest_of(team, p, bins, pools);
  const bool own = lowest >= 0;
  if (!own) {
    if (team.leads()) t.counters[kWaits] += 1, t.counters[kStatus] = kWaiting;
    team.sync();  // all have read the pools
    if (!everyone(pools)) return;
    lowest = lowest_of(team, p, bins, pools);
    if (lowest < 0) return;
  }
  const double variance = estimate(team, p, grid, pools, lowest, t.mmse);
  const double midpoint = pivot(team, p, grid, t.mmse, {pools.count, pools.rest, pools.largest});
  const bool good = build_table(team, p, grid, midpoint, variance, t, pools.count, pools.rest, pools.largest);
  if (team.leads() && own)
    t.counters[good ? kRefreshes : kDegenerates] += 1, t.counters[kStatus] = good ? kActive : kDegenerate;
}

}  // namespace infonoise
