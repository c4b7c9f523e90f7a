"""Whole runs: they resume to the same bits, refuse other settings, and end in a policy that acts."""

import json
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from restac_ros.commands.training import Train
from restac_ros.model.checkpoint.store import checkpoint_fingerprint, load_info
from restac_ros.policy.policy import Policy
from restac_ros.training.batch import Batch
from restac_ros.training.config import AugmentationConfig, LoaderConfig, ProfileConfig, TrainConfig
from restac_ros.training.data.episodes import Episodes
from restac_ros.training.data.loader import batches
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.distributed import on_host
from restac_ros.training.errors import TrainingError
from restac_ros.training.prepare import Prepared, prepare
from restac_ros.training.progress import RunProgress
from restac_ros.training.run_store import RunStore
from restac_ros.training.trainable import split_leaves
from restac_ros.training.trainer import Outcome, Trainer, deployable
from training_run import Numbers, command_line, equal, train

type Finished = tuple[Outcome, Numbers]


def test_a_run_reports_loss_validation_units_the_gate_and_memory(finished: Finished) -> None:
    outcome, numbers = finished
    assert (outcome.step, outcome.interrupted) == (4, False)
    names = ('loss', 'flow_loss', 'position_m', 'rotation_rad', 'gripper_mm', 'gate', 'gate_saturated')
    for name in (*names, 'logvar', 'memory_gib', 'flow_loss_in/gripper', 'steps_per_s', 'data_wait'):
        assert np.isfinite(numbers.steps[4][name]), name
    assert {2, 4} <= {step for step, held in numbers.steps.items() if 'validation_flow_loss' in held}
    assert 0 < numbers.steps[4]['validation_action_position_m'] < 1
    by_data_set = [numbers.steps[4][f'flow_loss_of/{name}'] for name in ('0_data', '1_second')]
    assert min(by_data_set) > 0
    assert by_data_set[0] != by_data_set[1]


def test_an_interrupted_run_goes_on_to_the_same_bits(
    prepared: Prepared, finished: Finished, tmp_path: Path
) -> None:
    outcome, numbers = finished
    window = ProfileConfig(step=2, steps=2)
    again = replace(prepared, train=replace(prepared.train, to=tmp_path / 'other', profile=window))
    stopped, _ = train(again, stop_after=3)
    assert (stopped.step, stopped.interrupted) == (3, True)
    assert list((tmp_path / 'other' / 'profile').rglob('*.xplane.pb')), 'two steps were traced'
    resumed, later = train(again)
    assert resumed.step == 4
    for name in ('loss', 'validation_flow_loss', 'validation_action_position_m'):
        assert later.steps[4][name] == numbers.steps[4][name], name
    assert equal(resumed.state, outcome.state)


def test_a_loss_that_is_not_finite_names_its_own_samples_and_keeps_the_last_state(
    prepared: Prepared, tmp_path: Path
) -> None:
    """Found while the device is busy with the next step; what is named is the batch that it came from."""
    train_config = prepared.train
    stream = batches(
        prepared.sources,
        train_config.data.weights,
        train_config.batch_size,
        train_config.seed,
        2,
        LoaderConfig(),
    )
    third = next(stream)
    number, (episode, frame) = int(third.source[0]), third.place[0].tolist()

    class Source(type(prepared.sources[number])):
        def __getitem__(self, index: int) -> Batch:
            row = super().__getitem__(index)
            nan = row.actions * np.float32(np.nan)
            return row._replace(actions=nan) if row.place[0].tolist() == [episode, frame] else row

    sources = list(prepared.sources)
    sources[number] = Source(**vars(sources[number]))
    config = replace(train_config, to=tmp_path / 'broken', log_every=4, validate_every=4)
    with pytest.raises(TrainingError, match=r'step 3: found loss nan.*of step 2, stays\. Look at') as caught:
        train(replace(prepared, sources=sources, train=config))
    assert f'episode {episode} frame {frame}' in str(caught.value)
    assert RunStore(config.to, 10, {}).latest == 2


