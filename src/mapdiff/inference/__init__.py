"""Inference: tiling, the noise level of an unknown input, and the denoiser people call."""

from mapdiff.inference.denoiser import Denoiser, Restoration, denoise

__all__ = ["Denoiser", "Restoration", "denoise"]
