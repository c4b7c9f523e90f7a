"""Makers of what the view reads."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from restac_ros.contract.load import dump_contract, load_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.view.samples import GateSample

S = 10**9


@pytest.fixture
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


@pytest.fixture
def contract_without_touch(contract: Contract) -> Contract:
    robot = yaml.safe_load(dump_contract(contract))
    robot['streams'] = {name: spec for name, spec in robot['streams'].items() if spec['role'] != 'tactile'}
    return parse_contract(yaml.safe_dump(robot), source='a robot without touch')


@pytest.fixture
def make_gate() -> Callable[..., GateSample]:
    def make(stamp_ns: int = S, gate: float = 0.5, **changed) -> GateSample:
        values = {
            'logvar': -9.5,
            'logvar_standardised': 0.4,
            'code_index': 12,
            'residual_norm': 0.8,
            'tactile_age_ns': 60_000_000,
            'inference_ns': 9_000_000,
            'saturated': False,
        }
        return GateSample(stamp_ns=stamp_ns, gate=gate, **{**values, **changed})

    return make


@pytest.fixture
def chunk_message() -> Callable[..., SimpleNamespace]:
    """Something with the fields of an ActionChunk, as live and recorded messages are."""

    def make(stamp_ns: int = S, horizon: int = 4, **changed) -> SimpleNamespace:
        stamp = SimpleNamespace(sec=stamp_ns // S, nanosec=stamp_ns % S)
        steps = np.zeros((horizon, 6))
        steps[:, 0] = 0.01 * np.arange(1, horizon + 1)
        steps[:, 3] = 1.0  # a turn, which must not move a position
        position = SimpleNamespace(x=0.4, y=-0.1, z=0.3)
        orientation = SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0)
        values = {
            'header': SimpleNamespace(stamp=stamp, frame_id='fr3_link0'),
            'chunk_id': 7,
            'trigger': 0,
            'anchor_pose': SimpleNamespace(position=position, orientation=orientation),
            'anchor_state': np.array([0.4, -0.1, 0.3, 0.0, 0.0, 0.0]),
            'anchor_gripper': 0.04,
            'rotation_convention': 'rpy',
            'delta_composition': 'elementwise',
            'step_ns': 50_000_000,
            'horizon': horizon,
            'delta_pose': steps.ravel(),
            'gripper': np.full(horizon, 0.04),
            'valid_until': SimpleNamespace(sec=stamp_ns // S + 1, nanosec=0),
            'gate': 0.7,
            'prefix_age_ns': 90_000_000,
            'tactile_age_ns': 5_000_000,
            'inference_ns': 30_000_000,
            'chunking': 0,
            'continues': False,
        }
        return SimpleNamespace(**{**values, **changed})

    return make
