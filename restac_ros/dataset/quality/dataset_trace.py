"""The traces of a data set's episodes, from its own columns; read with bounded memory, without LeRobot.

What no frame used is not in a data set: rates are those that the converter measured, where it noted them.
"""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import ABOUT, dataset_contract, read_info, streams_of
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.features import NO_SAMPLE_NS, feature_of
from restac_ros.dataset.freezes import ContentWatch, Freeze
from restac_ros.dataset.quality.contact import ContactMeter
from restac_ros.dataset.quality.trace import Still, StreamMessages, TouchTrace, Trace
from restac_ros.dataset.quality.video_freezes import frozen_rows
from restac_ros.dataset.survey import StreamReport, Survey
from restac_ros.framing.frame import StreamStatus
from restac_ros.framing.grid import Grid

BATCH_ROWS = 256
_STILLS = 8


@dataclass
class _Episode:
    """The rows of one episode while they are read."""

    index: int
    still_rows: frozenset[int]
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)
    meters: dict[str, ContactMeter] = field(default_factory=dict)
    levels: dict[str, list[float]] = field(default_factory=dict)
    contents: dict[str, ContentWatch] = field(default_factory=dict)
    stamps_ns: dict[str, int] = field(default_factory=dict)
    strongest: dict[str, tuple[float, int, np.ndarray]] = field(default_factory=dict)
    stills: list[tuple[str, int, np.ndarray]] = field(default_factory=list)

    def column(self, key: str) -> np.ndarray:
        """A column over all rows read."""
        return np.concatenate(self.columns[key])


