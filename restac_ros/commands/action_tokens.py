"""`restac-ros fit-fast`: a vocabulary of action tokens for one robot's motion."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from restac_ros.commands.paths import absolute
from restac_ros.commands.terminal import print_line
from restac_ros.training.config import DataConfig

if TYPE_CHECKING:
    from restac_ros.training.action_tokens_fit import FittedFast

REPORT = 'fit.json'


@dataclass(frozen=True)
class FitFast:
    """Fit FAST, a tokenizer of action chunks, to recorded episodes, and measure it on episodes held out.

    DIR gets tokenizer.json and processor_config.json, as the published tokenizer has them, and fit.json with
    the figures.
    """

    dataset: Annotated[Path, Positional]
    """LeRobot data set."""
    to: Path
    """Directory of the tokenizer to write."""
    horizon: int = 50
    """Steps of a chunk of the model to be trained."""
    vocab_size: int = 1024
    """Number of tokens."""
    scale: float = 10.0
    """Of the coefficients before they are rounded: a larger one is finer, and takes more tokens."""
    stride: int = 1
    """Frames from one chunk that is learned from to the next."""
    validation_share: float = 0.1
    """Share of episodes held out, as training is given it."""
    episodes: tuple[int, ...] = ()
    """Numbers of the episodes to use; default: all."""
    min_range: dict[str, float] = field(default_factory=dict)
    """By dimension, a range to widen to, in m or rad, as training is given it."""
    beside: tuple[Path, ...] = ()
    """Directories of other tokenizers, such as the published one, to measure beside it."""

    def run(self) -> int:
        """Exit status."""
        from restac_ros.training.action_tokens_fit import FastRequest, fit_to_dataset

        request = FastRequest(
            absolute(self.dataset),
            self.horizon,
            self.vocab_size,
            self.scale,
            self.stride,
            DataConfig(
                validation_share=self.validation_share, episodes=self.episodes, min_range=self.min_range
            ),
            tuple(map(absolute, self.beside)),
        )
        print_line('reading the episodes and fitting: seconds for thousands of frames')
        fitted = fit_to_dataset(request)
        to = absolute(self.to)
        fitted.codec.save(to)
        report = {
            'fitted_on': fitted.fitted_on,
            'held_out': fitted.held_out,
            **fitted.stats.to_dict(),
            'figures': [asdict(each) for each in fitted.figures],
        }
        (to / REPORT).write_text(json.dumps(report, indent=1) + '\n', encoding='utf-8')
        _print(fitted)
        print_line(f'{to}: {fitted.codec.vocab_size} tokens, learned from {fitted.fitted_on} chunks')
        return 0


def _print(fitted: 'FittedFast') -> None:
    of = 'episodes held out' if fitted.held_out else 'the episodes that it learned from: none are held out'
    print_line(f'of {of}:')
    for each in fitted.figures:
        print_line(f'{each.name}, {each.vocab_size} codes')
        print_line(
            f'  {each.mean:.1f} tokens a chunk, {each.longest} at most; {each.per_s:.1f} tokens for a second '
            'of motion'
        )
        print_line(
            f'  error {each.rms:.4f} rms of normalised values: {_units(each.rms_units)}; '
            f'at most {_units(each.largest_units)}'
        )
        if each.clipped:
            print_line(f'  {each.clipped:.2%} of the values are beyond its range, and clipped')
        if each.refused:
            print_line(f'  {each.refused} of {each.refused + each.chunks} chunks have no tokens in it')


def _units(errors: tuple[float, ...]) -> str:
    position, rotation, gripper = (1e3 * error for error in errors)
    return f'{position:.2f} mm, {rotation:.2f} mrad, opening {gripper:.2f} mm'
