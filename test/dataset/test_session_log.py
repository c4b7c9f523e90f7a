"""The session log: what was given is what a bag reader finds, and a failing disk never reaches the caller."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from node_process import poll_until
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag import bag_writer
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.message_types import message_files, typestore
from restac_ros.dataset.errors import JournalError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.recovery import recover
from restac_ros.dataset.session_log import SessionLog

GATE = 'restac_ros/msg/GateState'
START_NS = 1_760_000_000_000_000_000


@pytest.fixture
def contract(repository: Path) -> Contract:
    return load_contract(repository / 'config' / 'contract.yaml')


def gate_cdr(value: float, index: int) -> bytes:
    types = typestore().types
    stamp = types['builtin_interfaces/msg/Time'](sec=START_NS // 10**9, nanosec=index)
    header = types['std_msgs/msg/Header'](stamp=stamp, frame_id='gelsight_left')
    run = types['restac_ros/msg/RunIdentity'](run_id='r', checkpoint='c', prompt='p', prompt_revision=0)
    state = types[GATE](
        header=header,
        run=run,
        replan_threshold=0.6,
        replan_release=0.4,
        gate=value,
        logvar=-9.5,
        logvar_standardised=0.5,
        code_index=index,
        residual_norm=1.0,
        tactile_age_ns=1_000_000,
        inference_ns=2_000_000,
        saturated=False,
    )
    return typestore().serialize_cdr(state, GATE).tobytes()


def test_a_bag_reader_finds_what_was_written(tmp_path: Path, contract: Contract) -> None:
    log = SessionLog(tmp_path / 'run', contract, start_ns=START_NS, task='insert the plug')
    sent = [gate_cdr(i / 10, i) for i in range(10)]
    assert all(log.write('/policy_node/gate', GATE, cdr, START_NS + i) for i, cdr in enumerate(sent))
    bag = open_bag(log.close(START_NS + 10**9))
    assert bag.notes == []
    assert bag.topics['/policy_node/gate'] == (GATE, 10)
    messages = list(bag.messages())
    assert [message.cdr for message in messages] == sent
    assert [message.log_time_ns - START_NS for message in messages] == list(range(10))
    notes = read_notes(bag)
    assert (notes.task, notes.start_ns, notes.end_ns) == ('insert the plug', START_NS, START_NS + 10**9)
    assert (log.written, log.dropped) == (10, 0)


def test_rosbags_reads_it_with_the_definitions_inside(tmp_path: Path, contract: Contract) -> None:
    """Another reader, which knows nothing of our types but what the file says."""
    from rosbags.highlevel import AnyReader

    log = SessionLog(tmp_path / 'run', contract, start_ns=START_NS)
    log.write('/policy_node/gate', GATE, gate_cdr(0.25, 7), START_NS)
    with AnyReader([log.close(START_NS + 1)]) as reader:
        [(connection, _, raw)] = list(reader.messages())
        state = reader.deserialize(raw, connection.msgtype)
    assert (state.code_index, np.float32(state.gate)) == (7, np.float32(0.25))


def test_every_message_of_the_package_has_a_definition(repository: Path) -> None:
    known = {file.name for file in message_files()}
    assert known == {file.name for file in (repository / 'msg').glob('*.msg')}
    for file in message_files():
        name = f'restac_ros/msg/{file.stem}'
        assert typestore().hash_rihs01(name).startswith('RIHS01_')


def test_a_killed_run_keeps_what_was_flushed(tmp_path: Path, contract: Contract) -> None:
    """Log time runs a second ahead at each message, so that each but the last flushes those before it."""
    log = SessionLog(tmp_path / 'run', contract, start_ns=START_NS)
    for i in range(5):
        log.write('/gate', GATE, gate_cdr(0.5, i), START_NS + i * 10**9)
    poll_until(lambda: log.written == 5, 'all written')
    left = shutil.copytree(tmp_path / 'run.partial', tmp_path / 'killed.partial')  # nothing is finished
    log.close(START_NS + 5 * 10**9)
    recovered = recover(left)
    assert recovered.messages >= 4
    assert open_bag(recovered.path).topics['/gate'].count == recovered.messages


def test_a_failing_disk_is_reported_by_close_and_never_raises_in_write(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SessionLog(tmp_path / 'run', contract, start_ns=START_NS)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bag_writer.Writer, 'add_message', refuse)
    log.write('/gate', GATE, gate_cdr(0.5, 0), START_NS)
    poll_until(lambda: log.failure, 'the log fails')
    with pytest.raises(JournalError, match='No space left'):
        log.close(START_NS + 1)
    assert log.write('/gate', GATE, gate_cdr(0.5, 1), START_NS) is False
    assert (log.written, log.dropped) == (0, 2)
    assert (tmp_path / 'run.partial').is_dir()


def test_a_log_never_overwrites_another(tmp_path: Path, contract: Contract) -> None:
    (tmp_path / 'run').mkdir()
    with pytest.raises(JournalError, match='exists already'):
        SessionLog(tmp_path / 'run', contract, start_ns=START_NS)
