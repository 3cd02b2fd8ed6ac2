// The toolkit and the architectures that the CUDA ops are compiled for, as CMake states them: "13.0.88 75-real ...".
// Python reads it by ctypes, without a GPU and before torch starts CUDA.
extern "C" __attribute__((visibility("default"))) const char infonoise_built_for[] = INFONOISE_BUILT_FOR;
