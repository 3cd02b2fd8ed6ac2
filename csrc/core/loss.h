// What the training loss on the CPU and on the GPU share.
#pragma once

#include <type_traits>

namespace infonoise {

// The type of the arithmetic: float holds a float16 or bfloat16 exactly.
template <class D, class T>
using Wide = std::conditional_t<std::is_same_v<D, double> || std::is_same_v<T, double>, double, float>;

}  // namespace infonoise
