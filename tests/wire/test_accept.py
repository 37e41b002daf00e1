from __future__ import annotations

import pytest

from prodia_async import InputError
from prodia_async._wire.accept import accept_header


def test_multipart_always():
    assert accept_header(None) == "multipart/form-data"
    assert accept_header("image/png") == "multipart/form-data; image/png"


@pytest.mark.parametrize(
    "bad", ["", "png", "image/", "/png", "image/png\r\nX: y", "image/png; q=1", "image/ png", 7]
)
def test_what_is_no_media_type_is_refused(bad):
    with pytest.raises(InputError, match="media type"):
        accept_header(bad)
