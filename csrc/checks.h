// Argument checks that the CPU and the CUDA ops share, on top of the LibTorch stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/layout.h"

namespace infonoise {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

// What torch makes a RuntimeError: NAME is VALUE, but must be WHAT. STD_TORCH_CHECK would put a path before it.
template <class... Parts>
[[noreturn, gnu::cold]] void refuse(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

inline const char* type_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Long: return "int64";
    case ScalarType::Int: return "int32";
    case ScalarType::Bool: return "bool";
    default: return "of another dtype";
  }
}

template <class Sizes>
std::string listed(const Sizes& sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

inline std::string shape_of(const Tensor& t) { return "of shape " + listed(t.sizes()); }

// Pointer to a contiguous state tensor of exactly this dtype and shape.
template <class T>
T* state_ptr(const Tensor& t, const char* name, ScalarType type, std::initializer_list<int64_t> shape) {
  if (t.scalar_type() != type) refuse(name, " is ", type_name(t.scalar_type()), ", but must be ", type_name(type));
  if (!t.is_contiguous()) refuse(name, " is of strides ", listed(t.strides()), ", but must be contiguous");
  const auto sizes = t.sizes();
  if (!std::equal(sizes.begin(), sizes.end(), shape.begin(), shape.end()))
    refuse(name, " is ", shape_of(t), ", but must be of shape ", listed(shape));
  return static_cast<T*>(t.data_ptr());
}

// A vector of `length` elements, as `partner` has them; of any length where that is negative.
inline void check_vector(const Tensor& t, const char* name, int64_t length, const char* partner) {
  if (t.dim() != 1) refuse(name, " is ", shape_of(t), ", but must be of shape [B]");
  if (length >= 0 && t.numel() != length)
    refuse(name, " is ", shape_of(t), ", but must be of shape [", length, "], as ", partner);
}

inline void check_floating(const Tensor& t, const char* name) {
  const ScalarType type = t.scalar_type();
  if (type != ScalarType::Float && type != ScalarType::Double && type != ScalarType::Half &&
      type != ScalarType::BFloat16)
    refuse(name, " is ", type_name(type), ", but must be float16, bfloat16, float32 or float64");
}

inline void check_mask(const OptionalTensor& mask, int64_t length) {
  if (!mask) return;
  check_vector(*mask, "mask", length, "sigma");
  const ScalarType type = mask->scalar_type();
  if (type != ScalarType::Bool) refuse("mask is ", type_name(type), ", but must be bool");
}

inline void check_group(const OptionalTensor& group, const char* name, int64_t length, const char* partner) {
  if (!group) return;
  check_vector(*group, name, length, partner);
  const ScalarType type = group->scalar_type();
  if (type != ScalarType::Long && type != ScalarType::Int)
    refuse(name, " is ", type_name(type), ", but must be int64 or int32");
}

inline void check_batch(const Tensor& sigma, const Tensor& error, const OptionalTensor& mask,
                        const OptionalTensor& group) {
  check_vector(sigma, "sigma", -1, "");
  check_floating(sigma, "sigma");
  check_floating(error, "error");
  check_vector(error, "error", sigma.numel(), "sigma");
  check_mask(mask, sigma.numel());
  check_group(group, "group", sigma.numel(), "sigma");
}

inline void check_draw(int64_t n, const OptionalTensor& group, const char* name) {
  if (n < 0 || n > kMaxDraw) refuse("n is ", n, ", but must be in [0, ", kMaxDraw, "]");
  check_group(group, name, n, "the samples to draw");
}

inline Grid grid_of(const Tensor& grid) {
  if (grid.dim() != 2 || grid.size(1) < 2 || grid.size(1) > kMaxBins + 1)
    refuse("grid is ", shape_of(grid), ", but must be of shape [", int(kGridRows), ", K + 1] with K at most ",
           kMaxBins);
  const int64_t columns = grid.size(1);
  return {state_ptr<double>(grid, "grid", ScalarType::Double, {kGridRows, columns}), int(columns - 1)};
}

inline const Params* params_of(const Tensor& params) {
  return reinterpret_cast<const Params*>(state_ptr<double>(params, "params", ScalarType::Double, {kParams}));
}

inline int64_t* rng_of(const Tensor& rng) { return state_ptr<int64_t>(rng, "rng", ScalarType::Long, {2}); }

inline int64_t* counters_of(const Tensor& counters, int64_t groups) {
  return state_ptr<int64_t>(counters, "counters", ScalarType::Long, {groups, kCounters});
}

inline double* cdf_of(const Tensor& cdf, int bins) {
  return state_ptr<double>(cdf, "cdf", ScalarType::Double, {cdf.dim() ? cdf.size(0) : 0, bins + 1});
}

inline double* moments_of(const Tensor& moments, int bins) {
  return state_ptr<double>(moments, "moments", ScalarType::Double,
                           {moments.dim() ? moments.size(0) : 0, bins, kMoments});
}

inline const int64_t* count_of(const Tensor& count, int64_t groups, int bins) {
  return state_ptr<int64_t>(count, "count", ScalarType::Long, {groups, bins});
}

inline Tensor new_moments(const Tensor& ring) {
  return torch::stable::new_empty(ring, {ring.size(0), ring.size(1), int64_t(kMoments)}, ScalarType::Double);
}

// Without counters: `bin_stats` needs none.
inline Rings rings_of(const Tensor& ring, const Tensor& count) {
  if (ring.dim() != 3 || ring.size(2) < 1)
    refuse("ring is ", shape_of(ring), ", but must be of shape [G, K, C] with C at least 1");
  const int64_t groups = ring.size(0), bins = ring.size(1), capacity = ring.size(2);
  return {state_ptr<float>(ring, "ring", ScalarType::Float, {groups, bins, capacity}),
          state_ptr<int64_t>(count, "count", ScalarType::Long, {groups, bins}), nullptr, groups, capacity};
}

inline Rings rings_of(const Tensor& ring, const Tensor& count, const Tensor& counters, int bins) {
  if (ring.dim() == 3 && ring.size(1) != bins)
    refuse("ring is ", shape_of(ring), ", but must have ", bins, " bins, as the grid");
  Rings rings = rings_of(ring, count);
  rings.counters = counters_of(counters, rings.groups);
  return rings;
}

inline Tables tables_of(const Tensor& previous_count, const Tensor& previous_cdf, const Tensor& mmse, const Tensor& cdf,
                        const Tensor& stats, int64_t groups, int bins) {
  return {state_ptr<int64_t>(previous_count, "previous_count", ScalarType::Long, {groups, 2, bins}),
          state_ptr<double>(previous_cdf, "previous_cdf", ScalarType::Double, {groups, bins + 1}),
          state_ptr<double>(mmse, "mmse", ScalarType::Double, {groups, bins}),
          state_ptr<double>(cdf, "cdf", ScalarType::Double, {groups, bins + 1}),
          state_ptr<double>(stats, "stats", ScalarType::Double, {groups, kStats})};
}

// Whether t fills its memory without gap or overlap, sample after sample.
inline bool is_dense(const Tensor& t) {
  std::vector<std::pair<int64_t, int64_t>> inner;  // stride and size
  for (int64_t d = 1; d < t.dim(); ++d)
    if (t.size(d) != 1) inner.emplace_back(t.stride(d), t.size(d));
  std::sort(inner.begin(), inner.end());
  int64_t step = 1;
  for (const auto& [stride, size] : inner) {
    if (stride != step) return false;
    step *= size;
  }
  return t.size(0) <= 1 || t.stride(0) == step;
}

// Two batches of samples that are walked as flat memory, element beside element.
struct Samplewise {
  int64_t samples, size;  // size: elements of a sample
};

inline Samplewise check_pair(const Tensor& denoised, const Tensor& target) {
  check_floating(denoised, "denoised");
  check_floating(target, "target");
  bool same = denoised.dim() == target.dim(), alike = same;
  for (int64_t d = 0; same && d < denoised.dim(); ++d) {
    same = denoised.size(d) == target.size(d);
    alike = alike && (denoised.size(d) == 1 || denoised.stride(d) == target.stride(d));
  }
  if (denoised.dim() == 0) refuse("denoised is of shape [], but must be of shape [B, ...]");
  if (!same) refuse("target is ", shape_of(target), ", but must be ", shape_of(denoised), ", as denoised");
  const int64_t samples = denoised.size(0), size = samples ? denoised.numel() / samples : 1;
  if (size == 0) refuse("denoised is ", shape_of(denoised), ", but must have elements in each sample");
  if (samples > 0 && !(alike && is_dense(denoised)))
    refuse("target is of strides ", listed(target.strides()), " and denoised of ", listed(denoised.strides()),
           ", but both must be dense, sample after sample, with the same strides");
  return {samples, size};
}

inline bool is_wide(const Tensor& denoised, const Tensor& target) {
  return denoised.scalar_type() == ScalarType::Double || target.scalar_type() == ScalarType::Double;
}

inline Tensor new_error(const Tensor& denoised, const Tensor& target) {
  return torch::stable::new_empty(denoised, {denoised.size(0)},
                                  is_wide(denoised, target) ? ScalarType::Double : ScalarType::Float);
}

}  // namespace infonoise
