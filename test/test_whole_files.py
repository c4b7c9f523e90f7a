"""Files appear whole or not at all, whoever else writes them; small files are read up to a bound."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from restac_ros.whole_files import read_bounded, read_bounded_json, replaced


class RefusedError(ValueError):
    """What the tests' files are refused with."""


def test_a_file_is_replaced_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text('old')
    with replaced(path) as partial:
        assert partial.parent == path.parent
        partial.write_text('new')
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('fault', [OSError, KeyboardInterrupt])
def test_a_file_stays_as_it_was_when_the_block_fails(fault: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / 'a.json'
    path.write_text('old')

    def write() -> None:
        with replaced(path) as partial:
            partial.write_text('ne')
            raise fault

    with pytest.raises(fault):
        write()
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_the_name_cannot_be_taken(tmp_path: Path) -> None:
    (tmp_path / 'a').mkdir()
    with pytest.raises(IsADirectoryError), replaced(tmp_path / 'a') as partial:
        partial.write_text('new')
    assert list(tmp_path.iterdir()) == [tmp_path / 'a']


def test_writers_of_one_file_in_one_process_do_not_disturb_each_other(tmp_path: Path) -> None:
    path, all_have_begun = tmp_path / 'a', Barrier(8)

    def write(number: int) -> None:
        with replaced(path) as partial:
            partial.write_text(str(number) * 1000)
            all_have_begun.wait(timeout=60)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert len(set(path.read_text())) == 1
    assert len(path.read_text()) == 1000
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_of_the_bound_is_read_and_one_byte_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'a'
    path.write_bytes(b'12345')
    assert read_bounded(path, 5, RefusedError) == b'12345'
    with pytest.raises(RefusedError, match=rf'^{path}: found 5 bytes, expected at most 4; remove it$'):
        read_bounded(path, 4, RefusedError, remedy='remove it')


def test_a_file_whose_size_the_kernel_does_not_state_is_bounded_too() -> None:
    with pytest.raises(RefusedError, match=r'found 11 bytes, expected at most 10$'):
        read_bounded(Path('/proc/self/status'), 10, RefusedError)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=rf'^{tmp_path}/a: no such file; copy it again$'):
        read_bounded(tmp_path / 'a', 9, RefusedError, remedy='copy it again')
    with pytest.raises(RefusedError, match=rf'^{tmp_path}: found a directory, expected a tokenizer file$'):
        read_bounded(tmp_path, 9, RefusedError, what='tokenizer file')


def test_a_json_object_is_read(tmp_path: Path) -> None:
    (tmp_path / 'a').write_text('{"a": "\u00e4"}')
    assert read_bounded_json(tmp_path / 'a', 99, RefusedError) == {'a': '\u00e4'}


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        (b'{"a": ', r"not readable JSON: Expecting value: .* \(it begins with b'\{\"a\": '\)"),
        (b'\xff\xff', 'not readable JSON: .*decode'),
        (b'[' * 100_000, 'not readable JSON: maximum recursion depth'),
        (b'version https://git-lfs.github.com/spec/v1', 'is a Git LFS pointer'),
        (b'[]', 'found a JSON list, expected an object'),
        (b' ' * 200_000, 'found 200000 bytes, expected at most 100000'),
    ],
)
def test_what_is_no_json_object_is_refused(content: bytes, fault: str, tmp_path: Path) -> None:
    path = tmp_path / 'a'
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=rf'^{path}: .*{fault}.*; mend it$'):
        read_bounded_json(path, 100_000, RefusedError, remedy='mend it')