def test_two_hundred_steps_end_in_a_policy_that_acts(
    run_of: Callable[..., TrainConfig], episodes: Episodes
) -> None:
    """From recorded episodes to a chunk of actions, through the files in between."""
    config = run_of(
        steps=200,
        log_every=10,
        validate_every=1000,
        save_every=1000,
        validation_share=0.0,
        augmentation=AugmentationConfig(enabled=False),
    )
    prepared = prepare(config)
    outcome, numbers = train(prepared)
    losses = [numbers.steps[step]['flow_loss'] for step in range(10, 201, 10)]
    assert np.mean(losses[-4:]) < 0.7 * np.mean(losses[:2])
    path = write_checkpoint(prepared, on_host(deployable(outcome.state)), outcome.step)
    assert path.name == 'checkpoint-200'
    sample = episodes.sample(0, 8, prepared.config.action_horizon)
    policy = Policy.load(path, prepared.contract, sample.task, use_compile_cache=False)
    origin = policy.info.origin
    assert origin.data[0] == episodes.identity
    assert (origin.step, origin.ema_decay) == (200, config.ema_decay)
    prefix = policy.encode_prefix(sample.images, 0)
    touch = policy.encode_tactile(sample.tactile, prefix, sample.action_prev, 0)
    chunk = policy.act(prefix, touch, sample.state, seed=1, index=0)
    assert np.isfinite(chunk.delta_pose).all()
    assert np.abs(chunk.delta_pose[0, :3]).max() < 0.2, 'm: of the size of the motions in the data'
    assert 0 <= touch.gate <= 1


def test_an_encoder_that_trains_along_is_not_standardised_by_its_first_values(
    run_of: Callable[..., TrainConfig],
) -> None:
    prepared = prepare(run_of(preset='tiny_cnn'))
    assert any(name.startswith('tactile/') for name in prepared.split.trained)
    assert (prepared.config.logvar_calibration, prepared.calibration) == (None, None)


def test_touch_stays_float32_where_what_is_frozen_becomes_bfloat16(prepared: Prepared) -> None:
    """A policy runs with the published encoder's arithmetic, by which its gate was measured."""
    split = split_leaves(prepared.config, prepared.weights.params, 'action_expert')
    train_so = replace(prepared.train, frozen_dtype='bfloat16')
    frozen = replace(prepared, train=train_so, split=split).frozen
    assert frozen['PaliGemma/llm/embedder/input_embedding'].dtype == jnp.bfloat16
    touch = [name for name in frozen if name.startswith('tactile/')]
    assert 'tactile/quantizer/embed' in touch
    for name in touch:
        np.testing.assert_array_equal(frozen[name], prepared.weights.params[name], err_msg=name)


def test_what_becomes_of_a_calibration_is_printed_before_the_first_step(
    run_of: Callable[..., TrainConfig], deployed: Path
) -> None:
    printed: list[str] = []
    prepare(run_of(init=deployed), printed.append)
    (line,) = [line for line in printed if line.startswith('gate: ')]
    assert f'{deployed} was calibrated with' in line


def signalled(line: list[str], step: int, number: int) -> tuple[int, str]:
    """Start the command, send it a signal when it has made a step; exit status and what it printed."""
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    printed = []
    for text in process.stdout:
        printed.append(text)
        if re.match(rf'step +{step} .*loss', text):
            os.kill(process.pid, number)
    return process.wait(), ''.join(printed)


def test_a_run_that_is_interrupted_then_killed_goes_on_to_the_same_bits(
    prepared: Prepared, finished: Finished, tmp_path: Path
) -> None:
    """A closed terminal at step 1, kill -9 at step 3, as a power cut would; then to the end."""
    line = command_line(prepared.train, tmp_path / 'run')
    status, printed = signalled(line, 1, signal.SIGHUP)
    assert status == 130
    assert re.search(r'interrupted after step \d, which is saved; the same command goes on', printed)
    for word in ('tactile', 'frozen', 'longest prompt', 'outside', 'memory per device, MiB', '1 devices'):
        assert word in printed
    assert 'random weights, seed' in printed
    status, printed = signalled(line, 3, signal.SIGKILL)
    assert re.search(r'^resumes after step \d, saved in .*run$', printed, re.MULTILINE)
    assert 'random weights, seed' not in printed
    assert status in (-signal.SIGKILL, 0)
    again, _ = train(replace(prepared, train=replace(prepared.train, to=tmp_path / 'run')))
    assert again.step == 4
    assert equal(again.state, finished[0].state)
    listed = (tmp_path / 'run' / 'leaves.txt').read_text()
    assert re.search(r'^trained  gate/threshold \[\]$', listed, re.MULTILINE)
    assert re.search(r'^frozen   tactile/', listed, re.MULTILINE)
    assert (tmp_path / 'run' / 'inputs.png').stat().st_size > 10_000
    assert list((tmp_path / 'run' / 'metrics').iterdir())


