"""Imports runs as episodes of a LeRobot data set, one by one: after an interrupt the same call goes on."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from restac_ros.contract.errors import did_you_mean
from restac_ros.contract.load import dump_contract, parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.episode_notes import converted_recordings, deleted_recordings
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import (
    NO_SAMPLE_NS,
    feature_of,
    image_columns,
    stored_streams,
)
from restac_ros.dataset.hierarchical.instructions import Instructions, RunTexts
from restac_ros.dataset.hierarchical.layout import DemonstrationRun, find_runs, folders, images_in
from restac_ros.dataset.hierarchical.numbers import RunNumbers, Space, read_numbers
from restac_ros.dataset.language import EpisodeWords, TimedText
from restac_ros.framing.resize import letterbox, resize_tactile
from restac_ros.framing.values import state_change

HERE = '.'  # images in the directory of the run itself
_SHOWN_FAULTS = 10


@dataclass(frozen=True)
class ImportRequest:
    """What to import.

    Attributes:
        root: directory of demonstrations.
        dataset: LeRobot data set, made if absent.
        contract: what a state is; its `fps` is the rate of the data.
        instructions: JSON of texts; None: names of directories.
        names_stand_in: directories without an entry are called by their names.
        space: what the numbers are.
        cameras: stream of each camera folder; others must have the name of a stream, '' leaves a folder out.
    """

    root: Path
    dataset: Path
    contract: Contract
    instructions: Path | None = None
    names_stand_in: bool = False
    space: Space = 'pose'
    cameras: Mapping[str, str] = field(default_factory=dict)


class PlannedRun(NamedTuple):
    """A run whose numbers and texts are whole; its images are counted, not opened."""

    run: DemonstrationRun
    texts: RunTexts
    images: Mapping[str, list[Path]]  # by stream
    frames: int
    identity: str


class ImportedRun(NamedTuple):
    """What became of a run: an episode, the one that it is already, or a refusal."""

    run: DemonstrationRun
    episode: int | None = None
    already: bool = False
    deleted: bool = False
    refusal: str = ''


@dataclass(frozen=True)
class ImportPlan:
    """All runs, checked.

    Attributes:
        request: what was asked for.
        contract: the request's; images that no run has are not required.
        runs: in natural order.
        notes: entries of the JSON that nothing is of.
    """

    request: ImportRequest
    contract: Contract
    runs: tuple[PlannedRun, ...]
    notes: tuple[str, ...]


def at_rate(contract: Contract, fps: int) -> Contract:
    """Return the contract for data of `fps` frames/s: every frame has images and numbers of its own."""
    streams = {
        name: stream.model_copy(update={'rate_hz': max(stream.rate_hz, fps)})
        for name, stream in contract.streams.items()
    }
    made = contract.model_copy(update={'fps': fps, 'streams': streams})
    return parse_contract(dump_contract(made), 'contract at the rate asked for')


def plan_import(request: ImportRequest) -> ImportPlan:
    """Read all texts and numbers, and count the images; nothing is written.

    Raises:
        DatasetError: what is wrong, of up to ten runs.
    """
    instructions = Instructions.read(
        request.instructions, names_stand_in=request.names_stand_in or request.instructions is None
    )
    runs = find_runs(request.root)
    planned: list[PlannedRun] = []
    faults: list[str] = []
    for run in runs:
        try:
            planned.append(_planned(request, run, instructions))
        except DatasetError as error:
            faults.append(str(error))
    faults = list(dict.fromkeys(faults))
    if not faults:
        faults = list(_differing_cameras(planned))
    if faults:
        more = f'\n  and {len(faults) - _SHOWN_FAULTS} more' if len(faults) > _SHOWN_FAULTS else ''
        raise DatasetError('\n  '.join(faults[:_SHOWN_FAULTS]) + more)
    contract = _contract_of(request.contract, planned[0].images)
    notes = tuple(f'{place}: nothing in {request.root} is of it' for place in instructions.unused(runs))
    return ImportPlan(request, contract, tuple(planned), notes)


def import_runs(plan: ImportPlan) -> Iterator[ImportedRun]:
    """Append the runs that the data set does not hold yet; yield what became of each, in their order.

    Whatever stops it leaves a data set of whole episodes. A run whose images cannot be read is refused, and
    the next is imported.

    Raises:
        DatasetError: no episodes can be appended to the data set.
    """
    root = dataset_place(plan.request.dataset)
    held, deleted = converted_recordings(root), deleted_recordings(root)
    for planned in plan.runs:
        if planned.identity in held:
            yield ImportedRun(planned.run, held[planned.identity], already=True)
        elif planned.identity in deleted:
            yield ImportedRun(planned.run, deleted=True)
        else:
            try:
                index = _append(plan, planned, root)
            except ImageError as error:
                yield ImportedRun(planned.run, refusal=str(error))
                continue
            held[planned.identity] = index
            yield ImportedRun(planned.run, index)


class ImageError(DatasetError):
    """An image of a run cannot be read."""


def _planned(request: ImportRequest, run: DemonstrationRun, instructions: Instructions) -> PlannedRun:
    texts = instructions.texts(run)
    numbers = read_numbers(run.path, request.contract, request.space)
    images = _images(request, run.path)
    for stream, paths in images.items():
        if len(paths) != len(numbers.states):
            raise DatasetError(
                f'{run.path}: found {len(paths)} images of {stream} and {len(numbers.states)} states, '
                'expected as many: a missing image would shift all after it'
            )
    identity = _identity(request.root, run.path, numbers, images)
    return PlannedRun(run, texts, images, len(numbers.states), identity)


def _images(request: ImportRequest, run: Path) -> dict[str, list[Path]]:
    """Return the images of each stream, by folder as asked for, else by the folder's name."""
    streams = image_columns(request.contract)
    found: dict[str, list[Path]] = {}
    for folder in [run, *folders(run)]:
        name = HERE if folder == run else folder.name
        paths = images_in(folder)
        stream = request.cameras.get(name, name)
        if not paths or not stream:
            continue
        if stream not in streams:
            raise DatasetError(
                f'{folder}: found images in a folder {name!r}, expected the name of a stream, or '
                f'--cameras {name} STREAM; {did_you_mean(stream, streams)}. --cameras {name} "" leaves it out'
            )
        if stream in found:
            raise DatasetError(
                f'{run}: found two folders of stream {stream}, expected one: choose by --cameras'
            )
        found[stream] = paths
    if not found:
        raise DatasetError(f'{run}: found no images, expected a folder of .png or .jpg for each camera')
    return found


