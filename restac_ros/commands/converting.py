"""Recordings into data sets, and unfinished recordings into whole ones, with progress on the terminal."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from restac_ros.commands.info import coloured
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.convert import OnGap, longest_run_command
from restac_ros.dataset.convert_many import Progress, convert_many
from restac_ros.dataset.engines import EngineKind
from restac_ros.dataset.episodes import TimeRange, episodes_of
from restac_ros.dataset.errors import BagError, ConversionError, JournalError
from restac_ros.dataset.quality.quality import assess_episode
from restac_ros.dataset.recording_kind import holds_bag
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.dataset.session_log import is_session_log
from restac_ros.dataset.shards import Answer, EpisodeRequest
from restac_ros.dataset.video.video_choice import VideoChoice
from restac_ros.graph import GraphError, config_file

INTERRUPTED = 130  # exit status, as of a shell


@dataclass(frozen=True)
class Conversion:
    """What `restac-ros convert` was asked for; `workers` None: one per core; `video` None: its own.

    Episodes are what `marker_topic` or `ranges` say, else what each recording says of itself.
    """

    bags: tuple[Path, ...]
    dataset: Path
    task: str | None
    contract: Path | None
    workers: int | None
    on_gap: OnGap
    bridge_frames: int
    allow_false_rate: bool
    dry_run: bool
    video: VideoChoice | None
    marker_topic: str | None = None
    ranges: tuple[TimeRange, ...] = ()
    engine: EngineKind = 'processes'
    ray_address: str | None = None
    again: bool = False


def convert_all(asked: Conversion) -> int:
    """Append the episodes of each bag, in the order given; exit status 1 when some were refused.

    A refused recording is named with the reason and does not stop the others. An interrupt leaves the data
    set with the episodes that are complete; the same call again goes on from there.

    Raises:
        ContractError: the contract cannot be read.
        ConversionError: no bag is given, or time ranges for several.
        DatasetError: the data set cannot take episodes; no later bag could change that.
        EngineError: a worker died, or Ray is not to be had.
    """
    if not asked.bags:
        raise ConversionError('name a recording: a journal, a bag directory, or a .mcap or .db3 file')
    if asked.ranges and len(asked.bags) > 1:
        raise ConversionError('time ranges are those of one recording: convert one after the other')
    requests, refusals = _requests(asked)
    refused = len(refusals)
    for refusal in refusals:
        _print_refusal(refusal)
    try:
        refused += _convert(asked, requests)
    except KeyboardInterrupt:
        print_line(
            'interrupted: complete episodes are in; the same call goes on from here', Console(stderr=True)
        )
        return INTERRUPTED
    return int(bool(refused))


def _convert(asked: Conversion, requests: list[EpisodeRequest]) -> int:
    """Convert and say what came of it; how many were refused."""
    refused = 0
    with _Bar(asked.dry_run) as bar:
        outcomes = convert_many(
            requests,
            asked.dataset,
            asked.workers,
            bar.advance,
            engine=asked.engine,
            ray_address=asked.ray_address,
        )
        for outcome in outcomes:
            refused += bool(outcome.refusal)
            _print_outcome(outcome, bar.console, dry_run=asked.dry_run)
            if outcome.report and not asked.dry_run:
                _print_verdict(asked.dataset, outcome.report.episode_index, bar.console)
            if outcome.has_gap:
                again = longest_run_command(outcome.bag, asked.dataset, *_options(asked))
                print_line(f'  to keep its longest run: {again}', Console(stderr=True))
    return refused


def _requests(asked: Conversion) -> tuple[list[EpisodeRequest], list[str]]:
    """What is to be converted, an episode each, and why some bags hold none."""
    given = load_contract(asked.contract) if asked.contract else None
    whole = EpisodeRequest(
        bag=Path(),
        task=asked.task,
        contract=given,
        fallback=None if given else _installed_contract(),
        on_gap=asked.on_gap,
        bridge_frames=asked.bridge_frames,
        allow_false_rate=asked.allow_false_rate,
        dry_run=asked.dry_run,
        again=asked.again,
        video=asked.video,
    )
    requests, refusals = [], []
    for path in asked.bags:
        reason = _no_recording(path) if len(asked.bags) > 1 else ''
        try:
            bag = None if reason else open_bag(path)
            if bag and is_session_log(bag):
                reason = 'a session log, without sensor streams'
            if bag and not reason:
                spans = episodes_of(bag, asked.marker_topic, asked.ranges)
                requests += [replace(whole, bag=path, span=span) for span in spans]
        except (BagError, ConversionError) as error:
            refusals.append(str(error))
        if reason and len(asked.bags) == 1:
            refusals.append(f'{path} is {reason}')
        elif reason:
            print_line(f'skipped: {path} is {reason}', Console())
    return requests, refusals


def _no_recording(path: Path) -> str:
    """What one of several paths, as a shell's pattern gives them, is instead of a recording; else ''."""
    if path.name.endswith(PARTIAL):
        return 'unfinished: being recorded, or left by a crash (then `restac-ros recover`)'
    return 'no recording' if path.exists() and not holds_bag(path) else ''


