// Step 3 of a refresh: the midpoint of the gate, from the entropy rate (docs/how-it-works.md).
#pragma once

#include "core/layout.h"

namespace infonoise {

INX_HD double safe_log(double x) { return std::log(x > kTiny ? x : kTiny); }

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

// App. B.4, fallback: the centre where the curve (log sigma, log r) bends most.
INX_HD double knee(const Params& p, const Grid& grid, const double* log_r, int first) {
  const int half = p.width >= 0.5 ? 1 : bins_of(0.5 / p.width + 0.5);
  const double step = half * p.width;
  double sharpest = -1, found = 0;
  for (int k = first + half; k < grid.bins - half; ++k) {
    const double slope = (log_r[k + half] - log_r[k - half]) / (2 * step);
    const double second = (log_r[k + half] - 2 * log_r[k] + log_r[k - half]) / (step * step);
    const double curvature = std::fabs(second) / std::pow(1 + slope * slope, 1.5);
    if (curvature > sharpest) sharpest = curvature, found = grid.row(kSigma)[k];
  }
  return found;
}

// App. B.4: upper end of the low-noise run of bins that one straight line fits (rms <= tolerance).
INX_HD double power_law(const Params& p, const Grid& grid, const double* log_r, int first) {
  const int shortest = 2 + bins_of(p.pivot_span / p.width);
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

// For one thread: `log_r` is of r = rho / sigma.
INX_HD double pivot_by_rule(const Params& p, const Grid& grid, const double* rho, const double* log_r) {
  int first = 0;
  while (first < grid.bins && !(rho[first] / grid.row(kSigma)[first] > kTiny)) ++first;
  if (first == grid.bins) return 0;
  if (p.pivot_rule == kOnset) return onset(p, grid, log_r);
  return power_law(p, grid, log_r, first);
}

// Step 3, the same for every thread. Fills `log_r`.
template <class Team>
INX_HD double pivot(const Team& team, const Params& p, const Grid& grid, const double* rho, double* log_r,
                    double* shared_value) {
  if (p.pivot_rule == kFixed) return p.pivot_value;
  for (int k = team.first(); k < grid.bins; k += team.step()) log_r[k] = safe_log(rho[k] / grid.row(kSigma)[k]);
  team.sync();
  if (team.first() == 0) *shared_value = pivot_by_rule(p, grid, rho, log_r);
  team.sync();
  return *shared_value;
}

}  // namespace infonoise
