"""Learning to generate subtasks, the time a token needs beside the matrix products that it is made of, and
what that delays.

The floor of one token is every weight of the language expert and its head times one vector: a token reads
each of them once. Both run in turns.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from restac_ros.bench.model import network_of
from restac_ros.bench.plan_delay import PlanDelay, measure_plan_delay, speaking_policy
from restac_ros.bench.processes import scratch
from restac_ros.bench.settings import PlannerBench
from restac_ros.bench.table import Figure, finish, judged
from restac_ros.bench.turns import in_turns
from restac_ros.contract.load import load_contract
from restac_ros.contract.schema import Contract
from restac_ros.model.checkpoint.network import abstract_leaves, assemble, initial_params
from restac_ros.model.config import ModelConfig
from restac_ros.model.int8 import Int8Weight
from restac_ros.model.observation import CAMERA_SLOTS
from restac_ros.model.prefix import PrefixCache
from restac_ros.policy.policy import Policy
from restac_ros.policy.stages import Stages
from restac_ros.training.config import CONFIGS, AugmentationConfig, DataConfig
from restac_ros.training.data.loader import SampleSource
from restac_ros.training.deploy import write_checkpoint
from restac_ros.training.distributed import on_host
from restac_ros.training.prepare import prepare
from restac_ros.training.run_store import RunStore
from restac_ros.training.subtask_task import make_subtask_task
from restac_ros.training.trainer import Trainer, deployable

LEAST_HELD_OUT, LONGEST_LEARNING_S = 0.95, 300.0
LEAST_SHARE_OF_FLOOR = 0.8
MOST_DELAY_MS = 10.0
_NEEDED_BYTES = 2 * 10**9
_PROMPT_TOKENS = 64


@dataclass(frozen=True)
class PlannerFigures:
    """Results.

    Attributes:
        learning_s: steps of training, with compilation and validation.
        trained_right, held_out_right: share of frames whose subtask is generated whole, with its end.
        say_s, floor_s: of one token; least of all rounds.
        touch: tactile readings of `tiny` beside plans.
        load_average: of the machine at the end.
    """

    learning_s: float
    trained_right: float
    held_out_right: float
    say_s: float
    floor_s: float
    touch: PlanDelay
    load_average: float

    @property
    def rows(self) -> list[Figure]:
        """The table."""
        touch, share = self.touch, self.floor_s / self.say_s
        alone, beside = (' / '.join(f'{ms:.1f}' for ms in one) for one in (touch.alone_ms, touch.beside_ms))
        return [
            judged('learning', self.learning_s, '<=', LONGEST_LEARNING_S, '{:.0f} s'),
            judged('right of the frames trained on', self.trained_right, '>=', 1.0, '{:.1%}'),
            judged('right of held-out frames', self.held_out_right, '>=', LEAST_HELD_OUT, '{:.1%}'),
            Figure('tokens a second', f'{1 / self.say_s:.1f}'),
            Figure('tokens a second of the floor', f'{1 / self.floor_s:.1f}'),
            judged('share of the floor', share, '>=', LEAST_SHARE_OF_FLOOR, '{:.2f}'),
            Figure('tactile reading of tiny, p50 / p99 / slowest', f'{alone} ms'),
            Figure(f'  beside {touch.plans} plans of {touch.tokens} tokens', f'{beside} ms'),
            judged(
                f'delay by a plan, of {touch.readings} by rank',
                touch.delay_ms,
                '<=',
                MOST_DELAY_MS,
                '{:.1f} ms',
            ),
            Figure('load average of the machine', f'{self.load_average:.1f}'),
        ]


class _Silent:
    """Keeps nothing of a run's reports."""

    def step(self, step: int, numbers: Mapping[str, float]) -> None:
        """Drop the numbers."""


def main(settings: PlannerBench) -> int:
    """Measure, print, write JSON if asked; 1 when a target is missed. What was made is removed.

    Raises:
        PolicyError: no such preset.
        JournalError: too little free disk in `settings.directory`.
    """
    network = network_of(settings.preset)
    contract = load_contract(settings.contract_file)
    with scratch(settings.directory, _NEEDED_BYTES) as folder:
        # First, as the threads of a policy's process are made before JAX is first used.
        policy = speaking_policy(folder / 'touch', contract)
        touch = measure_plan_delay(policy, settings.windows, settings.readings)
        learning_s, trained, held_out = measure_learning(folder, contract, settings)
    say_s, floor_s = measure_saying(network, settings.rounds)
    load_average = os.getloadavg()[0]
    figures = PlannerFigures(learning_s, trained, held_out, say_s, floor_s, touch, load_average)
    title = f'planner: tiny learns, {settings.preset} says'
    return finish(title, figures.rows, settings.json, asdict(figures))


