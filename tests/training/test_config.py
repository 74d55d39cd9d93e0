import pytest

from mapdiff.errors import InputError
from mapdiff.training.config import TrainingConfig, patches_of


def test_what_is_not_told_has_the_voxels_of_the_methods_own_patches() -> None:
    own = TrainingConfig()
    assert patches_of("map-diff", None, None) == (own.patch, own.batch)
    for patch in (16, 64):
        edge, number = patches_of("map-diff", patch, None)
        assert edge == patch
        assert number * edge**3 == own.batch * own.patch**3
    assert patches_of("map-diff", 4096, None) == (4096, 1)
    assert patches_of("map-diff", None, 4) == (own.patch, 4)
    assert patches_of("swin-unetr", None, None) == (64, 2)
    for method in ("map-diff", "unet", "gan", "ddpm", "swin-unetr", "map-diff-paper"):
        patch, batch = patches_of(method, None, None)
        TrainingConfig(method=method, patch=patch, batch=batch)  # takes them


def test_a_method_that_there_is_not() -> None:
    with pytest.raises(InputError, match="no-such"):
        patches_of("no-such", None, None)
