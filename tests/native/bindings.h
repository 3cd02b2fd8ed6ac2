// The CUDA ops for tests, on CPU arrays: their launches go to a `Host`, which a module defines before it includes this.
#pragma once

#include <pybind11/pybind11.h>

#include "cuda/launch.h"
#include "cuda/loss_launch.h"

namespace py = pybind11;

namespace {

using namespace infonoise;
using namespace infonoise::cuda;

// Tensors come as (address, stride, kind), in the order of a schema's arguments.
Column column(const py::handle& t) {
  if (t.is_none()) return {nullptr, 1, kAbsent};
  const auto parts = t.cast<py::tuple>();
  return {reinterpret_cast<const void*>(parts[0].cast<uintptr_t>()), parts[1].cast<int64_t>(),
          Kind(parts[2].cast<int>())};
}

template <class T>
T* at(const py::handle& t) {
  return static_cast<T*>(const_cast<void*>(column(t).data));
}

struct Sizes {
  int64_t groups, capacity, batch, n;
  int bins;
  bool recomputed;
};

Rings rings_at(const Sizes& s, const py::handle& ring, const py::handle& count, const py::handle& counters) {
  return {at<float>(ring), at<int64_t>(count), at<int64_t>(counters), s.groups, s.capacity};
}

Tables tables_at(const py::tuple& a, int first) {
  return {at<int64_t>(a[first]), at<double>(a[first + 1]), at<double>(a[first + 2]), at<double>(a[first + 3]),
          at<double>(a[first + 4])};
}

using Op = void (*)(Host&, const Sizes&, const py::tuple&, float*, double*);

void observe(Host& on, const Sizes& s, const py::tuple& a, float*, double*) {
  launch_observe(on, rings_at(s, a[0], a[1], a[2]), {at<double>(a[3]), s.bins},
                 {column(a[4]), column(a[5]), column(a[6]), column(a[7]), s.batch, s.recomputed});
}

void bin_stats(Host& on, const Sizes& s, const py::tuple& a, float*, double* moments) {
  launch_bin_stats(on, rings_at(s, a[0], a[1], py::none()), s.bins, moments);
}

void refresh(Host& on, const Sizes& s, const py::tuple& a, float*, double*) {
  launch_refresh(on, at<double>(a[0]), tables_at(a, 2), {at<double>(a[8]), s.bins}, at<Params>(a[9]), at<int64_t>(a[1]),
                 at<int64_t>(a[7]), s.groups);
}

void sample(Host& on, const Sizes& s, const py::tuple& a, float* sigma, double*) {
  launch_sample(on, at<double>(a[0]), {at<double>(a[2]), s.bins}, at<Params>(a[3]), at<int64_t>(a[1]), s.groups,
                {sigma, s.n, column(a[5])});
}

void advance(Host& on, const Sizes& s, const py::tuple& a, float* sigma, double*) {
  launch_advance(on, rings_at(s, a[0], a[1], a[7]), tables_at(a, 2), {at<double>(a[9]), s.bins}, at<Params>(a[10]),
                 at<int64_t>(a[8]), {column(a[11]), column(a[12]), column(a[13]), column(a[14]), s.batch, s.recomputed},
                 {sigma, s.n, column(a[16])});
}

// Runs an op and returns how many kernels it launched.
template <Op op>
int run(const py::tuple& arguments, const py::dict& sizes, uintptr_t sigma, uintptr_t moments, unsigned seed,
        int threads, int64_t one_launch, int64_t tile, int64_t tallies, int64_t cells) {
  Host on;
  on.seed = seed;
  on.limits.threads = threads;
  on.limits.one_launch = one_launch;
  on.limits.tile = on.limits.full_tile = tile;
  on.limits.tallies = tallies;
  on.limits.multiprocessors = 2;
  on.limits.cells = cells;
  const auto get = [&](const char* name) { return sizes[name].cast<int64_t>(); };
  op(on, {get("groups"), get("capacity"), get("batch"), get("n"), int(get("bins")), get("recomputed") != 0}, arguments,
     reinterpret_cast<float*>(sigma), reinterpret_cast<double*>(moments));
  return on.launches;
}

struct Cut {  // how the loss's samples are cut, and under which schedule
  unsigned seed;
  int threads;
  int64_t piece, pieces;

  Host host() const {
    Host on;
    on.seed = seed;
    on.limits.threads = threads;
    on.limits.piece = piece;
    on.limits.pieces = pieces;
    return on;
  }
};

Cut cut(const py::tuple& t) {
  return {t[0].cast<unsigned>(), t[1].cast<int>(), t[2].cast<int64_t>(), t[3].cast<int64_t>()};
}

int denoising_error(const py::tuple& denoised, const py::tuple& target, const py::tuple& error, int64_t samples,
                    int64_t size, const py::tuple& how) {
  Host on = cut(how).host();
  launch_denoising_error(on, pair_of(column(denoised), column(target), samples, size),
                         {at<void>(error), column(error).kind == kFloat64});
  return on.launches;
}

int denoising_error_backward(const py::tuple& grad, const py::tuple& denoised, const py::tuple& target,
                             const py::tuple& out, int64_t samples, int64_t size, const py::tuple& how) {
  Host on = cut(how).host();
  void* gradient = at<void>(out);
  launch_denoising_gradient(on, pair_of(column(denoised), column(target), samples, size, gradient), column(grad),
                            gradient);
  return on.launches;
}

void bind_ops(py::module_& m) {
  m.def("observe_", &run<observe>);
  m.def("bin_stats", &run<bin_stats>);
  m.def("refresh_", &run<refresh>);
  m.def("sample_", &run<sample>);
  m.def("advance_", &run<advance>);
  m.def("denoising_error", &denoising_error);
  m.def("denoising_error_backward", &denoising_error_backward);
}

}  // namespace