def measure_learning(folder: Path, contract: Contract, settings: PlannerBench) -> tuple[float, float, float]:
    """Train `tiny_planar` on made episodes; return seconds, and shares of frames answered right."""
    root = folder / 'data'
    list(make_subtask_task(root, contract, settings.episodes))
    base = CONFIGS['tiny_planar']
    prepared = prepare(
        replace(
            base,
            data=DataConfig(datasets=(root,), validation_share=0.2),
            loader=replace(base.loader, cache=folder / 'cache'),
            augmentation=AugmentationConfig(enabled=False),
            to=folder / 'run',
            steps=settings.steps,
            validate_every=settings.steps,
            save_every=settings.steps,
        )
    )
    store = RunStore(prepared.train.to, prepared.train.keep_every, prepared.identity)
    trainer = Trainer(prepared, store, _Silent(), time.perf_counter, lambda: False)
    begun_s = time.perf_counter()
    outcome = trainer.run(trainer.begin())
    learning_s = time.perf_counter() - begun_s
    store.close()
    path = write_checkpoint(prepared, on_host(deployable(outcome.state)), outcome.step)
    policy = Policy.load(path, contract, 'clean the table', use_compile_cache=False)
    trained, held_out = (_right(policy, side, settings) for side in (prepared.sources, prepared.held_out))
    return learning_s, trained, held_out


def _right(policy: Policy, sources: Any, settings: PlannerBench) -> float:
    """Share of frames, spread evenly, whose subtask the policy generates, token by token, to its end."""
    source: SampleSource = sources[0]
    right = []
    for index in np.linspace(0, len(source) - 1, min(settings.frames, len(source))).round().astype(int):
        episode, frame = source.places[index].tolist()
        sample = source.episodes.sample(episode, frame, 2)
        said = policy.planner.ask(sample.images, sample.state, sample.task, 0)
        right.append(said is not None and said.ended and said.text == sample.subtask)
    return float(np.mean(right))


def measure_saying(config: ModelConfig, rounds: int) -> tuple[float, float]:
    """Seconds of one token, and of its floor: the least of so many rounds of both in turn."""
    config = replace(config, fusion='none', tactile=None)  # tokens that describe touch are left out
    params = initial_params(config, abstract_leaves(config), 0, everything=True, consume=jax.device_put)
    graph, state = assemble(config, params, source='random weights')
    gemma = config.paligemma
    tokens = 3 * config.tokens_per_image + _PROMPT_TOKENS
    held = jnp.ones((gemma.depth, 1, tokens, gemma.num_kv_heads, gemma.head_dim), config.dtype)
    cache = PrefixCache(held, held, jnp.ones((1, tokens), bool), None, None)
    prompt, prompt_mask = np.ones((1, _PROMPT_TOKENS), np.int32), np.ones((1, _PROMPT_TOKENS), bool)
    sayable = np.ones(config.vocab_size, bool)
    stages = Stages(config, graph, state, CAMERA_SLOTS, 1)
    stages.compile_saying(_PROMPT_TOKENS, rounds + 1, end=1)
    saying, key = [stages.begin_saying(cache, prompt, prompt_mask)], jax.random.key(0)

    def token() -> Any:
        after, said = stages.say(_PROMPT_TOKENS, cache, saying.pop(), sayable, key)
        saying.append(after)
        return said

    weights = [
        layer.reshape(-1, layer.shape[-1])
        for name, leaf in params.items()
        if name.startswith('PaliGemma/llm/layers/') and leaf.ndim > 2 and '_1/' not in name
        if not isinstance(leaf, Int8Weight)
        for layer in leaf
    ]
    table = params['PaliGemma/llm/embedder/input_embedding']
    vectors = [jnp.ones((1, weight.shape[0]), weight.dtype) for weight in weights]
    hidden = jnp.ones((1, gemma.width), table.dtype)

    @jax.jit
    def products(weights: list, vectors: list, table: Any, hidden: Any) -> Any:
        head = jnp.einsum('BW,VW->BV', hidden, table)  # as it lies: a transposed copy would cost more
        return [v @ w for v, w in zip(vectors, weights, strict=True)], head

    calls = token, lambda: products(weights, vectors, table, hidden)
    turns = [(ours.wall_s, floor.wall_s) for ours, floor in in_turns(calls, rounds, warm_ups=1)]
    say_s, floor_s = (min(column) for column in zip(*turns, strict=True))
    return say_s, floor_s
