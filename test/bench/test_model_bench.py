"""The model benchmark's arithmetic, and that it runs and says what it has to."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from restac_ros.bench import flops
from restac_ros.bench.model import main
from restac_ros.bench.settings import ModelBench
from restac_ros.model.presets import PRESETS
from restac_ros.policy.errors import PolicyError


def test_flop_of_the_published_vision_encoder() -> None:
    """So400m/14 at 224 px: 256 tokens through 413 M parameters, and attention."""
    config = PRESETS['pi05']
    parameters = 27 * (4 * 1152**2 + 2 * 1152 * 4304) + 3 * 14 * 14 * 1152 + 1152 * 2048
    attention = 27 * 2 * 256 * 1152
    assert flops.siglip_flop(config) == pytest.approx(2 * 256 * (parameters + attention))


def test_acting_grows_with_steps_and_context() -> None:
    config = PRESETS['mid']
    once = flops.act_flop(config, 3, 80, 1)
    assert flops.act_flop(config, 3, 80, 10) == pytest.approx(10 * once)
    assert flops.act_flop(replace(config, state_input='none'), 3, 80, 1) < once
    assert flops.prefix_flop(config, 3, 80) < flops.prefix_flop(config, 3, 200)


def test_it_measures_every_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(ModelBench('tiny', runs=1, warmups=0, json=tmp_path / 'figures.json')) == 0
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert set(figures['pi0.5']['calls']) == {'full call', 'prefix', 'act'}
    assert set(figures['token_in_ae']['calls']) == {'full call', 'prefix', 'act', 'tactile'}
    assert figures['yardstick_s'] > 0
    printed = capsys.readouterr().out
    for word in ('per step', 'first call', 'yardstick', 'floor'):
        assert word in printed


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(PolicyError, match='mid'):
        main(ModelBench('midd'))
