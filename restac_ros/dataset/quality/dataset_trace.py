"""Traces a data set's episodes by its own columns, with bounded memory and without LeRobot.

What no frame used is not in a data set: rates are those that the converter measured, where it noted them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import data_file, dataset_contract, read_info, streams_of, video_file
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.episode_notes import damaged_notes, episode_notes
from restac_ros.dataset.features import BOOKKEEPING, NO_SAMPLE_NS, feature_of
from restac_ros.dataset.freezes import ContentWatch, Freeze
from restac_ros.dataset.image_files import decoded_picture, images_from, undecodable
from restac_ros.dataset.quality.trace import STILLS, Still, StreamMessages, TouchWatch, Trace
from restac_ros.dataset.quality.video_freezes import frozen_rows
from restac_ros.dataset.survey import StreamReport, Survey
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.grid import Grid

BATCH_ROWS = 256


class _Episode:
    """The rows of one episode while they are read; images only become contact levels, freezes and stills."""

    def __init__(self, index: int, rows: int, tactile: Mapping[str, str]) -> None:
        self.index = index
        self.still_rows = np.unique(np.linspace(0, max(rows - 1, 0), STILLS).round().astype(int)).tolist()
        self.touch = {name: TouchWatch(name) for name in tactile}
        self.contents = {name: ContentWatch() for name in tactile}
        self.stills: list[tuple[str, int, np.ndarray]] = []
        self._tactile = tactile
        self._rows = 0
        self._columns: dict[str, list[np.ndarray]] = defaultdict(list)
        self._stamps_ns: dict[str, int] = {}

    def add(self, rows: pa.RecordBatch) -> None:
        """Add the next rows."""
        for key in rows.schema.names:
            if key not in self._tactile.values():
                self._columns[key].append(_values(rows.column(key)))
        for name, feature in self._tactile.items():
            pictures = rows.column(feature).field('bytes').to_pylist()
            stamps_ns = rows.column(f'stamp_ns.{name}').to_pylist()
            for row, (picture, stamp_ns) in enumerate(zip(pictures, stamps_ns, strict=True), self._rows):
                self._add_image(name, decoded_picture(picture, feature, self.index), stamp_ns, row)
        self._rows += rows.num_rows

    def column(self, key: str) -> np.ndarray:
        """Return a column over all rows read, [rows, ...]."""
        return np.concatenate(self._columns[key])

    def _add_image(self, name: str, image: np.ndarray, stamp_ns: int, row: int) -> None:
        if stamp_ns != self._stamps_ns.get(name):  # not the same sample in two frames
            self.contents[name].add(np.ascontiguousarray(image).reshape(-1), stamp_ns)
        self._stamps_ns[name] = stamp_ns
        self.touch[name].add(image)
        if row in self.still_rows:
            self.stills.append((name, row, image))


def dataset_traces(root: Path | str, only: int | None = None) -> Iterator[Trace]:
    """Yield one trace per episode, in order; or that of the episode `only`.

    Raises:
        DatasetError: no data set of this package, or its files are damaged.
        ContractError: its contract is not valid.
    """
    root = Path(root)
    contract, info = dataset_contract(root), read_info(root)
    streams = streams_of(root, contract)
    described = episode_rows(root)
    files = sorted((root / 'data').glob('*/*.parquet'))
    if only is not None:
        files = [data_file(root, info, described[only])]
    for episode in _read(files, contract, streams, described, only):
        yield _trace(root, contract, info, streams, episode, described.get(episode.index, {}))


def _read(
    files: list[Path],
    contract: Contract,
    streams: list[str],
    described: Mapping[int, dict[str, Any]],
    only: int | None,
) -> Iterator[_Episode]:
    """Yield rows by episode, from files in order."""
    wanted = ['episode_index', 'observation.state', 'action']
    wanted += [f'{kind}.{name}' for name in streams for kind in BOOKKEEPING]
    tactile = {name: feature_of(contract, name) for name in contract.by_role('tactile') if name in streams}
    current: _Episode | None = None
    for batch in _batches(files, [*wanted, *tactile.values()]):
        indices = batch.column('episode_index').to_numpy()
        for index in np.unique(indices).tolist() if only is None else [only] if only in indices else []:
            if current is None or current.index != index:
                if current is not None:
                    yield current
                current = _Episode(index, described.get(index, {}).get('length', 0), tactile)
            current.add(batch.filter(pa.array(indices == index)))
    if current is not None:
        yield current


def _batches(files: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        try:
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise undecodable(path, error) from error


def _values(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float64)
    return column.to_numpy(zero_copy_only=False)


def _trace(
    root: Path,
    contract: Contract,
    info: dict[str, Any],
    streams: list[str],
    episode: _Episode,
    described: dict[str, Any],
) -> Trace:
    stamps = {name: episode.column(f'stamp_ns.{name}') for name in streams}
    ages = {name: episode.column(f'age_ns.{name}') for name in streams}
    # Each sample's stamp and age add up to the frame's time.
    known = [np.where(ages[name] == NO_SAMPLE_NS, -1, stamps[name] + ages[name]) for name in streams]
    time_ns = np.stack(known).max(axis=0)
    videos = dict(_videos(root, contract, info, described))
    notes = episode_notes(root, episode.index)
    messages = {}
    for name in streams:
        runs: tuple[Freeze, ...] | None = ()
        if name in videos:
            rows = frozen_rows(*videos[name], time_ns.size, info['fps'])
            runs = None if rows is None else tuple(_freeze(stamps[name], *run) for run in rows)
        elif name in episode.contents:
            runs = tuple(episode.contents[name].runs())
        unique = np.unique(stamps[name][stamps[name] != NO_SAMPLE_NS])
        messages[name] = StreamMessages(unique, np.array([], np.int64), complete=False, freezes=runs)
    survey = _survey(contract, streams, episode, Grid(int(time_ns[0]), info['fps']))
    measured = _measured(root, episode.index, notes)
    for name in streams:
        survey.streams[name] = measured.get(name) or _report(contract, name, messages[name])
    return Trace(
        contract=contract,
        source=f'{root}, episode {episode.index}',
        task='; '.join(described.get('tasks', [])),
        time_ns=time_ns,
        survey=survey,
        messages=messages,
        state=episode.column('observation.state'),
        action=episode.column('action'),
        touch={name: touch.trace(time_ns) for name, touch in episode.touch.items()},
        stills=tuple(_stills(episode, videos, info['fps'])),
        notes=tuple(notes.get('notes', ())),
    )


def _freeze(stamps_ns: np.ndarray, first: int, last: int) -> Freeze:
    """Return rows that show one image as a run of samples: a sample in two frames counts once."""
    return Freeze(int(stamps_ns[first]), int(stamps_ns[last]), np.unique(stamps_ns[first : last + 1]).size)


def _survey(contract: Contract, streams: list[str], episode: _Episode, grid: Grid) -> Survey:
    """Return the statuses that the columns hold."""
    columns = {
        name: zip(*(episode.column(f'{kind}.{name}').tolist() for kind in BOOKKEEPING), strict=True)
        for name in streams
    }
    result = Survey(grid)
    for row in zip(*columns.values(), strict=True):
        statuses = {name: _status(*values) for name, values in zip(columns, row, strict=True)}
        result.statuses.append(statuses)
        invalid = (name for name, status in statuses.items() if not status.valid)
        required = (name for name in invalid if contract.streams[name].required)
        result.reasons.append(tuple(f'{name}: {statuses[name].reason}' for name in required))
    return result


def _status(stamp_ns: int, age_ns: int, valid: bool) -> StreamStatus:
    if age_ns == NO_SAMPLE_NS:
        return StreamStatus(None, None, None, valid=False, reason='missing: nothing received')
    reason = '' if valid else f'marked invalid: age {age_ns / 1e6:.0f} ms'
    return StreamStatus(stamp_ns, None, age_ns, valid=valid, reason=reason)


def _measured(root: Path, index: int, notes: dict[str, Any]) -> dict[str, StreamReport]:
    """Return what the converter measured of an episode's streams, where it noted that."""
    known = {entry.name for entry in fields(StreamReport)}
    try:
        return {
            name: StreamReport(**{key: value for key, value in values.items() if key in known})
            for name, values in notes.get('streams', {}).items()
        }
    except (AttributeError, TypeError) as error:
        raise damaged_notes(root, index, error) from error


