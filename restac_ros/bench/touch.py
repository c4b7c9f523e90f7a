"""The proof that training uses touch: small policies with and without it, trained and compared.

Every step is a command that a user can type, in a directory that stays: what is there already is not made
again, an interrupted run continues, and page and checkpoints can be opened afterwards.
"""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from restac_ros.bench.settings import TouchBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.dataset.dataset_files import is_dataset, read_info
from restac_ros.installation import GraphError

MIN_GAIN = 0.30
MAX_TRAINING_S = 900.0
CONTROL, TOKEN = 'tiny_no_touch', 'tiny'
ARMS = (CONTROL, TOKEN, 'tiny_forcevla')
FELT = ('ee_y', 'ee_rot_z')
"""Dimensions in which the finger goes by what it feels; in the others touch tells it nothing."""

_CONTACT = 'contact'


@dataclass(frozen=True)
class ArmFigures:
    """One policy in contact; ranges are 95 % intervals by episodes.

    Attributes:
        training_s: of its run; None where it was there already or had begun.
        error: action error.
        gain: how much smaller it is than without touch, frames and noise paired; None for the control arm.
        gain_range: of that.
        felt: error in m and rad in the dimensions that touch decides, by name.
        shuffled: the same with the touch of other contacts, in shares of the control arm's; else empty.
        verdict: of the evaluation.
    """

    training_s: float | None
    error: float
    gain: float | None
    gain_range: tuple[float, float] | None
    felt: Mapping[str, float]
    shuffled: Mapping[str, tuple[float, float]]
    verdict: str

    def rows(self, name: str, *, is_judged: bool) -> Iterator[Figure]:
        """Yield its lines of the table; what touch is worth is judged, or not."""
        if self.training_s is None:
            yield Figure(f'{name}: training', 'made before')
        else:
            yield judged(f'{name}: training', self.training_s, '<=', MAX_TRAINING_S, '{:.0f} s')
        yield Figure(f'{name}: action error in contact', f'{self.error:.3f}')
        if self.gain is not None and self.gain_range is not None:
            low, high = self.gain_range
            told = f'{self.gain:.1%} [{low:.1%}, {high:.1%}]'
            good = self.gain >= MIN_GAIN and low > 0.0
            target = f'>= {MIN_GAIN:.0%}, interval above 0'
            yield Figure(f'{name}: less than without touch', told, target, good).judged_if(is_judged)
        for dim, value in self.felt.items():
            yield Figure(f'{name}: error of {dim}', f'{value:.4f}')
        for dim, (low, high) in self.shuffled.items():
            told = f'{low:.0%} to {high:.0%} of that without touch'
            row = Figure(f'{name}: error of {dim}, shuffled touch', told, 'no gain', high >= 1.0)
            yield row.judged_if(is_judged)
        yield Figure(f'{name}: touch', self.verdict, 'used', self.verdict == 'used').judged_if(is_judged)


@dataclass(frozen=True)
class TouchFigures:
    """Results by configuration."""

    arms: Mapping[str, ArmFigures]

    @property
    def rows(self) -> list[Figure]:
        """The table; targets of touch are for the policy with a surprise token."""
        return [row for name, arm in self.arms.items() for row in arm.rows(name, is_judged=name == TOKEN)]


def main(settings: TouchBench) -> int:
    """Make data, train, evaluate, print, write JSON if asked; 1 when a target is missed.

    Raises:
        GraphError: a command failed.
    """
    figures = measure_touch(settings)
    return finish('touch against no touch, in contact', figures.rows, settings.json, asdict(figures))


def measure_touch(settings: TouchBench) -> TouchFigures:
    """Run every command that has not been run yet.

    Raises:
        GraphError: a command failed.
    """
    root = settings.directory
    data, check = root / 'data', root / 'check'
    for folder, episodes, seed in ((data, settings.episodes, 0), (check, settings.check_episodes, 1)):
        if (missing := episodes - _episodes_in(folder)) > 0:
            _call('make-touch-task', '--to', folder, '--episodes', missing, '--seed', seed)
    spent = {name: _trained(name, data, root, settings) for name in ARMS}
    checkpoints = [root / name / f'checkpoint-{settings.steps_of(name)}' for name in ARMS]
    _call('evaluate', *checkpoints, check, '--to', root / 'page', '--frames', settings.frames)
    found = json.loads((root / 'page' / 'evaluation.json').read_text(encoding='utf-8'))
    return figures_of(found, spent)


def _episodes_in(folder: Path) -> int:
    return read_info(folder)['total_episodes'] if is_dataset(folder) else 0


def _trained(name: str, data: Path, root: Path, settings: TouchBench) -> float | None:
    """Train one policy; return the duration, s, or None where the run was there already."""
    to = root / name
    began = None if to.exists() else time.monotonic()
    words = ['--data.datasets', data, '--to', to, '--steps', settings.steps_of(name)]
    _call('train', name, *words, '--loader.cache', root / 'cache', '--log-every', 100)
    return None if began is None else time.monotonic() - began


def figures_of(evaluation: Mapping[str, Any], training_s: Mapping[str, float | None]) -> TouchFigures:
    """Return the figures in contact from an `evaluation.json` of the arms, in their order."""
    changes = [None, *(other['change'][_CONTACT] for other in evaluation['comparisons'])]
    arms: dict[str, ArmFigures] = {}
    for name, one, change in zip(ARMS, evaluation['checkpoints'], changes, strict=True):
        touch, contact = one['touch'], one['errors'][_CONTACT]
        felt = {dim: contact['by_dimension'][dim]['value'] for dim in FELT}
        shuffled = {}
        if not isinstance(touch, str):
            control, found = arms[CONTROL].felt, touch['ablations']['shuffled'][_CONTACT]['by_dimension']
            shuffled = {dim: _range(found[dim], control[dim]) for dim in FELT}
        arms[name] = ArmFigures(
            training_s=training_s[name],
            error=contact['action']['value'],
            gain=None if change is None else -change['value'],
            gain_range=None if change is None else (-change['high'], -change['low']),
            felt=felt,
            shuffled=shuffled,
            verdict=touch if isinstance(touch, str) else touch['verdict']['verdict'],
        )
    return TouchFigures(arms)


def _range(estimate: Mapping[str, float], unit: float) -> tuple[float, float]:
    return estimate['low'] / unit, estimate['high'] / unit


def _call(*words: object) -> None:
    line = ['restac-ros', *map(str, words)]
    print(f'$ {shlex.join(line)}', flush=True)
    status = subprocess.run([sys.executable, '-P', '-m', 'restac_ros.cli', *line[1:]], check=False).returncode
    if status:
        raise GraphError(f'{shlex.join(line)} ended with {status}, expected 0; the same benchmark goes on')
