"""The schedule's options and tensors, and what is read out of them, saved and re-binned."""