def test_a_full_disk_ends_the_run_with_the_last_whole_state_kept(prepared: Prepared, tmp_path: Path) -> None:
    """No file may grow beyond 64 kB from step 3 on: the error is that of a full disk, but for its number."""
    config = replace(prepared.train, to=tmp_path / 'full')
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    numbers = Numbers()

    def stopping() -> bool:
        if max(numbers.steps, default=0) == 3:
            store.wait()  # step 2 is whole
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, unlimited[1]))
        return False

    store = RunStore(config.to, config.keep_every, prepared.identity)
    trainer = Trainer(replace(prepared, train=config), store, numbers, now_s=lambda: 0.0, stopping=stopping)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(
            TrainingError, match=r'full: .*cannot be saved, with [\d.]+ GB of disk free.*Free some'
        ):
            trainer.run(trainer.begin())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, handler)
    assert RunStore(config.to, 10, prepared.identity).latest == 2


def test_numbers_go_to_weights_and_biases_only_where_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from restac_ros.training.progress import WandbNumbers

    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(TrainingError, match=r'found no package of that name.*\.\[wandb\]'):
        WandbNumbers('touch', tmp_path, {})

    class Wandb:
        def __init__(self) -> None:
            self.sent: list = []

        def init(self, **given: object) -> 'Wandb':
            self.given = given
            return self

        def log(self, numbers: dict, step: int) -> None:
            self.sent.append((step, numbers))

        def finish(self) -> None:
            self.sent.append('end')

    fake = Wandb()
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    printed: list[str] = []
    progress = RunProgress(
        tmp_path, 10, printed.append, lambda: 1e9, WandbNumbers('touch', tmp_path, {'seed': 1})
    )
    progress.step(5, {'loss': 0.5, 'steps_per_s': 2.0, 'flow_loss_of/0_plug': 0.25})
    progress.close()
    assert fake.sent == [(5, {'loss': 0.5, 'steps_per_s': 2.0, 'flow_loss_of/0_plug': 0.25}), 'end']
    assert fake.given['resume'] == 'allow'
    names = []
    for place in (tmp_path, tmp_path, tmp_path / 'another'):
        place.mkdir(exist_ok=True)
        WandbNumbers('touch', place, {})
        names.append(fake.given['id'])
    assert names[0] == names[1] != names[2], 'a resumed run goes on in its place, another has its own'
    assert printed == ['step  5  loss 0.5000  2.00 steps/s  0_plug 0.2500  0:02 left']


def test_a_full_disk_ends_a_run_that_writes_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = RunProgress(tmp_path, 10, lambda _: None, lambda: 1e9)
    progress.step(1, {'loss': 0.5})
    monkeypatch.setattr('tensorboardX.record_writer.open_file', lambda _: open('/dev/full', 'wb'))  # noqa: SIM115
    full = RunProgress(tmp_path / 'full', 10, lambda _: None, lambda: 1e9)
    expected = r'full/metrics: the numbers of step 2 cannot be written: .*No space left.*Free some disk'
    with pytest.raises(TrainingError, match=expected):
        full.step(2, {'loss': 0.5})
    progress.close()
    (tmp_path / 'file').touch()
    with pytest.raises(
        TrainingError, match=r'file/metrics: a file of numbers cannot be made: .*Free some disk'
    ):
        RunProgress(tmp_path / 'file', 10, lambda _: None, lambda: 1e9)


