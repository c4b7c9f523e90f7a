"""Attempts of one checkpoint under one condition, seed by seed; those with a record are not made again."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from restac_ros.contract.load import dump_contract
from restac_ros.contract.schema import Contract
from restac_ros.sim.cell.revision import simulator
from restac_ros.sim.evaluation.attempt_record import AttemptRecord, read_record, write_record
from restac_ros.sim.evaluation.closed_loop import AttemptTask, ClosedLoop
from restac_ros.sim.evaluation.conditions import Condition
from restac_ros.sim.evaluation.deployment_files import Deployment
from restac_ros.sim.evaluation.film import Film, open_film
from restac_ros.sim.evaluation.machine import Machine
from restac_ros.sim.evaluation.settings import CallDurations
from restac_ros.sim.evaluation.timed_policy import OpenPolicies, TimedPolicy
from restac_ros.sim.evaluation.touch_change import felt_elsewhere
from restac_ros.training.evaluation.substitution import SHUFFLED

SCENE_SLOT = 'base_0_rgb'


@dataclass(frozen=True)
class Attempts:
    """What is to be done, complete, so that another process or host can do it.

    Attributes:
        checkpoint: directory; `name` and `fingerprint` are its.
        folder: of the records and videos of this checkpoint and condition.
        filmed: seeds of which a video is made.
        durations: of the policy's calls; `measured_on` names what they were measured on, '': they were given.
        machine: what draws and computes.
    """

    checkpoint: Path
    name: str
    fingerprint: str
    condition: Condition
    seeds: tuple[int, ...]
    filmed: tuple[int, ...]
    folder: Path
    contract: Contract
    prompt: str
    deployment: Deployment
    durations: CallDurations
    limit_s: float
    machine: Machine
    measured_on: str = ''

    @cached_property
    def identity(self) -> str:
        """What the outcome depends on, besides the seed."""
        parts = {
            'condition': asdict(self.condition),
            'contract': dump_contract(self.contract),
            'prompt': self.prompt,
            'policy': self.deployment.policy.model_dump(mode='json', exclude={'prompt'}),
            'streamer': repr(self.deployment.streamer),
            'period_ns': self.deployment.period_ns,
            'gripper_deadband_m': self.deployment.gripper_deadband_m,
            'durations': asdict(self.durations),
            'limit_s': self.limit_s,
            'simulator': simulator(),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        return f'checkpoint {self.fingerprint}, settings {digest}, {self.machine}'

    def record_path(self, seed: int) -> Path:
        """Return where the record of a seed lies."""
        return self.folder / f'{seed}.json'

    def film_path(self, seed: int) -> Path | None:
        """Return where the video of a seed lies; None where none is wanted."""
        return self.folder / f'{seed}.mp4' if seed in self.filmed else None

    def record(self, seed: int) -> AttemptRecord | None:
        """Return the record of a seed; None where it is still to be made. Raises as `read_record`."""
        return read_record(self.record_path(seed), self.identity)

    def left(self) -> list[int]:
        """Return the seeds whose record, or video, is still to be made."""
        films = {seed: self.film_path(seed) for seed in self.seeds}
        return [
            seed
            for seed, film in films.items()
            if self.record(seed) is None or (film is not None and not film.exists())
        ]


def open_policies(attempts: Attempts) -> OpenPolicies:
    """Return what opens the policies of these and of all other attempts of the same evaluation."""
    return OpenPolicies(attempts.contract, attempts.prompt, attempts.deployment.policy)


def make_attempts(
    attempts: Attempts, policies: OpenPolicies | None = None, done: Callable[[], object] = lambda: None
) -> None:
    """Make what is left; `done` is called after each. `policies`: those that are open already.

    Raises:
        CellError, CheckpointError, PolicyError, NormStatsError, TokenizerError: see the parts.
    """
    left = attempts.left()
    if not left:
        return
    condition = attempts.condition
    policy = (policies or open_policies(attempts)).policy(attempts.checkpoint, condition.gate)
    strangers = felt_elsewhere(attempts.contract) if condition.touch == SHUFFLED else None
    task = AttemptTask(
        attempts.contract, attempts.deployment, attempts.durations, attempts.limit_s, strangers
    )
    for seed in left:
        write_record(_attempt(policy, attempts, seed, task), attempts.identity, attempts.record_path(seed))
        done()


def _attempt(policy: TimedPolicy, attempts: Attempts, seed: int, task: AttemptTask) -> AttemptRecord:
    condition, path = attempts.condition, attempts.film_path(seed)
    if path is None:
        return ClosedLoop(policy, condition, seed, task).run()
    cameras = attempts.contract.by_role('camera')
    scene = next(name for name, spec in cameras.items() if spec.slot == SCENE_SLOT)
    caption = f'{attempts.name}, {condition.name}, seed {seed}'
    with open_film(path) as encoder:
        film = Film(encoder, scene, policy.tactile_stream, caption)
        return ClosedLoop(policy, condition, seed, replace(task, film=film)).run()
