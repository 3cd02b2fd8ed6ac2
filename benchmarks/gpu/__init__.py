"""What the ops cost on a CUDA device, beside rivals and limits of the same run.

`python -m benchmarks.gpu` measures, `--table` prints, `--fill FILE...` writes the table into documents.
"""
