"""The custom ops: schemas (read them first), checks, and one folder for each backend."""