def dataset_traces(root: Path | str, only: int | None = None) -> Iterator[Trace]:
    """One trace per episode, in order; or that of the episode `only`.

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
        place = {f'{kind}_index': described[only][f'data/{kind}_index'] for kind in ('chunk', 'file')}
        files = [root / info['data_path'].format(**place)]
    for episode in _read(files, contract, streams, described, only):
        yield _trace(root, contract, info, streams, episode, described.get(episode.index, {}))


def _read(
    files: list[Path],
    contract: Contract,
    streams: list[str],
    described: Mapping[int, dict[str, Any]],
    only: int | None,
) -> Iterator[_Episode]:
    """Rows by episode, from files in order."""
    wanted = ['episode_index', 'observation.state', 'action']
    wanted += [f'{kind}.{name}' for name in streams for kind in ('stamp_ns', 'age_ns', 'valid')]
    tactile = {
        name: feature_of(contract, name) for name in streams if contract.streams[name].role == 'tactile'
    }
    current: _Episode | None = None
    for batch in _batches(files, [*wanted, *tactile.values()]):
        indices = batch.column('episode_index').to_numpy()
        for index in np.unique(indices) if only is None else [only] if only in indices else []:
            rows = batch.filter(pa.array(indices == index))
            if current is None or current.index != index:
                if current is not None:
                    yield current
                current = _Episode(int(index), _still_rows(described.get(int(index), {}).get('length', 0)))
            for key in wanted:
                current.columns.setdefault(key, []).append(_values(rows.column(key)))
            for name, feature in tactile.items():
                _read_touch(current, name, rows, feature)
    if current is not None:
        yield current


def _still_rows(rows: int) -> frozenset[int]:
    return frozenset(np.linspace(0, rows - 1, _STILLS).round().astype(int).tolist()) if rows else frozenset()


def _batches(files: list[Path], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for path in files:
        try:
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f'{path} cannot be read: {error}. Restore it, or convert its recordings again.'
            ) from error


def _values(column: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1).astype(np.float64)
    return column.to_numpy(zero_copy_only=False)


def _read_touch(episode: _Episode, name: str, rows: pa.RecordBatch, feature: str) -> None:
    """Contact levels of a tactile stream's images, and which of them are repeated."""
    meter = episode.meters.setdefault(name, ContactMeter())
    content = episode.contents.setdefault(name, ContentWatch())
    levels = episode.levels.setdefault(name, [])
    stamps = rows.column(f'stamp_ns.{name}').to_pylist()
    for stamp_ns, picture in zip(stamps, rows.column(feature).field('bytes').to_pylist(), strict=True):
        try:
            image = np.asarray(Image.open(io.BytesIO(picture), formats=('PNG',)).convert('RGB'))
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(
                f'{feature} of episode {episode.index}: a picture is damaged: {error}'
            ) from error
        if stamp_ns != episode.stamps_ns.get(name):  # not the same sample in two frames
            content.add(np.ascontiguousarray(image).reshape(-1), stamp_ns)
        episode.stamps_ns[name] = stamp_ns
        if len(levels) in episode.still_rows:
            episode.stills.append((name, len(levels), image))
        level = meter.level(image)
        levels.append(np.nan if level is None else level)
        if level is not None and level > episode.strongest.get(name, (0.0,))[0]:
            episode.strongest[name] = (level, len(levels) - 1, image)


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
    known = np.stack(
        [np.where(ages[name] == NO_SAMPLE_NS, -1, stamps[name] + ages[name]) for name in streams]
    )
    time_ns = known.max(axis=0)
    videos = dict(_videos(root, contract, info, streams, described))
    messages, touch = {}, {}
    for name in streams:
        if name in videos:
            rows = frozen_rows(*videos[name], time_ns.size, info['fps'])
            runs = None if rows is None else tuple(_freeze(stamps[name], *run) for run in rows)
        else:
            runs = tuple(episode.contents[name].runs()) if name in episode.contents else ()
        unique = np.unique(stamps[name][stamps[name] != NO_SAMPLE_NS])
        messages[name] = StreamMessages(unique, np.array([], np.int64), complete=False, freezes=runs)
    for name, meter in episode.meters.items():
        strongest = None
        if name in episode.strongest:
            _, row, image = episode.strongest[name]
            strongest = Still(name, (time_ns[row] - time_ns[0]) * 1e-9, image)
        reference = None if meter.reference is None else meter.reference.astype(np.uint8)
        touch[name] = TouchTrace(np.array(episode.levels[name]), meter.threshold, reference, strongest)
    return Trace(
        contract=contract,
        source=f'{root}, episode {episode.index}',
        task='; '.join(described.get('tasks', [])),
        time_ns=time_ns,
        survey=_survey(root, contract, streams, episode, info['fps'], time_ns),
        messages=messages,
        state=episode.column('observation.state'),
        action=episode.column('action'),
        touch=touch,
        stills=tuple(_stills(episode, videos, info['fps'])),
        notes=tuple(_about(root, episode.index).get('notes', ())),
    )


def _freeze(stamps_ns: np.ndarray, first: int, last: int) -> Freeze:
    """Rows that show one image as a run of samples: a sample in two frames counts once."""
    return Freeze(int(stamps_ns[first]), int(stamps_ns[last]), np.unique(stamps_ns[first : last + 1]).size)


def _survey(
    root: Path, contract: Contract, streams: list[str], episode: _Episode, fps: int, time_ns: np.ndarray
) -> Survey:
    """Statuses as the columns tell them; rates as the converter measured them, else of the samples used."""
    columns = {
        name: [episode.column(f'{kind}.{name}').tolist() for kind in ('stamp_ns', 'age_ns', 'valid')]
        for name in streams
    }
    result = Survey(Grid(int(time_ns[0]), fps))
    for row in range(time_ns.size):
        statuses = {name: _status(*(values[row] for values in columns[name])) for name in streams}
        result.statuses.append(statuses)
        result.reasons.append(
            tuple(
                f'{name}: {status.reason}'
                for name, status in statuses.items()
                if contract.streams[name].required and not status.valid
            )
        )
    measured = _measured(root, episode.index)
    for name in streams:
        result.streams[name] = measured.get(name) or _report(contract, name, columns[name][0])
    return result


