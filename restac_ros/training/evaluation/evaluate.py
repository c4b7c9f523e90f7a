"""An evaluation from checkpoints and a data set to a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from restac_ros.training.contact import contact_labels
from restac_ros.training.data.episodes import Episodes, chosen
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.action_error import Demonstrated, half_range, phase_errors
from restac_ros.training.evaluation.bootstrap import LEAST_EPISODES, EpisodeBootstrap
from restac_ros.training.evaluation.dependence import effects, touch_verdict
from restac_ros.training.evaluation.gate_figures import gate_figures
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.phases import ChosenFrames, choose_frames
from restac_ros.training.evaluation.report import (
    Comparison,
    EvaluatedCheckpoint,
    EvaluationReport,
    FlowBin,
    StepFigure,
    TouchReport,
    TraceSample,
)
from restac_ros.training.evaluation.sampling import ChunkSampler, SampledChunks
from restac_ros.training.evaluation.settings import EvaluationConfig
from restac_ros.training.evaluation.subject import Subject, open_data, open_subjects
from restac_ros.training.evaluation.substitution import strangers, substitutes
from restac_ros.training.evaluation.surprise import codebook_use, surprise_calibration
from restac_ros.training.evaluation.traces import EpisodeTrace, touch_traces
from restac_ros.training.evaluation.words import (
    SaidActionFigures,
    SubtaskFigures,
    said_action_figures,
    subtask_figures,
)
from restac_ros.training.step import action_dims

type Tell = Callable[[str, int, int], None]
"""Called with what is under way, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class _Assignment:
    """What every checkpoint is measured on."""

    episodes: Episodes
    numbers: list[int]
    contact: Mapping[int, Bool[np.ndarray, ' frames']]
    frames: ChosenFrames
    half_range: Float[np.ndarray, '7']  # of the first checkpoint: one scale for all
    settings: EvaluationConfig


def evaluate(
    checkpoints: Sequence[Path],
    dataset: Path,
    settings: EvaluationConfig,
    tell: Tell,
    *,
    numbers: Sequence[int] = (),
    validation_share: float = 0.1,
) -> EvaluationReport:
    """Measure checkpoints on recorded episodes.

    Args:
        checkpoints: directories; the first is what the others are compared with.
        dataset: LeRobot data set with a contract of this package.
        settings: sizes and seeds.
        tell: progress.
        numbers: episodes; none: all that no checkpoint was trained on, as far as is known.
        validation_share: of the training of checkpoints that do not record their episodes.

    Raises:
        TrainingError, DatasetError, CheckpointError, PolicyError, NormStatsError, TokenizerError: see the
            parts. What can be known before compiling is refused there.
    """
    episodes = open_data(dataset, checkpoints[0])
    subjects = open_subjects(checkpoints, episodes)
    episodes.check_videos()
    wanted, held_out = evaluated_episodes(episodes, subjects, numbers, validation_share)
    task = _assignment(episodes, wanted, subjects, settings)
    reports, errors, traces = [], [], {}
    for subject in subjects:
        report, error, trace = _measured(subject, task, tell)
        reports.append(report)
        errors.append(error)
        if trace:
            traces[subject.name] = trace
    phases = task.frames.phase_weights()
    return EvaluationReport(
        dataset=episodes.name,
        fingerprint=episodes.fingerprint,
        contract=episodes.contract.name,
        fps=episodes.contract.fps,
        held_out=held_out,
        episodes=wanted,
        frames={name: int((weights > 0).sum()) for name, weights in phases.items()},
        settings=task.settings,
        checkpoints=reports,
        comparisons=_compared(reports, errors, task),
        trace=_trace_sample(traces, task),
    )


