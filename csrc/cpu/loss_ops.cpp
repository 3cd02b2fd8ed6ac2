// The training loss's ops for CPU tensors: check, cut samples into pieces, run the loops of loss.h.
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <numeric>

#include "checks.h"
#include "cpu/loss.h"

namespace infonoise::cpu {
namespace {

// use(data): with a pointer to the elements' own type.
template <class Use>
void with_elements(const Tensor& t, const Use& use) {
  void* data = t.data_ptr();
  switch (t.scalar_type()) {
    case ScalarType::Float: return use(static_cast<float*>(data));
    case ScalarType::Double: return use(static_cast<double*>(data));
    case ScalarType::Half: return use(static_cast<c10::Half*>(data));
    default: return use(static_cast<c10::BFloat16*>(data));
  }
}

template <class Use>
void with_pair(const Tensor& denoised, const Tensor& target, const Use& use) {
  with_elements(denoised, [&](const auto* d) { with_elements(target, [&](const auto* t) { use(d, t); }); });
}

int64_t pieces_of(const Samplewise& s) { return (s.size + kPiece - 1) / kPiece; }

// use(sample, piece, first, size): every piece of every sample, in parallel.
template <class Use>
void for_each_piece(const Samplewise& s, const Use& use) {
  const int64_t pieces = pieces_of(s), grain = std::max<int64_t>(1, kPiece / s.size);
  torch::stable::parallel_for(0, s.samples * pieces, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t sample = task / pieces, piece = task % pieces, start = piece * kPiece;
      use(sample, piece, sample * s.size + start, std::min(kPiece, s.size - start));
    }
  });
}

Tensor denoising_error(const Tensor& denoised, const Tensor& target) {
  const Samplewise s = check_pair(denoised, target);
  const int64_t pieces = pieces_of(s);
  std::vector<double> sums(s.samples * pieces);
  with_pair(denoised, target, [&](const auto* d, const auto* t) {
    for_each_piece(s, [&](int64_t sample, int64_t piece, int64_t first, int64_t size) {
      sums[sample * pieces + piece] = squares_of_piece(d + first, t + first, size);
    });
  });
  Tensor out = new_error(denoised, target);
  with_elements(out, [&](auto* error) {
    for (int64_t i = 0; i < s.samples; ++i) {
      const auto first = sums.begin() + i * pieces;
      error[i] = std::accumulate(first, first + pieces, 0.0) / double(s.size);
    }
  });
  return out;
}

// d error / d denoised = 2 / M (denoised - target), times what arrives for each sample.
std::vector<double> scales_of(const Tensor& grad_error, const Samplewise& s) {
  check_vector(grad_error, "grad_error", s.samples, "denoised");
  check_floating(grad_error, "grad_error");
  std::vector<double> scales(s.samples);
  const int64_t stride = s.samples ? grad_error.stride(0) : 1;
  with_elements(grad_error, [&](const auto* grad) {
    for (int64_t i = 0; i < s.samples; ++i) scales[i] = 2.0 / double(s.size) * double(grad[i * stride]);
  });
  return scales;
}

Tensor denoising_error_backward(const Tensor& grad_error, const Tensor& denoised, const Tensor& target) {
  const Samplewise s = check_pair(denoised, target);
  const std::vector<double> scales = scales_of(grad_error, s);
  Tensor out = torch::stable::empty_like(denoised);
  void* data = out.data_ptr();
  with_pair(denoised, target, [&](const auto* d, const auto* t) {
    auto* gradient = static_cast<std::remove_const_t<std::remove_pointer_t<decltype(d)>>*>(data);
    for_each_piece(s, [&](int64_t sample, int64_t, int64_t first, int64_t size) {
      gradient_of_piece(scales[sample], d + first, t + first, size, gradient + first);
    });
  });
  return out;
}

}  // namespace
}  // namespace infonoise::cpu

STABLE_TORCH_LIBRARY_IMPL(infonoise, CPU, m) {
  m.impl("denoising_error", TORCH_BOX(&infonoise::cpu::denoising_error));
  m.impl("denoising_error_backward", TORCH_BOX(&infonoise::cpu::denoising_error_backward));
}
