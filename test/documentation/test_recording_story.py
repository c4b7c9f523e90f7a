"""The commands about recording, running, watching and rehearsing do what their pages say."""

import pytest

from documentation import RECORDING_STORY, Workspace


@pytest.mark.timeout(1800)  # a busy machine takes long for a page of a dozen commands
@pytest.mark.parametrize('page', RECORDING_STORY)
def test_the_commands_of_a_page_work_after_those_before(workspace: Workspace, page: str) -> None:
    workspace.follow(page)
