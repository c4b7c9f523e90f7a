"""Recordings into data sets, and unfinished recordings into whole ones, with progress on the terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from restac_ros.commands.data import Convert
from restac_ros.commands.editing import Compact
from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import coloured, print_error, print_line
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.bag.bag_writer import PARTIAL
from restac_ros.dataset.convert import longest_run_command
from restac_ros.dataset.convert_many import Progress, convert_many
from restac_ros.dataset.dataset_files import is_dataset
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.episodes import TimeRange, episodes_of
from restac_ros.dataset.errors import BagError, ConversionError, JournalError
from restac_ros.dataset.quality.quality import assess_episode
from restac_ros.dataset.recording_kind import no_recording
from restac_ros.dataset.recovery import find_unfinished, recover
from restac_ros.dataset.session_log import is_session_log
from restac_ros.dataset.shards import Answer, EpisodeRequest
from restac_ros.dataset.video.video_choice import asked_video
from restac_ros.installation import GraphError, config_file

INTERRUPTED = 130  # exit status, as of a shell


def convert_all(asked: Convert) -> int:
    """Append the episodes of each bag, in the order given; exit status 1 when some were refused.

    A refused recording is named with the reason and does not stop the others. An interrupt leaves the data
    set with the episodes that are complete; the same call continues from there.

    Raises:
        ContractError: the contract cannot be read.
        ConversionError: no bag is given, or time ranges for several.
        DatasetError: no episodes can be appended to the data set; no later bag could change that.
        EngineError: a worker died, or there is no Ray.
    """
    if not asked.bags:
        raise ConversionError('name a recording: a journal, a bag directory, or a .mcap or .db3 file')
    if asked.range and len(asked.bags) > 1:
        raise ConversionError('time ranges are those of one recording: convert one after the other')
    requests, refusals = _requests(asked)
    for refusal in refusals:
        print_error(f'refused: {refusal}')
    try:
        refused = _convert(asked, requests) + len(refusals)
    except KeyboardInterrupt:
        print_error('interrupted: complete episodes are in; the same call goes on from here')
        return INTERRUPTED
    if asked.compact and not asked.dry_run and is_dataset(dataset_place(asked.to)):
        Compact(asked.to).run()
    return int(bool(refused))


def _convert(asked: Convert, requests: list[EpisodeRequest]) -> int:
    """Convert and print the outcomes; return how many were refused."""
    refused, root = 0, absolute(asked.to)
    with _bar(asked.dry_run) as (console, advance):
        outcomes = convert_many(
            requests, root, asked.workers, advance, engine=asked.engine, ray_address=asked.ray_address
        )
        for outcome in outcomes:
            refused += bool(outcome.refusal)
            _print_outcome(outcome, console, dry_run=asked.dry_run)
            if outcome.report and not asked.dry_run:
                _print_verdict(root, outcome.report.episode_index, console)
            if outcome.has_gap:
                again = longest_run_command(outcome.bag, root, *_options(asked))
                print_error(f'  to keep its longest run: {again}')
    return refused


def _requests(asked: Convert) -> tuple[list[EpisodeRequest], list[str]]:
    """Return what is to be converted, an episode each, and why some bags hold none."""
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
        video=asked_video(asked.video_codec, asked.video_quality),
    )
    ranges = [TimeRange.parse(text) for text in asked.range]
    requests, refusals = [], []
    for path in map(absolute, asked.bags):
        reason = no_recording(path) if len(asked.bags) > 1 else ''
        try:
            bag = None if reason else open_bag(path)
            if bag and is_session_log(bag):
                reason = 'a session log, without sensor streams'
            if bag and not reason:
                spans = episodes_of(bag, asked.marker_topic, ranges)
                requests += [replace(whole, bag=path, span=span) for span in spans]
        except (BagError, ConversionError) as error:
            refusals.append(str(error))
        if reason and len(asked.bags) == 1:
            refusals.append(f'{path} is {reason}')
        elif reason:
            print_line(f'skipped: {path} is {reason}')
    return requests, refusals


def _options(asked: Convert) -> Sequence[str]:
    """Return the options that choose the episodes of one recording."""
    given = {
        '--task': asked.task,
        '--contract': absolute(asked.contract),
        '--marker-topic': asked.marker_topic,
    }
    options = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return options + (['--range', *asked.range] if asked.range else [])


def _installed_contract() -> Contract | None:
    """Return None where the package is not installed: then bags that hold none are refused."""
    try:
        return load_contract(config_file('contract.yaml'))
    except GraphError:
        return None


@contextmanager
def _bar(dry_run: bool) -> Iterator[tuple[Console, Callable[[Progress], None]]]:
    """Show how far all recordings are; yields the console for lines above, and what moves the bar."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn('{task.fields[speed]}'),
        TimeRemainingColumn(),
    )
    with Bars(*columns, transient=True) as bars:
        task = bars.add_task('reading the recordings', total=None, speed='')

        def advance(progress: Progress) -> None:
            elapsed_s = bars.tasks[0].elapsed or 0.0
            speed = (
                f'{progress.seconds / elapsed_s:.1f} x real time' if elapsed_s and progress.seconds else ''
            )
            bars.update(task, completed=progress.bytes, total=progress.total_bytes, speed=speed)
            if progress.bytes:
                bars.update(task, description='surveying' if dry_run else 'converting')

        yield bars.console, advance


def _print_outcome(outcome: Answer, console: Console, *, dry_run: bool) -> None:
    report, name = outcome.report, outcome.request.name
    if outcome.refusal:
        print_error(f'refused: {outcome.refusal}')
    elif outcome.deleted:
        print_line(f'{name}: skipped, its episode was deleted; --again brings it back', console)
    elif report is None:
        print_line(f'{name}: is episode {outcome.already} already', console)
    else:
        cut = report.trimmed_head + report.trimmed_tail
        trimmed = f', {cut} unusable at the ends left out' if cut else ''
        becomes = 'can be an episode' if dry_run else f'episode {report.episode_index}'
        length = f'{report.rows} frames, {report.rows / report.fps:.1f} s{trimmed}'
        print_line(f'{name} -> {becomes}: {length}; task: {report.task}', console)
        for gap in report.gaps:
            at_s = gap.first / report.fps
            print_line(f'  gap of {gap.length} frames at {at_s:.2f} s: {gap.reason}', console)
        for stream_name, stream in report.streams.items() if dry_run else ():
            rates = f'{stream.rate_hz:.2f} Hz of {stream.declared_rate_hz:g}'
            print_line(f'  {stream_name}: {rates}, {stream.messages} messages', console)
        for note in report.notes:
            print_line(f'  {note}', console)


def _print_verdict(dataset: Path, index: int, console: Console) -> None:
    """Print the verdict that the quality report of the data set would have on an episode."""
    quality = assess_episode(dataset, index)
    console.print(f'  quality: {coloured(quality.verdict)}', highlight=False)
    for finding in quality.findings:
        if finding.severity != 'note':
            print_line(f'    {finding.text}. {finding.remedy}', console)
    images = [name for name, stream in quality.streams.items() if stream.role in ('camera', 'tactile')]
    if unknown := [name for name in images if quality.streams[name].repeated_images is None]:
        print_line(f'    not examined for frozen images: {", ".join(unknown)}', console)


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
            print_error(f'not recovered: {error}')
        else:
            lost = f'; cut off: {recovered.damage}' if recovered.damage else ''
            print(f'{recovered.path}: {recovered.messages} messages{lost}')
    return int(bool(failed))
