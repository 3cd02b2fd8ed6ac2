// One refresh of one group's table: measured bins -> mmse -> rate -> pivot -> gate -> density -> cdf.
// Float64 in a fixed order; the numbered steps are those of docs/how-it-works.md.
#pragma once

#include "core.h"

namespace infonoise {

struct Group {            // pointers into the state tensors of one group
  const double* moments;  // [K, 3]
  double* mmse;           // [K]
  double* cdf;            // [K + 1]
  double* stats;          // [kStats]
  int64_t* counters;      // [kCounters]
};

struct Grid {
  const double* rows;     // [kGridRows, K + 1]
  int bins;
  INX_HD const double* row(GridRow r) const { return rows + r * (bins + 1); }
};

// Step 1: the mass of the table that no measured bin carries; -1 when no bin is measured.
INX_HD double unmeasured_mass(const Params& p, int bins, const double* moments, const double* cdf) {
  double missing = 0;
  bool any = false;
  for (int k = 0; k < bins; ++k) {
    if (moments[k * kMoments + kCount] >= p.min_count) any = true;
    else missing += cdf[k + 1] - cdf[k];
  }
  return any ? missing : -1;
}

// Step 2.
INX_HD void update_mmse(const Params& p, int bins, const double* moments, double* mmse) {
  for (int k = 0; k < bins; ++k) {
    const double count = moments[k * kMoments + kCount];
    if (count < p.min_count) continue;
    const double mean = moments[k * kMoments + kSum] / count;
    mmse[k] = mmse[k] < 0 ? mean : (1 - p.ema) * mmse[k] + p.ema * mean;
  }
}

// Steps 3 and 4: fill the gaps, clamp to the bound, rho = m / sigma^2 (Eq. 11 per unit log sigma).
INX_HD void fill_rate(const Grid& grid, const double* mmse, double* rho) {
  const double *sigma = grid.row(kSigma), *bound = grid.row(kBound);
  int below = -1, above = -1;
  for (int k = 0; k < grid.bins; ++k) {
    if (mmse[k] >= 0) below = k;
    if (above < k)
      for (above = k; above < grid.bins && mmse[above] < 0;) ++above;
    double m;
    if (below == k) {
      m = mmse[k];
    } else if (below < 0) {
      const double ratio = sigma[k] / sigma[above];
      m = mmse[above] * ratio * ratio;
    } else if (above == grid.bins) {
      m = mmse[below];
    } else {
      const double low = safe_log(mmse[below]), high = safe_log(mmse[above]);
      m = std::exp(low + (high - low) * (double(k - below) / (above - below)));
    }
    m = m < bound[k] ? m : bound[k];
    rho[k] = m / (sigma[k] * sigma[k]);
  }
}

INX_HD void smooth_rate(const Params& p, int bins, double* rho, double* log_rho) {
  if (p.smooth <= 0) return;
  for (int k = 0; k < bins; ++k) log_rho[k] = safe_log(rho[k]);
  const int radius = int(3 * p.smooth);
  for (int k = 0; k < bins; ++k) {
    double total = 0, weight = 0;
    for (int j = k < radius ? 0 : k - radius; j <= k + radius && j < bins; ++j) {
      const double distance = (j - k) / p.smooth, w = std::exp(-0.5 * distance * distance);
      total += w * log_rho[j];
      weight += w;
    }
    rho[k] = std::exp(total / weight);
  }
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

// The centre of least rate below the peak of the rate, if it is less than half of it; else infinity.
INX_HD double valley(const Grid& grid, const double* rho) {
  int peak = 0, least = 0;
  for (int k = 1; k < grid.bins; ++k) peak = rho[k] > rho[peak] ? k : peak;
  for (int k = 1; k <= peak; ++k) least = rho[k] <= rho[least] ? k : least;
  return rho[least] < 0.5 * rho[peak] ? grid.row(kSigma)[least] : HUGE_VAL;
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

// Step 5.
INX_HD double find_pivot(const Params& p, const Grid& grid, const double* rho, double* log_r) {
  if (p.pivot_rule == kFixed) return p.pivot_value;
  int first = -1;
  for (int k = 0; k < grid.bins; ++k) {
    const double r = rho[k] / grid.row(kSigma)[k];
    log_r[k] = safe_log(r);
    if (first < 0 && r > kTiny) first = k;
  }
  if (first < 0) return 0;
  if (p.pivot_rule == kOnset) return std::fmin(onset(p, grid, log_r), valley(grid, rho));
  return power_law(p, grid, log_r, first);
}

// Steps 6 and 7, into `cdf`; false leaves the old table.
INX_HD bool build_table(const Params& p, const Grid& grid, double* rho, double pivot, Group& g) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  double total = 0, information = 0, kept = 0;
  for (int k = 0; k < grid.bins; ++k) {
    const double phi = rho[k] * gate(sigma[k], pivot, p.gate_power);   // Eqs. 13, 17
    information += rho[k];
    kept += phi;
    rho[k] = phi / weight[k];                                          // Eq. 16
    total += rho[k];
  }
  if (!(total > 0 && std::isfinite(total) && std::isfinite(information))) return false;
  double mass = 0, drift = 0;
  for (int k = 0; k < grid.bins; ++k) {
    mass += (1 - p.floor) * (rho[k] / total) + p.floor / grid.bins;
    const double next = k == grid.bins - 1 || mass > 1 ? 1.0 : mass;
    const double change = std::fabs(next - g.cdf[k + 1]);
    drift = change > drift ? change : drift;
    g.cdf[k + 1] = next;
  }
  g.stats[kPivot] = pivot;
  g.stats[kDrift] = drift;
  g.stats[kInformation] = information * p.width;
  g.stats[kKept] = kept / information;
  return true;
}

// `work` holds 2 K doubles.
INX_HD void refresh_group(const Params& p, const Grid& grid, Group g, double* work) {
  const double missing = unmeasured_mass(p, grid.bins, g.moments, g.cdf);
  g.stats[kCoverage] = missing < 0 ? 0 : 1 - missing;
  if (missing < 0 || missing > 1 - p.coverage) {
    g.counters[kWaits] += 1;
    g.counters[kStatus] = kWaiting;
    return;
  }
  update_mmse(p, grid.bins, g.moments, g.mmse);
  double *rho = work, *logs = work + grid.bins;
  fill_rate(grid, g.mmse, rho);
  smooth_rate(p, grid.bins, rho, logs);
  const double pivot = find_pivot(p, grid, rho, logs);
  const bool good = build_table(p, grid, rho, pivot, g);
  g.counters[good ? kRefreshes : kDegenerates] += 1;
  g.counters[kStatus] = good ? kActive : kDegenerate;
}

}  // namespace infonoise
