"""One recording into a data set of its own, a shard beside the target, and the shard into the target."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from restac_ros.contract.errors import ContractError
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import open_bag
from restac_ros.dataset.convert import OnGap, convert_episode, embedded_contract
from restac_ros.dataset.dataset_files import check_appendable, is_dataset, streams_of, video_for
from restac_ros.dataset.dataset_place import dataset_place, remove_directory
from restac_ros.dataset.episode_report import EpisodeReport
from restac_ros.dataset.episodes import WHOLE, EpisodeSpan
from restac_ros.dataset.errors import BagError, ConversionError
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.transaction import writing_lock
from restac_ros.dataset.video.video_choice import VideoChoice

REPORT_EVERY_ROWS = 15


@dataclass(frozen=True)
class Request:
    """A recording to convert, or a part of it.

    `task` and `contract` override its own; the contract `fallback` stands in where it has none.
    """

    bag: Path
    task: str | None = None
    contract: Contract | None = None
    fallback: Contract | None = None
    on_gap: OnGap = 'refuse'
    allow_false_rate: bool = False
    dry_run: bool = False
    video: VideoChoice | None = None
    span: EpisodeSpan = WHOLE

    @property
    def name(self) -> str:
        """Which recording, and which part of it."""
        return f'{self.bag} ({self.span.label})' if self.span.label else str(self.bag)


@dataclass(frozen=True)
class Outcome:
    """What became of a request: a report, the number of the episode that it is already, or a refusal."""

    request: Request
    report: EpisodeReport | None = None
    already: int | None = None
    refusal: str = ''

    @property
    def bag(self) -> Path:
        """The recording."""
        return self.request.bag


def shard_path(folder: Path, number: int) -> Path:
    """Where the shard of request `number` goes, in a folder of its own."""
    return folder / f'shard-{number:06d}' / 'data'


@contextmanager
def shards_folder(root: Path) -> Iterator[Path]:
    """A folder beside the data set, on the same disk, for one program at a time; removed on leaving."""
    root = dataset_place(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    folder = root.with_name(f'.{root.name}.shards')
    with writing_lock(root.with_name(f'{root.name}.shards')):
        remove_directory(folder)  # what a killed program has left
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def make_shard(request: Request, root: Path, shard: Path, tell: Callable[[float, float], None]) -> Outcome:
    """Convert into the data set `shard`, which the one at `root` can take; `tell(share, seconds)` of it."""
    return _attempt(request, root if request.dry_run else shard, tell, target=root)


def append_made(request: Request, outcome: Outcome, root: Path, shard: Path) -> Outcome:
    """What `make_shard` made becomes part of the data set."""
    from restac_ros.dataset.merge import ColumnsDifferError, append_shard  # loads torch

    try:
        index = append_shard(root, shard)
    except ColumnsDifferError:
        return _attempt(request, root, lambda share, seconds: None)
    finally:
        shutil.rmtree(shard.parent)
    return replace(outcome, report=replace(outcome.report, episode_index=index, dataset=str(root)))


def _contract_of(request: Request) -> Contract:
    if request.contract:
        return request.contract
    bag = open_bag(request.bag)
    text = read_notes(bag).contract_text
    return request.fallback if text is None and request.fallback else embedded_contract(bag, text)


def _attempt(
    request: Request, place: Path, tell: Callable[[float, float], None], target: Path | None = None
) -> Outcome:
    """Convert into the data set at `place`, a shard for `target`; a bad recording becomes a refusal."""
    span = request.span
    task = span.task if request.task is None else request.task

    def progress(done: int, total: int) -> None:
        if done % REPORT_EVERY_ROWS == 0 or done == total:
            tell(done / total, done / contract.fps)

    try:
        contract = _contract_of(request)
        if target and is_dataset(target):
            check_appendable(target, contract, streams_of(target, contract))
        report = convert_episode(
            request.bag,
            contract,
            place,
            task,
            progress,
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            on_gap=request.on_gap,
            allow_false_rate=request.allow_false_rate,
            dry_run=request.dry_run,
            video=video_for(target or place, request.video),
            notes=span.notes,
        )
    except (BagError, ContractError, ConversionError) as error:
        return Outcome(request, refusal=f'{span.label}: {error}' if span.label else str(error))
    return Outcome(request, report)
