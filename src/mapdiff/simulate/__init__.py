"""Simulated multi-dose PET: bodies, scanners, counts, thinning and reconstruction."""
