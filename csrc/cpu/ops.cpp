// The ops for CPU tensors: check, convert in chunks, run the loops of record.h, draw.h and core/refresh.h.
#include "backward.h"
#include "checks.h"
#include "core/refresh.h"
#include "cpu/chunks.h"
#include "cpu/draw.h"
#include "cpu/team.h"

namespace infonoise::cpu {
namespace {

const Params& params_at(const Tensor& params) { return *params_of(params); }

void record_all(const Rings& rings, const Grid& grid, const Tensor& sigma, const Tensor& error,
                const OptionalTensor& mask, const OptionalTensor& group) {
  check_batch(sigma, error, mask, group);
  const bool recomputed = in_backward();
  const Range range = range_of(grid.row(kEdges), grid.bins);
  const Floats sigmas(sigma), errors(error);
  const bool* masks = mask ? static_cast<const bool*>(mask->data_ptr()) : nullptr;
  const int64_t mask_stride = mask && mask->numel() ? mask->stride(0) : 1;
  float sigma_chunk[kChunk], error_chunk[kChunk];
  bool mask_chunk[kChunk];
  for_each_chunk(sigma.numel(), group, [&](int64_t start, int size, const int64_t* groups) {
    for (int i = 0; masks && i < size; ++i) mask_chunk[i] = masks[(start + i) * mask_stride];
    record(rings, grid, range,
           {sigmas.read(start, size, sigma_chunk), errors.read(start, size, error_chunk), masks ? mask_chunk : nullptr,
            groups, size, recomputed});
  });
}

// Float32 [n], not by torch::stable::new_empty, which costs more than drawing a small batch.
Tensor empty_floats(int64_t n) {
  const int64_t stride = 1;
  AtenTensorHandle made = nullptr;
  const auto dtype = aoti_torch_dtype_float32(), device = aoti_torch_device_type_cpu();
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(1, &n, &stride, dtype, device, 0, &made));
  return Tensor(made);
}

// Everything that can fail in drawing n sigmas, so that a call which fails has changed nothing.
Tensor new_sigma(const Tensor& cdf, int64_t n, const OptionalTensor& group, const char* name) {
  check_draw(n, group, name);
  Tensor out = empty_floats(n);
  const int64_t groups = cdf.size(0);
  for_each_chunk(group ? n : 0, group, [&](int64_t start, int size, const int64_t* chosen) {
    for (int i = 0; i < size; ++i)
      if (uint64_t(chosen[i]) >= uint64_t(groups))
        refuse(name, "[", start + i, "] is ", chosen[i], ", but must be in [0, ", groups, ")");
  });
  return out;
}

std::optional<AllStrata> strata_of(const Params& p, const Stream& stream, int64_t n, const OptionalTensor& group,
                                   int64_t groups) {
  if (!(p.stratified > 0)) return std::nullopt;
  AllStrata strata(groups);
  if (!group) strata.count(0, n);
  for_each_chunk(group ? n : 0, group, [&](int64_t, int size, const int64_t* chosen) {
    for (int i = 0; i < size; ++i) strata.count(chosen[i], 1);
  });
  strata.prepare(p, stream);
  return strata;
}

// Sigmas by the exact inverse, from uniforms in float64.
void draw_all_by_inverse(const Params& p, const Grid& grid, const Tensor& cdf, const Stream& stream, const Tensor& out,
                         const OptionalTensor& group) {
  const int64_t n = out.numel();
  const double* tables = cdf_of(cdf, grid.bins);
  float* sigma = static_cast<float*>(out.data_ptr());
  std::optional<AllStrata> strata = strata_of(p, stream, n, group, cdf.size(0));
  const auto run = [&](const auto& find) {
    uint32_t words[kChunk];
    double u[kChunk];
    for_each_chunk(n, group, [&](int64_t start, int size, const int64_t* chosen) {
      words_of_chunk(stream, start, size, words);
      uniforms(words, chosen, size, strata ? &*strata : nullptr, u);
      invert(p, grid, tables, u, chosen, size, sigma + start, find);
    });
  };
  if (!group && n >= Guide::kWorth) {
    const Guide guide(tables, grid.bins);
    run([&](double u, const double*) { return guide.bin(u); });
  } else {
    run([&](double u, const double* table) { return cdf_bin(u, table, grid.bins); });
  }
}

// Sigmas straight from the words.
void draw_all_by_words(const Params& p, const Grid& grid, const Tensor& cdf, const Stream& stream, const Tensor& out,
                       const OptionalTensor& group) {
  const int64_t n = out.numel();
  const double *tables = cdf_of(cdf, grid.bins), *edges = grid.row(kEdges);
  float* sigma = static_cast<float*>(out.data_ptr());
  const auto run = [&](const auto& find) {
    uint32_t words[kChunk];
    for_each_chunk(n, group, [&](int64_t start, int size, const int64_t* chosen) {
      words_of_chunk(stream, start, size, words);
      draw_by_words(p, grid, words, size, sigma + start,
                    [&](int i) { return find(words[i], tables + (chosen ? chosen[i] * (grid.bins + 1) : 0)); });
    });
  };
  if (!group && n >= DrawTable::worth(grid.bins)) {
    const DrawTable table(tables, edges, grid.bins);
    run([&](uint32_t word, const double*) { return table.of(word); });
  } else {
    run([&](uint32_t word, const double* cdf) { return word_bin(cdf, cdf_bin(uniform(word), cdf, grid.bins), edges); });
  }
}

void draw(const Params& p, const Grid& grid, const Tensor& cdf, const Tensor& rng, const Tensor& out,
          const OptionalTensor& group) {
  const int64_t n = out.numel();
  int64_t* state = rng_of(rng);
  const Stream stream = stream_of(p, state, uint64_t(state[1]));
  (draws_by_words(p) ? draw_all_by_words : draw_all_by_inverse)(p, grid, cdf, stream, out, group);
  if (n > 0) state[1] += 1;
}

// Refreshes the tables of the groups that are `due`, from the moments of all.
template <class Due>
void refresh_groups(const Params& p, const Grid& grid, const double* moments, const Tables& tables,
                    const int64_t* count, int64_t* counters, int64_t groups, const Due& due) {
  const int bins = grid.bins;
  Alone team;
  double work[kWork * kMaxBins];
  std::vector<double> together;
  const auto everyone = [&](const Pools& pools) {
    if (groups == 1) return false;
    if (together.empty()) {
      together.resize(kWork * bins);
      load_everyone(team, groups, bins, moments, pools_of(together.data(), bins));
    }
    for (int k = 0; k < bins; ++k) pools.set(k, pools_of(together.data(), bins).at(k));
    return true;
  };
  for (int64_t i = 0; i < groups; ++i) {
    if (!due(i)) continue;
    widest([&] {
      load_pools(team, bins, moments + i * bins * kMoments, pools_of(work, bins));
      refresh(team, p, grid, table_of(tables, count, counters, bins, i), work, everyone);
    });
  }
}

void observe_(const Tensor& ring, const Tensor& count, const Tensor& counters, const Tensor& grid, const Tensor& sigma,
              const Tensor& error, const OptionalTensor& mask, const OptionalTensor& group) {
  const Grid g = grid_of(grid);
  record_all(rings_of(ring, count, counters, g.bins), g, sigma, error, mask, group);
}

Tensor bin_stats(const Tensor& ring, const Tensor& count) {
  const Rings r = rings_of(ring, count);
  Tensor out = new_moments(ring);
  ring_moments(r.ring, r.count, int(r.groups * ring.size(1)), r.capacity, static_cast<double*>(out.data_ptr()));
  return out;
}

void refresh_(const Tensor& moments, const Tensor& count, const Tensor& previous_count, const Tensor& previous_cdf,
              const Tensor& mmse, const Tensor& cdf, const Tensor& stats, const Tensor& counters, const Tensor& grid,
              const Tensor& params) {
  const Grid g = grid_of(grid);
  const double* m = moments_of(moments, g.bins);
  const int64_t groups = moments.size(0);
  int64_t* counts = counters_of(counters, groups);
  const int64_t* recorded = count_of(count, groups, g.bins);
  const Tables tables = tables_of(previous_count, previous_cdf, mmse, cdf, stats, groups, g.bins);
  refresh_groups(params_at(params), g, m, tables, recorded, counts, groups, [](int64_t) { return true; });
}

Tensor sample_(const Tensor& cdf, const Tensor& rng, const Tensor& grid, const Tensor& params, int64_t n,
               const OptionalTensor& group) {
  refuse_in_backward("sample", n);
  Tensor out = new_sigma(cdf, n, group, "group");
  draw(params_at(params), grid_of(grid), cdf, rng, out, group);
  return out;
}

Tensor advance_(const Tensor& ring, const Tensor& count, const Tensor& previous_count, const Tensor& previous_cdf,
                const Tensor& mmse, const Tensor& cdf, const Tensor& stats, const Tensor& counters, const Tensor& rng,
                const Tensor& grid, const Tensor& params, const Tensor& sigma, const Tensor& error,
                const OptionalTensor& mask, const OptionalTensor& group, int64_t n, const OptionalTensor& next_group) {
  const Grid g = grid_of(grid);
  const Params& p = params_at(params);
  const Rings rings = rings_of(ring, count, counters, g.bins);
  const Tables tables = tables_of(previous_count, previous_cdf, mmse, cdf, stats, rings.groups, g.bins);
  refuse_in_backward("advance", sigma.numel() + n);
  Tensor next = new_sigma(cdf, n, next_group, "next_group");
  record_all(rings, g, sigma, error, mask, group);
  draw(p, g, cdf, rng, next, next_group);
  const auto due = [&](int64_t i) { return refresh_is_due(p, rings.counters[i * kCounters + kSteps]); };
  bool any = false;
  for (int64_t i = 0; i < rings.groups; ++i) {
    ++rings.counters[i * kCounters + kSteps];
    any = any || due(i);
  }
  if (!any) return next;
  std::vector<double> moments(rings.groups * g.bins * kMoments);
  ring_moments(rings.ring, rings.count, int(rings.groups * g.bins), rings.capacity, moments.data());
  refresh_groups(p, g, moments.data(), tables, rings.count, rings.counters, rings.groups, due);
  return next;
}

}  // namespace
}  // namespace infonoise::cpu

STABLE_TORCH_LIBRARY_IMPL(infonoise, CPU, m) {
  m.impl("observe_", TORCH_BOX(&infonoise::cpu::observe_));
  m.impl("bin_stats", TORCH_BOX(&infonoise::cpu::bin_stats));
  m.impl("refresh_", TORCH_BOX(&infonoise::cpu::refresh_));
  m.impl("sample_", TORCH_BOX(&infonoise::cpu::sample_));
  m.impl("advance_", TORCH_BOX(&infonoise::cpu::advance_));
}
