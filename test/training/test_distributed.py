"""Several processes train as one: each reads its share; all end at the same step with the same weights."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from restac_ros.model.checkpoint.store import load_params
from restac_ros.training.config import DistributedConfig
from restac_ros.training.distributed import process_arguments
from restac_ros.training.errors import TrainingError
from restac_ros.training.prepare import Prepared
from restac_ros.training.trainer import Outcome
from training_run import Numbers, command_line


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_two_processes_train_as_one(
    prepared: Prepared, finished: tuple[Outcome, Numbers], deployed: Path, tmp_path: Path
) -> None:
    """By the command line, on one device each; what one process alone makes of the same batches comes out."""
    address = f'127.0.0.1:{free_port()}'
    line = [*command_line(prepared.train, tmp_path / 'run'), '--distributed.coordinator', address]
    line += ['--distributed.processes', '2', '--distributed.process']
    pair = [
        subprocess.Popen([*line, str(number)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(2)
    ]
    ends = [(*process.communicate(), process.returncode) for process in pair]
    assert [status for _, _, status in ends] == [0, 0], ends
    printed, beside = ends[0][0], ends[1][0]
    assert not re.search('^(step|data)', beside, re.MULTILINE), 'the first alone reports'
    assert '2 devices in 2 processes, 2 samples of a batch on each' in printed
    loss = float(re.search(r'^step +4  loss ([\d.]+)', printed, re.MULTILINE)[1])
    assert loss == pytest.approx(finished[1].steps[4]['loss'], rel=1e-3)
    ours, alone = (
        load_params(path, prepared.config) for path in (tmp_path / 'run' / 'checkpoint-4', deployed)
    )
    for name, leaf in alone.items():
        np.testing.assert_allclose(ours[name], leaf, atol=5e-4, err_msg=name)


def test_arguments_or_slurm_say_who_takes_part() -> None:
    assert process_arguments(DistributedConfig(), {}) is None
    assert process_arguments(DistributedConfig(), {'SLURM_JOB_ID': '7', 'SLURM_NTASKS': '8'}) is None
    slurm = process_arguments(DistributedConfig(), {'SLURM_STEP_NUM_TASKS': '2'})
    assert slurm == {'cluster_detection_method': 'slurm'}
    given = process_arguments(DistributedConfig('host:1', 2, 1), {'SLURM_STEP_NUM_TASKS': '2'})
    assert given == {'coordinator_address': 'host:1', 'num_processes': 2, 'process_id': 1}


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (DistributedConfig('host:1'), 'expected --distributed.coordinator HOST:PORT'),
        (DistributedConfig('host:1', 2, 2), r'distributed\.process: found 2, expected 0 to 1'),
    ],
)
def test_incomplete_arguments_are_refused(config: DistributedConfig, expected: str) -> None:
    with pytest.raises(TrainingError, match=expected):
        process_arguments(config, {})


def test_slurms_tasks_find_each_other() -> None:
    """As `srun` would start them: each knows its number, and what is true in one is known in both."""
    code = (
        'import os, numpy as np\n'
        'from restac_ros.training.config import DistributedConfig\n'
        'from restac_ros.training import distributed as d\n'
        'd.join_processes(DistributedConfig(), os.environ)\n'
        'me = d.share_of()\n'
        'print(me, d.is_leader(), d.is_true_anywhere(me[0] == 1), d.agreed(np.array([me[0] + 5]))[0])\n'
    )
    job = str(os.getpid() % 4096)  # the coordinator's port follows from it
    tasks = [
        subprocess.Popen(
            [sys.executable, '-c', code],
            env=os.environ
            | {'SLURM_JOB_ID': job, 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_LOCALID': str(number)}
            | {'SLURM_STEP_NUM_TASKS': '2', 'SLURM_NTASKS': '2', 'SLURM_PROCID': str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    printed = [task.communicate()[0].splitlines()[-1] for task in tasks]
    assert printed == ['(0, 2) True True 5', '(1, 2) False True 5']
