"""Texts behind a prompt: what predicts what, what reaches what, and saying token by token."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from restac_ros.model.flow_loss import flow_errors
from restac_ros.model.joint_pass import Beside, TextTarget
from restac_ros.model.layers import layers_apart
from restac_ros.model.observation import CAMERA_SLOTS, Observation
from restac_ros.model.pi05 import Pi05
from restac_ros.model.presets import PRESETS
from restac_ros.model.tactile.interface import TactileCode
from restac_ros.model.text_decoding import GREEDY, Saying, TokenChoice, begin, say
from restac_ros.model.text_loss import text_errors
from small_network import END, ROWS, SMALL, VOCABULARY, small_observation, small_target

CAPACITY = 6


@pytest.fixture(scope='module')
def model(make_random: Callable[..., Pi05]) -> Pi05:
    return make_random(SMALL, 3)


@pytest.fixture(scope='module')
def observation() -> Observation:
    return small_observation()


@pytest.fixture(scope='module')
def target() -> TextTarget:
    return small_target()


@pytest.fixture(scope='module')
def logits_of(model: Pi05, observation: Observation, as_pure) -> Callable[..., np.ndarray]:
    """logits_of(target, prompt tokens, prompt mask)"""
    images, masks, *prompt = observation.prefix
    pure = as_pure(model, lambda model, *args: model.text_logits(*args))
    return lambda target, *other: np.asarray(pure(images, masks, *(other or prompt), target))


def test_a_token_of_the_target_changes_no_logits_that_predict_it_or_those_before(
    logits_of: Callable, target: TextTarget
) -> None:
    before = logits_of(target)
    for place in range(5):
        tokens = target.tokens.copy()
        tokens[0, place] = 20
        after = logits_of(target._replace(tokens=tokens))
        np.testing.assert_array_equal(after[0, : place + 1], before[0, : place + 1])
        assert (np.abs(after[0, place + 1 :] - before[0, place + 1 :]).max(axis=1) > 1e-4).all()
        np.testing.assert_array_equal(after[1], before[1])


def test_padding_of_prompt_and_target_changes_nothing(
    logits_of: Callable, observation: Observation, target: TextTarget
) -> None:
    before = logits_of(target)
    behind = ((0, 0), (0, 4))
    longer = TextTarget(*(np.pad(part, behind, constant_values=part.dtype.type(1)) for part in target))
    longer = longer._replace(mask=np.pad(target.mask, behind))
    tokens = np.pad(observation.tokenized_prompt, behind, constant_values=17)
    after = logits_of(longer, tokens, np.pad(observation.tokenized_prompt_mask, behind))
    for row, count in enumerate(target.mask.sum(axis=1)):
        np.testing.assert_allclose(after[row, :count], before[row, :count], atol=2e-6)


def test_the_prompt_reads_itself_both_ways_and_nothing_of_the_target(
    logits_of: Callable, observation: Observation, target: TextTarget
) -> None:
    """The first token is predicted from the whole prompt; were the target read, the test above would fail."""
    before = logits_of(target)
    tokens = observation.tokenized_prompt.copy()
    tokens[:, 1] = 33
    after = logits_of(target, tokens, observation.tokenized_prompt_mask)
    assert np.abs(after[:, 0] - before[:, 0]).max() > 1e-4


def test_cross_entropy_is_averaged_over_each_samples_valid_tokens() -> None:
    """The source's example; padding and a sample without a target count for nothing."""
    probabilities = [0.85, 0.60, 0.40, 0.70, 0.55, 0.20, 0.90]
    rows = np.log([[p, (1 - p) / 2, (1 - p) / 2] for p in [*probabilities, 0.01]])
    target = TextTarget(np.zeros((3, 8), np.int32), np.arange(8) < np.array([[7], [1], [0]]))
    errors = text_errors(jnp.asarray(np.stack([rows, rows, rows])), target)
    np.testing.assert_allclose(errors.loss, [0.608421, -np.log(0.85), 0.0], rtol=1e-5, atol=1e-6)
    assert errors.counted.tolist() == [True, True, False]
    assert errors.right.tolist() == [False, True, False]


@pytest.fixture(scope='module')
def flow(observation: Observation) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    shape = (ROWS, SMALL.action_horizon, SMALL.action_dim)
    actions, noise = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    return {'actions': actions, 'noise': noise, 'time': np.array([0.3, 0.8], np.float32)}


