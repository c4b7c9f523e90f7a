"""The compiled stages: a prefix in slices is the whole one, and other calls run between its slices."""

import functools
import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from restac_ros.model.checkpoint.network import assemble, initial_params, leaf_shapes
from restac_ros.model.config import ModelConfig
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.policy.stages import Stages

_TOKENS = 16


def _inputs(config: ModelConfig) -> tuple:
    rng = np.random.default_rng(0)
    side = config.image_size
    images = {slot: rng.integers(0, 256, (1, side, side, 3), np.uint8) for slot in CAMERA_SLOTS}
    masks = {slot: np.array([True]) for slot in CAMERA_SLOTS}
    tokens = rng.integers(0, config.vocab_size, (1, _TOKENS), np.int32)
    return images, masks, tokens, np.arange(_TOKENS)[None] < 9


@pytest.fixture(scope='module')
def stages(micro: ModelConfig) -> Callable[[int | None], Stages]:
    params = initial_params(micro, leaf_shapes(micro), 0, everything=True, consume=jax.device_put)
    graph, state = assemble(micro, params, source='test')

    @functools.cache
    def make(slices: int | None) -> Stages:
        made = Stages(micro, graph, state, CAMERA_SLOTS, 2, slices=slices)
        made.compile(_TOKENS)
        return made

    return make


def test_a_prefix_in_slices_equals_the_whole_one(stages: Callable[[int], Stages], micro: ModelConfig) -> None:
    whole, sliced = (stages(count).encode_prefix(*_inputs(micro)) for count in (1, 3))
    assert whole.finite
    assert sliced.finite
    for ours, theirs in zip(jax.tree.leaves(sliced.cache), jax.tree.leaves(whole.cache), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_an_accelerators_programs_give_the_same_chunk(
    stages: Callable[[int | None], Stages], micro: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There, a prefix is cut into slices, and the Euler steps are one graph without a loop."""
    monkeypatch.setattr(jax, 'default_backend', lambda: 'cpu')
    on_cpu = stages(1)
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    as_on_a_gpu = stages(None)
    chunks = []
    for made in (on_cpu, as_on_a_gpu):
        cache = made.encode_prefix(*_inputs(micro)).cache
        tactile = np.full((1, *micro.tactile_shape), 90, np.uint8)
        code = made.encode_tactile(tactile, cache.view_features, np.full((1, 7), 0.1, np.float32)).code
        state, noise = (
            np.ones(shape, np.float32) for shape in ((1, micro.action_dim), (1, 5, micro.action_dim))
        )
        chunks.append(made.act(_TOKENS, cache, code, state, noise))
    np.testing.assert_allclose(*chunks, atol=5e-6)
    loops = [' while(' in made._programs['act', _TOKENS].as_text() for made in (on_cpu, as_on_a_gpu)]
    assert loops == [True, False]
    assert len([name for name, _ in as_on_a_gpu._programs if name.startswith('prefix')]) > 1


def test_touch_does_not_wait_for_a_running_prefix(
    stages: Callable[[int], Stages], micro: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefix is held after its first slice; a tactile frame and a chunk begin and end meanwhile."""
    made, inputs = stages(3), _inputs(micro)
    cache = made.encode_prefix(*inputs).cache
    second, arrived, go_on = made._programs['prefix 1', _TOKENS], threading.Event(), threading.Event()

    def held(*arguments: Any) -> Any:
        arrived.set()
        assert go_on.wait(240)
        return second(*arguments)

    monkeypatch.setitem(made._programs, ('prefix 1', _TOKENS), held)
    running = threading.Thread(target=made.encode_prefix, args=inputs)
    running.start()
    assert arrived.wait(240)
    tactile, action_prev = np.zeros((1, *micro.tactile_shape), np.uint8), np.zeros((1, 7), np.float32)
    code = made.encode_tactile(tactile, cache.view_features, action_prev).code
    state, noise = np.zeros((1, micro.action_dim), np.float32), np.ones((1, 5, micro.action_dim), np.float32)
    assert np.isfinite(made.act(_TOKENS, cache, code, state, noise)).all()
    assert running.is_alive()
    go_on.set()
    running.join(60)
    assert not running.is_alive()