def _status(stamp_ns: int, age_ns: int, valid: bool) -> StreamStatus:
    if age_ns == NO_SAMPLE_NS:
        return StreamStatus(None, None, None, valid=False, reason='missing: nothing received')
    reason = '' if valid else f'marked invalid: age {age_ns / 1e6:.0f} ms'
    return StreamStatus(stamp_ns, None, age_ns, valid=valid, reason=reason)


def _measured(root: Path, index: int) -> dict[str, StreamReport]:
    """What the converter noted of an episode's streams; empty where it noted nothing."""
    known = {entry.name for entry in fields(StreamReport)}
    try:
        return {
            name: StreamReport(**{key: value for key, value in values.items() if key in known})
            for name, values in _about(root, index).get('streams', {}).items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise _damaged(root, index, error) from error


def _about(root: Path, index: int) -> dict[str, Any]:
    """The converter's report of an episode; empty where there is none."""
    path = _about_file(root, index)
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(about, dict):
            raise ValueError('no JSON object')
        return about
    except ValueError as error:
        raise _damaged(root, index, error) from error


def _about_file(root: Path, index: int) -> Path:
    return root / ABOUT / 'episodes' / f'episode_{index:06d}.json'


def _damaged(root: Path, index: int, error: Exception) -> DatasetError:
    found = f'{_about_file(root, index)} is damaged: {error}'
    return DatasetError(f'{found}. Remove it, or convert the recording again.')


def _report(contract: Contract, name: str, stamps: list[int]) -> StreamReport:
    unique = sorted({stamp for stamp in stamps if stamp != NO_SAMPLE_NS})
    span_ns = unique[-1] - unique[0] if len(unique) > 1 else 0
    rate_hz = (len(unique) - 1) * 1e9 / span_ns if span_ns else 0.0
    return StreamReport(len(unique), round(rate_hz, 3), contract.streams[name].rate_hz)


def _videos(
    root: Path, contract: Contract, info: dict[str, Any], streams: list[str], described: dict[str, Any]
) -> Iterator[tuple[str, tuple[Path, float]]]:
    """Each camera's video file, and where in it the episode begins, s."""
    for name in (name for name in streams if contract.streams[name].role == 'camera'):
        key = feature_of(contract, name)
        if f'videos/{key}/from_timestamp' not in described:
            continue
        place = {part: described[f'videos/{key}/{part}_index'] for part in ('chunk', 'file')}
        path = root / info['video_path'].format(
            video_key=key, chunk_index=place['chunk'], file_index=place['file']
        )
        if not path.resolve().is_relative_to(root.resolve()):
            raise DatasetError(
                f'{root}: meta/info.json places videos outside the data set: {info["video_path"]}'
            )
        yield name, (path, described[f'videos/{key}/from_timestamp'])


def _stills(episode: _Episode, videos: Mapping[str, tuple[Path, float]], fps: float) -> Iterator[Still]:
    """A few pictures of each camera, decoded from the videos, and of each tactile sensor."""
    rows = sorted(episode.still_rows)
    for name, (path, begin_s) in videos.items():
        yield from _video_stills(path, name, [(row / fps, begin_s + row / fps) for row in rows])
    yield from (Still(name, row / fps, image) for name, row, image in episode.stills)


def _video_stills(path: Path, name: str, times_s: list[tuple[float, float]]) -> Iterator[Still]:
    try:
        with av.open(str(path)) as video:
            stream = video.streams.video[0]
            for time_s, at_s in times_s:
                video.seek(int(at_s * av.time_base))
                for frame in video.decode(stream):
                    if frame.time >= at_s - 1e-3:
                        yield Still(name, time_s, frame.to_ndarray(format='rgb24'))
                        break
    except (OSError, av.FFmpegError) as error:
        raise DatasetError(
            f'{path} cannot be decoded: {error}. Restore it, or convert its recordings again.'
        ) from error
