"""The commands about training, planning and simulation do what their pages say."""

import pytest

from documentation import TRAINING_STORY, Workspace


@pytest.fixture(scope='module')
def with_a_recording(workspace: Workspace) -> Workspace:
    """What data.md records first; the rest of that page belongs to the other story."""
    workspace.follow('data.md', until='--record data/plug')
    return workspace


@pytest.mark.timeout(1800)  # a busy machine takes long for a page of a dozen commands
@pytest.mark.parametrize('page', TRAINING_STORY)
def test_the_commands_of_a_page_work_after_those_before(with_a_recording: Workspace, page: str) -> None:
    with_a_recording.follow(page)
