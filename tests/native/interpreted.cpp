// The CUDA ops on CPU arrays: what nvcc compiled of csrc/cuda, run by the interpreter of tests/native/ptx.
//
// The kernels' text is compiled here too, for the types of launches alone; a kernel's name links the two.
#include <dlfcn.h>

#include "emulator.h"
#include "ptx/machine.h"

#include "cuda/block.cuh"

namespace {

ptx::Machine& machine() {
  static ptx::Machine one;
  return one;
}

template <class T>
std::vector<unsigned char> bytes_of(const T& x) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(&x);
  return {bytes, bytes + sizeof x};
}

struct Host {  // launches in order; a new seed for every launch
  infonoise::cuda::Limits limits;
  unsigned seed;
  int launches = 0;
  std::vector<std::unique_ptr<int[]>> memory;

  template <class... Parameters, class... Arguments>
  void operator()(void (*kernel)(Parameters...), int64_t blocks, int threads, size_t shared,
                  const Arguments&... arguments) {
    if (shared > limits.shared) throw std::runtime_error("more shared memory than a block can have");
    const unsigned schedule = seed < 2 ? seed : seed * 1000 + launches;
    ++launches;
    Dl_info info{};
    if (!dladdr(reinterpret_cast<void*>(kernel), &info) || !info.dli_sname)
      throw std::runtime_error("a kernel without a name");
    machine().run({info.dli_sname,
                   unsigned(blocks),
                   unsigned(threads),
                   1,
                   shared,
                   schedule,
                   {bytes_of(Parameters(arguments))...}});
  }

  int* scratch(int64_t ints) {
    memory.emplace_back(new int[ints]);
    machine().memory.name(reinterpret_cast<uint64_t>(memory.back().get()), 4 * ints, false);
    return memory.back().get();
  }
};

}  // namespace

#include "bindings.h"

namespace {

py::dict costs_of(const ptx::KernelCost& cost) {
  py::list intervals;
  for (const ptx::Interval& interval : cost.intervals) {
    py::dict counts;
    for (int c = 0; c < ptx::kClasses; ++c)
      if (interval.counts[c]) counts[ptx::kClassNames[c]] = interval.counts[c];
    intervals.append(py::make_tuple(interval.cycles, counts));
  }
  py::dict out;
  out["launches"] = cost.launches;
  out["blocks"] = cost.blocks;
  out["cycles"] = cost.cycles;
  out["instructions"] = cost.instructions;
  out["conflicts"] = cost.conflicts;
  out["sectors"] = cost.sectors;
  out["intervals"] = intervals;
  return out;
}

}  // namespace

#include <pybind11/stl.h>

PYBIND11_MODULE(_interpreted, m) {
  m.def("load", [](const std::vector<std::string>& texts) { machine().program = ptx::program_of(texts); });
  m.def("plant", [](const std::string& bug) {  // in the PTX of kernels with planted bugs
    const uint64_t awake = planted::hash_of(bug.c_str());
    std::memcpy(machine().program.variables.at("planted_bug")->bytes.data(), &awake, sizeof awake);
  });
  m.def("name", [](uintptr_t begin, uint64_t size) { machine().memory.name(begin, size, true); });
  m.def("forget", [] { machine().memory.forget(); });
  m.def("watch", [](bool races) { machine().watches = races; });
  m.def("measure", [](bool on) {
    machine().costs.on = on;
    machine().costs.kernels.clear();
  });
  m.def("costs", [] {
    py::dict out;
    for (const auto& [kernel, cost] : machine().costs.kernels) out[kernel.c_str()] = costs_of(cost);
    return out;
  });
  m.def("launch", [](const std::string& kernel, unsigned blocks, unsigned threads, unsigned cluster, size_t shared,
                     unsigned seed, const std::vector<std::string>& arguments) {  // of any PTX; arguments as bytes
    ptx::Launch launch{"", blocks, threads, cluster, shared, seed, {}};
    for (const auto& [name, _] : machine().program.kernels)
      if (name.find(kernel) != std::string::npos) launch.kernel = name;
    for (const std::string& a : arguments) launch.arguments.emplace_back(a.begin(), a.end());
    machine().run(launch);
  });
  bind_ops(m);
}
