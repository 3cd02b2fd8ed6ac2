// One refresh of one group's table: measured bins -> mmse -> rate -> pivot -> gate -> density -> cdf.
// Float64 in a fixed order; the numbered steps are those of docs/how-it-works.md.
#pragma once

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

struct Table {        // pointers into the state tensors of one group
  double* mmse;       // [K]
  double* cdf;        // [K + 1]
  double* stats;      // [kStats]
  int64_t* counters;  // [kCounters]
};

INX_HD Table table_of(const Tables& t, int64_t* counters, int bins, int64_t g) {
  return {t.mmse + g * bins, t.cdf + g * (bins + 1), t.stats + g * kStats, counters + g * kCounters};
}

INX_HD bool refresh_is_due(const Params& p, int64_t steps) {
  const int64_t past = int64_t(uint64_t(steps) - uint64_t(int64_t(p.warmup))), every = int64_t(p.refresh_every);
  return past >= 0 && every > 0 && past % every == 0;
}

// The mean of a bin that holds enough losses; -1 of any other.
INX_HD double measured_mean(const Params& p, double count, double sum) {
  return count >= p.min_count ? sum / count : -1.0;
}

template <class Team>
INX_HD void measured_means(const Team& team, const Params& p, int bins, const double* moments, double* means) {
  for (int k = team.first(); k < bins; k += team.step())
    means[k] = measured_mean(p, moments[k * kMoments + kCount], moments[k * kMoments + kSum]);
}

// Step 1: the mass of the table that no measured bin carries; -1 when no bin is measured.
INX_HD double unmeasured_mass(int bins, const double* means, const double* mass) {
  double missing = 0;
  bool any = false;
  for (int k = 0; k < bins; ++k) {
    const bool measured = !(means[k] < 0);
    any = any || measured;
    missing += measured ? 0 : mass[k];
  }
  return any ? missing : -1;
}

// Step 2.
INX_HD double moved_mmse(const Params& p, double old, double mean) {
  if (mean < 0) return old;
  return old < 0 ? mean : (1 - p.ema) * old + p.ema * mean;
}

// Step 3, of bin k: log-linear between measured bins, proportional to sigma^2 below them, constant above.
INX_HD double fill(const double* sigma, int bins, const double* mmse, int k) {
  int below = k, above = k;
  while (below >= 0 && mmse[below] < 0) --below;
  while (above < bins && mmse[above] < 0) ++above;
  if (below == k) return mmse[k];
  if (below < 0 && above == bins) return 0;  // emptied by another thread meanwhile
  if (below < 0) {
    const double ratio = sigma[k] / sigma[above];
    return mmse[above] * ratio * ratio;
  }
  if (above == bins) return mmse[below];
  if (!(mmse[below] > 0 || mmse[above] > 0)) return 0;
  const double low = safe_log(mmse[below]), high = safe_log(mmse[above]);
  return std::exp(low + (high - low) * (double(k - below) / (above - below)));
}

// The Gaussian average of log rho over neighbouring bins, cut at three standard deviations. Fills `logs`.
template <class Team>
INX_HD void smooth(const Team& team, const Params& p, int bins, double* rho, double* logs) {
  if (!(p.smooth > 0)) return;
  for (int k = team.first(); k < bins; k += team.step()) logs[k] = safe_log(rho[k]);
  team.sync();
  const int radius = bins_of(3 * p.smooth);
  for (int k = team.first(); k < bins; k += team.step()) {
    double total = 0, weight = 0;
    for (int j = k < radius ? 0 : k - radius; j <= k + radius && j < bins; ++j) {
      const double distance = (j - k) / p.smooth, w = std::exp(-0.5 * distance * distance);
      total += w * logs[j];
      weight += w;
    }
    rho[k] = std::exp(total / weight);
  }
  team.sync();
}

// Steps 3 and 4: the entropy rate per unit log sigma, rho = m / sigma^2, gaps filled, bounded and smoothed.
template <class Team>
INX_HD void rate(const Team& team, const Params& p, const Grid& grid, const double* mmse, double* rho, double* logs) {
  const double *sigma = grid.row(kSigma), *bound = grid.row(kBound);
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double m = fill(sigma, grid.bins, mmse, k);
    rho[k] = (m < bound[k] ? m : bound[k]) / (sigma[k] * sigma[k]);  // Eq. 11
  }
  team.sync();
  smooth(team, p, grid.bins, rho, logs);
}

INX_HD double gate(double sigma, double midpoint, double power) {  // Eq. 17
  return 1.0 / (1.0 + std::pow(midpoint / sigma, power));
}

// Steps 6 and 7, into the cdf of `t`; false leaves the old table. Two buffers hold all there is on the way:
// `a` rho, then the gated signal, the density and the new cdf; `b` the signal, then the change of the cdf.
template <class Team>
INX_HD bool build_table(const Team& team, const Params& p, const Grid& grid, double midpoint, const Table& t, double* a,
                        double* b, double* shared_value) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  const bool leads = team.first() == 0;
  double information = 0, whole = 0, kept = 0;
  for (int k = 0; leads && k < grid.bins; ++k) information += a[k];
  team.sync();
  signal(team, p, grid, a, b);
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
    *shared_value = std::isfinite(information) ? sum : 0.0;
  }
  team.sync();
  const double total = *shared_value;
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
    t.stats[kDrift] = drift;
    t.stats[kInformation] = information * p.width;
    t.stats[kKept] = kept / whole;
  }
  return true;
}

// Doubles of `work`: two buffers of K, the first with the means of the measured bins, and what one thread tells all.
constexpr int work_size(int bins) { return 2 * bins + 1; }

template <class Team>
INX_HD void refresh(const Team& team, const Params& p, const Grid& grid, const Table& t, double* work) {
  const int bins = grid.bins;
  const bool leads = team.first() == 0;
  double *means = work, *a = work + bins, *shared_value = work + 2 * bins;
  for (int k = team.first(); k < bins; k += team.step()) a[k] = t.cdf[k + 1] - t.cdf[k];
  team.sync();
  if (leads) *shared_value = unmeasured_mass(bins, means, a);
  team.sync();
  const double missing = *shared_value;
  if (leads) t.stats[kCoverage] = missing < 0 ? 0 : 1 - missing;
  if (missing < 0 || missing > 1 - p.coverage) {
    if (leads) t.counters[kWaits] += 1, t.counters[kStatus] = kWaiting;
    return;
  }
  for (int k = team.first(); k < bins; k += team.step()) t.mmse[k] = moved_mmse(p, t.mmse[k], means[k]);
  team.sync();
  double* b = means;  // not needed any more
  rate(team, p, grid, t.mmse, a, b);
  const double midpoint = pivot(team, p, grid, a, b, shared_value);
  const bool good = build_table(team, p, grid, midpoint, t, a, b, shared_value);
  if (leads) t.counters[good ? kRefreshes : kDegenerates] += 1, t.counters[kStatus] = good ? kActive : kDegenerate;
}

}  // namespace infonoise