def test_numbers_are_events_of_tensorboard_at_once(tmp_path: Path) -> None:
    progress = RunProgress(tmp_path, 10, lambda _: None, lambda: 1e9)
    progress.step(5, {'loss': 0.5, 'flow_loss_of/0_plug': 0.25})
    (file,) = (tmp_path / 'metrics').iterdir()
    records, data = [], file.read_bytes()
    while data:  # length, its checksum, the event, its checksum
        (length,) = struct.unpack('Q', data[:8])
        records.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    progress.close()
    assert file.name.startswith('events.out.tfevents.')
    assert records[0].file_version == 'brain.Event:2'
    found = [(event.step, event.wall_time, event.summary.value[0]) for event in records[1:]]
    assert [(step, at_s, one.tag, one.simple_value) for step, at_s, one in found] == [
        (5, 1e9, 'loss', 0.5),
        (5, 1e9, 'flow_loss_of/0_plug', 0.25),
    ]


def test_no_writer_is_left_open_by_a_run_that_is_refused(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TrainingError('refused')

    run = replace(prepared, train=replace(prepared.train, to=tmp_path / 'run'))
    monkeypatch.setattr('restac_ros.training.prepare.prepare', lambda *_, **__: run)
    monkeypatch.setattr(Trainer, 'begin', refuse)
    before = set(threading.enumerate())
    with pytest.raises(TrainingError, match='refused'):
        Train(run.train).run()
    assert (tmp_path / 'run' / 'metrics').is_dir()
    assert not [one for one in set(threading.enumerate()) - before if 'EventLogger' in type(one).__name__]


def test_a_checkpoint_is_written_once_and_replaced_where_it_is_of_another_run(
    prepared: Prepared, finished: Finished, tmp_path: Path
) -> None:
    """Its fingerprint stays when a finished run is called again: other runs may have begun with it."""
    run = replace(prepared, train=replace(prepared.train, to=tmp_path))
    weights = on_host(deployable(finished[0].state))
    path = write_checkpoint(run, weights, 4)
    first = checkpoint_fingerprint(path)
    assert checkpoint_fingerprint(write_checkpoint(run, weights, 4)) == first
    write_checkpoint(replace(run, train=replace(run.train, seed=run.train.seed + 1)), weights, 4)
    assert load_info(path).origin.seed == run.train.seed + 1


def test_a_run_is_resumed_without_a_second_state_in_memory(
    prepared: Prepared, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list = []

    def restore(store: RunStore, planned: dict, **_: object) -> dict:
        asked.extend(jax.tree.leaves(planned))
        return planned

    monkeypatch.setattr(RunStore, 'restore', restore)
    with closing(RunStore(prepared.train.to, 10, prepared.identity)) as store:
        Trainer(prepared, store, Numbers(), now_s=lambda: 0.0, stopping=lambda: False).begin()
    assert {leaf.shape for leaf in asked} == {leaf.shape for leaf in jax.tree.leaves(finished[0].state)}
    assert not [leaf for leaf in asked if isinstance(leaf, jax.Array)]


def test_a_run_with_other_settings_is_not_resumed(prepared: Prepared, finished: Finished) -> None:
    other = replace(prepared, identity=json.loads(json.dumps({**prepared.identity, 'batch_size': 8})))
    with pytest.raises(TrainingError, match=r'batch_size: 4 != 8.*--allow-changes'):
        train(other)


def test_a_run_with_other_settings_goes_on_where_that_is_asked_for(tmp_path: Path) -> None:
    state = {'step': jnp.array(2), 'trained': {'kernel': jnp.arange(6.0)}, 'ema': None}
    before, after = ({'batch_size': size, 'data': [data]} for size, data in ((4, 'one'), (8, 'another')))
    with closing(RunStore(tmp_path, 10, before)) as store:
        store.save(2, state)
    fresh = jax.tree.map(jnp.zeros_like, state)
    with closing(RunStore(tmp_path, 10, after)) as store:
        with pytest.raises(TrainingError, match=r'batch_size: 4 != 8; data: \["one"\] != .*--allow-changes'):
            store.restore(fresh)
        assert equal(store.restore(fresh, allow_changes=True), state)


def test_the_last_two_states_stay_and_every_so_many_steps_one_for_good(tmp_path: Path) -> None:
    store = RunStore(tmp_path, 4, {})
    for step in range(2, 15, 2):
        store.save(step, {'step': np.array(step, np.int32)})
    store.close()
    assert sorted(int(path.name) for path in (tmp_path / 'states').glob('[0-9]*')) == [4, 8, 12, 14]
