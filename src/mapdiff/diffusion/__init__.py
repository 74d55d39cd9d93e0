"""The diffusion room: intensity transform, the path between doses, calibration, anchor loss, samplers."""
