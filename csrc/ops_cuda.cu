// The ops for CUDA tensors: check, take pointers, launch on torch's current stream.
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include <vector>

#include "launch.h"
#include "ops.h"

// A torch without CUDA lacks these; weak, they let one library load with every torch.
#pragma weak aoti_torch_get_current_cuda_stream
#pragma weak torch_c10_cuda_check_msg
#pragma weak torch_c10_cuda_free_error_msg

namespace infonoise {
namespace {

Kind kind_of(ScalarType type) {
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

Column column_of(const Tensor& t) {
  return {t.data_ptr(), t.numel() ? t.stride(0) : 1, kind_of(t.scalar_type())};
}

Column column_of(const OptionalTensor& t) { return t ? column_of(*t) : Column{nullptr, 1, kAbsent}; }

// Launches on the current stream of the state's device; refuses inputs that lie elsewhere.
class Device {
 public:
  Limits limits;

  Device(const Tensor& state, std::initializer_list<const Tensor*> others)
      : state_(state), index_(cuda_index(state)), guard_(index_) {
    for (const Tensor* t : others)
      STD_TORCH_CHECK(t->is_cuda() && t->get_device() == index_,
                      "infonoise: the schedule's state must be on one device, but is on cuda:", index_,
                      " and elsewhere");
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  void refuse_elsewhere(const OptionalTensor& t, const char* name) const {
    STD_TORCH_CHECK(!t || (t->is_cuda() && t->get_device() == index_), "infonoise: ", name,
                    " must be on the device of the schedule's state, cuda:", index_);
  }

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared,
                  const Arguments&... arguments) {
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
  // One CUDA argument brings a call here, so the state itself may be on the CPU.
  static int32_t cuda_index(const Tensor& state) {
    STD_TORCH_CHECK(state.is_cuda(), "infonoise: the schedule's state is on the CPU, but another argument is on a GPU");
    return state.get_device();
  }

  const Tensor& state_;
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
  std::vector<Tensor> scratch_;
};

Samples samples_of(const Device& device, const Rings& rings, const Tensor& sigma, const Tensor& error,
                   const OptionalTensor& mask, const OptionalTensor& group) {
  check_samples(sigma, error, mask, group);
  device.refuse_elsewhere(sigma, "sigma");
  device.refuse_elsewhere(error, "error");
  device.refuse_elsewhere(mask, "mask");
  device.refuse_elsewhere(group, "group");
  STD_TORCH_CHECK(sigma.numel() <= INT32_MAX, "infonoise: sigma may have at most 2^31 - 1 elements, got ",
                  sigma.numel());
  STD_TORCH_CHECK(rings.capacity <= INT32_MAX, "infonoise: ring may keep at most 2^31 - 1 losses a bin, got ",
                  rings.capacity);
  return {column_of(sigma), column_of(error), column_of(mask), column_of(group), sigma.numel(), in_backward()};
}

Draw draw_of(const Device& device, Tensor& out, const OptionalTensor& group, const char* name) {
  device.refuse_elsewhere(group, name);
  return {static_cast<float*>(out.data_ptr()), out.numel(), column_of(group)};
}

Tensor new_sigma(const Tensor& cdf, int64_t n) { return torch::stable::new_empty(cdf, {n}, ScalarType::Float); }

void observe_(const Tensor& ring, const Tensor& count, const Tensor& counters, const Tensor& grid,
              const Tensor& sigma, const Tensor& error, const OptionalTensor& mask, const OptionalTensor& group) {
  const Grid g = grid_of(grid);
  const Rings rings = rings_of(ring, count, counters, g.bins);
  Device device(ring, {&count, &counters, &grid});
  launch_observe(device, rings, g, samples_of(device, rings, sigma, error, mask, group));
}

Tensor bin_stats(const Tensor& ring, const Tensor& count) {
  const Rings rings = rings_of(ring, count);
  Device device(ring, {&count});
  Tensor out = new_moments(ring);
  launch_bin_stats(device, rings, int(ring.size(1)), static_cast<double*>(out.data_ptr()));
  return out;
}

void refresh_(const Tensor& moments, const Tensor& mmse, const Tensor& cdf, const Tensor& stats,
              const Tensor& counters, const Tensor& grid, const Tensor& params) {
  const Grid g = grid_of(grid);
  const double* m = moments_of(moments, g.bins);
  const int64_t groups = moments.size(0);
  const Tables tables = tables_of(mmse, cdf, stats, groups, g.bins);
  Device device(moments, {&mmse, &cdf, &stats, &counters, &grid, &params});
  launch_refresh(device, m, tables, g, params_of(params), counters_of(counters, groups), groups);
}

Tensor sample_(const Tensor& cdf, const Tensor& rng, const Tensor& grid, const Tensor& params, int64_t n,
               const OptionalTensor& group) {
  const Grid g = grid_of(grid);
  const double* table = cdf_of(cdf, g.bins);
  check_draw(n, group, "group");
  refuse_in_backward("sample", n);
  Device device(cdf, {&rng, &grid, &params});
  Tensor out = new_sigma(cdf, n);
  launch_sample(device, table, g, params_of(params), rng_of(rng), cdf.size(0), draw_of(device, out, group, "group"));
  return out;
}

Tensor icdf(const Tensor& cdf, const Tensor& grid, const Tensor& params, const Tensor& u,
            const OptionalTensor& group) {
  const Grid g = grid_of(grid);
  const double* table = cdf_of(cdf, g.bins);
  check_uniforms(u, group);
  Device device(cdf, {&grid, &params});
  device.refuse_elsewhere(u, "u");
  Tensor out = new_sigma(cdf, u.numel());
  launch_icdf(device, table, g, params_of(params), cdf.size(0), column_of(u), draw_of(device, out, group, "group"));
  return out;
}

Tensor advance_(const Tensor& ring, const Tensor& count, const Tensor& mmse, const Tensor& cdf, const Tensor& stats,
                const Tensor& counters, const Tensor& rng, const Tensor& grid, const Tensor& params,
                const Tensor& sigma, const Tensor& error, const OptionalTensor& mask, const OptionalTensor& group,
                int64_t n, const OptionalTensor& next_group) {
  const Grid g = grid_of(grid);
  const Rings rings = rings_of(ring, count, counters, g.bins);
  const Tables tables = tables_of(mmse, cdf, stats, rings.groups, g.bins);
  check_draw(n, next_group, "next_group");
  refuse_in_backward("advance", sigma.numel() + n);
  Device device(ring, {&count, &mmse, &cdf, &stats, &counters, &rng, &grid, &params});
  const Samples samples = samples_of(device, rings, sigma, error, mask, group);
  Tensor out = new_sigma(cdf, n);
  launch_advance(device, rings, tables, g, params_of(params), rng_of(rng), samples,
                 draw_of(device, out, next_group, "next_group"));
  return out;
}

Pair pair_of(const Device& device, const Tensor& denoised, const Tensor& target, const void* gradient = nullptr) {
  const Samplewise s = check_pair(denoised, target);
  device.refuse_elsewhere(target, "target");
  return pair_of(column_of(denoised), column_of(target), s.samples, s.size, gradient);
}

Tensor denoising_error(const Tensor& denoised, const Tensor& target) {
  Device device(denoised, {});
  const Pair pair = pair_of(device, denoised, target);
  Tensor out = new_error(denoised, target);
  launch_denoising_error(device, pair, {out.data_ptr(), is_wide(denoised, target)});
  return out;
}

Tensor denoising_error_backward(const Tensor& grad_error, const Tensor& denoised, const Tensor& target) {
  Device device(denoised, {});
  device.refuse_elsewhere(grad_error, "grad_error");
  check_floating(grad_error, "grad_error");
  Tensor out = torch::stable::empty_like(denoised);
  const Pair pair = pair_of(device, denoised, target, out.data_ptr());
  check_batch(grad_error, "grad_error", pair.samples, "denoised");
  launch_denoising_gradient(device, pair, column_of(grad_error), out.data_ptr());
  return out;
}

}  // namespace
}  // namespace infonoise

STABLE_TORCH_LIBRARY_IMPL(infonoise, CUDA, m) {
  m.impl("observe_", TORCH_BOX(&infonoise::observe_));
  m.impl("bin_stats", TORCH_BOX(&infonoise::bin_stats));
  m.impl("refresh_", TORCH_BOX(&infonoise::refresh_));
  m.impl("sample_", TORCH_BOX(&infonoise::sample_));
  m.impl("icdf", TORCH_BOX(&infonoise::icdf));
  m.impl("advance_", TORCH_BOX(&infonoise::advance_));
  m.impl("denoising_error", TORCH_BOX(&infonoise::denoising_error));
  m.impl("denoising_error_backward", TORCH_BOX(&infonoise::denoising_error_backward));
}
