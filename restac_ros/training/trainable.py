"""Which leaves of a model are trained: derived from its configuration, never from a list kept by hand."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from restac_ros.model.config import ModelConfig
from restac_ros.training.config import Part, TrainConfig

_LANGUAGE = re.compile(r'(^|/)llm(/|$)')
_EXPERT = re.compile(r'(^|/)llm/.*_1(/|$)')
_FLOW = re.compile(r'^(action|time|state)_\w*(in|out|proj)(/|$)')
_LORA = re.compile(r'lora_[ab]$')
_NO_GRADIENT = re.compile(
    r'/(mean|var|embed|embed_avg|cluster_size)$'
)  # statistics of normalisation, codebooks


@dataclass(frozen=True)
class Split:
    """Names of leaves, in the model's order."""

    trained: tuple[str, ...]
    frozen: tuple[str, ...]

    def describe(self, shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        """One line per part of the model: values trained and frozen."""
        lines = []
        for what, names in (('trained', self.trained), ('frozen', self.frozen)):
            parts: dict[str, list[str]] = {}
            for name in names:
                parts.setdefault(_part_of(name), []).append(name)
            lines += [
                f'{what:<8} {part:<28} {len(own):>4} leaves '
                f'{sum(math.prod(shapes[name]) for name in own):>14,} values'
                for part, own in parts.items()
            ]
        return lines


def split_leaves(config: ModelConfig, names: Mapping[str, object], part: Part = 'all') -> Split:
    """Choose which of the model's leaves are trained.

    - Unit-Align is frozen: it has a training of its own. The small CNN trains with the policy.
    - An expert with LoRA adapters trains those alone, as in openpi; SigLIP and the projections train.
    - 'action_expert' freezes SigLIP and the language expert besides.
    - 'language' freezes all but these two.
    - 'flow' freezes all but the action expert and its projections: not touch, gate and fusion.
    """
    rules: list[Callable[[str], bool]] = [
        lambda name: (
            name.startswith('tactile/')
            and (config.tactile is None or not config.tactile.trains or bool(_NO_GRADIENT.search(name)))
        ),
        lambda name: _has_lora(config, name) and not _LORA.search(name),
    ]
    if part == 'action_expert':
        rules.append(_speaks)
    if part == 'flow':
        rules.append(lambda name: not (_EXPERT.search(name) or _FLOW.search(name)))
    if part == 'language':
        rules.append(lambda name: not _speaks(name))
    frozen = tuple(name for name in names if any(rule(name) for rule in rules))
    held = set(frozen)
    return Split(tuple(name for name in names if name not in held), frozen)


def part_of_run(train: TrainConfig) -> Part:
    """Return which leaves a run trains: a mode of hierarchical training decides it by itself."""
    match train.hierarchy.mode:
        case 'planar':
            return 'language'
        case 'action_expert':
            return 'action_expert'
    return train.part


def _speaks(name: str) -> bool:
    """Whether the leaf belongs to SigLIP or the language expert, whose head is its embedding."""
    return name.startswith('PaliGemma/') and not _EXPERT.search(name)


def _has_lora(config: ModelConfig, name: str) -> bool:
    """Whether the leaf belongs to an expert that is adapted instead of trained."""
    if not _LANGUAGE.search(name):
        return False
    expert = config.action_expert if _EXPERT.search(name) else config.paligemma
    return expert.lora_attention is not None or expert.lora_mlp is not None


def _part_of(name: str) -> str:
    if _EXPERT.search(name):
        return 'action expert' + (' (LoRA)' if _LORA.search(name) else '')
    if _LANGUAGE.search(name):
        return 'language expert' + (' (LoRA)' if _LORA.search(name) else '')
    return 'SigLIP' if name.startswith('PaliGemma/img/') else name.partition('/')[0]