def test_the_action_expert_reads_no_target_and_keeps_its_positions(
    model: Pi05, observation: Observation, target: TextTarget, flow: dict, logits_of: Callable, as_pure
) -> None:
    def run(model: Pi05, target: TextTarget | None) -> Any:
        joint = model.run_jointly(observation, flow['noise'], flow['time'], beside=Beside(target))
        return joint.suffix_out, model.PaliGemma.llm.logits(joint.target_readers)

    pure = as_pure(model, run)
    alone, nothing = pure(None)
    first, logits = pure(target)
    second, _ = pure(target._replace(tokens=target.tokens[:, ::-1]))
    assert nothing.shape == (ROWS, 0, VOCABULARY)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, atol=2e-6)
    expected = logits_of(target)
    np.testing.assert_allclose(logits[target.mask], expected[target.mask], atol=5e-6)


@pytest.mark.parametrize('fusion', ['none', 'forcevla'])
def test_insulated_actions_give_the_language_expert_no_gradient_at_all(
    fusion: str, observation: Observation, flow: dict, make_random: Callable[..., Pi05]
) -> None:
    """The loss is the same; SigLIP, embedding and language expert get exactly zero, what acts does not."""
    config = replace(SMALL, fusion=fusion, fusion_dim=8, fusion_heads=2)
    model = make_random(config, 4)
    touch = None
    if config.uses_touch:
        like = np.ones((ROWS, 1), np.float32)
        event = np.ones((ROWS, config.event_dim), np.float32)
        touch = TactileCode(event, np.zeros(ROWS, np.int32), like, event, None, None, None)
    graph, state = nnx.split(model)

    def loss(state: nnx.State, insulated: bool) -> jax.Array:
        model = nnx.merge(graph, state)
        errors = flow_errors(model, observation, **flow, touch=touch, beside=Beside(insulated=insulated))
        return jnp.mean(errors.squares)

    @jax.jit
    def both(state: nnx.State) -> tuple:
        closed = jax.value_and_grad(loss)(state, True)
        return closed, jax.value_and_grad(loss)(state, False) if fusion == 'none' else None

    (closed_loss, kept), through = both(state)
    flat = {'/'.join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(kept)}
    speaks = {name: leaf for name, leaf in flat.items() if name.startswith('PaliGemma/') and '_1' not in name}
    assert {'PaliGemma/llm/embedder/input_embedding', 'PaliGemma/img/head/kernel'} <= set(speaks)
    assert {name for name, leaf in speaks.items() if np.any(leaf)} == set()
    acts = [name for name in flat if '_1/' in name and '/llm/' in name]
    assert acts
    assert all(np.any(flat[name]) for name in acts)
    if through is not None:
        open_loss, gradient = through
        np.testing.assert_allclose(closed_loss, open_loss, rtol=1e-6)
        reached = nnx.to_flat_state(gradient)
        assert any(np.any(leaf[...]) for path, leaf in reached if 'img' in path)


class Spoken:
    """Texts said on one model: tokens, log-probabilities, and which count."""

    def __init__(self, model: Pi05, observation: Observation, as_pure: Callable) -> None:
        self._cache = as_pure(model, lambda model: model.encode_prefix(*observation.prefix))()
        self._observation = observation
        self._say = {}
        self._make = lambda choice: as_pure(
            model,
            lambda model, saying, allowed, key: say(model, self._cache, saying, allowed, END, choice, key),
        )

    def __call__(
        self, allowed: np.ndarray, choice: TokenChoice = GREEDY, seed: int = 0, count: int = CAPACITY
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, Saying]:
        one = self._observation
        saying = begin(self._cache, one.tokenized_prompt, one.tokenized_prompt_mask, CAPACITY)
        call = self._say.setdefault(choice, self._make(choice))
        said = []
        for _ in range(count):
            saying, token = call(saying, allowed, jax.random.key(seed))
            said.append(token)
        return *(np.stack(parts, axis=1) for parts in zip(*said, strict=True)), saying


@pytest.fixture(scope='module')
def spoken(model: Pi05, observation: Observation, as_pure) -> Spoken:
    return Spoken(model, observation, as_pure)


EVERYTHING = np.ones(VOCABULARY, bool)


