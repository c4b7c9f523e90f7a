"""Whose chunks are executed."""

from restac_ros.control.chunk_origin import LIVE_NS, ChunkOrigin

S = 10**9


def test_a_streamer_of_a_run_executes_the_chunks_of_that_run_only() -> None:
    origin = ChunkOrigin('ours')
    assert not origin.accepts('forgotten', 'run forgotten', 0)
    assert origin.accepts('ours', 'run ours', 1)
    assert not origin.contested, 'its own chunks go on to be executed'
    assert 'run forgotten' in origin.problem(2)
    assert origin.foreign == 1
    assert origin.problem(LIVE_NS + 2) == '', 'a run that has fallen silent is no problem any more'


def test_a_streamer_started_by_hand_locks_to_the_only_run_that_publishes() -> None:
    origin = ChunkOrigin()
    assert origin.accepts('a', 'run a', 0)
    assert origin.accepts('a', 'run a', S // 10)
    assert origin.run_id == 'a'
    assert origin.problem(S // 10) == ''


def test_two_runs_hold_a_streamer_started_by_hand_and_both_are_named() -> None:
    origin = ChunkOrigin()
    assert origin.accepts('a', 'run a', 0)
    assert not origin.accepts('b', 'run b', S // 10)
    assert not origin.accepts('a', 'run a', S // 5)
    assert origin.contested
    problem = origin.problem(S // 5)
    assert 'run a' in problem
    assert 'run b' in problem
    assert origin.foreign == 2


def test_a_policy_started_again_by_hand_is_followed_once_the_old_one_is_silent() -> None:
    origin = ChunkOrigin()
    assert origin.accepts('before', 'run before', 0)
    assert origin.accepts('after', 'run after', 2 * LIVE_NS)
    assert origin.run_id == 'after'
