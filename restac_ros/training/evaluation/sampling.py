"""Chunks and flow losses of the chosen frames: as recorded, and with one input at a time exchanged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from restac_ros.model.observation import Observation
from restac_ros.model.prefix import PrefixCache
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.policy.noise import draw_noise
from restac_ros.policy.policy import Policy
from restac_ros.policy.preprocessing import stack
from restac_ros.policy.prompting import Task
from restac_ros.training.data.episodes import Episodes, EpisodeSample
from restac_ros.training.data.loader import SampleSource
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.parity import (
    Parity,
    check_equal,
    check_policy_chunk,
    deployed_observation,
)
from restac_ros.training.evaluation.settings import EvaluationConfig
from restac_ros.training.evaluation.subject import Subject
from restac_ros.training.evaluation.words import SaidFrames, Speaker
from restac_ros.training.step import action_dims

RECORDED = 'recorded'
PROMPT = 'prompt'
GATES = {'gate 0': 0.0, 'gate 1': 1.0}
POLICY_CHUNKS = 4
_SAID = ('said right', 'said ended', 'said chunks')
_TOKENS = 'chunks of tokens'

type Chunks = Float[np.ndarray, 'n T 7']
type FramesDone = Callable[[int, int], None]
"""Called with the frames done and all."""


@dataclass
class SampledChunks:
    """Chunks that a checkpoint sampled for the chosen frames.

    Attributes:
        recorded: chunks of the inputs as recorded, as raw deltas.
        touch: by substitution, and by forced gate; empty without touch.
        inputs: by camera slot, and with another prompt.
        steps: by number of Euler steps, same noise.
        flow: mean squared velocity error of each frame over its steps and dimensions, [n, bins].
        demonstrated: targets as raw deltas, from the frames' states.
        step_mask: False past an episode's end, [n, T].
        parity: what was compared between training and deployment.
        said: subtasks that the network generated; None where it generates none.
        tokens: chunks generated as tokens, NaN where they decode to none; None where it generates none.
    """

    recorded: Chunks
    touch: dict[str, Chunks]
    inputs: dict[str, Chunks]
    steps: dict[int, Chunks]
    flow: Float[np.ndarray, 'n bins']
    demonstrated: Chunks
    step_mask: np.ndarray
    parity: Parity
    said: SaidFrames | None
    tokens: Chunks | None


@dataclass
class _Rows:
    """A batch of frames; the last batch repeats its last frame, so that every program compiles once."""

    numbers: list[int]  # of the chosen frames, without repetitions
    samples: list[EpisodeSample]
    observation: Observation[np.ndarray]
    noise: np.ndarray


class ChunkSampler:
    """Samples the chunks of one checkpoint.

    Args:
        subject, policy, network: the checkpoint; `policy` is what a robot runs of it.
        episodes: the data set.
        places: chosen frames, [n, 2].
        touch: by substitution, the place whose tactile image is shown; empty without touch.
        strangers: place of another episode's frame for each chosen one, for cameras.
        settings: of the evaluation.
    """

    def __init__(
        self,
        subject: Subject,
        policy: Policy,
        network: EvaluatedNetwork,
        episodes: Episodes,
        places: Int[np.ndarray, 'n 2'],
        touch: Mapping[str, Int[np.ndarray, 'n 2']],
        strangers: Int[np.ndarray, 'n 2'],
        settings: EvaluationConfig,
    ) -> None:
        self._policy, self._inputs, self._network = policy, policy.inputs, network
        self._episodes, self._places, self._settings = episodes, places, settings
        self._touch, self._strangers = touch, strangers
        self._source = SampleSource(
            episodes, subject.loader, places, 0, subject.prompt_length, subject.lessons
        )
        self._subject, self._speaker = subject, Speaker(subject, policy.inputs, network)
        self._length, self._steps = subject.prompt_length, subject.flow_steps
        self._names: list[str] = []
        self._largest = 0.0

    def run(self, progress: FramesDone) -> SampledChunks:
        """Go through all frames.

        Raises:
            TrainingError: training and deployment do not feed the network the same.
        """
        parts: dict[str, list[np.ndarray]] = {}
        for rows in self._batches():
            for name, values in self._batch(rows).items():
                parts.setdefault(name, []).append(values[: len(rows.numbers)])
            progress(rows.numbers[-1] + 1, len(self._places))
        whole = {name: np.concatenate(values) for name, values in parts.items()}
        checked = min(POLICY_CHUNKS, len(self._places))
        return SampledChunks(
            recorded=whole[RECORDED],
            touch={name: whole[name] for name in (*self._touch, *(GATES if self._touch else ()))},
            inputs={name: whole[name] for name in (*self._inputs.slot_of.values(), PROMPT) if name in whole},
            steps={count: whole[f'{count} steps'] for count in self._steps},
            flow=whole['flow'],
            demonstrated=whole['demonstrated'],
            step_mask=whole['step_mask'],
            parity=Parity(len(self._places), self._names, checked, self._largest),
            said=SaidFrames(*(whole[name] for name in _SAID)) if _SAID[0] in whole else None,
            tokens=whole.get(_TOKENS),
        )

    def _batches(self) -> Iterator[_Rows]:
        size, count = self._settings.batch_size, len(self._places)
        for first in range(0, count, size):
            numbers = list(range(first, min(first + size, count)))
            filled = [*numbers, *[numbers[-1]] * (size - len(numbers))]
            samples = {number: self._sample(*self._places[number].tolist()) for number in numbers}
            observations = {number: self._checked(number, samples[number]) for number in numbers}
            noise = np.stack(
                [draw_noise(self._inputs.config, self._settings.seed, number) for number in filled]
            )
            stacked = self._stacked([observations[number] for number in filled])
            yield _Rows(numbers, [samples[number] for number in filled], stacked, noise)

    def _batch(self, rows: _Rows) -> dict[str, np.ndarray]:
        network, observation, samples = self._network, rows.observation, rows.samples
        cache = network.prefix(observation)
        code = self._code(observation, cache)
        steps = {count: self._chunks(cache, code, rows, num_steps=count) for count in self._steps}
        recorded = steps[self._steps[0]]
        if rows.numbers[0] == 0:
            self._check_policy(rows, recorded)
        found = {f'{count} steps': self._raw(chunks) for count, chunks in steps.items()}
        found[RECORDED] = self._raw(recorded)
        found |= self._other_touch(rows, cache, code) if self._touch else {}
        found |= self._other_inputs(rows) | self._words(rows, cache)
        found['demonstrated'] = np.stack(
            [self._inputs.rule.deltas(sample.actions, sample.state) for sample in samples]
        )
        found['step_mask'] = np.stack([sample.step_mask for sample in samples])
        found['flow'] = self._flow(rows, cache, code)
        return found

    def _other_touch(
        self, rows: _Rows, cache: PrefixCache, code: TactileCode | None
    ) -> dict[str, np.ndarray]:
        found = {}
        for name, places in self._touch.items():
            images = [self._episodes.tactile_image(*places[number].tolist()) for number in rows.numbers]
            shown = rows.observation._replace(tactile=_filled(images, len(rows.samples)))
            found[name] = self._raw(self._chunks(cache, self._code(shown, cache), rows))
        for name, gate in GATES.items():
            found[name] = self._raw(self._chunks(cache, code, rows, gate=gate))
        return found

    def _other_inputs(self, rows: _Rows) -> dict[str, np.ndarray]:
        """One camera at a time shows another episode; then the prompt is another."""
        size = len(rows.samples)
        others = [self._sample(*self._strangers[number].tolist()) for number in rows.numbers]
        shown = [self._inputs.images(other.images)[0] for other in others]
        found = {}
        for slot in rows.observation.images:
            strange = _filled([one[slot][0] for one in shown], size)
            changed = rows.observation._replace(images={**rows.observation.images, slot: strange})
            found[slot] = self._from_prefix(changed, rows)
        renamed = self._stacked([self._deployed(self._renamed(sample)) for sample in rows.samples])
        found[PROMPT] = self._from_prefix(renamed, rows)
        return found

    def _renamed(self, sample: EpisodeSample) -> EpisodeSample:
        """The same frame with another task; with another subtask where chunks are planned by these."""
        tables = self._episodes.tables
        if sample.subtask is not None and self._subject.lessons is not None:
            return sample._replace(subtask=other_task(sample.subtask, tables.subtasks))
        return sample._replace(task=other_task(sample.task, list(tables.tasks.values())))

    def _words(self, rows: _Rows, cache: PrefixCache) -> dict[str, np.ndarray]:
        """Generate the network's texts of the batch, and the chunks that follow from them."""
        speaker, subject, found = self._speaker, self._subject, dict[str, np.ndarray]()
        if subject.lessons is not None and subject.lessons.hierarchy.mode != 'action_expert':
            said = speaker.subtasks(rows.observation, rows.samples)
            by = [speaker.prompted(sample, one) for sample, one in zip(rows.samples, said, strict=True)]
            shown = [self._deployed(*pair) for pair in zip(rows.samples, by, strict=True)]
            chunks = self._from_prefix(self._stacked(shown), rows)
            chunks[[task is None for task in by]] = np.nan
            columns = speaker.right(rows.samples, said), np.array([one.ended for one in said]), chunks
            found |= dict(zip(_SAID, columns, strict=True))
        if subject.sentences is not None:
            found[_TOKENS] = self._raw(speaker.token_chunks(subject.sentences, cache, rows.observation))
        return found

    def _deployed(self, sample: EpisodeSample, task: Task | None = None) -> Observation[np.ndarray]:
        return deployed_observation(self._inputs, sample, task or self._speaker.task(sample))

    def _from_prefix(self, observation: Observation[np.ndarray], rows: _Rows) -> np.ndarray:
        cache = self._network.prefix(observation)
        return self._raw(self._chunks(cache, self._code(observation, cache), rows))

    def _flow(self, rows: _Rows, cache: PrefixCache, code: TactileCode | None) -> np.ndarray:
        actions = np.stack([self._inputs.actions(one.actions, one.state) for one in rows.samples])
        mask = np.stack([one.step_mask for one in rows.samples])[..., None]
        dims, columns = action_dims(self._episodes.contract), []
        for time in self._settings.flow_times():
            squares = self._network.flow_squares(
                cache, code, rows.observation.state, actions, rows.noise, time
            )
            own = np.where(mask, squares[..., :dims], 0.0).sum(axis=(1, 2))
            columns.append(own / (mask.sum(axis=(1, 2)) * dims))
        return np.stack(columns, axis=1)

    def _code(self, observation: Observation[np.ndarray], cache: PrefixCache) -> TactileCode | None:
        if observation.tactile is None or observation.action_prev is None:
            return None
        return self._network.touch(observation.tactile, cache, observation.action_prev)

    def _chunks(
        self,
        cache: PrefixCache,
        code: TactileCode | None,
        rows: _Rows,
        num_steps: int | None = None,
        gate: float | None = None,
    ) -> np.ndarray:
        steps = num_steps or self._steps[0]
        return self._network.chunks(cache, code, rows.observation.state, rows.noise, steps, gate)

    def _raw(self, chunks: np.ndarray) -> np.ndarray:
        return self._inputs.deltas_from_actions(chunks)

    def _sample(self, episode: int, frame: int) -> EpisodeSample:
        return self._episodes.sample(episode, frame, self._inputs.config.action_horizon)

    def _checked(self, number: int, sample: EpisodeSample) -> Observation[np.ndarray]:
        """The frame on the deployment road, after comparing it with the loader's."""
        deployed = self._deployed(sample)
        self._names = check_equal(self._source[number].observation, deployed, self._place(number))
        return deployed

    def _check_policy(self, rows: _Rows, chunks: np.ndarray) -> None:
        for number in rows.numbers[:POLICY_CHUNKS]:
            found = check_policy_chunk(
                self._policy,
                sample := rows.samples[number],
                self._speaker.task(sample),
                rows.noise[number],
                chunks[number],
                self._place(number),
            )
            self._largest = max(self._largest, found)

    def _place(self, number: int) -> str:
        episode, frame = self._places[number].tolist()
        return f'{self._episodes.name} episode {episode} frame {frame}'

    def _stacked(self, observations: Sequence[Observation[np.ndarray]]) -> Observation[np.ndarray]:
        """One batch; prompts are padded to the longest of all frames, so that programs compile once."""
        batch = stack(observations)
        missing = ((0, 0), (0, max(0, self._length - batch.tokenized_prompt.shape[1])))
        return batch._replace(
            tokenized_prompt=np.pad(batch.tokenized_prompt, missing),
            tokenized_prompt_mask=np.pad(batch.tokenized_prompt_mask, missing),
        )


def other_task(task: str, tasks: Sequence[str]) -> str:
    """Return another task of the data; of data with one task, its words backwards, or its contrary."""
    backwards = ' '.join(reversed(task.split()))
    return next((other for other in (*tasks, backwards) if other != task), f'do not {task}')


def _filled(images: list[np.ndarray], size: int) -> np.ndarray:
    return np.stack([*images, *[images[-1]] * (size - len(images))])
