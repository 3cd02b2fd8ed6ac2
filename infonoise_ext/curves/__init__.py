"""What a user gives as a function of sigma: densities, weights, bounds and the pivot's rule."""
