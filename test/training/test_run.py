"""Whole runs: they resume to the same bits, refuse other settings, and end in a policy that acts."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from restac_ros.policy.policy import Policy
from restac_ros.training.config import TrainConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.errors import TrainingError
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.run_store import RunStore
from restac_ros.training.sharding import Placement
from restac_ros.training.trainer import Outcome, Trainer, deployable


class Numbers:
    """Keeps what a run reports."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, float]] = {}

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        self.steps.setdefault(step, {}).update(numbers)


def train(prepared: Prepared, stop_after: int | None = None) -> tuple[Outcome, Numbers]:
    config, numbers = prepared.train, Numbers()
    store = RunStore(config.to, config.keep_every, prepared.identity)
    trainer = Trainer(
        prepared,
        Placement.over(1, config.batch_size),
        store,
        numbers,
        now_s=iter(range(10_000)).__next__,
        stopping=lambda: stop_after is not None and max(numbers.steps, default=0) + 1 >= stop_after,
    )
    outcome = trainer.run(trainer.begin(allow_changes=config.allow_changes))
    store.close()
    return outcome, numbers


def equal(one: dict, other: dict) -> bool:
    return jax.tree.all(jax.tree.map(lambda a, b: bool((np.asarray(a) == np.asarray(b)).all()), one, other))


@pytest.fixture(scope='module')
def whole(touch_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Prepared, Outcome, Numbers]:
    from restac_ros.training.config import CONFIGS, DataConfig

    config = replace(
        CONFIGS['tiny'],
        data=DataConfig(datasets=(touch_data,), validation_share=0.3),
        to=tmp_path_factory.mktemp('run'),
        steps=4,
        batch_size=4,
        log_every=1,
        validate_every=2,
        validation_batches=1,
        save_every=2,
    )
    prepared = prepare(config)
    return prepared, *train(prepared)


def test_a_run_reports_loss_validation_units_and_the_gate(whole) -> None:
    _, outcome, numbers = whole
    assert (outcome.step, outcome.interrupted) == (4, False)
    for name in ('loss', 'flow_loss', 'position_m', 'rotation_rad', 'gripper_mm', 'gate', 'gate_saturated'):
        assert np.isfinite(numbers.steps[4][name])
    assert {2, 4} <= {step for step, told in numbers.steps.items() if 'validation_flow_loss' in told}


def test_an_interrupted_run_goes_on_to_the_same_bits(whole, tmp_path: Path) -> None:
    prepared, outcome, numbers = whole
    again = replace(prepared, train=replace(prepared.train, to=tmp_path / 'other'))
    stopped, _ = train(again, stop_after=3)
    assert (stopped.step, stopped.interrupted) == (3, True)
    resumed, later = train(again)
    assert resumed.step == 4
    assert later.steps[4]['loss'] == numbers.steps[4]['loss']
    assert equal(resumed.state, outcome.state)


def test_a_run_with_other_settings_is_not_resumed(whole) -> None:
    prepared, _, _ = whole
    other = replace(prepared, identity={**prepared.identity, 'batch_size': 8})
    with pytest.raises(TrainingError, match=r'batch_size: 4 != 8.*--allow-changes'):
        train(other)


def test_a_loss_that_is_not_finite_names_the_samples_and_keeps_the_last_state(whole, tmp_path: Path) -> None:
    prepared, _, _ = whole
    start = replace(
        prepared.start,
        params={**prepared.start.params, 'action_out_proj/bias': np.full(32, np.nan, np.float32)},
    )
    broken = replace(prepared, start=start, train=replace(prepared.train, to=tmp_path / 'broken'))
    with pytest.raises(TrainingError, match=r'step 1: found loss nan.*episode \d+ frame \d+.*stays'):
        train(broken)
    assert RunStore(tmp_path / 'broken', 10, {}).latest is None


def test_the_deployed_policy_acts_and_says_what_it_was_trained_on(whole, episodes: Episodes) -> None:
    prepared, outcome, _ = whole
    path = write_checkpoint(prepared, deployable(outcome.state), outcome.step)
    sample = episodes.sample(0, 8, prepared.config.action_horizon)
    policy = Policy.load(path, prepared.contract, sample.task, use_compile_cache=False)
    assert policy.info.origin.data[0].endswith(episodes.fingerprint)
    assert policy.info.origin.step == 4
    prefix = policy.encode_prefix(sample.images, 0)
    touch = policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0)
    chunk = policy.act(prefix, touch, sample.state, seed=1, index=0)
    assert np.isfinite(chunk.delta_pose).all()
    assert 0 <= touch.gate <= 1


def test_a_killed_run_goes_on_to_the_same_bits(touch_data: Path, tmp_path: Path, whole) -> None:
    """kill -9 in the middle, by the command line, as a power cut would."""
    prepared, outcome, _ = whole
    line = [sys.executable, '-m', 'restac_ros.cli', 'train', 'tiny', '--data.datasets', str(touch_data)]
    line += [
        '--data.validation-share',
        '0.3',
        '--to',
        str(tmp_path / 'run'),
        '--steps',
        '4',
        '--batch-size',
        '4',
    ]
    line += ['--log-every', '1', '--save-every', '2', '--validate-every', '2', '--validation-batches', '1']
    killed = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for told in killed.stdout:
        if re.match(r'step 3 ', told):
            os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    subprocess.run(line, check=True, capture_output=True)
    state = Trainer(
        replace(prepared, train=replace(prepared.train, to=tmp_path / 'run')),
        Placement.over(1, 4),
        RunStore(tmp_path / 'run', 10, prepared.identity),
        Numbers(),
        now_s=lambda: 0.0,
        stopping=lambda: False,
    ).begin()
    assert int(state['step']) == 4
    assert equal(state, outcome.state)


def test_a_config_without_data_is_refused(run_of: Callable[..., TrainConfig]) -> None:
    config = run_of()
    with pytest.raises(TrainingError, match=r'data\.datasets: found none'):
        prepare(replace(config, data=replace(config.data, datasets=())))


def test_a_checkpoint_of_another_size_is_refused(whole, run_of: Callable[..., TrainConfig]) -> None:
    prepared, outcome, _ = whole
    path = write_checkpoint(prepared, deployable(outcome.state), outcome.step)
    with pytest.raises(TrainingError, match=r"another configuration than preset 'mid'.*action_horizon"):
        prepare(run_of(preset='mid', init=path))
