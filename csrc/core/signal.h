// Step 6 of a refresh: what the gated table equalises (docs/how-it-works.md).
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

// The signal of every bin, but for a constant factor. Spoils `rho`.
template <class Team>
INX_HD void signal(const Team& team, const Params& p, const Grid& grid, double* rho, double* out) {
  const double* sigma = grid.row(kSigma);
  if (p.signal == kEntropy || p.signal == kRescaled) {
    for (int k = team.first(); k < grid.bins; k += team.step())
      out[k] = p.signal == kEntropy ? rho[k] : rho[k] * sigma[k];
    return team.sync();
  }
  double* mmse = rho;
  for (int k = team.first(); k < grid.bins; k += team.step()) mmse[k] = rho[k] * (sigma[k] * sigma[k]);
  team.sync();
  rise(team, p, grid.bins, mmse, out);
  for (int k = team.first(); p.signal == kLength && k < grid.bins; k += team.step()) out[k] = std::sqrt(out[k]);
  team.sync();
}

}  // namespace infonoise