def _differing_cameras(planned: list[PlannedRun]) -> Iterator[str]:
    first = planned[0]
    for other in planned[1:]:
        if set(other.images) != set(first.images):
            yield (
                f'{other.run.path}: found images of {sorted(other.images)}, expected {sorted(first.images)} '
                f'as in {first.run.path}: all episodes of a data set have the same cameras'
            )


def _contract_of(contract: Contract, images: Mapping[str, object]) -> Contract:
    """Return the contract in which images that the runs lack may be absent."""
    absent = {name: contract.streams[name] for name in image_columns(contract) if name not in images}
    optional = {name: stream.model_copy(update={'required': False}) for name, stream in absent.items()}
    return contract.model_copy(update={'streams': {**contract.streams, **optional}})


def _identity(root: Path, run: Path, numbers: RunNumbers, images: Mapping[str, list[Path]]) -> str:
    """Return a SHA-256 to recognise a run by: its place, its numbers, names and sizes of its images."""
    total = hashlib.sha256(f'{run.relative_to(root).as_posix()}\n'.encode())
    for values in numbers:
        total.update(np.ascontiguousarray(values).tobytes())
    for stream, paths in sorted(images.items()):
        for path in paths:
            total.update(f'{stream} {path.name} {path.stat().st_size}\n'.encode())
    return total.hexdigest()


def _append(plan: ImportPlan, planned: PlannedRun, root: Path) -> int:
    from restac_ros.dataset.writer import appending  # loads torch, for seconds, which a refusal does not need

    contract, request = plan.contract, plan.request
    numbers = read_numbers(planned.run.path, request.contract, request.space)
    columns = {feature_of(contract, stream) for stream in planned.images}
    streams = stored_streams(contract, columns)
    states, actions = (values.astype(np.float32) for values in numbers)
    with appending(root, contract, streams, planned.texts.task) as writer:
        for frame in range(planned.frames):
            changed = state_change(contract, states[frame], states[max(frame - 1, 0)])
            row = {
                feature_of(contract, stream): _image(contract, stream, paths[frame])
                for stream, paths in planned.images.items()
            }
            row |= {'observation.state': states[frame], 'action': actions[frame]}
            row[writer.action_prev] = changed.astype(np.float32)
            for stream in streams:  # when they were captured is not known
                row |= {
                    f'{kind}.{stream}': np.array([NO_SAMPLE_NS], np.int64) for kind in ('stamp_ns', 'age_ns')
                }
                row[f'valid.{stream}'] = np.array([True])
            writer.add(row)
        writer.words = EpisodeWords((TimedText(0.0, planned.texts.subtask),), planned.texts.to_come)
        writer.about = {
            'imported_from': str(planned.run.path),
            'task': planned.texts.task,
            'episode_index': writer.index,
            'fingerprint': planned.identity,
        }
    return writer.index


def _image(contract: Contract, stream: str, path: Path) -> NDArray[np.uint8]:
    found = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise ImageError(f'{path}: found no image that can be decoded, expected a whole .png or .jpg')
    image = cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    return letterbox(image) if contract.streams[stream].role == 'camera' else resize_tactile(image)
