"""SwinUNETR's shape: heads as wide as the published ones, and those of older files."""

import pytest

from mapdiff.networks.swin_unetr import SwinUnetrConfig


@pytest.mark.parametrize(
    ("channels", "feature_size", "heads"), [(24, 12, 1), (32, 12, 1), (64, 24, 1), (72, 36, 2), (96, 48, 3)]
)
def test_heads_keep_their_width(channels, feature_size, heads):
    config = SwinUnetrConfig((channels, 2 * channels))
    assert config.feature_size == feature_size
    assert config.heads_of_stages == (heads, 2 * heads, 4 * heads, 8 * heads)
    assert all(feature_size * 2**n % h == 0 for n, h in enumerate(config.heads_of_stages))


def test_a_configuration_comes_back_and_an_older_one_has_three_heads():
    config = SwinUnetrConfig((32, 48, 64), (2, 1))
    assert SwinUnetrConfig.from_dict(config.as_dict()) == config
    older = SwinUnetrConfig.from_dict({"channels": [32, 48, 64], "blocks": [2, 2, 2]})
    assert older.heads_of_stages == (3, 6, 12, 24) and older.depths == (2, 2, 2, 2)
