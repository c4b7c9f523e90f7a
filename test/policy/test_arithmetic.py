"""The choice of arithmetic, by device, instruction set and measured products."""

import json
from pathlib import Path

import pytest

from restac_ros.policy import arithmetic
from restac_ros.policy.arithmetic import (
    MEASURED,
    choose_arithmetic,
    cpu_facts,
    measure_products,
    measured_once,
)

_FACTS = 'EPYC', frozenset({'avx512_bf16', 'avx512_vnni'})
_FAST = {'float32': 4.0, 'bfloat16': 2.0, 'int8': 2.0, 'integer': 1.0}


def _never() -> dict[str, float]:
    pytest.fail('measured')


@pytest.mark.parametrize(
    ('changes', 'dtype', 'integer_products'),
    [
        ({}, 'bfloat16', True),
        ({'integer': 1.9}, 'bfloat16', False),
        ({'bfloat16': 3.9}, 'float32', False),
    ],
)
def test_of_the_arithmetics_that_the_cpu_has_the_faster_is_chosen(
    changes: dict[str, float], dtype: str, integer_products: bool
) -> None:
    chosen = choose_arithmetic('cpu', _FACTS, lambda: _FAST | changes)
    assert (chosen.dtype, chosen.integer_products) == (dtype, integer_products)
    assert 'EPYC' in str(chosen)
    assert 'float32 4000.0 ms' in str(chosen)


def test_a_device_without_a_choice_measures_nothing() -> None:
    assert choose_arithmetic('gpu', _FACTS, _never).dtype == 'bfloat16'
    old = choose_arithmetic('cpu', ('Core 2', frozenset({'sse2'})), _never)
    assert str(old) == 'float32 (auto: Core 2 has no bfloat16 instructions)'
    only_bf16 = choose_arithmetic('cpu', ('X', frozenset({'amx_bf16'})), lambda: _FAST)
    assert (only_bf16.dtype, only_bf16.integer_products) == ('bfloat16', False)


def test_what_the_cpu_can_is_read_from_linux(tmp_path: Path) -> None:
    facts = tmp_path / 'cpuinfo'
    facts.write_text('processor\t: 0\nmodel name\t: EPYC 9\nflags\t\t: fpu amx_bf16\nprocessor\t: 1\n')
    assert cpu_facts(facts) == ('EPYC 9', frozenset({'fpu', 'amx_bf16'}))
    assert cpu_facts(tmp_path / 'absent') == ('this CPU', frozenset())


def test_products_are_measured_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, 'measure_products', lambda: _FAST)
    assert measured_once(tmp_path / 'cache') == _FAST
    monkeypatch.setattr(arithmetic, 'measure_products', _never)
    assert measured_once(tmp_path / 'cache') == _FAST
    file = tmp_path / 'cache' / MEASURED
    assert len(json.loads(file.read_text())) == 1
    file.write_text('damaged')
    monkeypatch.setattr(arithmetic, 'measure_products', lambda: _FAST | {'int8': 3.0})
    assert measured_once(tmp_path / 'cache')['int8'] == 3.0


def test_all_products_can_be_timed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('_TOKENS', '_WIDTH', '_HIDDEN'):
        monkeypatch.setattr(arithmetic, name, 16)
    seconds = measure_products()
    assert set(seconds) == set(_FAST)
    assert all(value > 0 for value in seconds.values())
