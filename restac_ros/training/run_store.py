"""A run's directory: state that it resumes from, and what must agree when it does."""

import json
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy, save_decision_policy

from restac_ros.training.earlier_settings import completed_settings
from restac_ros.training.errors import TrainingError
from restac_ros.training.step import TrainingState

_STATES = 'states'


class RunStore:
    """Saves training state while training goes on; a save that is cut off is as if it had not begun.

    Args:
        directory: of the run.
        keep_every: steps whose states stay; besides, the last two do.
        identity: of the run; a state with another is refused.
    """

    def __init__(self, directory: Path, keep_every: int, identity: Mapping[str, Any]) -> None:
        self._identity = json.loads(json.dumps(identity))
        self.directory = directory
        policies = [preservation_policy.LatestN(2), preservation_policy.EveryNSteps(keep_every)]
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=save_decision_policy.FixedIntervalPolicy(1),  # the trainer decides
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
        )
        self._manager = ocp.CheckpointManager((directory / _STATES).absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """Number of the newest whole state."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainingState) -> None:
        """Begin to save; the arrays are copied before this returns.

        Raises:
            TrainingError: the disk is full, or an earlier save has failed.
        """
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_stored(state)), about=ocp.args.JsonSave(self._identity)
                ),
            )
        except (OSError, ValueError) as error:
            raise self._unsaved(f'step {step}', error) from error

    def restore(self, planned: TrainingState, *, allow_changes: bool = False) -> TrainingState:
        """Read the newest state.

        Args:
            planned: its shapes and shardings: `jax.ShapeDtypeStruct`, so that memory holds one state only, or
                another state.
            allow_changes: whether the state may be of a run with other settings.

        Raises:
            TrainingError: the run was another, or the state cannot be read.
        """
        step = self.latest
        _compare(self._manager, self.directory, self._identity, allow_changes)
        abstract = jax.tree.map(_abstract, _stored(planned))
        restored = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
        return {**planned, **restored['state']}

    @property
    def is_saving(self) -> bool:
        """Whether a save is under way."""
        return self._manager.is_saving_in_progress()

    def wait(self) -> None:
        """Wait until the save under way is whole.

        Raises:
            TrainingError: it has failed.
        """
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError) as error:
            raise self._unsaved('the last state', error) from error

    def _unsaved(self, what: str, error: Exception) -> TrainingError:
        free = shutil.disk_usage(self.directory).free
        return TrainingError(
            f'{self.directory}: {what} cannot be saved, with {free / 1e9:.2f} GB of disk free: '
            f'{error}; the states '
            'before it stay. Free some disk, then run the same command, which goes on from the last of them'
        )

    def close(self) -> None:
        """Finish saving and end the manager's threads."""
        self.wait()
        self._manager.close()


def check_resumable(directory: Path, identity: Mapping[str, Any], *, allow_changes: bool) -> None:
    """Refuse a directory that holds another run, before anything is compiled.

    Raises:
        TrainingError: the run was another, by setting.
    """
    if not (directory / _STATES).is_dir():
        return
    with closing(ocp.CheckpointManager((directory / _STATES).absolute())) as manager:
        if manager.latest_step() is not None:
            _compare(manager, directory, json.loads(json.dumps(identity)), allow_changes)


def _compare(
    manager: ocp.CheckpointManager, directory: Path, identity: Mapping[str, Any], allow_changes: bool
) -> None:
    step = manager.latest_step()
    stored = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))['about']
    found = completed_settings(stored, identity)
    changed = [name for name in identity if found.get(name) != identity[name]]
    if changed and not allow_changes:
        listed = '; '.join(
            f'{name}: {_short(found.get(name))} != {_short(identity[name])}' for name in changed
        )
        raise TrainingError(
            f'{directory}: step {step} is of another run (saved != asked): {listed}. Give the '
            'settings it was begun with, another --to, or --allow-changes'
        )


def _stored(state: TrainingState) -> TrainingState:
    """The state without its absent parts."""
    return {name: value for name, value in state.items() if value is not None}


def _abstract(leaf: Any) -> Any:
    return leaf if isinstance(leaf, jax.ShapeDtypeStruct) else ocp.utils.to_shape_dtype_struct(leaf)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
