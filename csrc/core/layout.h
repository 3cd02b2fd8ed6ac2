// Layouts of the state tensors, as infonoise_ext/ops/schemas.py has them; a test compares the two.
// The files of csrc/core are arithmetic that CPU loops and CUDA kernels share. They know no torch.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__CUDACC__)
#define INX_HD __device__ __forceinline__  // nvcc builds these for the GPU alone
#define INX_ROLLED _Pragma("unroll 1")     // a loop that unrolled would take too many registers
#else
#define INX_HD inline
#define INX_ROLLED
#endif

// A bug that the tests must find: only tests/native/emulator.h compiles what is wrong, and wakes it by name.
#if !defined(PLANT)
#define PLANT(name, right, wrong) right
#endif

namespace infonoise {

template <class To, class From>
INX_HD To bit_cast(From from) {
  To to;
  static_assert(sizeof to == sizeof from, "of one size");
  std::memcpy(&to, &from, sizeof to);
  return to;
}

constexpr int kMaxBins = 4096;
constexpr int64_t kMaxDraw = int64_t(1) << 32;  // samples of one draw; beyond, the random stream would repeat
constexpr double kTiny = 1e-300;                // floor of every logarithm's argument
constexpr double kEdgeTolerance = 1e-5;         // relative; a sigma this far outside is rounding
constexpr double kSameRate = 1e-9;              // relative; rates or mmse this close differ by rounding
constexpr double kInfluence = 1.0 / 16;         // of the largest loss on a mean
constexpr double kCertain = 0.9;     // largest share of noise in an error that still tells the data's variance
constexpr double kNarrowest = 0.25;  // standard deviation in log sigma

// `params` tensor, float64 [kParams].
struct Params {
  double log_min, width;         // grid: e_0 and the bin width D, both in log sigma
  double warmup, refresh_every;  // steps
  double min_count, floor, reach;
  double gate_power, pivot_rule, pivot_value, pivot_span;
  double stratified, rank, world;
  double signal;
};
constexpr int kParams = sizeof(Params) / sizeof(double);

enum PivotRule { kFixed, kOnset, kPowerLaw };
enum Signal { kLearnable, kEntropy, kRescaled, kMmse, kLength };

// Rows of the `grid` tensor, float64 [kGridRows, K + 1]; the last entry of a row of K values is 0.
enum GridRow { kEdges, kSigma, kWeight, kBound, kGridRows };

struct Grid {
  const double* rows;  // [kGridRows, K + 1]
  int bins;
  INX_HD const double* row(GridRow r) const { return rows + r * (bins + 1); }
};

// Columns of `counters`, int64 [G, kCounters].
// clang-format off
enum Counter {
  kSteps, kStatus, kRefreshes, kWaits, kDegenerates,
  kMasked, kBadGroup, kNonfiniteSigma, kOutOfRange, kNonfiniteError, kNegativeError, kRecomputed, kCounters
};
// clang-format on
enum Status { kWarmup, kWaiting, kActive, kDegenerate };

// Columns of `stats`, float64 [G, kStats].
enum Stat { kPivot, kKept, kVariance, kSharpness, kInformation, kDrift, kStats };

// Columns of the moments of a bin, float64 [G, K, kMoments].
enum Moment { kCount, kRest, kLargest, kMoments };

// x cut off to an integer in [0, kMaxBins], also where a hostile x is huge or NaN.
INX_HD int bins_of(double x) { return !(x > 0) ? 0 : x < kMaxBins ? int(x) : kMaxBins; }

struct Rings {
  float* ring;        // [G, K, C]
  int64_t* count;     // [G, K]
  int64_t* counters;  // [G, kCounters]
  int64_t groups, capacity;
};

// The type of the loss's arithmetic: float holds a float16 or bfloat16 exactly.
template <class D, class T>
using Wide = std::conditional_t<std::is_same_v<D, double> || std::is_same_v<T, double>, double, float>;

struct Tables {             // of all groups
  int64_t* previous_count;  // [G, 2, K]
  double* previous_cdf;     // [G, K + 1]
  double* mmse;             // [G, K]
  double* cdf;              // [G, K + 1]
  double* stats;            // [G, kStats]
};

}  // namespace infonoise
