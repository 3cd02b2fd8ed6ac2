// The CUDA ops on CPU arrays: csrc/cuda, but for what speaks to torch and CUDA, under the emulator.
#include "emulator.h"

#include "cuda/block.cuh"

namespace {

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
    emulator::Launch(unsigned(blocks), unsigned(threads), shared, schedule, [&] { kernel(arguments...); }).run();
  }

  int* scratch(int64_t ints) {
    memory.emplace_back(new int[ints]);
    std::fill_n(memory.back().get(), ints, -1);
    return memory.back().get();
  }
};

}  // namespace

#include "bindings.h"

PYBIND11_MODULE(_emulated, m) {
  m.def("plant", [](const std::string& bug) { emulator::awake = planted::hash_of(bug.c_str()); });
  bind_ops(m);
}
