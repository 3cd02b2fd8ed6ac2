// Whether backward runs, where activation checkpointing computes a region again.
#pragma once

#include <dlfcn.h>

#include "checks.h"

namespace infonoise {

// Python may ask torch this, the stable ABI may not. So a symbol outside of it is looked up when the first op
// asks, and nothing links to it: with a torch that no longer exports it the library loads and works, but what
// backward computes again is recorded again and draws anew. `python -m infonoise_ext doctor` tries and says so.
inline bool in_backward() {
  using TaskId = int (*)();
  static const auto task_id =
      reinterpret_cast<TaskId>(dlsym(RTLD_DEFAULT, "_ZN5torch8autograd25get_current_graph_task_idEv"));
  return task_id && task_id() != -1;
}

// The words are those of infonoise_ext/ops/backward.py.
inline void refuse_in_backward(const char* name, int64_t samples) {
  if (samples > 0 && in_backward())
    refuse(name,
           " was called during backward, where activation checkpointing, or a compiler to save memory, computes a "
           "region again and would get other noise levels than the first time: call it outside of the region");
}

}  // namespace infonoise
