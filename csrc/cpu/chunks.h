// Vector arguments of any stride and dtype, read a chunk at a time into plain arrays.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "checks.h"
#include "cpu/record.h"

namespace infonoise::cpu {

template <class From, class To>
void convert(const void* data, int64_t start, int64_t stride, int size, To* out) {
  const From* in = static_cast<const From*>(data) + start * stride;
  for (int i = 0; i < size; ++i) out[i] = static_cast<To>(in[i * stride]);
}

// A strided vector argument, read a chunk at a time as float.
class Floats {
 public:
  explicit Floats(const Tensor& t)
      : data_(t.data_ptr()), stride_(t.numel() ? t.stride(t.dim() - 1) : 1), type_(t.scalar_type()) {}

  const float* read(int64_t start, int size, float* scratch) const {
    if (type_ == ScalarType::Float && stride_ == 1) return static_cast<const float*>(data_) + start;
    switch (type_) {
      case ScalarType::Float: convert<float>(data_, start, stride_, size, scratch); break;
      case ScalarType::Double: convert<double>(data_, start, stride_, size, scratch); break;
      case ScalarType::Half: convert<c10::Half>(data_, start, stride_, size, scratch); break;
      default: convert<c10::BFloat16>(data_, start, stride_, size, scratch);
    }
    return scratch;
  }

 private:
  const void* data_;
  int64_t stride_;
  ScalarType type_;
};

class Groups {
 public:
  explicit Groups(const OptionalTensor& t) : present_(t.has_value()) {
    if (!present_) return;
    data_ = t->data_ptr();
    stride_ = t->numel() ? t->stride(0) : 1;
    wide_ = t->scalar_type() == ScalarType::Long;
  }

  const int64_t* read(int64_t start, int size, int64_t* scratch) const {
    if (!present_) return nullptr;
    wide_ ? convert<int64_t>(data_, start, stride_, size, scratch)
          : convert<int32_t>(data_, start, stride_, size, scratch);
    return scratch;
  }

 private:
  const void* data_ = nullptr;
  int64_t stride_ = 1;
  bool wide_ = true, present_;
};

// use(start, size, group): chunk after chunk of n samples; `group` is null where all are of group 0.
template <class Use>
void for_each_chunk(int64_t n, const OptionalTensor& group, const Use& use) {
  const Groups groups(group);
  int64_t scratch[kChunk];
  for (int64_t start = 0; start < n; start += kChunk) {
    const int size = int(std::min<int64_t>(kChunk, n - start));
    use(start, size, groups.read(start, size, scratch));
  }
}

}  // namespace infonoise::cpu
