from __future__ import annotations

import pytest

from prodia_async._wire import status


@pytest.mark.parametrize(
    ("code", "kind", "ran"),
    [
        (200, "done", True),
        (201, "refused", True),
        (0, "refused", True),
        (101, "refused", True),
        (300, "refused", False),
        (301, "refused", False),
        (400, "refused", False),
        (401, "refused", False),
        (404, "refused", False),
        (413, "refused", False),
        (499, "refused", False),
        (429, "shed", False),
        (500, "server_error", True),
        (502, "server_error", True),
        (503, "server_error", False),
        (504, "server_error", True),
        (599, "server_error", True),
        (600, "refused", True),
        (999, "refused", True),
    ],
)
def test_each_status_has_its_verdict(code, kind, ran):
    assert status.kind_of(code) == kind
    assert status.may_have_run(code) is ran
