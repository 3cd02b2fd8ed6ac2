// One refresh of one group's table: measured bins -> mmse -> rate -> pivot -> gate -> density -> cdf.
// Float64 in a fixed order; the numbered steps are those of docs/how-it-works.md.
#pragma once

#include "core.h"

namespace infonoise {

// The threads that share one refresh: this one of the CPU, or a block of the GPU. Loops over bins run
// from first() by step(); sums and searches belong to the thread whose first() is 0.
struct Alone {
  INX_HD int first() const { return 0; }
  INX_HD int step() const { return 1; }
  INX_HD void sync() const {}
};

struct Group {            // pointers into the state tensors of one group
  double* mmse;           // [K]
  double* cdf;            // [K + 1]
  double* stats;          // [kStats]
  int64_t* counters;      // [kCounters]
};

struct Tables {           // of all groups
  double *mmse, *cdf, *stats;
};

INX_HD Group group_of(const Tables& t, int64_t* counters, int bins, int64_t g) {
  return {t.mmse + g * bins, t.cdf + g * (bins + 1), t.stats + g * kStats, counters + g * kCounters};
}

struct Grid {
  const double* rows;     // [kGridRows, K + 1]
  int bins;
  INX_HD const double* row(GridRow r) const { return rows + r * (bins + 1); }
};

constexpr int kTold = 2;  // values that one thread of a team tells the others

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
    if (means[k] < 0) missing += mass[k];
    else any = true;
  }
  return any ? missing : -1;
}

// Step 2.
INX_HD double moved_mmse(const Params& p, double old, double mean) {
  if (mean < 0) return old;
  return old < 0 ? mean : (1 - p.ema) * old + p.ema * mean;
}

// Steps 3 and 4: fill the gaps, clamp to the bound, rho = m / sigma^2 (Eq. 11 per unit log sigma).
INX_HD double filled_rate(const Grid& grid, const double* mmse, int k) {
  const double* sigma = grid.row(kSigma);
  int below = k, above = k;
  while (below >= 0 && mmse[below] < 0) --below;
  while (above < grid.bins && mmse[above] < 0) ++above;
  double m;
  if (below == k) {
    m = mmse[k];
  } else if (below < 0 && above == grid.bins) {
    m = 0;   // emptied by another thread meanwhile
  } else if (below < 0) {
    const double ratio = sigma[k] / sigma[above];
    m = mmse[above] * ratio * ratio;
  } else if (above == grid.bins) {
    m = mmse[below];
  } else if (mmse[below] > 0 || mmse[above] > 0) {
    const double low = safe_log(mmse[below]), high = safe_log(mmse[above]);
    m = std::exp(low + (high - low) * (double(k - below) / (above - below)));
  } else {
    m = 0;
  }
  const double bound = grid.row(kBound)[k];
  m = m < bound ? m : bound;
  return m / (sigma[k] * sigma[k]);
}

INX_HD double smoothed_rate(const Params& p, int bins, const double* log_rho, int k) {
  const int radius = int(3 * p.smooth);
  double total = 0, weight = 0;
  for (int j = k < radius ? 0 : k - radius; j <= k + radius && j < bins; ++j) {
    const double distance = (j - k) / p.smooth, w = std::exp(-0.5 * distance * distance);
    total += w * log_rho[j];
    weight += w;
  }
  return std::exp(total / weight);
}

// Eq. 18: beyond the last centre where r reaches p * max r, log-log interpolated.
INX_HD double onset(const Params& p, const Grid& grid, const double* log_r) {
  double peak = log_r[0];
  for (int k = 1; k < grid.bins; ++k) peak = log_r[k] > peak ? log_r[k] : peak;
  const double threshold = peak + std::log(p.pivot_value);
  int k = grid.bins - 1;
  while (k > 0 && log_r[k] < threshold) --k;
  const double centre = p.log_min + p.width * (k + 0.5);
  if (k == grid.bins - 1) return std::exp(centre);
  return std::exp(centre + p.width * (log_r[k] - threshold) / (log_r[k] - log_r[k + 1]));
}

// The last centre of least rate below the peak of the rate, if it is less than half of it; else infinity.
// Bins filled below the lowest measured one share its rate but for rounding.
INX_HD double valley(const Grid& grid, const double* rho) {
  int peak = 0, last = 0;
  for (int k = 1; k < grid.bins; ++k) peak = rho[k] > rho[peak] ? k : peak;
  double least = rho[0];
  for (int k = 1; k <= peak; ++k) least = rho[k] < least ? rho[k] : least;
  for (int k = 1; k <= peak; ++k) last = rho[k] <= least * (1 + kSameRate) ? k : last;
  return least < 0.5 * rho[peak] ? grid.row(kSigma)[last] : HUGE_VAL;
}

