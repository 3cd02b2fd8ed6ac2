// Kernels that the product does not have: what the interpreter must know of clusters, named barriers, atomics and
// fences.
#include "planted.h"

namespace {

__device__ unsigned rank() {
  unsigned r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
__device__ unsigned ranks() {
  unsigned n;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(n));
  return n;
}
__device__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
__device__ unsigned peer_address(const void* shared, unsigned peer) {
  unsigned out, mine = unsigned(__cvta_generic_to_shared(shared));
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(out) : "r"(mine), "r"(peer));
  return out;
}
__device__ int peer_load(unsigned address) {
  int x;
  asm volatile("ld.shared::cluster.s32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}

}  // namespace

// out[t] = the sum over the blocks of the cluster of their x[t].
extern "C" __global__ void cluster_sum(const int* x, int* out) {
  __shared__ int mine[64];
  mine[threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  PLANT(reads_too_early, cluster_sync(), void());
  int sum = 0;
  for (unsigned peer = 0; peer < ranks(); ++peer) sum += peer_load(peer_address(&mine[threadIdx.x], peer));
  PLANT(exits_too_early, cluster_sync(), void());
  out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

// Counts in the shared memory of the cluster's first block, by atomics.
extern "C" __global__ void cluster_count(const int* x, int* out) {
  __shared__ int counts[64];
  if (PLANT(no_zero, true, threadIdx.x > 0)) counts[threadIdx.x] = 0;
  cluster_sync();
  const unsigned place = peer_address(&counts[x[blockIdx.x * blockDim.x + threadIdx.x]], 0);
  if (PLANT(no_atomic, false, true)) {
    asm volatile("st.shared::cluster.s32 [%0], %1;" ::"r"(place), "r"(peer_load(place) + 1) : "memory");
  } else {
    asm volatile("red.relaxed.cluster.shared::cluster.add.u32 [%0], 1;" ::"r"(place) : "memory");
  }
  PLANT(counts_too_early, cluster_sync(), void());
  if (rank() == 0) out[blockIdx.x / ranks() * blockDim.x + threadIdx.x] = counts[threadIdx.x];
}

// The last block to come adds what all have written.
extern "C" __global__ void last_block(const int* x, int* parts, unsigned* tickets, int* out) {
  __shared__ bool last;
  parts[blockIdx.x * blockDim.x + threadIdx.x] = x[blockIdx.x * blockDim.x + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    PLANT(no_fence_before, __threadfence(), void());
    last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    PLANT(no_fence_after, __threadfence(), void());
  }
  __syncthreads();
  if (!last) return;
  int sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += parts[b * blockDim.x + threadIdx.x];
  out[threadIdx.x] = sum;
}

// Warps hand their numbers to the next pair of warps through a named barrier.
extern "C" __global__ void named_barriers(const int* x, int* out) {
  __shared__ int box[96];
  const unsigned t = threadIdx.x;
  if (t < 64) {
    box[t] = x[t];
    asm volatile("bar.arrive 1, 128;" ::: "memory");
    out[t] = __reduce_add_sync(0xFFFFFFFFu, x[t]);
    return;
  }
  if (PLANT(half_a_warp, false, t % 32 < 16)) return;
  if (PLANT(too_few, false, true)) {
    asm volatile("bar.sync 1, 64;" ::: "memory");
  } else if (PLANT(no_wait, true, false)) {
    asm volatile("bar.sync 1, 128;" ::: "memory");
  }
  out[t] = box[t - 64 + PLANT(nobody_wrote, 0, 32)];
}

extern "C" __global__ void copies(const int* x, int* out) {
  const unsigned i = threadIdx.x + PLANT(beyond, 0, 1);
  const auto* pairs = reinterpret_cast<const int2*>(x + PLANT(misaligned, 0, 1));
  const int2 pair = pairs[threadIdx.x % 16];
  out[i] = pair.x + pair.y + int(__ballot_sync(0xFFFFFFFFu, x[threadIdx.x] > 50));
}

// A chain of additions, each of which waits for the one before.
extern "C" __global__ void chain(double* x, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += x[0];
  x[1] = sum;
}
