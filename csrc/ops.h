// Argument checks that the CPU and the CUDA ops share, on top of the LibTorch stable ABI.
#pragma once

#include <dlfcn.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "refresh.h"

namespace infonoise {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using OptionalTensor = std::optional<Tensor>;

inline const char* type_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Long: return "int64";
    case ScalarType::Int: return "int32";
    case ScalarType::Bool: return "bool";
    default: return "another dtype";
  }
}

// Pointer to a contiguous state tensor of exactly this dtype and shape.
template <class T>
T* state_ptr(const Tensor& t, const char* name, ScalarType type, std::initializer_list<int64_t> shape) {
  STD_TORCH_CHECK(t.scalar_type() == type, "infonoise: ", name, " must be ", type_name(type), ", got ",
                  type_name(t.scalar_type()));
  STD_TORCH_CHECK(t.is_contiguous(), "infonoise: ", name, " must be contiguous");
  bool fits = t.dim() == int64_t(shape.size());
  int64_t d = 0;
  if (fits)
    for (const int64_t size : shape) fits = fits && t.size(d++) == size;
  STD_TORCH_CHECK(fits, "infonoise: ", name, " has the wrong shape for this grid and number of groups");
  return static_cast<T*>(t.data_ptr());
}

inline void check_batch(const Tensor& t, const char* name, int64_t length, const char* partner) {
  STD_TORCH_CHECK(t.dim() == 1, "infonoise: ", name, " must have one dimension [B], got ", t.dim());
  STD_TORCH_CHECK(length < 0 || t.numel() == length, "infonoise: ", name, " must have ", length,
                  " elements, one for each of ", partner, ", got ", t.numel());
}

inline void check_floating(const Tensor& t, const char* name) {
  const ScalarType type = t.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double || type == ScalarType::Half ||
                      type == ScalarType::BFloat16,
                  "infonoise: ", name, " must be float16, bfloat16, float32 or float64, got ",
                  type_name(type));
}

inline void check_mask(const OptionalTensor& mask, int64_t length) {
  if (!mask) return;
  check_batch(*mask, "mask", length, "sigma");
  STD_TORCH_CHECK(mask->scalar_type() == ScalarType::Bool, "infonoise: mask must be bool, got ",
                  type_name(mask->scalar_type()));
}

inline void check_group(const OptionalTensor& group, const char* name, int64_t length, const char* partner) {
  if (!group) return;
  check_batch(*group, name, length, partner);
  const ScalarType type = group->scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Long || type == ScalarType::Int, "infonoise: ", name,
                  " must be int64 or int32, got ", type_name(type));
}

inline Grid grid_of(const Tensor& grid) {
  STD_TORCH_CHECK(grid.dim() == 2 && grid.size(1) >= 2 && grid.size(1) <= kMaxBins + 1,
                  "infonoise: grid must be [", int(kGridRows), ", K + 1] with K at most ", kMaxBins);
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

inline Tensor new_moments(const Tensor& ring) {
  return torch::stable::new_empty(ring, {ring.size(0), ring.size(1), int64_t(kMoments)}, ScalarType::Double);
}

// Without counters: `bin_stats` needs none.
inline Rings rings_of(const Tensor& ring, const Tensor& count) {
  STD_TORCH_CHECK(ring.dim() == 3 && ring.size(2) > 0, "infonoise: ring must be [G, K, C] with C > 0");
  const int64_t groups = ring.size(0), bins = ring.size(1), capacity = ring.size(2);
  return {state_ptr<float>(ring, "ring", ScalarType::Float, {groups, bins, capacity}),
          state_ptr<int64_t>(count, "count", ScalarType::Long, {groups, bins}), nullptr, groups, capacity};
}

inline Rings rings_of(const Tensor& ring, const Tensor& count, const Tensor& counters, int bins) {
  Rings rings = rings_of(ring, count);
  STD_TORCH_CHECK(ring.size(1) == bins, "infonoise: ring has the wrong shape for this grid");
  rings.counters = counters_of(counters, rings.groups);
  return rings;
}

inline Tables tables_of(const Tensor& mmse, const Tensor& cdf, const Tensor& stats, int64_t groups, int bins) {
  return {state_ptr<double>(mmse, "mmse", ScalarType::Double, {groups, bins}),
          state_ptr<double>(cdf, "cdf", ScalarType::Double, {groups, bins + 1}),
          state_ptr<double>(stats, "stats", ScalarType::Double, {groups, kStats})};
}

inline void check_samples(const Tensor& sigma, const Tensor& error, const OptionalTensor& mask,
                          const OptionalTensor& group) {
  check_batch(sigma, "sigma", -1, "");
  check_floating(sigma, "sigma");
  check_floating(error, "error");
  check_batch(error, "error", sigma.numel(), "sigma");
  check_mask(mask, sigma.numel());
  check_group(group, "group", sigma.numel(), "sigma");
}

inline void check_draw(int64_t n, const OptionalTensor& group, const char* name) {
  STD_TORCH_CHECK(n >= 0, "infonoise: n must be at least 0, got ", n);
  check_group(group, name, n, "the n samples");
}

// Whether this thread runs backward, where activation checkpointing computes a region again. Python may ask
// torch, the stable ABI may not; a torch that no longer exports the function leaves it unseen.
inline bool in_backward() {
  using TaskId = int (*)();
  static const auto task_id =
      reinterpret_cast<TaskId>(dlsym(RTLD_DEFAULT, "_ZN5torch8autograd25get_current_graph_task_idEv"));
  return task_id && task_id() != -1;
}

// The words are those of infonoise_ext/_backward.py.
inline void refuse_in_backward(const char* name, int64_t samples) {
  STD_TORCH_CHECK(samples <= 0 || !in_backward(), "infonoise: ", name,
                  " was called during backward, where activation checkpointing, or a compiler to save memory, "
                  "computes a region again and would get other noise levels than the first time: call it outside of "
                  "the region");
}

inline void check_uniforms(const Tensor& u, const OptionalTensor& group) {
  check_floating(u, "u");
  check_batch(u, "u", -1, "");
  check_group(group, "group", u.numel(), "u");
}

// Whether t fills its memory without gap or overlap, sample after sample.
inline bool is_dense(const Tensor& t) {
  std::vector<std::pair<int64_t, int64_t>> inner;      // stride and size
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
  int64_t samples, size;                               // size: elements of a sample
};

inline Samplewise check_pair(const Tensor& denoised, const Tensor& target) {
  check_floating(denoised, "denoised");
  check_floating(target, "target");
  bool same = denoised.dim() == target.dim() && denoised.dim() > 0, alike = same;
  for (int64_t d = 0; same && d < denoised.dim(); ++d) {
    same = denoised.size(d) == target.size(d);
    alike = alike && (denoised.size(d) == 1 || denoised.stride(d) == target.stride(d));
  }
  STD_TORCH_CHECK(same, "infonoise: denoised and target must have one shape [B, ...]");
  const int64_t samples = denoised.size(0), size = samples ? denoised.numel() / samples : 1;
  STD_TORCH_CHECK(size > 0, "infonoise: denoised must have elements in each sample");
  STD_TORCH_CHECK(samples == 0 || (alike && is_dense(denoised)),
                  "infonoise: denoised and target must be dense, sample after sample, with the same strides");
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
