"""Chunks of a checkpoint's network on chosen frames of a data set, for comparing parameters."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from jaxtyping import Float

from restac_ros.model.checkpoint.params import Params
from restac_ros.model.checkpoint.store import Checkpoint
from restac_ros.policy.noise import draw_noise
from restac_ros.training.data.loader import SampleSource
from restac_ros.training.errors import TrainingError
from restac_ros.training.evaluation.evaluate import Tell
from restac_ros.training.evaluation.network import EvaluatedNetwork
from restac_ros.training.evaluation.subject import Subject, open_data, open_subjects

_BATCH = 8


@dataclass
class ActionProbe:
    """Frames, noise and programs that stay the same from one set of parameters to the next.

    Attributes:
        subject: the checkpoint that was opened.
        source: the frames, evenly over the data set.
        seed: of the noise.
    """

    subject: Subject
    source: SampleSource
    seed: int
    _network: EvaluatedNetwork | None = None

    @classmethod
    def open(cls, path: Path, dataset: Path, frames: int, seed: int) -> Self:
        """Check a checkpoint against a data set and choose frames.

        Raises:
            CheckpointError, PolicyError, DatasetError, TrainingError: they do not fit, or no frames.
        """
        if frames < 1:
            raise TrainingError(f'--frames: found {frames}, expected 1 or more')
        episodes = open_data(dataset, path)
        (subject,) = open_subjects([path], episodes)
        episodes.check_videos()
        places = np.array(
            [(n, frame) for n, span in episodes.tables.spans.items() for frame in range(span.length)]
        )
        chosen = np.unique(np.linspace(0, len(places) - 1, min(frames, len(places))).round().astype(int))
        source = SampleSource(episodes, subject.loader, places[chosen], 0, subject.prompt_length)
        return cls(subject, source, seed)

    def chunks(self, params: Params, tell: Tell | None = None, what: str = '') -> Float[np.ndarray, 'n T D']:
        """Return the normalised chunk of each frame, ten Euler steps from noise of (seed, number)."""
        if self._network is None:
            self._network = EvaluatedNetwork(Checkpoint(self.subject.path, self.subject.info, params))
        network = self._network.with_params(params, str(self.subject.path))
        count, parts = len(self.source), []
        for first in range(0, count, _BATCH):
            if tell is not None:
                tell(f'{what}: frames', first, count)
            numbers = [min(number, count - 1) for number in range(first, first + _BATCH)]
            observation = self.source.joined([self.source[number] for number in numbers]).observation
            noise = np.stack([draw_noise(self.subject.config, self.seed, number) for number in numbers])
            cache = network.prefix(observation)
            code = None
            if observation.tactile is not None and observation.action_prev is not None:
                code = network.touch(observation.tactile, cache, observation.action_prev)
            parts.append(network.chunks(cache, code, observation.state, noise))
        return np.concatenate(parts)[:count]
