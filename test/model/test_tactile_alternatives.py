"""The encoders that stand in for Unit-Align: the trainable CNN and a TorchScript file."""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from restac_ros.model.tactile.config import TACTILE_PRESETS, CnnConfig, ProphetConfig, TactileConfig
from restac_ros.model.tactile.errors import (
    TactileConfigError,
    TactileFileError,
    TorchScriptOutputError,
    UntrustedTorchScriptError,
)
from restac_ros.model.tactile.factory import make_tactile_encoder
from restac_ros.model.tactile.interface import NO_CODE, TactileEncoder

CNN = TactileConfig(
    kind='cnn',
    tactile_size=(16, 24),
    prophet=ProphetConfig(num_views=2, view_size=32),
    cnn=CnnConfig(tactile_widths=(4, 8), view_widths=(4, 6), hidden_dim=16),
)


def make_inputs(config: TactileConfig, batch: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = (config.tactile_shape, config.view_shape, (7,))
    return tuple(rng.uniform(-1, 1, (batch, *shape)).astype(np.float32) for shape in shapes)


@pytest.fixture(scope='module')
def cnn() -> TactileEncoder:
    return make_tactile_encoder(CNN, nnx.Rngs(0))


def test_cnn_gives_a_code_and_no_maps(cnn: TactileEncoder) -> None:
    code = cnn(*make_inputs(CNN))
    assert code.q_event.shape == (2, 64)
    np.testing.assert_array_equal(code.q_event, code.h_event)
    assert code.code_index.tolist() == [NO_CODE, NO_CODE]
    assert code.prior is code.z_real is code.residual is None


def test_cnn_code_needs_every_input_and_its_uncertainty_only_what_precedes_touch(cnn: TactileEncoder) -> None:
    inputs = make_inputs(CNN)
    code = cnn(*inputs)
    for i, name in enumerate(['tactile', 'views', 'action_prev']):
        changed = list(inputs)
        changed[i] = -inputs[i]
        other = cnn(*changed)
        assert np.abs(other.q_event - code.q_event).max() > 1e-3, name
        moved = np.abs(other.logvar - code.logvar).max()
        assert moved == 0 if name == 'tactile' else moved > 1e-4, name


def test_every_parameter_of_the_cnn_is_trained(cnn: TactileEncoder) -> None:
    inputs = make_inputs(CNN)

    def loss(cnn: TactileEncoder) -> jax.Array:
        code = cnn(*map(jnp.asarray, inputs))
        return jnp.sum(code.q_event**2) + jnp.sum(code.logvar)

    gradients = nnx.to_flat_state(nnx.jit(nnx.grad(loss))(cnn))
    assert len(gradients) == len(nnx.to_flat_state(nnx.state(cnn)))
    for path, gradient in gradients:
        assert np.abs(gradient[...]).max() > 0, path


class Program(torch.nn.Module):
    """Reads every input in torch's layout: B first, then channels."""

    def __init__(self, code_dim: int = 64, fill: float = 0.0):
        super().__init__()
        self.code_dim = code_dim
        self.fill = fill

    def forward(
        self, tactile: torch.Tensor, views: torch.Tensor, action_prev: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows = tactile[:, 1].mean(2).mean(1, keepdim=True) + views[:, 1, 2, :, 0].sum(1, keepdim=True)
        code = rows + torch.arange(self.code_dim) + self.fill
        return code, action_prev.sum(1, keepdim=True)


def save_program(folder: Path, **options: float) -> tuple[Path, TactileConfig]:
    path = folder / 'encoder.pt'
    torch.jit.script(Program(**options)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, dataclasses.replace(CNN, kind='torchscript', torchscript_sha256=digest)


def open_program(path: Path, config: TactileConfig) -> TactileEncoder:
    return make_tactile_encoder(config, nnx.Rngs(0), torchscript_path=path, trust_torchscript=True)


@pytest.mark.filterwarnings('ignore:`torch.jit')
class TestTorchScript:
    def test_program_gets_its_inputs_channel_first(self, tmp_path: Path) -> None:
        path, config = save_program(tmp_path)
        encoder = open_program(path, config)
        tactile, views, action_prev = make_inputs(config)
        expected = tactile[..., 1].mean((1, 2)) + views[:, 1, :, 0, 2].sum(1)
        calls = {'eager': encoder, 'jit': nnx.jit(lambda *arrays: encoder(*arrays))}
        for name, call in calls.items():
            code = call(tactile, views, action_prev)
            wanted = expected[:, None] + np.arange(64)
            np.testing.assert_allclose(code.q_event, wanted, rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(code.logvar, action_prev.sum(1, keepdims=True), rtol=1e-5)
            assert code.code_index.tolist() == [NO_CODE, NO_CODE]
            assert code.prior is None

    @pytest.mark.parametrize('trust', [False, None, 1])
    def test_nothing_is_opened_without_trust(self, tmp_path: Path, trust: object) -> None:
        path, config = save_program(tmp_path)
        with pytest.raises(UntrustedTorchScriptError, match='executes its code'):
            make_tactile_encoder(config, nnx.Rngs(0), torchscript_path=path, trust_torchscript=trust)

    def test_another_file_than_the_trained_one_is_refused(self, tmp_path: Path) -> None:
        path, config = save_program(tmp_path)
        torch.jit.script(Program(fill=1.0)).save(path)
        with pytest.raises(TactileFileError, match=r'found SHA-256 .* expected') as caught:
            open_program(path, config)
        assert config.torchscript_sha256 in str(caught.value)

    def test_a_file_that_is_no_program_is_refused(self, tmp_path: Path) -> None:
        path, config = save_program(tmp_path)
        torch.save({'state_dict': {}}, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(TactileFileError, match='not a TorchScript file'):
            open_program(path, dataclasses.replace(config, torchscript_sha256=digest))

    @pytest.mark.parametrize(
        ('options', 'part'), [({'code_dim': 63}, r'found outputs .*63'), ({'fill': np.nan}, 'NaN')]
    )
    def test_wrong_outputs_raise(self, tmp_path: Path, options: dict[str, float], part: str) -> None:
        path, config = save_program(tmp_path, **options)
        encoder = open_program(path, config)
        with pytest.raises((TorchScriptOutputError, jax.errors.JaxRuntimeError), match=part):
            jax.block_until_ready(encoder(*make_inputs(config)))

    def test_path_and_kind_belong_together(self, tmp_path: Path) -> None:
        path, config = save_program(tmp_path)
        with pytest.raises(TactileConfigError, match="found 'torchscript' with torchscript_path None"):
            make_tactile_encoder(config, nnx.Rngs(0))
        with pytest.raises(TactileConfigError, match="found 'cnn'"):
            make_tactile_encoder(CNN, nnx.Rngs(0), torchscript_path=path, trust_torchscript=True)


@pytest.mark.parametrize('name', TACTILE_PRESETS)
def test_every_preset_makes_an_encoder(name: str) -> None:
    encoder = nnx.eval_shape(lambda: make_tactile_encoder(TACTILE_PRESETS[name], nnx.Rngs(0)))
    assert isinstance(encoder, TactileEncoder)
    kinds = {type(leaf).__name__ for _, leaf in nnx.to_flat_state(nnx.state(encoder))}
    assert kinds <= {'Param', 'BatchStat', 'CodebookVariable'}


def test_torch_is_loaded_only_to_open_its_files() -> None:
    probe = (
        'import sys, restac_ros.model.tactile.factory, restac_ros.model.tactile.unit_align_checkpoint; '
        'print("torch" in sys.modules)'
    )
    run = subprocess.run([sys.executable, '-c', probe], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == 'False', run.stderr
