"""Joint values without a mixer's constraint: what bootstraps, what is left over, and what recognises optima."""