def _options(asked: Conversion) -> list[str]:
    """The options that say what the episodes of one recording are."""
    given = {'--task': asked.task, '--contract': asked.contract, '--marker-topic': asked.marker_topic}
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return options + (['--range', *map(str, asked.ranges)] if asked.ranges else [])


def _installed_contract() -> Contract | None:
    """None where the package is not installed: then bags that hold none are refused, journals are not."""
    try:
        return load_contract(config_file('contract.yaml'))
    except GraphError:
        return None


class _Bar:
    """How far all recordings are, how fast (MB/s, seconds of episode per second), how long it will take."""

    def __init__(self, dry_run: bool) -> None:
        columns = (
            TextColumn('{task.description}'),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TextColumn('{task.fields[speed]}'),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, transient=True)
        self._verb = 'surveying' if dry_run else 'converting'
        self._task = self._bars.add_task('looking through the recordings', total=None, speed='')

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    @property
    def console(self) -> Console:
        """Where lines can be printed above the bar."""
        return self._bars.console

    def advance(self, progress: Progress) -> None:
        elapsed_s = self._bars.tasks[0].elapsed or 0.0
        speed = f'{progress.seconds / elapsed_s:.1f} x real time' if elapsed_s and progress.seconds else ''
        verb = self._verb if progress.bytes else 'looking through the recordings'
        self._bars.update(
            self._task, completed=progress.bytes, total=progress.total_bytes, speed=speed, description=verb
        )


def _print_outcome(outcome: Answer, console: Console, *, dry_run: bool) -> None:
    report = outcome.report
    if outcome.refusal:
        _print_refusal(outcome.refusal)
        return
    if outcome.deleted:
        print_line(
            f'{outcome.request.name}: skipped, its episode was deleted; --again brings it back', console
        )
        return
    if report is None:
        print_line(f'{outcome.request.name}: is episode {outcome.already} already', console)
        return
    cut = report.trimmed_head + report.trimmed_tail
    trimmed = f', {cut} unusable at the ends left out' if cut else ''
    becomes = 'can be an episode' if dry_run else f'episode {report.episode_index}'
    length = f'{report.rows} frames, {report.rows / report.fps:.1f} s{trimmed}'
    print_line(f'{outcome.request.name} -> {becomes}: {length}; task: {report.task}', console)
    for gap in report.gaps:
        print_line(f'  gap of {gap.length} frames at {gap.first / report.fps:.2f} s: {gap.reason}', console)
    if dry_run:
        for name, stream in report.streams.items():
            rates = f'{stream.rate_hz:.2f} Hz of {stream.declared_rate_hz:g}'
            print_line(f'  {name}: {rates}, {stream.messages} messages', console)
    for note in report.notes:
        print_line(f'  {note}', console)


def _print_verdict(dataset: Path, index: int, console: Console) -> None:
    """What the quality report of the data set would say of an episode."""
    quality = assess_episode(dataset, index)
    console.print(f'  quality: {coloured(quality.verdict)}', highlight=False)
    for finding in quality.findings:
        if finding.severity != 'note':
            print_line(f'    {finding.text}. {finding.remedy}', console)
    unknown = [name for name, stream in quality.streams.items() if stream.repeated_images is None]
    images = [name for name in unknown if quality.streams[name].role in ('camera', 'tactile')]
    if images:
        print_line(f'    not examined for frozen images: {", ".join(images)}', console)


def _print_refusal(text: str) -> None:
    print_line(f'refused: {text}', Console(stderr=True))


def print_line(text: str, console: Console) -> None:
    """Print text as it is, on one line however long."""
    console.print(escape(text), soft_wrap=True, highlight=False)


def recover_all(place: Path) -> int:
    """Recover one unfinished journal, or all in a directory; exit status 1 when one cannot be.

    Raises:
        FileNotFoundError: no such directory.
    """
    if not place.is_dir():
        raise FileNotFoundError(f'{place}: no such directory; name one of journals, or NAME{PARTIAL}')
    unfinished = [place] if place.suffix == PARTIAL else find_unfinished(place)
    if not unfinished:
        print(f'{place}: no unfinished recordings')
    failed = 0
    for partial in unfinished:
        try:
            recovered = recover(partial)
        except (BagError, JournalError) as error:
            failed += 1
            print_line(f'not recovered: {error}', Console(stderr=True))
        else:
            lost = f'; cut off: {recovered.damage}' if recovered.damage else ''
            print(f'{recovered.path}: {recovered.messages} messages{lost}')
    return int(bool(failed))