def evaluated_episodes(
    episodes: Episodes, subjects: Sequence[Subject], numbers: Sequence[int], validation_share: float
) -> tuple[list[int], bool | None]:
    """Return episode numbers, and whether no checkpoint was trained on any; None: that is not known.

    Raises:
        TrainingError: too few.
    """
    wanted = chosen(episodes, list(numbers) or None)
    learnt = [n for n in wanted if any(one.learnt(episodes, n, validation_share) for one in subjects)]
    unrecorded = [one.name for one in subjects if not one.info.origin.knows_episodes]
    if not numbers:
        wanted = [number for number in wanted if number not in learnt]
    if len(wanted) < LEAST_EPISODES:
        why = ' that no checkpoint was trained on' if learnt and not numbers else ''
        told = f'give the --validation-share that {", ".join(unrecorded)} had in training, '
        raise TrainingError(
            f'{episodes.name}: found {len(wanted)} episodes{why}, expected at least {LEAST_EPISODES}: '
            f'evaluate on data that was not trained on, {told if unrecorded else ""}or name --episodes'
        )
    if learnt and numbers:
        return wanted, False
    return wanted, None if unrecorded else True


def _assignment(
    episodes: Episodes, wanted: list[int], subjects: Sequence[Subject], settings: EvaluationConfig
) -> _Assignment:
    horizons = {subject.config.action_horizon for subject in subjects}
    settings = replace(settings, executed=min(settings.executed, *horizons))
    lengths = {number: episodes.tables.spans[number].length for number in wanted}
    contact = None
    if episodes.tactile is not None or settings.contact_column is not None:
        labels = contact_labels(episodes, wanted, settings.contact_column)
        contact = {number: labels[number].in_contact for number in wanted}
    frames = choose_frames(
        episodes,
        wanted,
        contact,
        settings.frames,
        settings.executed,
        stated=any(subject.lessons is not None for subject in subjects),
    )
    free = {number: np.zeros(length, bool) for number, length in lengths.items()}
    scale = half_range(subjects[0].loader.stats.actions)
    return _Assignment(episodes, wanted, free if contact is None else contact, frames, scale, settings)


def _measured(
    subject: Subject, task: _Assignment, tell: Tell
) -> tuple[EvaluatedCheckpoint, np.ndarray, list[EpisodeTrace]]:
    """Return the figures of one checkpoint, the action error of each frame, and its traces."""
    tell(f'{subject.name}: loading', 0, 1)
    policy, checkpoint = subject.open()
    network = EvaluatedNetwork(checkpoint)
    settings, frames, uses_touch = task.settings, task.frames, subject.config.uses_touch
    touch = substitutes(frames, task.contact, settings.delay, settings.seed) if uses_touch else {}
    others = strangers(frames, task.contact, settings.seed + 1)
    sampler = ChunkSampler(subject, policy, network, task.episodes, frames.places, touch, others, settings)
    sampled = sampler.run(lambda done, count: tell(f'{subject.name}: frames', done, count))
    demonstrated = Demonstrated(
        sampled.demonstrated,
        sampled.step_mask,
        task.half_range,
        settings.executed,
        action_dims(task.episodes.contract),
    )
    bootstrap = EpisodeBootstrap(frames.episodes, settings.seed)
    phases = frames.phase_weights()
    traces = []
    if uses_touch:
        traces = touch_traces(
            network,
            policy.inputs,
            task.episodes,
            task.numbers,
            settings.batch_size,
            lambda done, count: tell(f'{subject.name}: episodes of touch', done, count),
        )
    taught = subject.info.origin.subtasks
    report = EvaluatedCheckpoint(
        name=subject.name,
        path=str(subject.path),
        fusion=subject.config.fusion,
        encoder=subject.config.tactile.kind if subject.config.tactile else 'none',
        trained_steps=subject.info.origin.step,
        acts=taught is None or taught.acts,
        parity=sampled.parity,
        errors=phase_errors(demonstrated, sampled.recorded, phases, bootstrap),
        flow=[
            FlowBin(time, bootstrap.mean(sampled.flow[:, number], frames.weights))
            for number, time in enumerate(settings.flow_times())
        ],
        steps=_steps(sampled, demonstrated, frames, bootstrap),
        inputs=effects(demonstrated, sampled.recorded, sampled.inputs, phases, bootstrap),
        touch=_touch(subject, sampled, demonstrated, traces, task, bootstrap) if uses_touch else None,
        subtasks=_subtasks(sampled, demonstrated, task, bootstrap),
        tokens=_tokens(subject, sampled, demonstrated, frames, bootstrap),
    )
    return report, demonstrated.frame_error(sampled.recorded), traces