def _report(contract: Contract, name: str, seen: StreamMessages) -> StreamReport:
    """Return a report on the samples that frames used."""
    report = StreamReport(declared_rate_hz=contract.streams[name].rate_hz)
    report.count(seen.stamps_ns)
    return report


def _videos(
    root: Path, contract: Contract, info: dict[str, Any], described: dict[str, Any]
) -> Iterator[tuple[str, tuple[Path, float]]]:
    """Yield each camera's video file, and where in it the episode begins, s."""
    for name in contract.by_role('camera'):
        key = feature_of(contract, name)
        if (begin_s := described.get(f'videos/{key}/from_timestamp')) is not None:
            yield name, (video_file(root, info, key, described), begin_s)


def _stills(episode: _Episode, videos: Mapping[str, tuple[Path, float]], fps: float) -> Iterator[Still]:
    """Yield a few images of each camera, decoded from the videos, and of each tactile sensor."""
    for name, (path, begin_s) in videos.items():
        try:
            with av.open(str(path)) as video:
                for row in episode.still_rows:
                    if (image := next(images_from(video, begin_s + row / fps), None)) is not None:
                        yield Still(name, row / fps, image)
        except (OSError, av.FFmpegError) as error:
            raise undecodable(path, error) from error
    yield from (Still(name, row / fps, image) for name, row, image in episode.stills)
