"""Reports what became of a recording: stored with the episode, returned to the caller."""

from dataclasses import dataclass, field
from pathlib import Path

from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag
from restac_ros.dataset.features import optional_images
from restac_ros.dataset.plan import EpisodePlan, FrameGap, rate_notes
from restac_ros.dataset.survey import StreamReport, Survey
from restac_ros.framing.grid import Grid


@dataclass
class EpisodeReport:
    """What became of a recording. Times are ns of the recorder's clock; `rows` is frames minus one.

    The last frame is no row: its state is the action of the row before. Frames cut off at the ends are
    counted in `trimmed_head` and `trimmed_tail`; `gaps` made the longest run shorter than the recording; in
    `bridged` ones images are repeated, and marked as not valid.
    By the `fingerprint` a data set finds a recording that it holds already; `options` of `restac-ros convert`
    make the same episode of it again.
    """

    bag: str
    dataset: str
    episode_index: int
    task: str
    rows: int
    fps: int
    start_ns: int
    end_ns: int
    trimmed_head: int
    trimmed_tail: int
    gaps: list[FrameGap] = field(default_factory=list)
    bridged: list[FrameGap] = field(default_factory=list)
    streams: dict[str, StreamReport] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fingerprint: str = ''
    options: list[str] = field(default_factory=list)


def report_of(
    bag: Bag,
    root: Path,
    task: str,
    contract: Contract,
    surveyed: Survey,
    plan: EpisodePlan,
    streams: list[str],
) -> EpisodeReport:
    """Report on an episode that is not written yet."""
    start_ns = surveyed.grid.tick_ns(plan.first)
    ticks = surveyed.statuses[plan.first : plan.first + plan.length]
    for name, stream in surveyed.streams.items():
        ages = [age_ns for tick in ticks if (age_ns := tick[name].age_ns) is not None]
        stream.oldest_ms = round(max(ages, default=0) / 1e6, 3)
    notes = [*bag.notes, *rate_notes(surveyed)]
    notes += [
        f'{name}: stamps are zero, so that its receive times count'
        for name, stream in surveyed.streams.items()
        if stream.zero_stamps
    ]
    notes += [
        f'{gap.length} frames from {(gap.first - plan.first) / contract.fps:.2f} s on repeat the images '
        f'before them, marked by valid.<stream>: {gap.reason}'
        for gap in plan.bridged
    ]
    return EpisodeReport(
        bag=str(bag.path),
        dataset=str(root),
        episode_index=-1,
        task=task,
        rows=0,
        fps=contract.fps,
        start_ns=start_ns,
        # One ns past the last frame, on the grid that begins at start_ns.
        end_ns=Grid(start_ns, contract.fps).tick_ns(plan.length - 1) + 1,
        trimmed_head=plan.trimmed_head,
        trimmed_tail=plan.trimmed_tail,
        gaps=plan.gaps,
        bridged=plan.bridged,
        streams=surveyed.streams,
        left_out=[name for name in optional_images(contract) if name not in streams],
        notes=notes,
    )
