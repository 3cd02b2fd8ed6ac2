// Argument checks of the ops, on top of the LibTorch stable ABI.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <initializer_list>
#include <optional>

#include "core.h"

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

}  // namespace infonoise