def _steps(
    sampled: SampledChunks, demonstrated: Demonstrated, frames: ChosenFrames, bootstrap: EpisodeBootstrap
) -> list[StepFigure]:
    deployed = sampled.recorded
    return [
        StepFigure(
            count,
            bootstrap.mean(demonstrated.frame_error(chunks), frames.weights),
            bootstrap.mean(demonstrated.change(chunks, deployed), frames.weights),
        )
        for count, chunks in sampled.steps.items()
    ]


def _subtasks(
    sampled: SampledChunks, demonstrated: Demonstrated, task: _Assignment, bootstrap: EpisodeBootstrap
) -> SubtaskFigures | None:
    if sampled.said is None:
        return None
    tables, frames = task.episodes.tables, task.frames
    stated = [
        str(tables.subtask(tables.spans[number].first + frame)) for number, frame in frames.places.tolist()
    ]
    return subtask_figures(sampled.said, stated, demonstrated, sampled.recorded, frames.weights, bootstrap)


def _tokens(
    subject: Subject,
    sampled: SampledChunks,
    demonstrated: Demonstrated,
    frames: ChosenFrames,
    bootstrap: EpisodeBootstrap,
) -> SaidActionFigures | None:
    if sampled.tokens is None or subject.sentences is None:
        return None
    kind = subject.sentences.codec.kind
    return said_action_figures(
        kind, sampled.tokens, demonstrated, sampled.recorded, frames.weights, bootstrap
    )


def _touch(
    subject: Subject,
    sampled: SampledChunks,
    demonstrated: Demonstrated,
    traces: Sequence[EpisodeTrace],
    task: _Assignment,
    bootstrap: EpisodeBootstrap,
) -> TouchReport:
    phases = task.frames.phase_weights()
    ablations = effects(demonstrated, sampled.recorded, sampled.touch, phases, bootstrap)
    contacts = [task.contact[number] for number in task.numbers]
    gate = gate_figures(
        [trace.gate for trace in traces],
        [trace.logvar for trace in traces],
        contacts,
        [np.arange(len(trace.gate)) / task.episodes.contract.fps for trace in traces],
        task.settings.seed,
    )
    squared = [trace.squared_residual for trace in traces if trace.squared_residual is not None]
    surprise = codebook = None
    if squared and subject.config.tactile is not None:
        surprise = surprise_calibration(
            np.concatenate([trace.logvar for trace in traces]), np.concatenate(squared)
        )
        codebook = codebook_use(
            np.concatenate([trace.code_index for trace in traces]),
            np.concatenate(contacts),
            subject.config.tactile.quantizer.num_codes,
        )
    return TouchReport(touch_verdict(ablations), ablations, gate, surprise, codebook)


def _compared(
    reports: Sequence[EvaluatedCheckpoint], errors: Sequence[np.ndarray], task: _Assignment
) -> list[Comparison]:
    bootstrap = EpisodeBootstrap(task.frames.episodes, task.settings.seed)
    phases = task.frames.phase_weights()
    return [
        Comparison(
            report.name,
            reports[0].name,
            {
                phase: bootstrap.ratio(error - errors[0], errors[0], weights)
                for phase, weights in phases.items()
            },
        )
        for report, error in zip(reports[1:], errors[1:], strict=True)
    ]


def _trace_sample(traces: Mapping[str, Sequence[EpisodeTrace]], task: _Assignment) -> TraceSample | None:
    """The first episode with contact, or the first one."""
    if not traces:
        return None
    place = next((i for i, number in enumerate(task.numbers) if task.contact[number].any()), 0)
    contact = task.contact[task.numbers[place]]
    return TraceSample(
        episode=task.numbers[place],
        time_s=(np.arange(len(contact)) / task.episodes.contract.fps).tolist(),
        contact=contact.tolist(),
        gates={name: own[place].gate.tolist() for name, own in traces.items()},
    )
