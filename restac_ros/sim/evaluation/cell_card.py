"""The card of a policy of the cell, in Markdown: what it learnt from, what it does, where it fails."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from restac_ros.model.checkpoint.provenance import Origin
from restac_ros.model.checkpoint.store import CheckpointInfo
from restac_ros.sim.cell.parameters import CellError
from restac_ros.sim.evaluation.cell_figures import CellFigures
from restac_ros.sim.evaluation.cell_report import COLUMNS, CellReport
from restac_ros.sim.evaluation.conditions import AS_IT_IS
from restac_ros.sim.evaluation.settings import SimEvaluationConfig

_LEFT_TO_THE_PAGE = {
    'aligned',
    'inserted if aligned',
    'alignment [s]',
    'interaction [s]',
    'mean [N]',
    'rise [ms]',
    'halted',
    'dropped',
}
_TRAINING = ('train', 'distil')
_COPYING = ('quantise', 'merge-lora')  # leave the steps and the seed of the checkpoint that they copy
_SHOWN = [name for name in COLUMNS if name not in _LEFT_TO_THE_PAGE]


@dataclass(frozen=True)
class ShownData:
    """Demonstrations that a policy was made with.

    Attributes:
        identity: name and fingerprint, as checkpoints keep them.
        episodes: how many they are; several may be of one scene, and a person's have no seed.
        seeds: of their scenes.
    """

    identity: str
    episodes: int
    seeds: frozenset[int]


def known_use(info: CheckpointInfo, data: ShownData) -> str:
    """Return what a checkpoint says that these data were used for.

    Raises:
        CellError: it does not name their fingerprint.
    """
    contact = info.calibration and info.calibration.contact
    uses = {'the policy was trained on': info.origin.data, 'the gate was set with': contact and contact.data}
    fingerprint = data.identity.rpartition(' ')[2]
    for use, named in uses.items():
        if any(one.endswith(fingerprint) for one in named or ()):
            return use
    expected = ', '.join(one for named in uses.values() for one in named or ()) or 'none'
    raise CellError(
        f'data: found {data.identity}, expected what the first checkpoint was made with: {expected}; name '
        'others, or none'
    )


def shared_seeds(settings: SimEvaluationConfig, data: ShownData) -> str:
    """Return a sentence about seeds of demonstrations that are evaluated, too; '' where there are none."""
    evaluated = range(settings.first_seed, settings.first_seed + settings.seeds)
    if not (shared := data.seeds.intersection(evaluated)):
        return ''
    return (
        f'{data.identity}: seeds {_ranges(shared)} are evaluated, too, which tells nothing about new scenes; '
        'give another --first-seed'
    )


def write_card(report: CellReport, info: CheckpointInfo, shown: Sequence[ShownData], path: Path) -> None:
    """Write the card of a report's first checkpoint.

    Args:
        report: of the closed loop.
        info: of the first checkpoint.
        shown: data that it was made with, whose seeds are to be named.
        path: of the file.

    Raises:
        CellError: data that it was not made with; the file cannot be written.
    """
    text = ''.join(f'{line}\n' for line in _card(report, info, {one: known_use(info, one) for one in shown}))
    try:
        path.write_text(text, encoding='utf-8')
    except OSError as error:
        raise CellError(
            f'{path}: the card cannot be written: {error.strerror or error}; give another --card'
        ) from error


def _card(report: CellReport, info: CheckpointInfo, uses: Mapping[ShownData, str]) -> Iterator[str]:
    first, settings = report.checkpoints[0], report.settings
    yield f'# {first.name}: a policy for the simulated cell'
    yield ''
    yield (
        f'Task "{report.prompt}", contract {report.contract}. Checkpoint {first.fingerprint}, '
        f'{first.fusion}. Written by `restac-ros sim evaluate --card`.'
    )
    yield ''
    yield '## How it was made'
    yield ''
    yield from _made(info)
    for one, use in uses.items():
        yield f'- {one.episodes} demonstrations that {use}: {one.identity}, seeds {_ranges(one.seeds)}'
        if shared := shared_seeds(settings, one):
            yield f'- **{shared}**'
    yield ''
    yield '## What it does'
    yield ''
    yield (
        f'{settings.seeds} scenes of `{report.command}`, the same for all. {report.conduct()} Shares have '
        "Wilson's 95 % intervals; differences are in points, over the same scenes, with Newcombe's 95 % "
        "intervals and p of McNemar's exact test. The gate is held against true contact."
    )
    yield ''
    yield f'| {" | ".join(_SHOWN)} |'
    yield f'|{"---|" * len(_SHOWN)}'
    for row in report.rows():
        texts = dict(zip(COLUMNS, row, strict=True))
        yield f'| {" | ".join(texts[name].replace("|", "/") for name in _SHOWN)} |'
    yield ''
    yield '## What it cannot do'
    yield ''
    yield from _failures([one for one in report.figures if one.checkpoint == first.name])
    yield (
        '- It knows one plug, one socket and one task of the simulated cell. It loads under any '
        f'contract that agrees with {report.contract} in what its numbers and images mean, also that of a '
        'real arm; nothing here says what it would do there.'
    )


def _made(info: CheckpointInfo) -> Iterator[str]:
    origin: Origin = info.origin
    weights = Path(origin.weights).name
    command = origin.made_by.partition(' ')[0]
    drawn = '' if origin.seed is None or command in _COPYING else f', seed {origin.seed}'
    mean = '' if origin.ema_decay is None else f', mean of weights with decay {origin.ema_decay:g}'
    if command in _TRAINING:
        yield f'- `restac-ros {origin.made_by}`: {origin.step} steps from {weights}{drawn}{mean}'
    else:
        yield f'- made from {weights}{drawn} by `restac-ros {origin.made_by}`'
    if origin.flow_steps is not None:
        yield f'- distilled: a chunk takes {origin.flow_steps} Euler steps'
    yield f'- trained on {", ".join(origin.data) or "nothing that it names"}'
    if info.calibration is not None:
        contact = info.calibration.contact
        share = (
            ''
            if contact is None
            else f'; contact (by {contact.labels}) has logvar above free space with AUROC {contact.auroc:.3f}'
        )
        yield f'- gate set with {info.calibration.source}{share}'


def _failures(figures: Sequence[CellFigures]) -> Iterator[str]:
    plain = next(one for one in figures if one.condition == AS_IT_IS)
    failed = plain.attempts - round(plain.success.value * plain.attempts)
    yield (
        f'- With nothing changed it fails in {failed} of {plain.attempts} scenes. {plain.halted} attempts '
        f'ended halted, {plain.dropped} without the plug.'
    )
    worst = min(figures, key=lambda one: one.success.value)
    if worst is not plain:
        yield f'- It is worst with *{worst.condition}*: inserted in {worst.success.value:.0%}.'


def _ranges(seeds: frozenset[int]) -> str:
    """Name seeds in order, as '3 to 5, 9'."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ', '.join(str(first) if first == last else f'{first} to {last}' for first, last in spans) or 'none'
