// The ops for CPU tensors: check, convert in chunks, run the loops of record.h, draw.h and core/refresh.h.
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "backward.h"
#include "checks.h"
#include "core/refresh.h"
#include "cpu/draw.h"

namespace infonoise::cpu {
namespace {

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

const Params& params_at(const Tensor& params) { return *params_of(params); }

void record_all(const Rings& rings, const Grid& grid, const Tensor& sigma, const Tensor& error,
                const OptionalTensor& mask, const OptionalTensor& group) {
  check_batch(sigma, error, mask, group);
  const bool recomputed = in_backward();
  const Floats sigmas(sigma), errors(error);
  const bool* masks = mask ? static_cast<const bool*>(mask->data_ptr()) : nullptr;
  const int64_t mask_stride = mask && mask->numel() ? mask->stride(0) : 1;
  float sigma_chunk[kChunk], error_chunk[kChunk];
  bool mask_chunk[kChunk];
  for_each_chunk(sigma.numel(), group, [&](int64_t start, int size, const int64_t* groups) {
    for (int i = 0; masks && i < size; ++i) mask_chunk[i] = masks[(start + i) * mask_stride];
    record(rings, grid,
           {sigmas.read(start, size, sigma_chunk), errors.read(start, size, error_chunk), masks ? mask_chunk : nullptr,
            groups, size, recomputed});
  });
}

// Everything that can fail in drawing n sigmas, so that a call which fails has changed nothing.
Tensor new_sigma(const Tensor& cdf, int64_t n, const OptionalTensor& group, const char* name) {
  check_draw(n, group, name);
  Tensor out = torch::stable::new_empty(cdf, {n}, ScalarType::Float);
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
  if (!group && n >= std::max<int64_t>(Guide::kWorth, grid.bins)) {
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

// Refreshes the table of group i from its moments.
void refresh_group(const Params& p, const Grid& grid, const double* moments, const Tables& tables, const int64_t* count,
                   int64_t* counters, int64_t i) {
  double work[kWork * kMaxBins];
  Alone team;
  load_pools(team, grid.bins, moments, pools_of(work, grid.bins));
  refresh(team, p, grid, table_of(tables, count, counters, grid.bins, i), work);
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
  const Params& p = params_at(params);
  for (int64_t i = 0; i < groups; ++i) refresh_group(p, g, m + i * g.bins * kMoments, tables, recorded, counts, i);
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
  double moments[kMoments * kMaxBins];
  for (int64_t i = 0; i < rings.groups; ++i) {
    if (!refresh_is_due(p, ++rings.counters[i * kCounters + kSteps])) continue;
    const int64_t first = i * g.bins;
    ring_moments(rings.ring + first * rings.capacity, rings.count + first, g.bins, rings.capacity, moments);
    refresh_group(p, g, moments, tables, rings.count, rings.counters, i);
  }
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
