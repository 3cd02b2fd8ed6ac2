// Recording: the bin of a sigma, and why a sample is not recorded.
#pragma once

#include "core/layout.h"

namespace infonoise {

// log2 of a positive normal float to 7e-4, which guesses a bin that exact comparisons then settle.
INX_HD float rough_log2(float x) {
  const uint32_t bits = bit_cast<uint32_t>(x);
  const float exponent = float(int32_t(bits >> 23) - 127), m = bit_cast<float>((bits & 0x7FFFFFu) | 0x3F800000u);
  return exponent + (((0.15824871f * m - 1.05187504f) * m + 3.04788416f) * m - 2.15362072f);
}

// What a sigma must satisfy to be recorded, and what guess_bin needs.
struct Range {
  double low, high;
  float offset, scale;
};

INX_HD Range range_of(double low, double high, int bins) {
  const float first = rough_log2(float(low)), last = rough_log2(float(high));
  return {low * (1 - kEdgeTolerance), high * (1 + kEdgeTolerance), first, float(bins) / (last - first)};
}

INX_HD Range range_of(const double* edges, int bins) { return range_of(edges[0], edges[bins], bins); }

// Why a sample is not recorded; kCounters when it is. Earlier causes hide later ones.
INX_HD Counter skip_cause(bool recomputed, bool masked, bool known, float sigma, bool inside, float error) {
  return recomputed              ? kRecomputed
         : masked                ? kMasked
         : !known                ? kBadGroup
         : !std::isfinite(sigma) ? kNonfiniteSigma
         : !inside               ? kOutOfRange
         : !std::isfinite(error) ? kNonfiniteError
         : error < 0             ? kNegativeError
                                 : kCounters;
}

INX_HD int guess_bin(float sigma, const Range& range, int bins) {
  const float t = (rough_log2(sigma) - range.offset) * range.scale;
  return !(t > 0.0f) ? 0 : t >= float(bins - 1) ? bins - 1 : int(t);  // 0 for NaN too, as of edges that are none
}

// The k with edges[k] <= sigma < edges[k + 1], clamped to the end bins.
INX_HD int settle_bin(float sigma, int k, const double* edges, int bins) {
  while (k > 0 && double(sigma) < edges[k]) --k;
  while (k < bins - 1 && double(sigma) >= edges[k + 1]) ++k;
  return k;
}

INX_HD int bin_of(float sigma, const Range& range, const double* edges, int bins) {
  return settle_bin(sigma, guess_bin(sigma, range, bins), edges, bins);
}

}  // namespace infonoise
