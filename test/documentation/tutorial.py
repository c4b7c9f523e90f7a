"""`make tutorial`: the commands of docs/tutorial.md, one after the other. Half an hour on two cores."""

import pytest

from documentation import Workspace

LIMIT_S = 3600  # of a command, on a busy machine


@pytest.mark.timeout(6 * LIMIT_S)
def test_a_policy_is_made_and_runs_as_the_tutorial_says(workspace: Workspace) -> None:
    workspace.follow('tutorial.md', mark='set-up', limit_s=LIMIT_S)
