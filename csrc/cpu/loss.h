// Squared errors of samples and their gradient on the CPU, over plain pointers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/layout.h"

namespace infonoise::cpu {

constexpr int kSums = 16;            // sums side by side, which the compiler turns into vectors
constexpr int64_t kRun = 1024;       // elements summed in the arithmetic's own type before double takes over
constexpr int64_t kPiece = 1 << 15;  // elements of a task; fixed, so that no result depends on threads

template <class D, class T>
double squares_of_run(const D* denoised, const T* target, int64_t size) {
  using W = Wide<D, T>;
  W sums[kSums] = {};
  const auto add = [&](int64_t i, int at) {
    const W difference = W(denoised[i]) - W(target[i]);
    sums[at] += difference * difference;
  };
  const int64_t whole = size / kSums * kSums;
  for (int64_t i = 0; i < whole; i += kSums)
    for (int at = 0; at < kSums; ++at) add(i + at, at);
  for (int64_t i = whole; i < size; ++i) add(i, int(i - whole));
  double total = 0;
  for (const W sum : sums) total += sum;
  return total;
}

template <class D, class T>
double squares_of_piece(const D* denoised, const T* target, int64_t size) {
  double total = 0;
  for (int64_t i = 0; i < size; i += kRun) total += squares_of_run(denoised + i, target + i, std::min(kRun, size - i));
  return total;
}

// A scale of 0 gives 0 whatever the elements are: a sample left out of the loss may hold NaN.
template <class D, class T>
void gradient_of_piece(double scale, const D* denoised, const T* target, int64_t size, D* gradient) {
  using W = Wide<D, T>;
  if (scale == 0) return void(std::fill_n(gradient, size, D(0.0f)));
  const W factor = W(scale);
  for (int64_t i = 0; i < size; ++i) gradient[i] = D(factor * (W(denoised[i]) - W(target[i])));
}

}  // namespace infonoise::cpu
