"""Several processes train as one: each reads its share; all end at the same step with the same weights."""

import os
import subprocess
import sys

import pytest

from restac_ros.training.config import DistributedConfig
from restac_ros.training.distributed import process_arguments
from restac_ros.training.errors import TrainingError


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
