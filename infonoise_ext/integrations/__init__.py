"""Adapters to the libraries that people train with: one file each, imported by nobody but you."""
