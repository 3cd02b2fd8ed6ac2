"""A kernel that does nothing: what one node of a CUDA graph costs."""

import triton


@triton.jit
def empty_kernel():
    """One program of four warps, no arguments."""
    pass
