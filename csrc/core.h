// Arithmetic shared by the CPU loops and the CUDA kernels: state layout, Philox, bins, gate, exp.
// Knows no torch. Layouts are mirrored in infonoise_ext/_schemas.py; tests/native/test_core.py compares them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define INX_HD __device__ __forceinline__   // nvcc builds these for the GPU alone
#else
#define INX_HD inline
#endif

namespace infonoise {

constexpr int kMaxBins = 4096;
constexpr double kTiny = 1e-300;          // floor of every logarithm's argument
constexpr double kEdgeTolerance = 1e-5;   // relative; a sigma this far outside is rounding
constexpr double kWidestRow = 2;          // bins up to this wide in log sigma are drawn from in float32
constexpr double kSameRate = 1e-9;        // relative; rates or mmse this close differ by rounding

// `params` tensor, float64 [kParams].
struct Params {
  double log_min, width;                  // grid: e_0 and the bin width D, both in log sigma
  double warmup, refresh_every;           // steps
  double min_count, coverage, ema, smooth, floor;
  double gate_power, pivot_rule, pivot_value, pivot_span;
  double stratified, rank, world;
  double signal;
};
constexpr int kParams = sizeof(Params) / sizeof(double);

enum PivotRule { kFixed, kOnset, kPowerLaw };
enum Signal { kEntropy, kRescaled, kMmse, kLength };

// Rows of the `grid` tensor, float64 [kGridRows, K + 1]; the last entry of a row of K values is 0.
enum GridRow { kEdges, kSigma, kWeight, kBound, kGridRows };

struct Grid {
  const double* rows;     // [kGridRows, K + 1]
  int bins;
  INX_HD const double* row(GridRow r) const { return rows + r * (bins + 1); }
};

// Columns of `counters`, int64 [G, kCounters].
enum Counter {
  kSteps, kStatus, kRefreshes, kWaits, kDegenerates,
  kMasked, kBadGroup, kNonfiniteSigma, kOutOfRange, kNonfiniteError, kNegativeError,
  kRecomputed, kCounters
};
enum Status { kWarmup, kWaiting, kActive, kDegenerate };

// Columns of `stats`, float64 [G, kStats].
enum Stat { kPivot, kCoverage, kDrift, kInformation, kKept, kStats };

// Columns of the moments of a bin, float64 [G, K, kMoments].
enum Moment { kCount, kSum, kSquares, kMoments };

struct Rings {
  float* ring;                // [G, K, C]
  int64_t* count;             // [G, K]
  int64_t* counters;          // [G, kCounters]
  int64_t groups, capacity;
};

// Philox4x32-10, Salmon et al. 2011: c holds the counter and receives the four words.
INX_HD void philox(uint32_t c[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
    const uint32_t c1 = c[1], c3 = c[3];
    c[0] = uint32_t(b >> 32) ^ c1 ^ key0;
    c[1] = uint32_t(b);
    c[2] = uint32_t(a >> 32) ^ c3 ^ key1;
    c[3] = uint32_t(a);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

struct Stream {               // the draw of one call
  uint64_t seed, offset;
  int64_t turn, world, total; // of stratified sampling: the ranks take turns in every world strata of the total
};

INX_HD Stream stream_of(const Params& p, int64_t seed, uint64_t offset, int64_t n) {
  const int64_t world = int64_t(p.world);
  return {uint64_t(seed), offset, int64_t((uint64_t(p.rank) + offset) % uint64_t(world)), world, world * n};
}

INX_HD double stratified(const Stream& s, int64_t i, double u) {
  return (double(s.turn + i * s.world) + u) / double(s.total);
}

// The four words of samples 4 * block to 4 * block + 3.
INX_HD void draw_words(const Params& p, const Stream& s, int64_t block, uint32_t words[4]) {
  words[0] = uint32_t(block);
  words[1] = uint32_t(p.rank);
  words[2] = uint32_t(s.offset);
  words[3] = uint32_t(s.offset >> 32);
  philox(words, uint32_t(s.seed), uint32_t(s.seed >> 32));
}

INX_HD double uniform(uint32_t word) { return (word + 0.5) * 0x1p-32; }

// log2 of a positive normal float to 7e-4, which guesses a bin that exact comparisons then settle.
INX_HD float rough_log2(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const float exponent = float(int32_t(bits >> 23) - 127);
  bits = (bits & 0x7FFFFFu) | 0x3F800000u;
  float m;
  std::memcpy(&m, &bits, sizeof m);
  return exponent + (((0.15824871f * m - 1.05187504f) * m + 3.04788416f) * m - 2.15362072f);
}

// What a sigma must satisfy to be recorded, and what guess_bin needs.
struct Range {
  double low, high;
  float offset, scale;
};

INX_HD Range range_of(const double* edges, int bins) {
  const double first = std::log2(edges[0]), last = std::log2(edges[bins]);
  return {edges[0] * (1 - kEdgeTolerance), edges[bins] * (1 + kEdgeTolerance), float(first),
          float(bins / (last - first))};
}

// Why a sample is not recorded; kCounters when it is. Earlier causes hide later ones.
INX_HD Counter skip_cause(bool recomputed, bool masked, bool known, float sigma, bool inside, float error) {
  return recomputed             ? kRecomputed
         : masked               ? kMasked
         : !known               ? kBadGroup
         : !std::isfinite(sigma) ? kNonfiniteSigma
         : !inside              ? kOutOfRange
         : !std::isfinite(error) ? kNonfiniteError
         : error < 0            ? kNegativeError
                                : kCounters;
}

INX_HD int guess_bin(float sigma, float offset, float scale, int bins) {
  const float t = (rough_log2(sigma) - offset) * scale;
  return t <= 0.0f ? 0 : t >= float(bins - 1) ? bins - 1 : int(t);
}

// The k with edges[k] <= sigma < edges[k + 1], clamped to the end bins.
INX_HD int settle_bin(float sigma, int k, const double* edges, int bins) {
  while (k > 0 && double(sigma) < edges[k]) --k;
  while (k < bins - 1 && double(sigma) >= edges[k + 1]) ++k;
  return k;
}

// The k with cdf[k] <= u < cdf[k + 1].
INX_HD int cdf_bin(double u, const double* cdf, int bins) {
  int low = 0, high = bins;
  while (high - low > 1) {
    const int middle = (low + high) >> 1;
    if (cdf[middle] <= u) low = middle; else high = middle;
  }
  return low;
}

// exp to 4e-12 relative for |x| < 700, in plain arithmetic that vectorises and is the same everywhere.
INX_HD double exp_plain(double x) {
  const double shifted = x * 1.4426950408889634 + 0x1.8p52;
  const double n = shifted - 0x1.8p52;
  const double r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
  double p = 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// Exact inverse of the piecewise-constant density in log sigma, inside bin k.
INX_HD double log_sigma_at(const Params& p, int k, double u, double low, double mass) {
  double fraction = mass > 0 ? (u - low) / mass : 1.0;
  fraction = fraction < 0 ? 0 : fraction > 1 ? 1 : fraction;
  return p.log_min + p.width * (k + fraction);
}

// exp to 3e-7 relative for |x| < 80, in float32 and plain arithmetic.
INX_HD float exp_float(float x) {
  const float shifted = x * 1.44269504f + 0x1.8p23f;
  const float n = shifted - 0x1.8p23f;
  const float r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// A bin as words see it: those from `first` on are its own, and word w lies at the fraction
// start + slope * (w - first) of it.
struct DrawRow {
  uint32_t first;
  float start, slope, edge;
};

// Whether sigma comes from the 32-bit word itself; else from u in float64. Both agree on the bin.
INX_HD bool draws_by_words(const Params& p) { return !(p.stratified > 0) && p.width <= kWidestRow; }

// The last bin that a word can reach, beyond which `first` would not fit.
INX_HD int last_row(const double* cdf, int bins) { return cdf_bin(uniform(0xFFFFFFFFu), cdf, bins); }

// Of a bin k <= last_row. Word w is in bin k or above exactly when uniform(w) >= cdf[k].
INX_HD DrawRow draw_row(const double* cdf, int k, const double* edges) {
  const double low = cdf[k] * 0x1p32, mass = (cdf[k + 1] - cdf[k]) * 0x1p32;
  const double first = std::ceil(low - 0.5);
  const double start = mass > 0 ? (first + 0.5 - low) / mass : 1;
  return {uint32_t(first), float(start), float(mass > 1 ? 1 / mass : 0), float(edges[k])};   // else of one word
}

// The row of a word, sought from `low` on and below `high`.
INX_HD int find_row(const DrawRow* rows, int low, int high, uint32_t word) {
  while (high - low > 1) {
    const int middle = (low + high) >> 1;
    if (rows[middle].first <= word) low = middle; else high = middle;
  }
  return low;
}

// Words by their first bits: cell c holds the row of its first word, so a word's row is soon found.
constexpr uint32_t kCells = 2048, kCellShift = 21;

INX_HD int find_row_in_cell(const DrawRow* rows, const uint16_t* cells, uint32_t word) {
  const uint32_t cell = word >> kCellShift;
  return find_row(rows, cells[cell], cells[cell + 1] + 1, word);
}

INX_HD float sigma_of_word(const DrawRow& row, uint32_t word, float width, float highest) {
  const float fraction = row.start + row.slope * float(word - row.first);
  const float sigma = row.edge * exp_float(width * (fraction < 1.0f ? fraction : 1.0f));
  return sigma < highest ? sigma : highest;
}

INX_HD float clamp_sigma(double sigma, const double* edges, int bins) {
  const float value = float(sigma), low = float(edges[0]), high = float(edges[bins]);
  return value < low ? low : value > high ? high : value;
}

INX_HD double gate(double sigma, double pivot, double power) {   // Eq. 17
  return 1.0 / (1.0 + std::pow(pivot / sigma, power));
}

INX_HD bool refresh_is_due(const Params& p, int64_t steps) {
  const int64_t past = steps - int64_t(p.warmup);
  return past >= 0 && past % int64_t(p.refresh_every) == 0;
}

INX_HD double safe_log(double x) { return std::log(x > kTiny ? x : kTiny); }

}  // namespace infonoise
