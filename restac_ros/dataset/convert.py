"""Converts a recording into an episode: samples -> the framer's frames -> rows of a LeRobot data set.

`python -m restac_ros.dataset.convert JOURNAL --to DIR` does it in a process of its own, for each episode of
a journal that was paused; it may be stopped at any moment, and reports in lines of JSON.
"""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from restac_ros.contract.errors import ContractError
from restac_ros.contract.load import parse_contract
from restac_ros.contract.schema import Contract
from restac_ros.dataset.bag.bag_reader import Bag, open_bag
from restac_ros.dataset.bridging import UnusableFrameError, checked_frames
from restac_ros.dataset.dataset_files import check_appendable, is_dataset, streams_of, video_for
from restac_ros.dataset.dataset_place import dataset_place
from restac_ros.dataset.episode_notes import converted_recordings
from restac_ros.dataset.episode_report import EpisodeReport, report_of
from restac_ros.dataset.episodes import EpisodeSpan, bounds_of, episodes_of, range_options
from restac_ros.dataset.errors import BagError, ConversionError, DatasetError
from restac_ros.dataset.features import action_of, image_columns, optional_images, row_of
from restac_ros.dataset.fingerprint import fingerprint
from restac_ros.dataset.freezes import FrozenImages
from restac_ros.dataset.journal import read_notes
from restac_ros.dataset.language import words_said
from restac_ros.dataset.plan import EpisodePlan, GapError, check_rates, plan_episode
from restac_ros.dataset.references import REFERENCES, recorded_references
from restac_ros.dataset.survey import Survey, recorded_samples, survey, survey_decoded
from restac_ros.dataset.video.video_choice import VideoChoice
from restac_ros.framing.framer import frames

REFUSALS = (BagError, ContractError, ConversionError, DatasetError)
OnGap = Literal['refuse', 'longest_run']
FrameProgress = Callable[[int, int], None]


def convert_episode(
    bag_path: Path | str,
    contract: Contract | None,
    dataset_dir: Path | str,
    task: str | None = None,
    progress: FrameProgress | None = None,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    on_gap: OnGap = 'refuse',
    bridge_frames: int = 0,
    allow_false_rate: bool = False,
    dry_run: bool = False,
    video: VideoChoice | None = None,
    notes: Sequence[str] = (),
    target: Path | None = None,
    surveyed: Survey | None = None,
) -> EpisodeReport:
    """Append one recording (a journal or any bag), or a part of it, to a data set; created if need be.

    `contract`, `task`, `start_ns` and `end_ns` default to those of a journal, `video` to that of the data
    set; `notes` come before those of the conversion. A gap of at most `bridge_frames` in which only images
    are invalid repeats the last valid ones, marked by `valid.<stream>` false. `target` is the data set that a
    shard at `dataset_dir` is for, `surveyed` what `survey_recording` found. `progress(done, total)` counts
    rows. A `dry_run` neither writes nor decodes. Whatever stops the conversion leaves the data set as it was.

    Raises:
        BagError: the bag cannot be read.
        ContractError: the contract in the journal is not valid.
        ConversionError: the recording holds no truthful episode; nothing was written.
        DatasetError: it cannot be appended to the data set.
    """
    root, bag = dataset_place(dataset_dir), open_bag(bag_path)
    journal = read_notes(bag)
    contract = contract or embedded_contract(bag, journal.contract_text)
    task = (journal.task or '') if task is None else task
    if not task.strip():
        raise ConversionError(f'{bag.path} has no task text. Give one: the policy is conditioned on it.')
    options = [*range_options(bag, start_ns, end_ns), *_choices(on_gap, bridge_frames, allow_false_rate)]
    identity = fingerprint(bag.path, start_ns, end_ns)
    surveyed = surveyed or survey_recording(bag, contract, start_ns, end_ns)
    choose = partial(plan_episode, surveyed, keep_longest=on_gap == 'longest_run', bridge=bridge_frames)
    target, is_decoded = target or root, False  # the survey covers what only decoding finds
    while True:
        plan, streams = _plan(target, contract, surveyed, choose)
        false_rates = _false_rates(bag, contract, surveyed, plan, allow_false_rate)
        video = video_for(target, video)
        report = report_of(bag, root, task, contract, surveyed, plan, streams)
        report.fingerprint, report.options = identity, options
        report.notes = [*notes, *report.notes, *false_rates]
        if dry_run:
            report.rows = plan.length - 1
            return report
        try:
            return _write(bag, contract, plan, streams, report, video, progress, journal.subtasks)
        except UnusableFrameError as error:
            if is_decoded:
                raise ConversionError(f'{bag.path}: frames cannot be decoded: {error}') from None
        survey_decoded(bag, contract, surveyed)
        is_decoded = True


def survey_recording(bag: Bag, contract: Contract, start_ns: int | None, end_ns: int | None) -> Survey:
    """Survey a recording, or a part of it; its bounds are those of a journal, else of the bag.

    Raises:
        BagError: the bag cannot be read.
        ConversionError: it is too long, or holds none of the contract's streams.
    """
    journal, (first_ns, last_ns) = read_notes(bag), bounds_of(bag)
    begin_ns = _first(start_ns, journal.start_ns, first_ns)
    return survey(bag, contract, begin_ns, _first(end_ns, journal.end_ns, last_ns + 1))


def _choices(on_gap: OnGap, bridge_frames: int, allow_false_rate: bool) -> list[str]:
    """Return the options that differ from the default."""
    options = [] if on_gap == 'refuse' else ['--on-gap', on_gap]
    options += ['--bridge-frames', str(bridge_frames)] if bridge_frames else []
    return options + (['--allow-false-rate'] if allow_false_rate else [])


