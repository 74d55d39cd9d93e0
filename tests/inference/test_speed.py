"""What the speed benchmark tells follows from what it measures."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mapdiff.body import body_mask
from mapdiff.inference.speed import Run, _ddpm, _growth, _shares, benchmark_speed, synthetic_scan
from mapdiff.networks.cost import flop_per_voxel
from mapdiff.networks.denoiser import CONDITIONS, DenoiserConfig, DenoiserNet


@pytest.mark.parametrize(("channels", "blocks"), [((8,), (2,)), ((8, 16), (1, 2)), ((16, 24, 32), (2, 2, 2))])
def test_the_cost_is_what_torch_counts(channels, blocks):
    config = DenoiserConfig(channels, blocks)
    x = torch.zeros(1, 1, 16, 16, 16)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        DenoiserNet(config)(x, x, torch.zeros(1, CONDITIONS))
    counted = sum(n for name, n in counter.get_flop_counts()["Global"].items() if "conv" in str(name))
    assert flop_per_voxel(config) * x.numel() == pytest.approx(counted, rel=1e-6)


def test_the_synthetic_scan_is_a_body_in_air():
    volume, voxels = synthetic_scan(40, 96)
    assert volume.shape == (96, 96, 40) and volume.array.dtype == np.float32
    assert np.isfinite(volume.array).all() and volume.array.min() >= 0
    assert body_mask(volume.array, volume.spacing).sum() == pytest.approx(voxels, rel=0.1)
    again, _ = synthetic_scan(40, 96)
    np.testing.assert_array_equal(again.array, volume.array)


def run_of(slices, seconds, memory, network=0.0, evaluations=4) -> Run:
    return Run(
        slices=slices,
        voxels=slices * 1000,
        body_voxels=slices * 200,
        fast=False,
        seconds=seconds,
        load_seconds=1.0,
        denoise_seconds=seconds - 1,
        probe_seconds=1.0,
        network_seconds=network,
        network_voxels=slices * 200 * evaluations * 2,
        evaluations=evaluations,
        peak_memory_mb=memory,
    )


def test_growth_is_a_fixed_cost_and_a_slope():
    runs = [run_of(n, 5 + 0.1 * n, 500 + n * 1000 * 6 / 2**20) for n in (80, 160, 320, 640)]
    growth = _growth(runs)
    assert growth["fixed_seconds"] == pytest.approx(5) and growth["largest_deviation"] < 1e-9
    assert growth["seconds_per_million_body_voxels"] == pytest.approx(0.1 / 200 * 1e6)
    assert growth["bytes_per_added_voxel"] == pytest.approx([6, 6, 6])
    assert growth["bytes_per_voxel"] == pytest.approx(6)
    bent = _growth([run_of(n, 5 + 0.1 * n * n, 500) for n in (80, 160, 320, 640)])
    assert bent["largest_deviation"] > 0.15


def test_a_thousand_steps_are_a_thousand_evaluations():
    run = run_of(100, seconds=20.0, memory=500, network=17.0)
    told = _ddpm(run)
    assert told["seconds_per_evaluation"] == 4  # (17 - 1) / 4
    assert told["seconds"] == 4000 + 3 and told["times_slower"] == pytest.approx(4003 / 20)
    assert "extrapolated" in told["note"]


def test_shares_are_of_the_peak():
    run = run_of(100, seconds=20.0, memory=500, network=10.0)
    shares = _shares(run, flop=1e6, peak=run.network_voxels * 1e6 / 5)
    assert shares["network_share_of_peak"] == pytest.approx(0.5)
    assert shares["end_to_end_share_of_peak"] == pytest.approx(0.25)
    assert shares["network_share_of_time"] == pytest.approx(0.5)


@pytest.mark.slow
def test_a_small_benchmark(small_model):
    said: list[str] = []
    found = benchmark_speed(str(small_model), "cpu", "float32", slices=64, plane=64, say=said.append)
    assert len(said) == 6 and [run["slices"] for run in found["runs"]] == [8, 16, 32, 64, 64]
    assert found["conv3d_peak_flops"] == max(found["conv3d_flops_by_shape"].values()) > 0
    for run in found["runs"]:
        assert run["seconds"] > run["network_seconds"] > run["probe_seconds"] > 0
        assert run["peak_memory_mb"] > 100 and run["network_share_of_peak"] > 0
    assert found["runs"][-1]["fast"] and found["runs"][-1]["evaluations"] == 1
    assert found["machine"]["precision"] == "float32"
