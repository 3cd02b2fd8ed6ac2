// The training loss's ops for CUDA tensors: check, take pointers, launch.
#include "cuda/device.h"
#include "cuda/loss_launch.h"

namespace infonoise::cuda {
namespace {

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
  check_vector(grad_error, "grad_error", pair.samples, "denoised");
  launch_denoising_gradient(device, pair, column_of(grad_error), out.data_ptr());
  return out;
}

}  // namespace
}  // namespace infonoise::cuda

STABLE_TORCH_LIBRARY_IMPL(infonoise, CUDA, m) {
  m.impl("denoising_error", TORCH_BOX(&infonoise::cuda::denoising_error));
  m.impl("denoising_error_backward", TORCH_BOX(&infonoise::cuda::denoising_error_backward));
}
