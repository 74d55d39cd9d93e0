"""Networks: the denoiser that every method of ours uses."""
