"""What a notebook shows of outputs, results and outcomes: asked as IPython asks."""

from __future__ import annotations

import base64
import os

import pytest

from prodia_async import InputError, Job, JobResult, Outcome, Output, Stats, _display
from prodia_async._models import Metrics, Price

PNG = b"\x89PNG\r\n\x1a\n picture"
MOST = _display._MOST


def output(content_type, data=None, *, path=None, size=None, url=None, filename="x"):
    size = len(data or b"") if size is None else size
    return Output(filename=filename, content_type=content_type, size=size, data=data, path=path, url=url)


def result(*outputs, **fields):
    return JobResult(type="t", config={}, id="j1", outputs=outputs, **fields)


def shown(value):
    return value._repr_mimebundle_(include=None, exclude=None)


def html(value):
    return shown(value)["text/html"]


@pytest.mark.parametrize("kind", ["image/png", "image/jpeg", "image/gif"])
def test_a_picture_is_shown_as_what_it_is(kind):
    bundle = shown(output(f"{kind}; q=1", PNG))
    assert base64.b64decode(bundle[kind]) == PNG
    assert bundle["text/plain"].startswith("Output(")
    assert "text/html" not in bundle


def test_a_picture_is_read_from_its_file(tmp_path):
    (tmp_path / "cat.png").write_bytes(PNG)
    bundle = shown(output("image/png", path=tmp_path / "cat.png", size=len(PNG)))
    assert base64.b64decode(bundle["image/png"]) == PNG


@pytest.mark.parametrize(
    ("kind", "tag"),
    [("image/webp", "<img "), ("image/svg+xml", "<img "), ("video/mp4", "<video "), ("audio/wav", "<audio ")],
)
def test_the_browser_shows_other_media(kind, tag):
    page = html(output(kind, b"bytes"))
    assert tag in page
    assert f"data:{kind};base64,{base64.b64encode(b'bytes').decode()}" in page


def test_texts_are_shown_as_texts():
    assert "<pre>a &lt;b&gt; &amp;</pre>" in html(output("text/plain", b"a <b> &"))
    assert "{&quot;a&quot;: 1}" in html(output("application/json", b'{"a": 1}'))
    assert "�" in html(output("text/plain", b"\xff"))


def test_a_long_text_says_what_is_left_out():
    page = html(output("text/plain", b"x" * (_display._MOST_TEXT + 1234)))
    assert page.count("x") < _display._MOST_TEXT + 20
    assert "... and 1,234 more characters" in page


def test_what_cannot_be_shown_is_named():
    page = html(output("application/zip", b"zip", filename="a.zip"))
    assert page == "<div>application/zip · 3 bytes · a.zip</div>"


def test_nothing_that_a_service_says_is_html():
    bad = '"><script>alert(1)</script>'
    shown_of = [
        output(f"image/x{bad}", b"1", filename=bad),
        output(f"video/{bad}", b"1", filename=bad),
        output("application/zip", b"1", filename=bad),
        output("text/html", bad.encode(), filename=bad),
        output("image/png", url=f"s3://{bad}"),
        result(output("image/webp", b"1", filename=bad), warnings=(bad,)),
        JobResult(type=bad, config={}, id=bad),
        Outcome(Job(bad), error=InputError(bad)),
    ]
    for value in shown_of:
        assert "<script" not in html(value)
        assert '"">' not in html(value)


def test_a_file_above_the_cap_is_never_opened(tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(MOST + 1))
    opened = []
    monkeypatch.setattr(_display, "_plain_file", lambda *args: opened.append(args))
    page = html(output("video/mp4", path=path, size=MOST + 1))
    assert opened == []
    assert "not shown, for a cell shows at most 2 MiB" in page
    assert str(path) in page


def test_a_picture_above_the_cap_says_so():
    bundle = shown(output("image/png", bytes(MOST + 1)))
    assert "image/png" not in bundle
    assert f"image/png · {MOST + 1:,} bytes · x: not shown" in bundle["text/html"]
    assert "image/png" in shown(output("image/png", bytes(MOST)))


def test_a_file_that_has_grown_is_read_no_further_than_the_cap(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(bytes(4 * MOST))
    assert "at most 2 MiB" in html(output("image/png", path=path, size=10))


def test_a_file_that_is_gone_and_one_that_is_a_pipe_now_are_not_waited_for(tmp_path):
    gone = output("image/png", path=tmp_path / "gone.png", size=10)
    assert "cannot be read: No such file or directory" in html(gone)
    os.mkfifo(tmp_path / "pipe.png")
    assert "it is no file any more" in html(output("image/png", path=tmp_path / "pipe.png", size=10))


def test_an_output_of_a_bucket_says_where_it_is():
    page = html(output("image/png", url="s3://bucket/cat.png", size=10))
    assert "s3://bucket/cat.png: not shown, for its bytes are not on this computer" in page


def test_a_result_shows_its_facts_and_its_outputs():
    value = result(
        output("image/png", PNG),
        output("text/plain", b"a caption"),
        metrics=Metrics(elapsed=1.25),
        price=Price(dollars=0.002),
    )
    page = html(value)
    assert "<div>t · j1 · 1.25 s · $0.0020</div>" in page
    assert "data:image/png;base64," in page
    assert "<pre>a caption</pre>" in page
    assert shown(value)["text/plain"] == repr(value)


def test_a_result_shows_no_more_than_the_cap_in_all():
    page = html(result(*(output("image/png", bytes(MOST // 2), filename=f"{n}.png") for n in range(4))))
    assert page.count("<img ") == 2
    assert page.count("not shown, for a cell shows at most 2 MiB") == 2
    assert "3.png" in page
    assert len(page) < 3_000_000


def test_a_result_of_very_many_outputs_is_counted():
    page = html(result(*(output("image/png", b"1") for _ in range(73))))
    assert page.count("<img ") == 50
    assert "... and 23 more outputs" in page


def test_an_outcome_shows_its_result_or_its_error():
    good = Outcome(Job("t"), result=result(output("image/png", PNG)))
    assert shown(good) == shown(good.result)
    bad = Outcome(Job("t"), error=InputError("no such <file>"))
    assert "<pre>InputError: no such &lt;file&gt;</pre>" in html(bad)


@pytest.mark.parametrize("value", [Job("t"), Stats(), InputError("no")], ids=["job", "stats", "error"])
def test_other_values_leave_it_to_their_repr(value):
    assert shown(value) is None


def test_ipython_asks_it_so():
    formatters = pytest.importorskip("IPython.core.interactiveshell").DisplayFormatter
    data, _ = formatters(active_types=["text/html", "image/png", "text/plain"]).format(
        output("image/png", PNG)
    )
    assert set(data) == {"image/png", "text/plain"}
    data, _ = formatters(active_types=["text/html", "text/plain"]).format(Stats())
    assert data["text/plain"].startswith("Stats(")
