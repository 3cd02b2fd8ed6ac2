// Squared errors of samples and their gradient, in device functions and kernels: bound by memory, so every load is as
// wide as it can be.
//
// A team of threads takes one piece of one sample, in packs of N neighbours a thread. Which thread adds
// which element depends on shape and dtypes alone, and so do the results; alignment decides only
// whether a pack is one load or N.
#pragma once

#include "core/layout.h"
#include "cuda/block.cuh"

namespace infonoise::cuda {

constexpr int kPackBytes = 16;
constexpr int kPacks = 2;                            // packs in flight a thread, for each of the two tensors
constexpr int kLossThreads = 256;                    // of a block; four blocks share a multiprocessor
constexpr int64_t kManyElements = int64_t(1) << 25;  // these fill a GPU with pieces four times as long

struct Pair {
  const void* denoised;
  const void* target;
  Kind denoised_kind, target_kind;
  int64_t samples, size;  // size: elements of a sample
  bool packed;            // packs are aligned and whole
};

struct Pieces {
  int64_t count, length;  // of a sample; the last piece may be shorter
  int team;               // threads: a power of two up to 32, or the block
};

struct Errors {  // [B], float or double
  void* data;
  bool wide;
  __device__ void set(int64_t i, double error) const {
    if (wide) {
      static_cast<double*>(data)[i] = error;
    } else {
      static_cast<float*>(data)[i] = float(error);
    }
  }
};

struct Span {                          // what a thread's team works on
  int64_t sample, piece, first, last;  // elements, from the start of the sample
  int thread;                          // within the team
  bool exists;
};

__device__ inline Span span_of(const Pair& pair, const Pieces& p) {
  const unsigned team = p.team, count = unsigned(p.count), block = blockIdx.x, teams = blockDim.x / team;
  int64_t sample = int64_t(block) * teams + threadIdx.x / team, piece = 0;
  if (count > 1) sample = block / count, piece = block % count;  // of many pieces a block takes one
  const int64_t first = piece * p.length;
  const int64_t last = first + p.length < pair.size ? first + p.length : pair.size;
  return {sample, piece, first, PLANT(piece_edge, last, last - 1), int(threadIdx.x % p.team), sample < pair.samples};
}

template <class D, class T>
constexpr int kPack = kPackBytes / (sizeof(D) > sizeof(T) ? sizeof(D) : sizeof(T));

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T of[N];
};

// Elements i .. i + N of x, those from `last` on are 0.
template <int N, class T>
__device__ Pack<T, N> load(const T* x, int64_t i, int64_t last, bool packed) {
  if (packed && i < last) return *reinterpret_cast<const Pack<T, N>*>(x + i);
  Pack<T, N> out{};
#pragma unroll
  for (int j = 0; j < N; ++j)
    if (i + j < PLANT(pack_edge, last, last + 1)) out.of[j] = x[i + j];
  return out;
}

template <class T, int N>
__device__ void store(T* x, int64_t i, int64_t last, bool packed, const Pack<T, N>& pack) {
  if (packed && i < last) *reinterpret_cast<Pack<T, N>*>(x + i) = pack;
  if (packed) return;
#pragma unroll
  for (int j = 0; j < N; ++j)
    if (i + j < last) x[i + j] = pack.of[j];
}

// use(begin, differences): every pack of this thread, kPacks at a time; pack k is k * team packs on.
template <bool kAligned, class D, class T, class Use>
__device__ void for_each_pack(const D* denoised, const T* target, const Span& span, int team, const Use& use) {
  using W = Wide<D, T>;
  constexpr int N = kPack<D, T>;
  const int64_t step = int64_t(team) * N;
  for (int64_t begin = span.first + span.thread * N; begin < span.last; begin += kPacks * step) {
    Pack<D, N> a[kPacks];
    Pack<T, N> b[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      a[k] = load<N>(denoised, begin + k * step, span.last, kAligned);
      b[k] = load<N>(target, begin + k * step, span.last, kAligned);
    }
    W difference[kPacks][N];
#pragma unroll
    for (int k = 0; k < kPacks; ++k)
#pragma unroll
      for (int j = 0; j < N; ++j) difference[k][j] = W(a[k].of[j]) - W(b[k].of[j]);
    use(begin, difference);
  }
}