def _plan(
    target: Path, contract: Contract, surveyed: Survey, choose: Callable[..., EpisodePlan]
) -> tuple[EpisodePlan, list[str]]:
    """Choose the frames, and the streams that rows are made of.

    A new data set gets those optional images that are valid in every frame; an existing one has its own.
    """
    streams = streams_of(target, contract)
    if is_dataset(target):
        check_appendable(target, contract, streams)
    needed = [name for name in streams if not contract.streams[name].required]
    plan = choose(needed=needed, images=image_columns(contract))
    if not is_dataset(target):
        ticks = surveyed.statuses[plan.first : plan.first + plan.length]
        streams += [name for name in optional_images(contract) if all(tick[name].valid for tick in ticks)]
        streams.sort(key=list(contract.streams).index)
    surveyed.measure(plan.first, plan.length)
    return plan, streams


def _false_rates(
    bag: Bag, contract: Contract, surveyed: Survey, plan: EpisodePlan, are_allowed: bool
) -> list[str]:
    """Return the rates that make the fps label false; refuse them unless they are allowed."""
    rates = check_rates(surveyed, contract, plan)
    if rates and not are_allowed:
        raise ConversionError(
            f'{bag.path}: the fps label would be false: {"; ".join(rates)}. '
            'Correct the driver or the contract, or allow it (--allow-false-rate).'
        )
    return rates


def _write(
    bag: Bag,
    contract: Contract,
    plan: EpisodePlan,
    streams: list[str],
    report: EpisodeReport,
    video: VideoChoice,
    progress: FrameProgress | None,
    said: Sequence[tuple[int, str]],
) -> EpisodeReport:
    """Second pass: decode the planned frames into the data set."""
    from restac_ros.dataset.writer import appending  # loads torch, for seconds, which a refusal does not need

    images = FrozenImages(contract)
    samples = images.watched(recorded_samples(bag, contract, report.start_ns, report.end_ns))
    made = frames(contract, samples, report.start_ns, report.end_ns)
    with appending(Path(report.dataset), contract, streams, report.task, video) as writer:
        for frame, following in pairwise(checked_frames(made, plan, streams)):
            action = action_of(contract, frame, following)
            writer.add(row_of(contract, frame, action, streams, writer.action_prev))
            if progress:
                progress(writer.rows, plan.length - 1)
        report.episode_index = writer.index
        report.rows = writer.rows
        references, faults = recorded_references(bag, contract, report.start_ns, report.end_ns)
        report.notes += [*images.notes(report.start_ns), *faults]
        writer.words = words_said(said, report.start_ns, contract.fps, writer.rows)
        writer.about = {**asdict(report), REFERENCES: references}
    return report


def embedded_contract(bag: Bag, text: str | None) -> Contract:
    """Return the contract that a journal holds as `text`; raise ConversionError when it holds none."""
    if text is None:
        raise ConversionError(
            f'{bag.path} was not recorded by this package and holds no contract. Give one '
            'that names its topics.'
        )
    return parse_contract(text, f'contract in {bag.path}')


def longest_run_command(bag: Path, dataset: Path, *options: str) -> str:
    """Return the command that keeps the longest run of a recording that was refused for its gaps."""
    longest = ['--on-gap', 'longest_run']
    return shlex.join(['restac-ros', 'convert', str(bag), '--to', str(dataset), *options, *longest])


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def main(arguments: list[str] | None = None) -> int:
    """Convert one journal, skipping what the data set holds already; 0 when all its episodes are in.

    Prints lines {"event": ..., ...}: "progress" again and again, "done", "already" or "failed" once for each
    episode, and "end" when it has been through all of them.
    """
    parser = argparse.ArgumentParser(description='Append one journal to a LeRobot data set.')
    parser.add_argument('bag', type=Path, help='journal')
    parser.add_argument('--to', type=Path, required=True, help='data set; created if need be')
    parser.add_argument('--on-gap', choices=['refuse', 'longest_run'], default='refuse')
    parser.add_argument('--nice', type=int, default=0, help='lower the priority by this much')
    options = parser.parse_args(arguments)
    os.nice(options.nice)
    os.environ.setdefault('HF_HUB_OFFLINE', '1')  # nothing here is on a hub; don't wait for one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        root = dataset_place(options.to)
        spans = episodes_of(open_bag(options.bag))
        held = converted_recordings(root) if is_dataset(root) else {}
    except (*REFUSALS, OSError) as error:
        print_event('failed', error=str(error))
        print_event('end')
        return 1
    status = max([_convert_span(options, span, held) for span in spans])
    print_event('end')
    return status


def _convert_span(options: argparse.Namespace, span: EpisodeSpan, held: Mapping[str, int]) -> int:
    """Convert one episode of the bag; return 0 when the data set holds it."""
    try:
        identity = fingerprint(options.bag, span.start_ns, span.end_ns)
        if identity in held:
            print_event('already', episode_index=held[identity])
            return 0
        report = convert_episode(
            options.bag,
            None,
            options.to,
            progress=lambda done, total: print_event('progress', done=done, total=total),
            start_ns=span.start_ns,
            end_ns=span.end_ns,
            on_gap=options.on_gap,
        )
    except (*REFUSALS, OSError) as error:
        remedy = ''
        if isinstance(error, GapError):
            remedy = f' The command for it: {longest_run_command(options.bag, options.to)}'
        print_event('failed', error=(f'{span.label}: {error}' if span.label else str(error)) + remedy)
        return 1
    print_event('done', report=asdict(report))
    return 0


def print_event(event: str, **content: Any) -> None:
    """Print one line of JSON for the process that started this one."""
    print(json.dumps({'event': event, **content}), flush=True)


if __name__ == '__main__':
    sys.exit(main())
