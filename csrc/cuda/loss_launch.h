// The training loss's launches, as those of launch.h.
#pragma once

#include "cuda/loss.cuh"

namespace infonoise::cuda {

inline int pack_of(const Pair& pair) {
  const auto bytes = [](Kind kind) { return kind == kFloat64 ? 8 : kind == kFloat32 ? 4 : 2; };
  return kPackBytes / std::max(bytes(pair.denoised_kind), bytes(pair.target_kind));
}

// `gradient`, when there is one, is written in packs too.
inline Pair pair_of(const Column& denoised, const Column& target, int64_t samples, int64_t size,
                    const void* gradient = nullptr) {
  Pair pair{denoised.data, target.data, denoised.kind, target.kind, samples, size, true};
  if (size % pack_of(pair) != 0) pair.packed = false;
  for (const void* data : {denoised.data, target.data, gradient})
    if (reinterpret_cast<uintptr_t>(data) % kPackBytes != 0) pair.packed = false;
  return pair;
}

// Lanes of a warp for a sample of few packs, a block for one of more, many blocks for a large one.
inline Pieces pieces_for(const Limits& limits, const Pair& pair, int threads) {
  const int64_t pack = pack_of(pair);
  if (pair.size <= 8 * 32 * pack) {
    int team = 1;
    while (team < 32 && team * pack < pair.size) team *= 2;
    return {1, pair.size, team};
  }
  const int64_t piece = pair.samples * pair.size < kManyElements ? limits.piece : 4 * limits.piece;
  const int64_t count = std::min((pair.size + piece - 1) / piece, limits.pieces);
  const int64_t length = (pair.size + count * kPackBytes - 1) / (count * kPackBytes) * kPackBytes;  // whole packs
  return {(pair.size + length - 1) / length, length, threads};
}

inline int64_t blocks_for(const Pair& pair, const Pieces& p, int threads) {
  const int teams = threads / p.team;
  return (pair.samples * p.count + teams - 1) / teams;
}

template <class On>
void launch_denoising_error(On& on, const Pair& pair, const Errors& errors) {
  if (pair.samples == 0) return;
  const int threads = std::min(kLossThreads, on.limits.threads);
  const size_t shared = shared_bytes(sizeof(double) * threads / 32);
  const Pieces p = pieces_for(on.limits, pair, threads);
  double* sums = p.count > 1 ? reinterpret_cast<double*>(on.scratch(2 * pair.samples * p.count)) : nullptr;
  on(denoising_error_kernel, blocks_for(pair, p, threads), threads, shared, pair, p, sums, errors);
  if (p.count > 1)
    on(denoising_fold_kernel, pair.samples, threads, shared, static_cast<const double*>(sums), p.count, pair.size,
       errors);
}

template <class On>
void launch_denoising_gradient(On& on, const Pair& pair, const Column& grad_error, void* gradient) {
  if (pair.samples == 0) return;
  const int threads = std::min(kLossThreads, on.limits.threads);
  const Pieces p = pieces_for(on.limits, pair, threads);
  on(denoising_gradient_kernel, blocks_for(pair, p, threads), threads, size_t(0), pair, p, grad_error, gradient);
}

}  // namespace infonoise::cuda
