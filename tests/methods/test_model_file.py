"""A model's file gives the model back, bit for bit, or says what is wrong."""

import json

import pytest
import torch
from safetensors.torch import save_file

from mapdiff.diffusion import transform
from mapdiff.errors import InputError
from mapdiff.methods.model_file import (
    FORMAT,
    TrainedModel,
    file_hash,
    load_model,
    parameters,
    save_model,
)
from mapdiff.methods.registry import method_named
from mapdiff.networks.denoiser import condition_of
from synthetic import nominal_calibration, random_net, small_trained_model


def test_a_model_comes_back_bit_for_bit(tmp_path):
    model = small_trained_model(random_net())
    path = tmp_path / "model.safetensors"
    save_model(model, path)
    again = load_model(path)
    assert again.method == model.method and again.calibration == model.calibration
    assert again.level_range == model.level_range and again.training == model.training
    assert again.net.config == model.net.config and not again.net.training
    before, after = model.net.state_dict(), again.net.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
    assert parameters(again.net) == sum(t.numel() for t in before.values())
    assert not any(p.requires_grad for p in again.net.parameters())
    x = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = condition_of(torch.ones(1), torch.ones(1), (4.0, 4.0, 4.0))
    with torch.no_grad():
        torch.testing.assert_close(again.net(x, x, condition), model.net(x, x, condition))


def test_the_same_model_makes_the_same_file(tmp_path):
    for name in ("a", "b"):
        save_model(small_trained_model(), tmp_path / name)
    assert file_hash(tmp_path / "a") == file_hash(tmp_path / "b")
    save_model(small_trained_model(random_net(seed=5)), tmp_path / "c")
    assert file_hash(tmp_path / "a") != file_hash(tmp_path / "c")


def broken_files(folder, good):
    """Each kind of wrong file by a word that says what it is."""
    text = folder / "text.safetensors"
    text.write_text("not a model")
    yield text
    empty = folder / "empty.safetensors"
    empty.write_bytes(b"")
    yield empty
    cut = folder / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1000])
    yield cut
    other = folder / "other.safetensors"
    save_file({"x": torch.zeros(3)}, other)
    yield other
    strange = folder / "strange.safetensors"
    save_file({"x": torch.zeros(3)}, strange, {"mapdiff": json.dumps({"format": "mapdiff-model-99"})})
    yield strange
    lacking = folder / "lacking.safetensors"
    save_file({"x": torch.zeros(3)}, lacking, {"mapdiff": json.dumps({"format": FORMAT})})
    yield lacking
    yield folder / "none.safetensors"


def test_wrong_files_are_input_errors_that_name_them(tmp_path, small_model):
    for path in broken_files(tmp_path, small_model):
        with pytest.raises(InputError, match=path.name):
            load_model(path)


def test_weights_of_another_network_are_an_input_error(tmp_path, small_model):
    from safetensors import safe_open

    path = tmp_path / "short.safetensors"
    with safe_open(str(small_model), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in list(file.keys())[1:]}
        save_file(tensors, path, file.metadata())
    with pytest.raises(InputError, match=r"short\.safetensors"):
        load_model(path)


def test_weights_that_are_no_numbers_are_an_input_error(tmp_path, small_model):
    from safetensors import safe_open

    path = tmp_path / "nan.safetensors"
    with safe_open(str(small_model), framework="pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
        next(iter(tensors.values())).view(-1)[0] = float("nan")
        save_file(tensors, path, file.metadata())
    with pytest.raises(InputError, match=r"nan\.safetensors.*not all finite"):
        load_model(path)


def test_another_transform_is_refused(tmp_path, small_model, monkeypatch):
    monkeypatch.setattr(transform, "settings", lambda: {"name": "signed-root", "offset": 0.1})
    with pytest.raises(InputError, match="intensity transform"):
        load_model(small_model)


@pytest.mark.parametrize("name", ["unet", "gan", "ddpm", "map-diff-paper"])
def test_any_methods_network_comes_back(tmp_path, name):
    method = method_named(name)
    torch.manual_seed(3)
    net = method.build((8, 16), (1, 1)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    path = tmp_path / "model.safetensors"
    save_model(TrainedModel(name, net, nominal_calibration(), (0.03, 1.2)), path)
    again = load_model(path)
    assert again.method == name and type(again.net) is type(net) and again.net.config == net.config
    assert again.calibration.gaussian == nominal_calibration().gaussian
    x = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    condition = condition_of(torch.ones(1), torch.ones(1), (4.0, 4.0, 4.0))
    with torch.no_grad():
        torch.testing.assert_close(again.net(x, x, condition), net(x, x, condition))


def test_an_unknown_kind_of_network_is_an_input_error(tmp_path, small_model):
    from safetensors import safe_open

    path = tmp_path / "odd.safetensors"
    with safe_open(str(small_model), framework="pt") as file:
        facts = json.loads(file.metadata()["mapdiff"])
        facts["network"]["kind"] = "perceptron"
        save_file({n: file.get_tensor(n) for n in file.keys()}, path, {"mapdiff": json.dumps(facts)})  # noqa: SIM118
    with pytest.raises(InputError, match=r"odd\.safetensors.*perceptron"):
        load_model(path)
