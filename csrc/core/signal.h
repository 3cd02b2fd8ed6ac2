// Step 4 of a refresh: what the gated table equalises (docs/how-it-works.md).
#pragma once

#include "core/layout.h"

namespace infonoise {

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

// By how much mmse, made isotonic, rises over each bin; beyond the grid it is proportional to sigma^2, or constant.
template <class Team>
INX_HD void rise(const Team& team, const Params& p, int bins, double* mmse, double* out) {
  if (team.first() == 0) make_isotonic(bins, mmse, out);
  PLANT(missing_signal_barrier, team.sync(), void());
  for (int k = team.first(); k < bins; k += team.step()) {
    const double below = k > 0 ? mmse[k - 1] : mmse[0] * std::exp(-2 * p.width);
    const double above = k < bins - 1 ? mmse[k + 1] : mmse[k];
    const double middle = std::sqrt(mmse[k]);
    const double low = std::sqrt(below) * middle, high = middle * std::sqrt(above);
    out[k] = high > low * (1 + kSameRate) ? high - low : 0.0;
  }
}

// Where there is something left to learn: r (1 - r) g (1 - g), r being the rate and g that of Gaussian data of the
// variance, which r cannot exceed: an untrained network does.
template <class Team>
INX_HD void window(const Team& team, const Grid& grid, double variance, const double* rho, double* out) {
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double sigma = grid.row(kSigma)[k], gaussian = variance / (variance + sigma * sigma);
    const double r = rho[k] < gaussian ? rho[k] : gaussian;
    out[k] = r * (1 - r) * gaussian * (1 - gaussian);
  }
  team.sync();
}

// The power of the window: 1/2 if it is wider than what is learned at one level reaches, more if it is narrower.
INX_HD double sharpness(const Params& p, int bins, const double* q) {
  double total = 0, mean = 0, spread = 0;
  for (int k = 0; k < bins; ++k) total += q[k], mean += k * q[k];
  if (!(total > 0)) return 0.5;
  mean /= total;
  for (int k = 0; k < bins; ++k) spread += (k - mean) * (k - mean) * q[k];
  spread *= p.width * p.width / total;
  const double ratio = p.reach * p.reach / (spread > kTiny ? spread : kTiny), most = spread / (kNarrowest * kNarrowest);
  const double wanted = (1 + ratio * ratio * ratio * ratio) / 2, power = wanted < most ? wanted : most;
  return power > 0.5 ? power : 0.5;
}

// The window to the power of its sharpness, times the geometric mean of the loss weight and EDM's; the power.
template <class Team>
INX_HD double learnable(const Team& team, const Params& p, const Grid& grid, double variance, const double* rho,
                        double* out, double* shared_values) {
  const double *sigma = grid.row(kSigma), *weight = grid.row(kWeight);
  window(team, grid, variance, rho, out);
  if (team.first() == 0) {
    double peak = 0;
    for (int k = 0; k < grid.bins; ++k) peak = out[k] > peak ? out[k] : peak;
    shared_values[0] = sharpness(p, grid.bins, out);
    shared_values[1] = peak > 0 ? peak : 1.0;
  }
  team.sync();
  const double power = shared_values[0], peak = shared_values[1];
  for (int k = team.first(); k < grid.bins; k += team.step()) {
    const double edm = 1 / (sigma[k] * sigma[k]) + 1 / (variance > kTiny ? variance : kTiny);  // Eq. 52
    out[k] = std::pow(out[k] / peak, power) * std::sqrt(weight[k] * edm);
  }
  team.sync();
  return power;
}

// The signal of every bin, but for a constant factor; returns the window's power, else 1. Spoils `rho`.
template <class Team>
INX_HD double signal(const Team& team, const Params& p, const Grid& grid, double variance, double* rho, double* out,
                     double* shared_values) {
  const double* sigma = grid.row(kSigma);
  if (p.signal == kLearnable) return learnable(team, p, grid, variance, rho, out, shared_values);
  if (p.signal == kEntropy || p.signal == kRescaled) {
    for (int k = team.first(); k < grid.bins; k += team.step())
      out[k] = p.signal == kEntropy ? rho[k] : rho[k] * sigma[k];
    team.sync();
    return 1;
  }
  double* mmse = rho;
  for (int k = team.first(); k < grid.bins; k += team.step()) mmse[k] = rho[k] * (sigma[k] * sigma[k]);
  team.sync();
  rise(team, p, grid.bins, mmse, out);
  for (int k = team.first(); p.signal == kLength && k < grid.bins; k += team.step()) out[k] = std::sqrt(out[k]);
  team.sync();
  return 1;
}

}  // namespace infonoise
