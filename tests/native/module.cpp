// Test-only access to csrc/core from Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "core/refresh.h"
#include "cpu/draw.h"

namespace py = pybind11;
using namespace infonoise;

namespace {

std::array<uint32_t, 4> philox_words(std::array<uint32_t, 4> counter, uint32_t key0, uint32_t key1) {
  philox(counter.data(), key0, key1);
  return counter;
}

int bin_among(float sigma, const std::vector<double>& edges) {
  const int bins = int(edges.size()) - 1;
  return bin_of(sigma, range_of(edges.data(), bins), edges.data(), bins);
}

double quantile(double u, const std::vector<double>& cdf, double log_min, double width) {
  Params p{};
  p.log_min = log_min;
  p.width = width;
  const int k = cdf_bin(u, cdf.data(), int(cdf.size()) - 1);
  return log_sigma_at(p, k, u, cdf[k], cdf[k + 1] - cdf[k]);
}

// (bin, sigma) of each word, as `sample_` finds them for many samples.
py::list draw_by_words(const std::vector<uint32_t>& words, const std::vector<double>& cdf,
                       const std::vector<double>& edges, float width) {
  const int bins = int(cdf.size()) - 1;
  Params p{};
  p.width = width;
  std::vector<float> sigma(words.size());
  const auto table = std::make_unique<cpu::DrawTable>(cdf.data(), edges.data(), bins);
  for (size_t start = 0; start < words.size(); start += cpu::kChunk)
    cpu::draw_by_words(p, {edges.data(), bins}, words.data() + start,
                       int(std::min<size_t>(cpu::kChunk, words.size() - start)), sigma.data() + start,
                       [&](int i) { return table->of(words[start + i]); });
  py::list out;
  for (size_t i = 0; i < words.size(); ++i) {
    const WordBin& bin = table->of(words[i]);
    const int searched = cdf_bin(uniform(words[i]), cdf.data(), bins);
    const bool same =
        word_bin(cdf.data(), searched, edges.data()).first == bin.first && bin.edge == float(edges[searched]);
    out.append(py::make_tuple(same ? searched : -1, sigma[i]));
  }
  return out;
}

// The u of n samples, stratified or not.
std::vector<double> uniforms(uint64_t seed, uint64_t offset, uint32_t rank, int64_t world, bool stratified, int n) {
  Params p{};
  p.rank = rank;
  p.world = double(world);
  const Stream stream{seed, offset, rank};
  cpu::AllStrata strata(1);
  strata.count(0, n);
  strata.prepare(p, stream);
  std::vector<double> u(n);
  for (int start = 0; start < n; start += cpu::kChunk) {
    uint32_t words[cpu::kChunk];
    const int size = std::min(cpu::kChunk, n - start);
    cpu::words_of_chunk(stream, start, size, words);
    cpu::uniforms(words, nullptr, size, stratified ? &strata : nullptr, u.data() + start);
  }
  return u;
}

// The rings and the counts [K] after one batch, and the counters.
py::tuple record(const std::vector<float>& sigma, const std::vector<float>& error, const std::vector<double>& edges,
                 int64_t capacity) {
  const int bins = int(edges.size()) - 1;
  std::vector<float> ring(bins * capacity);
  std::vector<int64_t> count(bins), counters(kCounters);
  for (size_t start = 0; start < sigma.size(); start += cpu::kChunk)
    cpu::record({ring.data(), count.data(), counters.data(), 1, capacity}, {edges.data(), bins},
                range_of(edges.data(), bins),
                {sigma.data() + start, error.data() + start, nullptr, nullptr,
                 int(std::min<size_t>(cpu::kChunk, sigma.size() - start)), false});
  return py::make_tuple(ring, count, counters);
}

// Byte offsets of the fields of Params, in units of a double, by name.
py::dict params_layout() {
  py::dict out;
#define FIELD(name) out[#name] = offsetof(Params, name) / sizeof(double)
  FIELD(log_min);
  FIELD(width);
  FIELD(warmup);
  FIELD(refresh_every);
  FIELD(min_count);
  FIELD(floor);
  FIELD(reach);
  FIELD(gate_power);
  FIELD(pivot_rule);
  FIELD(pivot_value);
  FIELD(pivot_span);
  FIELD(stratified);
  FIELD(rank);
  FIELD(world);
  FIELD(signal);
#undef FIELD
  return out;
}

py::dict enum_layout() {
  py::dict out;
  out["COUNTERS"] =
      std::vector<int>{kSteps,    kStatus,         kRefreshes,  kWaits,          kDegenerates,   kMasked,
                       kBadGroup, kNonfiniteSigma, kOutOfRange, kNonfiniteError, kNegativeError, kRecomputed};
  out["STATS"] = std::vector<int>{kPivot, kKept, kVariance, kSharpness, kInformation, kDrift};
  out["GRID_ROWS"] = std::vector<int>{kEdges, kSigma, kWeight, kBound};
  out["MOMENTS"] = std::vector<int>{kCount, kRest, kLargest};
  out["PIVOT_RULES"] = std::vector<int>{kFixed, kOnset, kPowerLaw};
  out["SIGNALS"] = std::vector<int>{kLearnable, kEntropy, kRescaled, kMmse, kLength};
  out["STATUSES"] = std::vector<int>{kWarmup, kWaiting, kActive, kDegenerate};
  return out;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.def("philox", &philox_words);
  m.def("uniform", &uniform);
  m.def("shuffle", [](uint32_t x, uint64_t n, const std::array<uint32_t, 4 * kShuffleBlocks>& keys) {
    return shuffle(x, n, keys.data());
  });
  m.def("bin_of", &bin_among);
  m.def("rough_log2", py::vectorize(rough_log2));
  m.def("exp_plain", py::vectorize(exp_plain));
  m.def("exp_float", py::vectorize(exp_float));
  m.def("draw_by_words", &draw_by_words);
  m.def("uniforms", &uniforms);
  m.def("record", &record);
  m.attr("widest_vectors") = int(cpu::widest_vectors());
  m.def("use_vectors", [](int width) { cpu::vectors = cpu::Vectors(width); });
  m.def("gate", py::vectorize(gate));
  m.def("cdf_bin",
        [](double u, const std::vector<double>& cdf) { return cdf_bin(u, cdf.data(), int(cdf.size()) - 1); });
  m.def("log_quantile", &quantile);
  m.def("params_layout", &params_layout);
  m.def("enum_layout", &enum_layout);
  m.attr("max_bins") = kMaxBins;
  m.attr("edge_tolerance") = kEdgeTolerance;
  m.attr("same_rate") = kSameRate;
  m.attr("influence") = kInfluence;
  m.attr("certain") = kCertain;
  m.attr("narrowest") = kNarrowest;
  m.attr("tiny") = kTiny;
}
