"""A run that an earlier version began is resumed; a setting that it did not know and that is given is not."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restac_ros.model.presets import PRESETS
from restac_ros.training.config import DistilConfig, OptimizerConfig
from restac_ros.training.errors import TrainingError
from restac_ros.training.run_store import RunStore, check_resumable
from restac_ros.training.tactile.config import CodebookConfig

MODEL = replace(PRESETS['tiny_cnn'], gate='learnable')  # is not the default
ASKED: dict[str, Any] = {
    'batch_size': 4,
    'max_delay_steps': 0,
    'model': MODEL.to_dict(),
    'optimizer': asdict(OptimizerConfig(peak=1e-3)),
    'distil': asdict(DistilConfig()),
    'codebook': asdict(CodebookConfig()),
}


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """begun(settings) -> the directory of a run with them, saved after step 2."""

    def make(settings: dict[str, Any]) -> Path:
        store = RunStore(tmp_path, 10, settings)
        store.save(2, {'step': np.array(2, np.int32)})
        store.close()
        return tmp_path

    return make


def without(*paths: tuple[str, ...]) -> dict[str, Any]:
    """The settings of now but for some, by their paths."""
    settings = json.loads(json.dumps(ASKED))
    for *outer, name in paths:
        inner = settings
        for key in outer:
            inner = inner[key]
        del inner[name]
    return settings


def test_settings_that_a_run_did_not_know_were_at_their_defaults(
    begun: Callable[[dict[str, Any]], Path],
) -> None:
    older = without(
        ('distil',),
        ('max_delay_steps',),
        ('optimizer', 'eps'),
        ('codebook', 'restart_every'),
        ('model', 'legacy_unmasked_fusion'),
        ('model', 'tactile', 'event'),
        ('model', 'tactile', 'prophet', 'dropout'),
    )
    check_resumable(begun(older), ASKED, allow_changes=False)


@pytest.mark.parametrize(
    ('path', 'change', 'expected'),
    [
        (('optimizer', 'peak'), {}, 'optimizer: '),
        (('model', 'gate'), {}, 'model: '),
        (('distil',), {'distil': {'steps': 2, 'noises': 4}}, r'distil: .*"steps": 0.* != .*"steps": 2'),
        (('batch_size',), {}, 'batch_size: 32 != 4'),
    ],
)
def test_another_value_than_the_default_is_a_change(
    begun: Callable[[dict[str, Any]], Path], path: tuple[str, ...], change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(TrainingError, match=rf'step 2 is of another run \(saved != asked\): {expected}'):
        check_resumable(begun(without(path)), {**ASKED, **change}, allow_changes=False)


def test_a_required_setting_that_is_absent_is_a_change(begun: Callable[[dict[str, Any]], Path]) -> None:
    with pytest.raises(TrainingError, match='model: '):
        check_resumable(begun(without(('model', 'siglip'))), ASKED, allow_changes=False)