// App. B.4, fallback: the centre where the curve (log sigma, log r) bends most.
INX_HD double knee(const Params& p, const Grid& grid, const double* log_r, int first) {
  const int half = p.width >= 0.5 ? 1 : int(0.5 / p.width + 0.5);
  const double step = half * p.width;
  double sharpest = -1, pivot = 0;
  for (int k = first + half; k < grid.bins - half; ++k) {
    const double slope = (log_r[k + half] - log_r[k - half]) / (2 * step);
    const double second = (log_r[k + half] - 2 * log_r[k] + log_r[k - half]) / (step * step);
    const double curvature = std::fabs(second) / std::pow(1 + slope * slope, 1.5);
    if (curvature > sharpest) sharpest = curvature, pivot = grid.row(kSigma)[k];
  }
  return pivot;
}

// App. B.4: upper end of the low-noise run of bins that one straight line fits (rms <= tolerance).
INX_HD double power_law(const Params& p, const Grid& grid, const double* log_r, int first) {
  const int shortest = 2 + int(p.pivot_span / p.width);
  double sx = 0, sy = 0, sxx = 0, sxy = 0, syy = 0;
  int last = -1;
  for (int k = first; k < grid.bins; ++k) {
    const double x = k - first, y = log_r[k] - log_r[first], n = x + 1;
    sx += x, sy += y, sxx += x * x, sxy += x * y, syy += y * y;
    if (n < shortest) continue;
    const double vxx = sxx - sx * sx / n, vxy = sxy - sx * sy / n, vyy = syy - sy * sy / n;
    if (vyy - vxy * vxy / vxx > p.pivot_value * p.pivot_value * n) break;
    last = k;
  }
  if (last < 0) return knee(p, grid, log_r, first);
  return last == grid.bins - 1 ? 0.0 : grid.row(kSigma)[last];
}

// Step 5, for one thread: `log_r` is of r = rho / sigma.
INX_HD double searched_pivot(const Params& p, const Grid& grid, const double* rho, const double* log_r) {
  int first = 0;
  while (first < grid.bins && !(rho[first] / grid.row(kSigma)[first] > kTiny)) ++first;
  if (first == grid.bins) return 0;
  if (p.pivot_rule == kOnset) return std::fmin(onset(p, grid, log_r), valley(grid, rho));
  return power_law(p, grid, log_r, first);
}

template <class Team>
INX_HD double find_pivot(const Team& team, const Params& p, const Grid& grid, const double* rho, double* log_r,
                         double* told) {
  if (p.pivot_rule == kFixed) return p.pivot_value;
  for (int k = team.first(); k < grid.bins; k += team.step()) log_r[k] = safe_log(rho[k] / grid.row(kSigma)[k]);
  team.sync();
  if (team.first() == 0) told[0] = searched_pivot(p, grid, rho, log_r);
  team.sync();
  return told[0];
}

// The average of the running maximum from below and the running minimum from above, in place.
INX_HD void make_isotonic(int bins, double* mmse, double* highest) {
  highest[0] = mmse[0];
  for (int k = 1; k < bins; ++k) highest[k] = mmse[k] > highest[k - 1] ? mmse[k] : highest[k - 1];
  double least = mmse[bins - 1];
  for (int k = bins - 1; k >= 0; --k) {
    least = mmse[k] < least ? mmse[k] : least;
    mmse[k] = (highest[k] + least) / 2;
  }
}

// By how much an isotonic mmse rises over bin k; beyond the grid it is proportional to sigma^2, or constant.
INX_HD double rise(const Params& p, int bins, const double* mmse, int k) {
  const double below = k > 0 ? mmse[k - 1] : mmse[0] * std::exp(-2 * p.width);
  const double above = k < bins - 1 ? mmse[k + 1] : mmse[k];
  const double middle = std::sqrt(mmse[k]);
  const double low = std::sqrt(below) * middle, high = middle * std::sqrt(above);
  return high > low * (1 + kSameRate) ? high - low : 0.0;
}

