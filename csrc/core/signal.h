// Step 4 of a refresh: what the gated table equalises (docs/how-it-works.md).
#pragma once

#include "core/team.h"

namespace infonoise {

// The average of the running maximum from below and the running minimum from above, in place; `highest` is scratch.
template <class Team>
INX_HD void make_isotonic(Team& team, int bins, double* mmse, double* highest) {
  const auto own = [&](int k) { return Values<1>{{mmse[k]}}; };
  team.template scan<true>(bins, {highest}, Values<1>{{-INFINITY}}, own, Most(),
                           [&](int k, const Values<1>& most) { highest[k] = most.of[0]; });
  team.template scan<false>(bins, {mmse}, Values<1>{{INFINITY}}, own, Least(),
                            [&](int k, const Values<1>& least) { mmse[k] = (highest[k] + least.of[0]) / 2; });
}

// By how much mmse, made isotonic, rises over each bin; beyond the grid it is proportional to sigma^2, or constant.
template <class Team>
INX_HD void rise(Team& team, const Params& p, int bins, double* mmse, double* out) {
  make_isotonic(team, bins, mmse, out);
  team.sync();
  team.each(bins, [&](int k) {
    const double below = k > 0 ? mmse[k - 1] : mmse[0] * std::exp(-2 * p.width);
    const double above = k < bins - 1 ? mmse[k + 1] : mmse[k];
    const double middle = std::sqrt(mmse[k]);
    const double low = std::sqrt(below) * middle, high = middle * std::sqrt(above);
    const double risen = high > low * (1 + kSameRate) ? high - low : 0.0;
    out[k] = p.signal == kLength ? std::sqrt(risen) : risen;
  });
  PLANT(missing_signal_barrier, team.sync(), void());  // all have read their neighbours
}

// Where there is something left to learn: r (1 - r) g (1 - g), r being the rate and g that of Gaussian data of the
// variance, which r cannot exceed: an untrained network does.
INX_HD double window(double sigma, double variance, double rho) {
  const double gaussian = variance / (variance + sigma * sigma), r = rho < gaussian ? rho : gaussian;
  return r * (1 - r) * gaussian * (1 - gaussian);
}

// The power of a window of that spread: 1/2 if it is wider than what is learned at one level reaches, more if narrower.
INX_HD double sharpness(const Params& p, double spread) {
  const double ratio = p.reach * p.reach / (spread > kTiny ? spread : kTiny), most = spread / (kNarrowest * kNarrowest);
  const double square = ratio * ratio, fourth = square * square;
  const double wanted = (1 + fourth * fourth * fourth * fourth) / 2;
  const double power = wanted < most ? wanted : most;
  return power > 0.5 ? power : 0.5;
}

// The window to the power of its sharpness, times the geometric mean of the loss weight and EDM's; the power.
template <class Team>
INX_HD double learnable(Team& team, const Params& p, const Grid& grid, double variance, const double* rho,
                        double* factor, double* out) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  const double flat = 1 / (variance > kTiny ? variance : kTiny);
  const auto sums = team.reduce(
      grid.bins, Values<3>{},
      [&](int k) {
        const double q = window(sigma[k], variance, rho[k]);
        out[k] = q, factor[k] = std::sqrt(weight[k] * (1 / (sigma[k] * sigma[k]) + flat));  // Eq. 52
        return Values<3>{{q, k * q, q}};
      },
      [](const Values<3>& a, const Values<3>& b) {
        return Values<3>{{a.of[0] + b.of[0], a.of[1] + b.of[1], a.of[2] > b.of[2] ? a.of[2] : b.of[2]}};
      });
  const double total = sums.of[0], share = sums.of[2] > kTiny ? 1 / sums.of[2] : 1.0;
  double power = 0.5;
  if (total > 0) {
    const double mean = sums.of[1] / total;
    const auto square = [&](int k) { return Values<1>{{(k - mean) * (k - mean) * out[k]}}; };
    power = sharpness(p, team.reduce(grid.bins, Values<1>{}, square, Sum()).of[0] * (p.width * p.width / total));
  }
  team.each(grid.bins, [&](int k) { out[k] = std::pow(out[k] * share, power) * factor[k]; });
  return power;
}

// The signal of every bin, but for a constant factor; returns the window's power, else 1. Spoils `scratch`.
template <class Team>
INX_HD double signal(Team& team, const Params& p, const Grid& grid, double variance, const double* rho, double* scratch,
                     double* out) {
  const double* sigma = grid.row(kSigma);
  if (p.signal == kLearnable) return learnable(team, p, grid, variance, rho, scratch, out);
  if (p.signal == kEntropy || p.signal == kRescaled) {
    team.each(grid.bins, [&](int k) { out[k] = p.signal == kEntropy ? rho[k] : rho[k] * sigma[k]; });
    return 1;
  }
  double* mmse = scratch;
  team.each(grid.bins, [&](int k) { mmse[k] = rho[k] * (sigma[k] * sigma[k]); });
  rise(team, p, grid.bins, mmse, out);
  return 1;
}

}  // namespace infonoise
