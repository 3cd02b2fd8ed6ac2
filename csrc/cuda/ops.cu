// The ops for CUDA tensors: check, take pointers, launch.
#include "backward.h"
#include "cuda/device.h"
#include "cuda/launch.h"

namespace infonoise::cuda {
namespace {

Batch batch_of(const Device& device, const Rings& rings, const Tensor& sigma, const Tensor& error,
               const OptionalTensor& mask, const OptionalTensor& group) {
  check_batch(sigma, error, mask, group);
  device.refuse_elsewhere(sigma, "sigma");
  device.refuse_elsewhere(error, "error");
  device.refuse_elsewhere(mask, "mask");
  device.refuse_elsewhere(group, "group");
  if (sigma.numel() > INT32_MAX) refuse("sigma has ", sigma.numel(), " elements, but must have at most 2^31 - 1");
  if (rings.capacity > INT32_MAX) refuse("capacity is ", rings.capacity, ", but must be at most 2^31 - 1");
  return {column_of(sigma), column_of(error), column_of(mask), column_of(group), sigma.numel(), in_backward()};
}

Draw draw_of(const Device& device, Tensor& out, const OptionalTensor& group, const char* name) {
  device.refuse_elsewhere(group, name);
  return {static_cast<float*>(out.data_ptr()), out.numel(), column_of(group)};
}

Tensor new_sigma(const Tensor& cdf, int64_t n) { return torch::stable::new_empty(cdf, {n}, ScalarType::Float); }

void observe_(const Tensor& ring, const Tensor& count, const Tensor& counters, const Tensor& grid, const Tensor& sigma,
              const Tensor& error, const OptionalTensor& mask, const OptionalTensor& group) {
  const Grid g = grid_of(grid);
  const Rings rings = rings_of(ring, count, counters, g.bins);
  Device device(ring, {&count, &counters, &grid});
  launch_observe(device, rings, g, batch_of(device, rings, sigma, error, mask, group));
}

Tensor bin_stats(const Tensor& ring, const Tensor& count) {
  const Rings rings = rings_of(ring, count);
  Device device(ring, {&count});
  Tensor out = new_moments(ring);
  launch_bin_stats(device, rings, int(ring.size(1)), static_cast<double*>(out.data_ptr()));
  return out;
}

void refresh_(const Tensor& moments, const Tensor& count, const Tensor& previous_count, const Tensor& previous_cdf,
              const Tensor& mmse, const Tensor& cdf, const Tensor& stats, const Tensor& counters, const Tensor& grid,
              const Tensor& params) {
  const Grid g = grid_of(grid);
  const double* m = moments_of(moments, g.bins);
  const int64_t groups = moments.size(0);
  const Tables tables = tables_of(previous_count, previous_cdf, mmse, cdf, stats, groups, g.bins);
  Device device(moments, {&count, &previous_count, &previous_cdf, &mmse, &cdf, &stats, &counters, &grid, &params});
  launch_refresh(device, m, tables, g, params_of(params), count_of(count, groups, g.bins),
                 counters_of(counters, groups), groups);
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

Tensor advance_(const Tensor& ring, const Tensor& count, const Tensor& previous_count, const Tensor& previous_cdf,
                const Tensor& mmse, const Tensor& cdf, const Tensor& stats, const Tensor& counters, const Tensor& rng,
                const Tensor& grid, const Tensor& params, const Tensor& sigma, const Tensor& error,
                const OptionalTensor& mask, const OptionalTensor& group, int64_t n, const OptionalTensor& next_group) {
  const Grid g = grid_of(grid);
  const Rings rings = rings_of(ring, count, counters, g.bins);
  const Tables tables = tables_of(previous_count, previous_cdf, mmse, cdf, stats, rings.groups, g.bins);
  check_draw(n, next_group, "next_group");
  refuse_in_backward("advance", sigma.numel() + n);
  Device device(ring, {&count, &previous_count, &previous_cdf, &mmse, &cdf, &stats, &counters, &rng, &grid, &params});
  const Batch batch = batch_of(device, rings, sigma, error, mask, group);
  Tensor out = new_sigma(cdf, n);
  launch_advance(device, rings, tables, g, params_of(params), rng_of(rng), batch,
                 draw_of(device, out, next_group, "next_group"));
  return out;
}

}  // namespace
}  // namespace infonoise::cuda

STABLE_TORCH_LIBRARY_IMPL(infonoise, CUDA, m) {
  m.impl("observe_", TORCH_BOX(&infonoise::cuda::observe_));
  m.impl("bin_stats", TORCH_BOX(&infonoise::cuda::bin_stats));
  m.impl("refresh_", TORCH_BOX(&infonoise::cuda::refresh_));
  m.impl("sample_", TORCH_BOX(&infonoise::cuda::sample_));
  m.impl("advance_", TORCH_BOX(&infonoise::cuda::advance_));
}
