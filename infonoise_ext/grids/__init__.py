"""Noise levels for samplers, spaced by what is known of the data."""
