"""A closed-loop evaluation from checkpoints to a report."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.schema import Contract
from restac_ros.installation import PACKAGE
from restac_ros.model.checkpoint.manifest import current_versions
from restac_ros.model.checkpoint.store import CheckpointInfo, checkpoint_fingerprint, load_info
from restac_ros.policy.compatibility import check_fit
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.attempt_record import AttemptRecord
from restac_ros.sim.evaluation.attempts import Attempts, make_attempts, open_policies
from restac_ros.sim.evaluation.cell_figures import cell_figures
from restac_ros.sim.evaluation.cell_report import CellReport, TriedCheckpoint, shown_gate
from restac_ros.sim.evaluation.conditions import AS_IT_IS, CONDITIONS, wanted_conditions
from restac_ros.sim.evaluation.deployment_files import Deployment
from restac_ros.sim.evaluation.machine import this_machine
from restac_ros.sim.evaluation.settings import SimEvaluationConfig, check_durations, check_scenes
from restac_ros.training.evaluation.bootstrap import LEAST_EPISODES
from restac_ros.training.evaluation.subject import short_names

type Make = Callable[[Sequence[Attempts], Callable[[int], object]], object]
"""Makes attempts, on this machine or others; the callback is told how many more are done."""

_BOOTSTRAP_SEED = 0
_SHARED_SEEDS = 5  # at a time where hosts share the work
_SHARE = 'give a --to on a file system that every host of the Ray cluster mounts at the same path'


def plan_attempts(
    checkpoints: Sequence[Path],
    contract: Contract,
    deployment: Deployment,
    settings: SimEvaluationConfig,
    prompt: str,
    to: Path,
    filmed: Sequence[int] = (),
) -> list[Attempts]:
    """Return all attempts: of each checkpoint under each condition, for the same seeds.

    Args:
        checkpoints: directories; the first is what the others are compared with.
        contract: of the cell; a checkpoint for another one is refused, as on a robot.
        deployment: of policy and streamer.
        settings: sizes and seeds.
        prompt: the task.
        to: folder of the records.
        filmed: seeds of which there is a video, with nothing changed.

    Raises:
        CellError: settings that contradict themselves.
        CheckpointError, PolicyError: a checkpoint is damaged, or for another robot.
        OpenGLError: nothing can be drawn here.
    """
    check_sim_settings(settings, filmed)
    if not checkpoints or len({path.resolve() for path in checkpoints}) < len(checkpoints):
        found = [str(path) for path in checkpoints]
        raise CellError(f'checkpoints: found {found}, expected one or more, each once')
    names = settings.conditions or tuple(CONDITIONS)
    seeds = tuple(range(settings.first_seed, settings.first_seed + settings.seeds))
    machine, planned = this_machine(), []
    for path, name in zip(checkpoints, short_names(checkpoints), strict=True):
        info = load_info(path)
        check_fit(info, contract, str(path))
        for condition in wanted_conditions((AS_IT_IS, *names), info.config.uses_touch):
            planned.append(
                Attempts(
                    checkpoint=path.expanduser().resolve(),
                    name=name,
                    fingerprint=checkpoint_fingerprint(path),
                    condition=condition,
                    seeds=seeds,
                    filmed=tuple(filmed) if condition.name == AS_IT_IS else (),
                    folder=to / 'attempts' / _file_name(name) / _file_name(condition.name),
                    contract=contract,
                    prompt=prompt,
                    deployment=deployment,
                    durations=settings.durations,
                    limit_s=settings.limit_s,
                    machine=machine,
                )
            )
    return planned


def check_sim_settings(settings: SimEvaluationConfig, filmed: Sequence[int]) -> None:
    """Refuse settings that contradict themselves; CellError names what, what was found, and a remedy."""
    unknown = [name for name in settings.conditions if name not in CONDITIONS]
    if unknown:
        raise CellError(f'conditions: no condition {unknown[0]!r}; {did_you_mean(unknown[0], CONDITIONS)}')
    if settings.seeds < LEAST_EPISODES:
        raise CellError(f'seeds: found {settings.seeds}, expected at least {LEAST_EPISODES} for intervals')
    check_scenes(settings.first_seed, settings.limit_s)
    check_durations(settings.durations)
    end = settings.first_seed + settings.seeds
    outside = [seed for seed in filmed if not settings.first_seed <= seed < end]
    if outside:
        raise CellError(
            f'videos: found seed {outside[0]}, expected seeds of the evaluation: {settings.first_seed} to '
            f'{end - 1}'
        )


def run_attempts(planned: Sequence[Attempts], make: Make, tell: Callable[[int, int], object]) -> None:
    """Make what is left of the attempts; `tell` is called with how many are done, and how many there are."""
    total = sum(len(attempts.seeds) for attempts in planned)
    left = [replace(attempts, seeds=tuple(seeds)) for attempts in planned if (seeds := attempts.left())]
    done = total - sum(len(attempts.seeds) for attempts in left)
    tell(done, total)

    def advance(more: int) -> None:
        nonlocal done
        done += more
        tell(done, total)

    make(left, advance)


def make_here(left: Sequence[Attempts], advance: Callable[[int], object]) -> None:
    """Make attempts one after the other in this process."""
    policies = open_policies(left[0]) if left else None
    for attempts in left:
        make_attempts(attempts, policies, lambda: advance(1))


def make_on_hosts(spread: Callable[..., Iterator[int]]) -> Make:
    """Return what makes attempts on the hosts that `spread` reaches, a few seeds at a time.

    `spread(function, items)` calls the function for each item somewhere, and yields the number of each item
    when it is done. All hosts must have checkpoints and records under the same paths: a host that lacks the
    folder, and the first piece whose records are not found here, end it with a CellError.
    """

    def make(left: Sequence[Attempts], advance: Callable[[int], object]) -> None:
        pieces = [
            replace(attempts, seeds=attempts.seeds[first : first + _SHARED_SEEDS])
            for attempts in left
            for first in range(0, len(attempts.seeds), _SHARED_SEEDS)
        ]
        for attempts in left:
            attempts.folder.mkdir(parents=True, exist_ok=True)
        for number in spread(make_attempts_on_host, pieces):
            _check_arrived(pieces[number])
            advance(len(pieces[number].seeds))

    return make


def make_attempts_on_host(attempts: Attempts) -> None:
    """Run `make_attempts` on a host that shares folders with the one that planned them.

    Raises:
        CellError: the folder is not there, or the host draws or computes with something else.
    """
    host = socket.gethostname()
    if not attempts.folder.is_dir():
        raise CellError(f'{attempts.folder} is not there on host {host}: {_SHARE}')
    if (here := this_machine()) != attempts.machine:
        raise CellError(
            f'host {host}: found {here}, expected {attempts.machine}, as where the evaluation was started: '
            'other pixels and roundings give other attempts; use hosts that are alike'
        )
    make_attempts(attempts)


def _check_arrived(piece: Attempts) -> None:
    """Refuse records and videos that a host has made and that are not found here."""
    os.listdir(piece.folder)  # has a network file system forget what it did not find before
    if missing := piece.left():
        raise CellError(
            f'{piece.record_path(missing[0])} is not found on {socket.gethostname()}, though a host of the '
            f'cluster has made it: {_SHARE}'
        )


def report_on(
    planned: Sequence[Attempts],
    contract: Contract,
    settings: SimEvaluationConfig,
    prompt: str,
    command: str,
) -> CellReport:
    """Return the figures of attempts that have all been made; `command` is the call that makes them.

    Raises:
        CellError: a record is missing or damaged.
    """
    records = {(a.name, a.condition.name): _records(a) for a in planned}
    first = planned[0].name
    figures = [
        cell_figures(
            (name, condition),
            made,
            records.get((first, condition)) if name != first else None,
            records[name, AS_IT_IS] if condition != AS_IT_IS else None,
            _BOOTSTRAP_SEED,
        )
        for (name, condition), made in records.items()
    ]
    plain = [attempts for attempts in planned if attempts.condition.name == AS_IT_IS]
    return CellReport(
        version=current_versions()[PACKAGE],
        command=command,
        machine=planned[0].machine,
        changed_parameters=planned[0].deployment.changed,
        contract=contract.name,
        prompt=prompt,
        settings=settings,
        checkpoints=[_tried(attempts, load_info(attempts.checkpoint)) for attempts in plain],
        figures=figures,
        insertions_s={
            attempts.name: [
                record.inserted_s
                for record in records[attempts.name, AS_IT_IS]
                if record.success and record.inserted_s is not None
            ]
            for attempts in plain
        },
        trace=shown_gate({attempts.name: records[attempts.name, AS_IT_IS] for attempts in plain}),
        films=[path for attempts in plain for seed in attempts.filmed if (path := attempts.film_path(seed))],
    )


def _tried(attempts: Attempts, info: CheckpointInfo) -> TriedCheckpoint:
    return TriedCheckpoint(
        attempts.name,
        str(attempts.checkpoint),
        attempts.fingerprint,
        info.config.fusion,
        info.origin.step,
        attempts.durations,
        attempts.measured_on,
    )


def _records(attempts: Attempts) -> list[AttemptRecord]:
    records = []
    for seed in attempts.seeds:
        record = attempts.record(seed)
        if record is None:
            raise CellError(f'{attempts.record_path(seed)} is not there: start the same evaluation again')
        records.append(record)
    return records


def _file_name(name: str) -> str:
    return name.replace('/', '+').replace(' ', '_')