// Step 6: what the gated table equalises, of every bin, but for a constant factor. Spoils `rho`.
template <class Team>
INX_HD void find_signal(const Team& team, const Params& p, const Grid& grid, double* rho, double* signal) {
  const double* sigma = grid.row(kSigma);
  if (p.signal == kEntropy || p.signal == kRescaled) {
    for (int k = team.first(); k < grid.bins; k += team.step())
      signal[k] = p.signal == kEntropy ? rho[k] : rho[k] * sigma[k];
    return team.sync();
  }
  double* mmse = rho;
  for (int k = team.first(); k < grid.bins; k += team.step()) mmse[k] = rho[k] * (sigma[k] * sigma[k]);
  team.sync();
  if (team.first() == 0) make_isotonic(grid.bins, mmse, signal);
  team.sync();
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double mass = rise(p, grid.bins, mmse, k);
    signal[k] = p.signal == kLength ? std::sqrt(mass) : mass;
  }
  team.sync();
}

// Steps 6 and 7, into the cdf of `g`; false leaves the old table.
template <class Team>
INX_HD bool build_table(const Team& team, const Params& p, const Grid& grid, double pivot, const Group& g,
                        double* rho, double* signal, double* told) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  const bool leads = team.first() == 0;
  double information = 0, whole = 0, kept = 0;
  for (int k = 0; leads && k < grid.bins; ++k) information += rho[k];
  team.sync();
  find_signal(team, p, grid, rho, signal);
  double* phi = rho;
  for (int k = team.first(); k < grid.bins; k += team.step())
    phi[k] = signal[k] * gate(sigma[k], pivot, p.gate_power);          // Eqs. 13, 17
  team.sync();
  for (int k = 0; leads && k < grid.bins; ++k) whole += signal[k], kept += phi[k];
  team.sync();
  double* density = phi;
  for (int k = team.first(); k < grid.bins; k += team.step()) density[k] = phi[k] / weight[k];   // Eq. 16
  team.sync();
  if (leads) {
    double sum = 0;
    for (int k = 0; k < grid.bins; ++k) sum += density[k];
    told[1] = std::isfinite(information) ? sum : 0.0;
  }
  team.sync();
  const double total = told[1];
  if (!(total > 0 && std::isfinite(total))) return false;
  for (int k = team.first(); k < grid.bins; k += team.step())
    density[k] = (1 - p.floor) * (density[k] / total) + p.floor / grid.bins;
  team.sync();
  double mass = 0, drift = 0;
  for (int k = 0; leads && k < grid.bins; ++k) {
    mass += density[k];
    density[k] = k == grid.bins - 1 || mass > 1 ? 1.0 : mass;
  }
  team.sync();
  double* change = signal;
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    change[k] = std::fabs(density[k] - g.cdf[k + 1]);
    g.cdf[k + 1] = density[k];
  }
  team.sync();
  if (leads) {
    for (int k = 0; k < grid.bins; ++k) drift = change[k] > drift ? change[k] : drift;
    g.stats[kPivot] = pivot;
    g.stats[kDrift] = drift;
    g.stats[kInformation] = information * p.width;
    g.stats[kKept] = kept / whole;
  }
  return true;
}

// `work` holds 2 K + kTold doubles, of which the first K are the means of the measured bins.
template <class Team>
INX_HD void refresh_group(const Team& team, const Params& p, const Grid& grid, const Group& g, double* work) {
  const int bins = grid.bins;
  const bool leads = team.first() == 0;
  double *means = work, *rho = work + bins, *told = work + 2 * bins;
  for (int k = team.first(); k < bins; k += team.step()) rho[k] = g.cdf[k + 1] - g.cdf[k];
  team.sync();
  if (leads) told[0] = unmeasured_mass(bins, means, rho);
  team.sync();
  const double missing = told[0];
  if (leads) g.stats[kCoverage] = missing < 0 ? 0 : 1 - missing;
  if (missing < 0 || missing > 1 - p.coverage) {
    if (leads) g.counters[kWaits] += 1, g.counters[kStatus] = kWaiting;
    return;
  }
  for (int k = team.first(); k < bins; k += team.step()) g.mmse[k] = moved_mmse(p, g.mmse[k], means[k]);
  team.sync();
  for (int k = team.first(); k < bins; k += team.step()) rho[k] = filled_rate(grid, g.mmse, k);
  team.sync();
  double* logs = means;
  if (p.smooth > 0) {
    for (int k = team.first(); k < bins; k += team.step()) logs[k] = safe_log(rho[k]);
    team.sync();
    for (int k = team.first(); k < bins; k += team.step()) rho[k] = smoothed_rate(p, bins, logs, k);
    team.sync();
  }
  const double pivot = find_pivot(team, p, grid, rho, logs, told);
  const bool good = build_table(team, p, grid, pivot, g, rho, logs, told);
  if (leads) g.counters[good ? kRefreshes : kDegenerates] += 1, g.counters[kStatus] = good ? kActive : kDegenerate;
}

}  // namespace infonoise
