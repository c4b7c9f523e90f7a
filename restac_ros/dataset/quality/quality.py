"""Quality of an episode: measured figures, findings with their remedies, and a verdict.

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
from restac_ros.dataset.quality.measures import Spread, StreamQuality, measure
from restac_ros.dataset.quality.trace import Trace

Verdict = Literal['good', 'usable', 'bad']
FindingKind = Literal['recording', 'data set']
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class EpisodeQuality:
    """One episode. `longest_run` is the number of usable frames in a row, which a converter can keep."""

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
    """A recording by its stretches, or a data set by its episodes; `findings` concern all of them."""

    path: str
    kind: FindingKind
    verdict: Verdict
    verdicts: dict[str, int]
    findings: list[Finding]
    episodes: list[EpisodeQuality]

    def to_json(self) -> str:
        """Return the report as JSON, with the format's version."""
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
        longest_run=measures.plan.length if measures.plan else 0,
        static_head_s=measures.static_head_s,
        static_tail_s=measures.static_tail_s,
        skew_ms=measures.skew_ms,
        streams=measures.streams,
        contacts=trace.contacts(),
        notes=list(trace.notes),
    )


def assess(
    path: Path | str,
    contract: Contract | None = None,
    each: Callable[[EpisodeQuality, Trace], None] | None = None,
) -> QualityReport:
    """Assess a recording (journal or bag; a paused one by its stretches), or every episode of a data set.

    `contract` is for bags that hold none. `each` is called with every episode and its curves as soon as it is
    assessed; the curves are not kept.

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
    """Return the worst of severities or verdicts; notes do no harm."""
    found = set(severities)
    return 'bad' if 'bad' in found else 'usable' if {'warning', 'usable'} & found else 'good'


def _across(episodes: list[EpisodeQuality]) -> list[Finding]:
    """Find faults that only all episodes together show."""
    findings = []
    if not episodes:
        return [Finding('empty', 'bad', 'the data set has no episode', 'Record or convert one.')]
    lengths = np.array([episode.duration_s for episode in episodes])
    median_s = float(np.median(lengths))
    odd = [index for index, length in enumerate(lengths) if not median_s / 3 <= length <= median_s * 3]
    if odd:
        shown = ', '.join(f'{index} ({lengths[index]:.1f} s)' for index in odd[:5])
        text = f'episodes of unusual length (median {median_s:.1f} s): {shown}'
        findings.append(Finding('odd-length', 'note', text, 'Check them: interrupted, or forgotten to stop?'))
    without = [index for index, episode in enumerate(episodes) if not episode.contacts]
    has_touch = any(stream.role == 'tactile' for stream in episodes[0].streams.values())
    if has_touch and 0 < len(without) < len(episodes):
        text = f'{len(without)} of {len(episodes)} episodes show no contact'
        remedy = 'Check them: was the sensor pressed, was its first image free?'
        findings.append(Finding('no-contact', 'note', text, remedy))
    return findings
