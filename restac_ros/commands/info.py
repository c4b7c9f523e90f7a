"""Describes a recording, a data set or a checkpoint on one page."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from restac_ros.commands.terminal import coloured, counted
from restac_ros.contract.errors import ContractError
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import ENDINGS, Bag, open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.dataset_files import ABOUT, dataset_contract, is_dataset, read_info
from restac_ros.dataset.dataset_tables import episode_rows
from restac_ros.dataset.errors import DatasetError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.quality.quality_file import read_verdicts
from restac_ros.dataset.recording_kind import holds_bag, kind_of
from restac_ros.model.checkpoint.store import MANIFEST, load_info
from restac_ros.model.device import describe_device

SHOWN_EPISODES = 20


class InfoError(FileNotFoundError):
    """A path holds nothing that can be described; the text names what was expected."""


def print_info(path: Path, console: Console | None = None) -> None:
    """Print the description of a path.

    Raises:
        InfoError: it is none of what can be described.
        BagError, DatasetError, ContractError, CheckpointError: it is one, but cannot be read.
    """
    console = console or Console()
    for line in describe(path):
        console.print(line, soft_wrap=isinstance(line, str), highlight=False)


def describe(path: Path) -> Iterator[RenderableType]:
    """Yield lines and tables; see `print_info`."""
    if not path.exists():
        raise InfoError(f'{path} does not exist. Give a bag, a journal, a data set or a checkpoint.')
    if (path / MANIFEST).is_file():
        return _checkpoint(path)
    if is_dataset(path):
        return _dataset(path)
    if path.suffix == '.bag' or holds_bag(path):
        return _recording(path)
    inside = (
        f'{MANIFEST} (a checkpoint), meta/info.json (a data set), or {" or ".join(ENDINGS)} files (a bag)'
    )
    found = 'a directory without any of' if path.is_dir() else 'a file that is none of'
    raise InfoError(
        f'{path} is {found} {inside}. Give the directory that holds one directly; '
        '`restac-ros list` shows what is inside.'
    )


def _recording(path: Path) -> Iterator[RenderableType]:
    bag = open_bag(path)
    notes = read_notes(bag)
    kind = kind_of(bag)
    if path.name.endswith(PARTIAL):
        kind = 'journal, unfinished: still being recorded, or left by a crash (then `restac-ros recover`)'
    yield _title(path, kind)
    yield f'size: {_size(path)}'
    if bag.bounds_ns:
        first, last = bag.bounds_ns
        yield f'begun: {_date(first)}, length: {(last - first) / 1e9:.2f} s'
    text = notes.contract_text
    contract = None if text is None else parse_contract(text, f'contract in {path}')
    if kind != 'bag':
        yield f'task: {escape(notes.task or "none given")}'
    if len(notes.segments) > 1:
        lengths = ', '.join(f'{(end_ns - start_ns) / 1e9:.2f} s' for start_ns, end_ns in notes.segments)
        yield f'paused: {len(notes.segments)} stretches, an episode each: {lengths}'
    if contract:
        yield _contract_line(contract)
    yield _topics(bag, contract)
    yield from (f'[yellow]{escape(note)}[/]' for note in bag.notes)
    if kind != 'session log':
        yield from _verdict_lines(path)


def _topics(bag: Bag, contract: Contract | None) -> Table:
    """Make a table of messages and mean rate of every topic, beside what the contract declares."""
    declared = {}
    if contract:
        for topic, names in contract.by_topic().items():
            declared[topic] = ', '.join(names), max(contract.streams[name].rate_hz for name in names)
    first, last = bag.bounds_ns or (0, 0)
    table = Table()
    for heading in ('topic', 'type'):
        table.add_column(heading, overflow='fold')
    for heading in ('messages', 'mean rate', *(('declared', 'stream') if contract else ())):
        table.add_column(heading, justify='right', no_wrap=True)
    for topic, (kind, count) in bag.topics.items():
        rate = f'{(count - 1) * 1e9 / (last - first):.1f} Hz' if last > first and count > 1 else '-'
        row = [topic, kind, str(count), rate]
        if contract:
            name, rate_hz = declared.get(topic, ('-', 0.0))
            row += [f'{rate_hz:g} Hz' if rate_hz else '-', name]
        table.add_row(*row)
    return table


def _dataset(path: Path) -> Iterator[RenderableType]:
    about = read_info(path)
    yield _title(path, f'LeRobot data set {escape(str(about.get("codebase_version", "of unknown version")))}')
    yield f'size: {_size(path)}'
    if missing := [key for key in ('total_frames', 'total_episodes', 'fps', 'features') if key not in about]:
        raise DatasetError(f'{path}: meta/info.json lacks {", ".join(missing)}. Restore it from a copy.')
    frames, fps, episodes = about['total_frames'], about['fps'], about['total_episodes']
    yield f'{counted(episodes, "episode")}, {frames} frames at {fps} fps: {frames / fps:.1f} s'
    try:
        yield _contract_line(dataset_contract(path))
    except DatasetError:
        yield f'contract: none in {ABOUT}, so it was not made by this package'
    yield _features(about['features'])
    yield from _episodes(path, fps)
    yield from _verdict_lines(path)


def _features(features: dict[str, dict]) -> Table:
    table = Table()
    table.add_column('column', no_wrap=True, min_width=max(map(len, features), default=0))
    for heading in ('type', 'shape'):
        table.add_column(heading, overflow='fold')
    for key, feature in features.items():
        if not key.startswith(('stamp_ns.', 'age_ns.', 'valid.')):
            table.add_row(key, feature['dtype'], ' x '.join(map(str, feature['shape'])))
    streams = [key.removeprefix('stamp_ns.') for key in features if key.startswith('stamp_ns.')]
    if streams:
        table.add_row('stamp_ns, age_ns, valid', 'int64, bool', f'of each of {", ".join(streams)}')
    return table


def _episodes(path: Path, fps: int) -> Iterator[RenderableType]:
    """Yield the last episodes, with their verdicts where there is a report."""
    rows = episode_rows(path)
    verdicts = read_verdicts(path)
    table = Table('episode', 'length', 'task', 'verdict')
    for index in sorted(rows)[-SHOWN_EPISODES:]:
        row, verdict = rows[index], verdicts.episodes[index] if index < len(verdicts.episodes) else ''
        task = escape('; '.join(row['tasks']))
        table.add_row(str(index), f'{row["length"] / fps:.1f} s', task, coloured(verdict) or '-')
    if len(rows) > SHOWN_EPISODES:
        yield f'the last {SHOWN_EPISODES} of {len(rows)} episodes:'
    yield table
    tasks = sorted({task for row in rows.values() for task in row['tasks']})
    yield f'{counted(len(tasks), "task")}: {escape("; ".join(tasks[:10]))}'


def _checkpoint(path: Path) -> Iterator[RenderableType]:
    about = load_info(path, checksums=False)
    config = about.config
    yield _title(path, 'checkpoint')
    yield f'size: {_size(path)}'
    table = Table('part', 'value')
    table.add_row('model', f'fusion {config.fusion}, gate {config.gate}, state as {config.state_input}')
    table.add_row('chunk', f'{config.action_horizon} steps of {config.action_dim} dimensions')
    for name, part in (('PaliGemma', config.paligemma), ('action expert', config.action_expert)):
        table.add_row(name, f'width {part.width}, depth {part.depth}')
    table.add_row('tactile encoder', escape(str(config.tactile.kind)) if config.tactile else 'none')
    table.add_row('tokenizer', 'its own' if about.tokenizer else "PaliGemma's")
    for key, value in about.origin.to_dict().items():
        shown = len(value) if key == 'episodes' else value  # digests
        table.add_row(f'origin: {escape(key)}', escape(str(shown)))
    table.add_row(
        'calibration', escape(json.dumps(about.calibration.to_dict())) if about.calibration else 'none'
    )
    table.add_row('here', escape(describe_device()))
    table.add_row('written with', ', '.join(f'{key} {value}' for key, value in about.versions.items()))
    yield table
    try:
        yield _contract_line(parse_contract(about.contract_text, f'contract in {path}'))
    except ContractError as error:
        yield f'[red]contract: {escape(str(error))}[/]'


def _contract_line(contract: Contract) -> str:
    return f'contract: {escape(contract.name)}, {contract.fps} fps, digest {contract.digest()[:12]}'


def _verdict_lines(path: Path) -> Iterator[str]:
    verdicts = read_verdicts(path)
    if verdicts.file is None:
        yield f'quality: not assessed; `restac-ros quality {escape(shlex.quote(str(path)))}` does it'
        return
    yield f'quality: {coloured(verdicts.verdict)} ({escape(str(verdicts.file.with_suffix(".html")))})'
    yield from (f'  {escape(text)}' for text in verdicts.reasons)


def _title(path: Path, kind: str) -> str:
    return f'[bold]{escape(str(path))}[/]: {kind}'


def _size(path: Path) -> str:
    files = [path] if path.is_file() else [file for file in path.rglob('*') if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    text = f'{total / 1e9:.2f} GB' if total >= 1e9 else f'{total / 1e6:.1f} MB'
    return f'{text} in {counted(len(files), "file")}'


def _date(time_ns: int) -> str:
    return str(np.datetime64(time_ns, 'ns').astype('datetime64[s]')).replace('T', ' ') + ' UTC'
