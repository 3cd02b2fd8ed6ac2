// Step 3 of a refresh: the midpoint of the gate, from the entropy rate (docs/how-it-works.md).
#pragma once

#include "core/team.h"

namespace infonoise {

INX_HD double safe_log(double x) { return std::log(x > kTiny ? x : kTiny); }

// Of two numbers: the larger of the first, the smaller of the second.
INX_HD Values<2> larger_and_smaller(const Values<2>& a, const Values<2>& b) {
  return {{a.of[0] > b.of[0] ? a.of[0] : b.of[0], a.of[1] < b.of[1] ? a.of[1] : b.of[1]}};
}

// Eq. 18: beyond the last centre where r reaches p * max r, log-log interpolated.
template <class Team>
INX_HD double onset(Team& team, const Params& p, const Grid& grid, const double* log_r, double peak) {
  const double threshold = peak + std::log(p.pivot_value);
  const auto reaches = [&](int k) { return Values<1>{{log_r[k] < threshold ? 0.0 : double(k)}}; };
  const int k = int(team.reduce(grid.bins, Values<1>{}, reaches, Most()).of[0]);
  const double centre = p.log_min + p.width * (k + 0.5);
  const double here = log_r[k], above = k < grid.bins - 1 ? log_r[k + 1] : here;
  team.sync();  // all have read them
  if (k == grid.bins - 1) return std::exp(centre);
  return std::exp(centre + p.width * (here - threshold) / (here - above));
}

// App. B.4, fallback: the centre where the curve (log sigma, log r) bends most.
template <class Team>
INX_HD double knee(Team& team, const Params& p, const Grid& grid, const double* log_r, int first) {
  const int half = p.width >= 0.5 ? 1 : bins_of(0.5 / p.width + 0.5);
  const double step = half * p.width;
  const auto found = team.reduce(
      grid.bins, Values<2>{{-1, double(grid.bins)}},
      [&](int k) {
        if (k < first + half || k >= grid.bins - half) return Values<2>{{-1, double(grid.bins)}};
        const double slope = (log_r[k + half] - log_r[k - half]) / (2 * step);
        const double second = (log_r[k + half] - 2 * log_r[k] + log_r[k - half]) / (step * step);
        return Values<2>{{std::fabs(second) / std::pow(1 + slope * slope, 1.5), double(k)}};
      },
      [](const Values<2>& a, const Values<2>& b) {
        return a.of[0] > b.of[0] || (a.of[0] == b.of[0] && a.of[1] < b.of[1]) ? a : b;
      });
  return found.of[0] < 0 ? 0.0 : grid.row(kSigma)[int(found.of[1])];
}

// App. B.4: the last bin of the low-noise run that one straight line fits (rms <= tolerance); -1 if there is none.
// Spoils `log_r`, the first of the rows.
template <class Team>
INX_HD int line_end(Team& team, const Params& p, const Grid& grid, int first, double* const (&rows)[3]) {
  const double* log_r = rows[0];
  const double shortest = 2 + bins_of(p.pivot_span / p.width), zero = log_r[first], tolerance = p.pivot_value;
  team.sync();  // all have read it
  team.template scan<true>(
      grid.bins, rows, Values<3>{},
      [&](int k) {
        if (k < first) return Values<3>{};
        const double x = k - first, y = log_r[k] - zero;
        return Values<3>{{y, x * y, y * y}};
      },
      Sum(),
      [&](int k, const Values<3>& sums) {
        const double x = k - first, n = x + 1, sx = x * n / 2, sxx = x * n * (2 * x + 1) / 6;
        const double vxx = sxx - sx * sx / n, vxy = sums.of[1] - sx * sums.of[0] / n;
        const double vyy = sums.of[2] - sums.of[0] * sums.of[0] / n;
        const bool breaks = k >= first && n >= shortest && vyy - vxy * vxy / vxx > tolerance * tolerance * n;
        rows[0][k] = breaks ? k : grid.bins;
      });
  const auto broken = [&](int k) { return Values<1>{rows[0][k]}; };
  const int last = int(team.reduce(grid.bins, Values<1>{{double(grid.bins)}}, broken, Least()).of[0]) - 1;
  return last - first + 1 < shortest ? -1 : last;
}

// Eq. 11: the entropy rate over log sigma.
INX_HD double rate(const Grid& grid, const double* mmse, int k) {
  const double sigma = grid.row(kSigma)[k];
  return mmse[k] / (sigma * sigma);
}

// App. B.4. The first of the rows holds log r of `mmse`; spoils them.
template <class Team>
INX_HD double power_law(Team& team, const Params& p, const Grid& grid, const double* mmse, int first,
                        double* const (&rows)[3]) {
  const double* sigma = grid.row(kSigma);
  const int last = line_end(team, p, grid, first, rows);
  if (last >= 0) return last == grid.bins - 1 ? 0.0 : sigma[last];
  team.each(grid.bins, [&](int k) { rows[0][k] = safe_log(rate(grid, mmse, k) / sigma[k]); });
  team.sync();
  return knee(team, p, grid, rows[0], first);
}

// Step 3, the same for every thread. Spoils the rows.
template <class Team>
INX_HD double pivot(Team& team, const Params& p, const Grid& grid, const double* mmse, double* const (&rows)[3]) {
  if (p.pivot_rule == kFixed) return p.pivot_value;
  const double* sigma = grid.row(kSigma);
  double* log_r = rows[0];
  const auto top = team.reduce(
      grid.bins, Values<2>{{-INFINITY, double(grid.bins)}},
      [&](int k) {
        const double r = rate(grid, mmse, k) / sigma[k];
        log_r[k] = safe_log(r);
        return Values<2>{{log_r[k], double(r > kTiny ? k : grid.bins)}};
      },
      larger_and_smaller);
  const int first = int(top.of[1]);
  if (first == grid.bins) return 0;
  if (p.pivot_rule == kOnset) return onset(team, p, grid, log_r, top.of[0]);
  return power_law(team, p, grid, mmse, first, rows);
}

}  // namespace infonoise