def test_saying_on_the_cache_equals_reading_the_whole_text(spoken: Spoken, logits_of: Callable) -> None:
    """Token by token the likeliest of the pass that training makes, with its probability."""
    never = EVERYTHING.copy()
    never[END] = False  # so that no row ends; it must then not be said
    tokens, log_probabilities, counts, saying = spoken(never)
    assert counts.all()
    assert int(saying.number) == CAPACITY
    whole = logits_of(TextTarget(tokens, np.ones_like(tokens, bool)))
    whole = np.where(never, whole, -np.inf)
    np.testing.assert_array_equal(whole.argmax(axis=-1), tokens)
    expected = np.take_along_axis(jax.nn.log_softmax(whole), tokens[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(log_probabilities, expected, atol=1e-5)


def test_layers_apart_say_the_same_and_lie_in_the_memory_of_the_stack(
    model: Pi05, observation: Observation, as_pure
) -> None:
    """On the CPU, where every token would copy slices of a stack; there is one copy of the weights."""
    if jax.default_backend() != 'cpu':
        pytest.skip('layers are set apart on the CPU only')
    llm, prompt = model.PaliGemma.llm, (observation.tokenized_prompt, observation.tokenized_prompt_mask)
    apart = layers_apart(llm.layers, llm.depth)
    stack = llm.layers.mlp.linear[...]
    assert stack[0].nbytes % 64 == 0
    for index, layer in enumerate(apart):
        place = layer.mlp.linear.get_value().unsafe_buffer_pointer() - stack.unsafe_buffer_pointer()
        assert place == index * stack[0].nbytes

    def run(model: Pi05, apart: list | None) -> Any:
        cache = model.encode_prefix(*observation.prefix)
        return say(model, cache, begin(cache, *prompt, 2), EVERYTHING, END, apart=apart)[1]

    pure = as_pure(model, run)
    for own, sliced in zip(pure(apart), pure(None), strict=True):
        np.testing.assert_allclose(own, sliced, atol=1e-6)


def test_each_row_ends_by_itself_and_says_nothing_after(spoken: Spoken, logits_of: Callable) -> None:
    """The end is put where one row says its second token; forbidding the rest makes the other go on."""
    tokens, *_ = spoken(EVERYTHING)
    ended = tokens == END
    first = np.where(ended.any(axis=1), ended.argmax(axis=1), CAPACITY)
    for row in range(ROWS):
        assert (tokens[row, first[row] :] == END).all()
    only = np.zeros(VOCABULARY, bool)
    only[END] = True
    tokens, log_probabilities, counts, saying = spoken(only, count=2)
    assert tokens.tolist() == [[END, END]] * ROWS
    assert saying.ended.all()
    assert counts.tolist() == [[True, False]] * ROWS
    np.testing.assert_allclose(log_probabilities[:, 0], 0.0, atol=1e-6)


def test_a_forbidden_token_is_never_said(spoken: Spoken) -> None:
    likeliest = spoken(EVERYTHING)[0]
    allowed = EVERYTHING.copy()
    allowed[likeliest[likeliest != END]] = False
    for choice in (GREEDY, TokenChoice(temperature=5.0)):
        assert allowed[spoken(allowed, choice)[0]].all()


def test_drawing_is_among_the_likeliest_and_a_function_of_the_key(
    spoken: Spoken, logits_of: Callable
) -> None:
    choice = TokenChoice(temperature=3.0, top_k=3)
    tokens = [spoken(EVERYTHING, choice, seed, count=1)[0] for seed in range(12)]
    again = spoken(EVERYTHING, choice, 0, count=1)[0]
    np.testing.assert_array_equal(again, tokens[0])
    blank = TextTarget(np.zeros((ROWS, 1), np.int32), np.ones((ROWS, 1), bool))
    likeliest = np.argsort(-logits_of(blank)[:, 0], axis=-1)[:, :3]
    for row in range(ROWS):
        drawn = {int(one[row, 0]) for one in tokens}
        assert drawn <= set(likeliest[row].tolist())
        assert len(drawn) > 1


def test_a_choice_that_cannot_be_made_is_refused() -> None:
    with pytest.raises(ValueError, match='temperature: found -1'):
        TokenChoice(temperature=-1.0)
    with pytest.raises(ValueError, match='top_k: found 0'):
        TokenChoice(top_k=0)


def test_the_published_sizes_say_on_the_shapes_of_their_own_cache() -> None:
    """Nothing is computed: a network with many key-value heads or adapters could fail at a shape only."""
    for name in ('pi05', 'pi05_lora'):
        config = PRESETS[name]
        model = nnx.eval_shape(lambda config=config: Pi05(config, rngs=nnx.Rngs(0)))
        graph, state = nnx.split(model)
        images = {slot: jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.uint8) for slot in CAMERA_SLOTS}
        masks = {slot: jax.ShapeDtypeStruct((1,), jnp.bool_) for slot in CAMERA_SLOTS}
        tokens, valid = jax.ShapeDtypeStruct((1, 64), jnp.int32), jax.ShapeDtypeStruct((1, 64), jnp.bool_)

        def run(state: nnx.State, *prefix: Any, graph: nnx.GraphDef = graph) -> Any:
            model = nnx.merge(graph, state)
            cache = model.encode_prefix(*prefix)
            saying = begin(cache, prefix[2], prefix[3], 8)
            return say(model, cache, saying, jnp.ones(model.config.vocab_size, bool), END)

        saying, said = jax.eval_shape(run, state, images, masks, tokens, valid)
        assert said.token.shape == (1,)
        assert saying.held.keys.shape == (18, 1, 8, 1, 256)
