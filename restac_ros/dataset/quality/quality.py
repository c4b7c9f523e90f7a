"""How good an episode is: measured figures, findings in words with their remedies, and a verdict.

`judge_episode` turns a trace into an EpisodeQuality; everything in it is plain values that become JSON.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from restac_ros.contract.schema import Contract
from restac_ros.dataset.dataset_files import is_dataset
from restac_ros.dataset.quality.bag_trace import bag_traces
from restac_ros.dataset.quality.contact import Contact
from restac_ros.dataset.quality.dataset_trace import dataset_traces
from restac_ros.dataset.quality.findings import Finding, find_faults
from restac_ros.dataset.quality.measures import Frozen, Gap, Measures, Spread, measure
from restac_ros.dataset.quality.trace import Trace

Verdict = Literal['good', 'usable', 'bad']
FindingKind = Literal['recording', 'data set']
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class StreamQuality:
    """One stream over an episode. Times in s count from the first frame.

    `lost` are messages missing by the stream's own rhythm, `gaps` the longer holes, `frozen` stretches of
    identical images too long to be true; `repeated_images` is None where they were not examined. `delay_ms`
    runs from capture to receipt, `age_ms` is what frames used. A data set holds no intervals and delays.
    `encodings` are counts by 'encoding WxH'.
    """

    topic: str
    role: str
    messages: int
    rate_hz: float
    declared_rate_hz: float
    interval_ms: Spread | None
    delay_ms: Spread | None
    age_ms: Spread | None
    lost: int
    gaps: list[Gap]
    frozen: list[Frozen]
    repeated_images: int | None
    invalid_frames: int
    zero_stamps: int
    unreadable: int
    undecodable: int
    duplicates: int
    out_of_order: int
    future: int
    encodings: dict[str, int]


@dataclass(frozen=True)
class EpisodeQuality:
    """One episode. `longest_run` counts frames usable in a row: what a converter can keep."""

    source: str
    task: str
    contract: str
    contract_digest: str
    verdict: Verdict
    findings: list[Finding]
    start_ns: int
    duration_s: float
    fps: int
    frames: int
    usable_frames: int
    longest_run: int
    static_head_s: float
    static_tail_s: float
    skew_ms: Spread | None
    streams: dict[str, StreamQuality]
    contacts: list[Contact]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class QualityReport:
    """A recording by its stretches, or a data set by its episodes; `findings` are about all of them."""

    path: str
    kind: FindingKind
    verdict: Verdict
    verdicts: dict[str, int]
    findings: list[Finding]
    episodes: list[EpisodeQuality]

    def to_json(self) -> str:
        """As text, with the format's version."""
        return (
            json.dumps({'format_version': _FORMAT_VERSION, **asdict(self)}, indent=1, allow_nan=False) + '\n'
        )


def judge_episode(trace: Trace) -> EpisodeQuality:
    """Measure a trace and list its faults."""
    measures = measure(trace)
    findings = find_faults(trace, measures)
    contract = trace.contract
    return EpisodeQuality(
        source=trace.source,
        task=trace.task,
        contract=contract.name,
        contract_digest=contract.digest(),
        verdict=verdict_of(finding.severity for finding in findings),
        findings=findings,
        start_ns=trace.start_ns,
        duration_s=round(trace.time_ns.size / contract.fps, 3),
        fps=trace.survey.grid.fps,
        frames=trace.time_ns.size,
        usable_frames=sum(not reasons for reasons in trace.survey.reasons),
        longest_run=measures.longest_run,
        static_head_s=measures.static_head_s,
        static_tail_s=measures.static_tail_s,
        skew_ms=measures.skew_ms,
        streams={name: _stream(trace, measures, name) for name in trace.messages},
        contacts=trace.contacts(),
        notes=list(trace.notes),
    )


