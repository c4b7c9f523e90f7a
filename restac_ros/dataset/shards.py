"""Converts a recording into a data set of its own, a shard, and appends the shard to the target."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from restac_ros.contract.errors import ContractError
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.convert import OnGap, convert_episode, embedded_contract, survey_recording
from restac_ros.dataset.dataset_place import dataset_place, remove_directory
from restac_ros.dataset.episode_report import EpisodeReport
from restac_ros.dataset.episodes import WHOLE, EpisodeSpan
from restac_ros.dataset.errors import BagError, ConversionError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.plan import GapError
from restac_ros.dataset.survey import Survey
from restac_ros.dataset.transaction import shards_lock
from restac_ros.dataset.video.video_choice import VideoChoice

REPORT_EVERY_ROWS = 15


@dataclass(frozen=True)
class EpisodeRequest:
    """A recording to convert, or a part of it.

    `task` and `contract` override its own; the contract `fallback` is used where it has none. `again`
    converts it although its episode was deleted. `surveyed` is what `with_survey` found.
    """

    bag: Path
    task: str | None = None
    contract: Contract | None = None
    fallback: Contract | None = None
    on_gap: OnGap = 'refuse'
    bridge_frames: int = 0
    allow_false_rate: bool = False
    dry_run: bool = False
    again: bool = False
    video: VideoChoice | None = None
    span: EpisodeSpan = WHOLE
    surveyed: Survey | None = None

    @property
    def name(self) -> str:
        """Return the recording, and which part of it."""
        return f'{self.bag} ({self.span.label})' if self.span.label else str(self.bag)


@dataclass(frozen=True)
class Answer:
    """Outcome of a request: a report, the number of the episode that it is already, or a refusal.

    With `has_gap` the longest run without a gap can be kept; a `deleted` episode is not made again.
    """

    request: EpisodeRequest
    report: EpisodeReport | None = None
    already: int | None = None
    refusal: str = ''
    has_gap: bool = False
    deleted: bool = False

    @property
    def bag(self) -> Path:
        """The recording."""
        return self.request.bag


def refusal_text(request: EpisodeRequest, error: Exception) -> str:
    """Return why a recording is refused; the text names it, and its part."""
    text = str(error).removeprefix(f'{request.bag}: ')
    return str(error) if not request.span.label and str(request.bag) in text else f'{request.name}: {text}'


def shard_path(folder: Path, number: int) -> Path:
    """Return where the shard of request `number` goes, in a folder of its own."""
    return folder / f'shard-{number:06d}' / 'data'


@contextmanager
def shards_folder(root: Path) -> Iterator[Path]:
    """Yield a folder beside the data set, on the same disk, for one program at a time; removed on leaving."""
    root = dataset_place(root)
    folder = root.with_name(f'.{root.name}.shards')
    with shards_lock(root):
        remove_directory(folder)  # left by a killed program
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def make_shard(
    request: EpisodeRequest, root: Path, shard: Path, report_progress: Callable[[float, float], None]
) -> Answer:
    """Convert into the data set `shard`, whose episodes can be appended to the one at `root`."""
    return _attempt(request, root if request.dry_run else shard, report_progress, target=root)


def with_survey(request: EpisodeRequest) -> EpisodeRequest:
    """Return the request with the survey of its recording; without, where `make_shard` will refuse it."""
    try:
        bag, span = open_bag(request.bag), request.span
        surveyed = survey_recording(bag, _contract_of(request), span.start_ns, span.end_ns)
    except (BagError, ContractError, ConversionError, OSError):
        return request
    return replace(request, surveyed=surveyed)


def append_made(request: EpisodeRequest, outcome: Answer, root: Path, shard: Path) -> Answer:
    """Append the shard of `make_shard` to the data set."""
    from restac_ros.dataset.merge import ColumnsDifferError, append_shard  # loads torch

    try:
        index = append_shard(root, shard)
    except ColumnsDifferError:
        return _attempt(request, root, lambda share, seconds: None)
    finally:
        shutil.rmtree(shard.parent)
    if outcome.report is None:
        return outcome
    return replace(outcome, report=replace(outcome.report, episode_index=index, dataset=str(root)))


def _contract_of(request: EpisodeRequest) -> Contract:
    if request.contract:
        return request.contract
    bag = open_bag(request.bag)
    text = read_notes(bag).contract_text
    return request.fallback if text is None and request.fallback else embedded_contract(bag, text)


def _attempt(
    request: EpisodeRequest,
    place: Path,
    report_progress: Callable[[float, float], None],
    target: Path | None = None,
) -> Answer:
    """Convert into the data set at `place`, a shard for `target`; a bad recording becomes a refusal."""
    span = request.span
    task = span.task if request.task is None else request.task

    def progress(done: int, total: int) -> None:
        if done % REPORT_EVERY_ROWS == 0 or done == total:
            report_progress(done / total, done / contract.fps)

    try:
        contract = _contract_of(request)
        report = convert_episode(
            request.bag,
            contract,
            place,
            task,
            progress,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            on_gap=request.on_gap,
            bridge_frames=request.bridge_frames,
            allow_false_rate=request.allow_false_rate,
            dry_run=request.dry_run,
            video=request.video,
            notes=span.notes,
            target=target,
            surveyed=request.surveyed,
        )
    except (BagError, ContractError, ConversionError) as error:
        return Answer(request, refusal=refusal_text(request, error), has_gap=isinstance(error, GapError))
    return Answer(request, report)
