"""What a forward pass of the denoiser costs, counted from its configuration."""

from mapdiff.networks.denoiser import DenoiserConfig


def flop_per_voxel(config: DenoiserConfig) -> float:
    """Floating-point operations per voxel of the image in one evaluation; a multiply and an add are two.

    Convolutions only: 3 x 3 x 3 in the blocks, at the entry and at the exit, 2 x 2 x 2 between resolutions.
    Resolution n has 8^-(n+1) of the voxels.
    """
    width, last = config.channels, len(config.channels) - 1
    total = 2 * 27 * (8 * config.planes * width[0] + 8 * width[0]) / 8
    for level, (channels, blocks) in enumerate(zip(width, config.blocks, strict=True)):
        passes = blocks if level == last else 2 * blocks  # on the way down and again on the way up
        total += passes * 2 * (2 * 27 * channels**2) / 8 ** (level + 1)
        if level < last:
            total += 2 * (2 * channels * width[level + 1]) / 8 ** (level + 1)
    return total