// The sum over a team, for each of its threads; every thread of the block must come here.
__device__ inline double team_sum(double x, int team, double* shared) {
  for (int step = (team < 32 ? team : 32) / 2; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
  if (team <= 32) return x;
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  PLANT(missing_team_barrier, __syncthreads(), void());
  x = 0;
  for (int w = 0; w < team / 32; ++w) x += shared[w];
  return x;
}

// use(denoised, target, whether packs are aligned): pointers of the elements' types to the span's sample.
template <class Use>
__device__ void with_pair(const Pair& pair, int64_t sample, const Use& use) {
  const auto typed = [&](const void* data, Kind kind, const auto& next) {
    const int64_t start = sample * pair.size;
    switch (kind) {
      case kFloat32: return next(static_cast<const float*>(data) + start);
      case kFloat64: return next(static_cast<const double*>(data) + start);
      case kFloat16: return next(static_cast<const Half*>(data) + start);
      default: return next(static_cast<const BFloat16*>(data) + start);
    }
  };
  typed(pair.denoised, pair.denoised_kind, [&](const auto* d) {
    typed(pair.target, pair.target_kind,
          [&](const auto* t) { pair.packed ? use(d, t, std::true_type()) : use(d, t, std::false_type()); });
  });
}

// This thread's part of the sum of squares: kPacks packs in the differences' type, further ones in double.
__device__ inline double squares_of(const Pair& pair, const Span& span, int team) {
  double total = 0;
  with_pair(pair, span.sample, [&](const auto* d, const auto* t, auto aligned) {
    for_each_pack<decltype(aligned)::value>(d, t, span, team, [&](int64_t, const auto& difference) {
      std::decay_t<decltype(difference[0][0])> run = 0;
#pragma unroll
      for (const auto& pack : difference)
#pragma unroll
        for (const auto x : pack) run += x * x;
      total += run;
    });
  });
  return total;
}

// A scale of 0 gives 0 whatever the elements are: a sample left out of the loss may hold NaN.
__device__ inline void write_gradient(const Pair& pair, const Span& span, int team, double scale, void* gradient) {
  with_pair(pair, span.sample, [&](const auto* d, const auto* t, auto aligned) {
    using D = std::decay_t<decltype(*d)>;
    D* out = static_cast<D*>(gradient) + span.sample * pair.size;
    for_each_pack<decltype(aligned)::value>(d, t, span, team, [&](int64_t begin, const auto& difference) {
      using W = std::decay_t<decltype(difference[0][0])>;
      constexpr int N = sizeof(difference[0]) / sizeof(W);
      const W factor = W(scale);
      const bool zero = PLANT(zero_scale, factor == 0, false);
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        Pack<D, N> pack;
#pragma unroll
        for (int j = 0; j < N; ++j) pack.of[j] = D(zero ? W(0) : factor * difference[k][j]);
        store(out, begin + int64_t(k) * team * N, span.last, decltype(aligned)::value, pack);
      }
    });
  });
}

#define INX_LOSS_KERNEL __global__ void __launch_bounds__(kLossThreads, 4)

// Sums of squares of the pieces of samples, or errors where a sample is one piece.
INX_LOSS_KERNEL denoising_error_kernel(Pair pair, Pieces pieces, double* sums, Errors errors) {
  INX_SHARED(shared);
  const Span span = span_of(pair, pieces);
  const double mine = span.exists ? squares_of(pair, span, pieces.team) : 0.0;
  const double sum = team_sum(mine, pieces.team, body_of<double>(shared));
  if (!span.exists || span.thread != 0) return;
  if (pieces.count > 1) {
    sums[span.sample * pieces.count + span.piece] = sum;
  } else {
    errors.set(span.sample, sum / double(pair.size));
  }
}

INX_LOSS_KERNEL denoising_fold_kernel(const double* sums, int64_t count, int64_t size,
                                      Errors errors) {  // a block a sample
  INX_SHARED(shared);
  double mine = 0;
  for (int64_t j = threadIdx.x; j < PLANT(fold_edge, count, count - 1); j += blockDim.x)
    mine += sums[blockIdx.x * count + j];
  const double sum = team_sum(mine, blockDim.x, body_of<double>(shared));
  if (threadIdx.x == 0) errors.set(blockIdx.x, sum / double(size));
}

INX_LOSS_KERNEL denoising_gradient_kernel(Pair pair, Pieces pieces, Column grad_error, void* gradient) {
  const Span span = span_of(pair, pieces);
  if (!span.exists) return;
  double grad[1];
  read<1>(grad_error, span.sample, pair.samples, grad);
  write_gradient(pair, span, pieces.team, 2.0 / double(pair.size) * grad[0], gradient);
}

}  // namespace infonoise::cuda
