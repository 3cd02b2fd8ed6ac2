// What the ops for CUDA tensors share: arguments as kernels take them, and launches on torch's current stream.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "checks.h"
#include "cuda/block.cuh"

// A torch without CUDA lacks these; weak, they let one library load with every torch.
#pragma weak aoti_torch_get_current_cuda_stream
#pragma weak torch_c10_cuda_check_msg
#pragma weak torch_c10_cuda_free_error_msg

namespace infonoise::cuda {

inline Kind kind_of(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return kFloat32;
    case ScalarType::Double: return kFloat64;
    case ScalarType::Half: return kFloat16;
    case ScalarType::BFloat16: return kBfloat16;
    case ScalarType::Long: return kInt64;
    case ScalarType::Int: return kInt32;
    default: return kBool;
  }
}

inline Column column_of(const Tensor& t) {
  return {t.data_ptr(), t.numel() ? t.stride(0) : 1, kind_of(t.scalar_type())};
}

inline Column column_of(const OptionalTensor& t) { return t ? column_of(*t) : Column{nullptr, 1, kAbsent}; }

// Launches on the current stream of the state's device; refuses inputs that lie elsewhere.
class Device {
 public:
  Limits limits;

  Device(const Tensor& state, std::initializer_list<const Tensor*> others)
      : state_(state), index_(cuda_index(state)), guard_(index_) {
    for (const Tensor* t : others)
      if (!t->is_cuda() || t->get_device() != index_)
        refuse("the schedule's state is on cuda:", index_, " and elsewhere, but must be on one device");
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
    limits.shared = std::min(limits.shared, size_t(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)));
    limits.multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  }

  void refuse_elsewhere(const OptionalTensor& t, const char* name) const {
    if (t && (!t->is_cuda() || t->get_device() != index_))
      refuse(name, " is on another device, but must be on cuda:", index_, ", as the schedule's state");
  }

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared,
                  const Arguments&... arguments) {
    if (shared > limits.shared)
      refuse("bins need ", shared, " bytes of shared memory, but must need at most ", limits.shared, " on this GPU");
    if (shared > 48 * 1024)
      STD_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
    kernel<<<unsigned(blocks), threads, shared, stream_>>>(arguments...);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  // Torch's allocator keeps the memory for later work of this stream.
  int* scratch(int64_t ints) {
    scratch_.push_back(torch::stable::new_empty(state_, {ints}, ScalarType::Int));
    return static_cast<int*>(scratch_.back().data_ptr());
  }

 private:
  int attribute(cudaDeviceAttr which) const {
    int value = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, index_));
    return value;
  }

  // One CUDA argument brings a call here, so the state itself may be on the CPU.
  static int32_t cuda_index(const Tensor& state) {
    if (!state.is_cuda()) refuse("the schedule's state is on the CPU, but must be on a GPU, as another argument is");
    return state.get_device();
  }

  const Tensor& state_;
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
  std::vector<Tensor> scratch_;
};

}  // namespace infonoise::cuda