def assess(
    path: Path | str,
    contract: Contract | None = None,
    each: Callable[[EpisodeQuality, Trace], None] | None = None,
) -> QualityReport:
    """Assess a recording (journal or bag; a paused one by its stretches), or every episode of a data set.

    `contract` is for bags that hold none. `each` is given every episode with its curves as soon as it is
    assessed; they are then let go.

    Raises:
        BagError: the recording cannot be read.
        DatasetError: the data set cannot be read.
        ContractError: its contract is not valid.
    """
    path = Path(path)
    kind: FindingKind = 'data set' if is_dataset(path) else 'recording'
    episodes = []
    for trace in dataset_traces(path) if kind == 'data set' else bag_traces(path, contract):
        episodes.append(judge_episode(trace))
        if each:
            each(episodes[-1], trace)
    findings = _across(episodes)
    severities = [*(episode.verdict for episode in episodes), *(finding.severity for finding in findings)]
    verdicts: Counter[str] = Counter(episode.verdict for episode in episodes)
    return QualityReport(str(path), kind, verdict_of(severities), dict(verdicts), findings, episodes)


def assess_episode(root: Path, index: int) -> EpisodeQuality:
    """Assess one episode of a data set.

    Raises:
        DatasetError: the data set cannot be read.
        ContractError: its contract is not valid.
    """
    return judge_episode(next(iter(dataset_traces(root, index))))


def verdict_of(severities: Iterable[str]) -> Verdict:
    """The worst of severities or verdicts; notes do no harm."""
    found = set(severities)
    return 'bad' if 'bad' in found else 'usable' if {'warning', 'usable'} & found else 'good'


def _stream(trace: Trace, measures: Measures, name: str) -> StreamQuality:
    spec, seen = trace.contract.streams[name], trace.messages[name]
    counted, measured = trace.survey.streams[name], measures.streams[name]
    return StreamQuality(
        topic=spec.topic,
        role=spec.role,
        messages=counted.messages,
        rate_hz=counted.rate_hz,
        declared_rate_hz=spec.rate_hz,
        interval_ms=measured.interval_ms,
        delay_ms=measured.delay_ms,
        age_ms=measured.age_ms,
        lost=measured.lost,
        gaps=measured.gaps,
        frozen=measured.frozen,
        repeated_images=None if seen.freezes is None else sum(run.count - 1 for run in seen.freezes),
        invalid_frames=measured.invalid_frames,
        zero_stamps=counted.zero_stamps,
        unreadable=counted.unreadable,
        undecodable=sum(seen.refusals.values()),
        duplicates=counted.duplicates,
        out_of_order=counted.out_of_order,
        future=counted.future,
        encodings={_layout_text(layout): count for layout, count in seen.layouts.items()},
    )


def _layout_text(layout: tuple[str, int, int]) -> str:
    encoding, width, height = layout
    return f'{encoding} {width}x{height}' if width else encoding


def _across(episodes: list[EpisodeQuality]) -> list[Finding]:
    """What only the data set as a whole shows."""
    findings = []
    if not episodes:
        return [Finding('empty', 'bad', 'the data set has no episode', 'Record or convert one.')]
    lengths = np.array([episode.duration_s for episode in episodes])
    median_s = float(np.median(lengths))
    odd = [index for index, length in enumerate(lengths) if not median_s / 3 <= length <= median_s * 3]
    if odd:
        shown = ', '.join(f'{index} ({lengths[index]:.1f} s)' for index in odd[:5])
        findings.append(
            Finding(
                'odd-length',
                'note',
                f'episodes of unusual length (median {median_s:.1f} s): {shown}',
                'Look at them: interrupted, or forgotten to stop?',
            )
        )
    without = [index for index, episode in enumerate(episodes) if not episode.contacts]
    has_touch = any(stream.role == 'tactile' for stream in episodes[0].streams.values())
    if has_touch and 0 < len(without) < len(episodes):
        findings.append(
            Finding(
                'no-contact',
                'note',
                f'{len(without)} of {len(episodes)} episodes show no contact',
                'Look at them: was the sensor pressed, was its first image free?',
            )
        )
    return findings
