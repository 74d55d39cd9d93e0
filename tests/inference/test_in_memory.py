"""Any trained method runs on a scan through the same Denoiser."""

import numpy as np
import pytest
import torch

from mapdiff.diffusion.calibration import nominal
from mapdiff.diffusion.transform import invert, transform
from mapdiff.errors import InputError
from mapdiff.inference import Denoiser
from mapdiff.inference.denoiser import FAST_EVALUATIONS
from mapdiff.inference.in_memory import InMemory
from mapdiff.inference.noise_level import InputNoise
from mapdiff.inference.scan import Scan
from mapdiff.methods.ddpm import Ddpm
from mapdiff.methods.map_diff import MapDiff
from mapdiff.methods.model_file import TrainedModel, save_model
from mapdiff.methods.registry import method_named
from mapdiff.methods.unet import UNet
from mapdiff.networks.denoiser import DenoiserConfig, DenoiserNet
from synthetic import low_dose_volume, nominal_calibration

CPU = torch.device("cpu")
LEVEL = InputNoise(0.27, 64.0)


def model_of(name: str) -> TrainedModel:
    torch.manual_seed(1)
    net = method_named(name).build((8, 16), (1, 1)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
    return TrainedModel(name, net, nominal_calibration(), (0.03, 1.2))


@pytest.mark.parametrize("name", ["unet", "gan", "ddpm", "map-diff-paper"])
def test_a_model_file_of_any_method_denoises(tmp_path, name):
    path = tmp_path / f"{name}.safetensors"
    save_model(model_of(name), path)
    denoiser = Denoiser.from_pretrained(path, "cpu")
    if name == "ddpm":
        denoiser.rival.method = Ddpm(steps=3)
    volume = low_dose_volume()
    with pytest.raises(InputError, match=f"--fast is for models of map-diff: this one, of {name}"):
        denoiser.denoise(volume, evaluations=FAST_EVALUATIONS)
    told = []
    found = denoiser.denoise(volume, progress=lambda done, total: told.append((done, total)))
    assert found.image.shape == volume.shape and np.isfinite(found.image.array).all()
    assert found.evaluations == {"unet": 1, "gan": 1, "ddpm": 3}.get(name, found.evaluations)
    assert told[-1][0] == told[-1][1] and 0 < found.level < 3
    scaled = denoiser.denoise(volume.with_array(3 * volume.array)).image.array
    np.testing.assert_allclose(scaled, 3 * found.image.array, rtol=1e-3, atol=3e-3 * volume.array.max())


def test_an_identity_gives_the_input_back():
    """The U-Net whose correction is zero: the full dose is the input, and so is every stage."""
    model = TrainedModel(
        "unet",
        DenoiserNet(DenoiserConfig((8, 16), (1, 1), images=1)).eval(),
        nominal_calibration(),
        (0.03, 1.2),
    )
    volume = low_dose_volume()
    found = InMemory(model, UNet(), CPU).restore(volume, noise=LEVEL)
    inside = volume.array > 0.3 * volume.array.max()
    np.testing.assert_allclose(found.image[inside], volume.array[inside], rtol=1e-4)
    assert set(found.stages) == {"1/10", "1/4", "1/2"} and found.states == {}


def test_a_one_shot_network_on_map_diffs_path(tmp_path):
    """Asked once and not corrected it gives what it gives by itself; corrected, something else."""
    model, path = model_of("unet"), tmp_path / "unet.safetensors"
    save_model(model, path)
    volume = low_dose_volume()
    own = Denoiser(model, path, "cpu", "float32")
    other = Denoiser(model, path, "cpu", "float32", method=MapDiff())
    given = own.rival.restore(volume, noise=LEVEL).image
    other._noise = lambda scan: LEVEL
    same = other.denoise(volume, evaluations=1, corrected=False)
    inside = volume.array > 0.3 * volume.array.max()
    np.testing.assert_allclose(same.image.array[inside], given[inside], rtol=1e-3)
    assert same.evaluations == 1
    corrected = other.denoise(volume, evaluations=1).image.array
    assert np.abs(corrected - same.image.array)[inside].max() > 1e-3 * volume.array.max()


def test_the_correction_gives_lost_activity_back():
    """A network that takes a fifth off everything: corrected, local means are the input's, stages too."""

    class Fifth(torch.nn.Module):
        multiple = 4

        def forward(self, state, u, condition):
            return transform(0.8 * invert(u))

    model = TrainedModel("unet", Fifth(), nominal_calibration(), (0.03, 1.2))
    volume = low_dose_volume()
    inside = volume.array > 0.3 * volume.array.max()
    ratio = {}
    for corrected in (False, True):
        found = InMemory(model, UNet(), CPU).restore(volume, noise=LEVEL, corrected=corrected)
        for label, image in {**found.stages, "full": found.image}.items():
            ratio[label, corrected] = float(image[inside].sum() / volume.array[inside].sum())
    for label in ("1/10", "1/2", "full"):
        assert ratio[label, True] == pytest.approx(1, abs=0.01) and ratio[label, False] < 0.92


def test_half_precision_is_close_enough(tmp_path):
    model, path = model_of("unet"), tmp_path / "unet.safetensors"
    save_model(model, path)
    volume = low_dose_volume()
    images = []
    for precision in ("float32", "bf16"):
        images.append(Denoiser(model, path, "cpu", precision).rival.restore(volume, noise=LEVEL).image)
    assert not np.array_equal(*images)
    np.testing.assert_allclose(images[1], images[0], atol=0.01 * volume.array.max())


def test_samples_are_averaged_and_their_spread_told():
    runner = InMemory(model_of("ddpm"), Ddpm(steps=3), CPU)
    volume = low_dose_volume()
    mean = runner.restore(volume, noise=LEVEL, samples=2, seed=4)
    generators = [torch.Generator().manual_seed(4 * 1_000_003 + n) for n in range(2)]

    class Seeded(Ddpm):
        def stages(self, predict, u, level, dose, calibration, spacing_mm, generator=None):
            return super().stages(predict, u, level, dose, calibration, spacing_mm, generators.pop(0))

    seeded = InMemory(model_of("ddpm"), Seeded(steps=3), CPU)
    one, other = (seeded.restore(volume, noise=LEVEL).image for _ in range(2))
    scale = float(volume.array.max())
    np.testing.assert_allclose(mean.image, (one + other) / 2, atol=1e-4 * scale)
    assert mean.deviation is not None
    np.testing.assert_allclose(mean.deviation, np.abs(one - other) / np.sqrt(2), atol=1e-4 * scale)
    assert set(mean.states) <= {"1/10", "1/4", "1/2"} and mean.states


def test_tiles_do_not_show_where_nothing_looks_over_space():
    runner = InMemory(model_of("unet"), UNet(), CPU)
    volume = low_dose_volume((64, 24, 24))
    whole = runner.restore(volume, noise=LEVEL).image
    tiled = runner.restore(volume, noise=LEVEL, tile=48).image
    assert np.abs(tiled - whole).max() < 0.02 * np.abs(whole).max()


@pytest.mark.parametrize("name", ["unet", "gan", "ddpm", "map-diff-paper"])
def test_air_is_what_map_diff_takes_for_it(name):
    """Beyond the body's surroundings no method is judged by what its network makes of air."""
    method = Ddpm(steps=2) if name == "ddpm" else method_named(name)
    volume = low_dose_volume((56, 56, 24))
    found = InMemory(model_of(name), method, CPU).restore(volume, noise=LEVEL)
    scan = Scan(volume)
    whole = (slice(None),) * 3
    air = ~scan.near[whole]
    assert air.mean() > 0.02
    z, u = scan.air(whole)[air], scan[whole][air]
    doses = {label: nominal(label) for label in ("1/10", "1/4", "1/2", "full")}
    for label, image in {**found.stages, "full": found.image}.items():
        wanted = z + found.dose / doses[label] * (u - z)
        np.testing.assert_allclose(image[air] / scan.scale, wanted, rtol=2e-3, atol=1e-5)


@pytest.mark.slow
def test_swin_unetr_sees_tiles_of_its_patches_edge(monkeypatch):
    """Its statistics over space are those of the tile; a shorter one is filled with copies of its rim."""
    model = model_of("swin-unetr")
    seen = []
    forward = model.net.forward

    def looking(state, u, condition):
        seen.append(tuple(u.shape[2:]))
        return forward(state, u, condition)

    monkeypatch.setattr(model.net, "forward", looking)
    InMemory(model, method_named("swin-unetr"), CPU).restore(low_dose_volume((80, 72, 72)))
    assert set(seen) == {(64, 64, 64)}
