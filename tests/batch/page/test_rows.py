from __future__ import annotations

import json
import math

import msgspec
import pytest
from batch.page.records import HOSTILE, attempt, done, failed, output

from prodia_async.batch._page.contents import gather
from prodia_async.batch._page.rows import Row


def row_of(record: dict) -> Row:
    [row] = gather([[record]]).rows
    return row


def test_a_done_job_shows_what_it_was_and_what_it_took():
    record = done("a1", output("outputs/0a/a1.png", size=123), prompt="a red fox", dollars=0.0025)
    row = row_of(record)

    assert (row.id, row.prompt, row.length, row.seed) == ("a1", "a red fox", 9, "7")
    assert row.type == "inference.flux-fast.schnell.txt2img.v2"
    assert json.loads(row.config) == {"width": 64}
    assert (row.elapsed, row.total, row.dollars) == (1.25, 2.0, 0.0025)
    assert (row.tries, row.course, row.error) == (1, "", None)
    [file] = row.files
    assert (file.path, file.url, file.media, file.size) == (
        "outputs/0a/a1.png",
        "outputs/0a/a1.png",
        "image/png",
        123,
    )


def test_a_failed_job_shows_its_reason_and_its_attempts():
    row = row_of(failed("a1"))

    assert row.error is not None
    assert (row.error.label, row.error.message) == ("CapacityError 429", "no idle capacity")
    assert (row.error.request_id, row.error.may_have_run) == ("r9", False)
    assert (row.tries, row.course) == (2, "2 × shed (429)")


def test_the_course_of_several_attempts_is_told_in_words():
    attempts = [attempt("shed"), attempt("shed"), attempt("server_error"), attempt()]
    row = row_of(done("a1", attempts=attempts))

    assert row.course == "2 × shed (429), server error, done"


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("outputs/aa/a b#c?%.png", "outputs/aa/a%20b%23c%3F%25.png"),
        ("javascript:alert(1)", "javascript%3Aalert%281%29"),
        ("outputs/\u00fc\u202e.png", "outputs/%C3%BC%E2%80%AE.png"),
        ("./x.png", "x.png"),
    ],
)
def test_a_path_becomes_a_relative_url_that_names_it(path, url):
    assert [file.url for file in row_of(done("a", output(path))).files] == [url]


@pytest.mark.parametrize(
    "path",
    [
        None,
        5,
        "",
        "/etc/passwd",
        "//evil.example/x.png",
        "../x",
        "a/../../x",
        "a\\..\\x",
        "C:\\x",
        ".",
        "a\0b",
        "\ud800",
    ],
)
def test_a_path_out_of_the_folder_is_not_shown(path):
    row = row_of(done("a", output(path), output("ok.png")))

    assert [file.path for file in row.files] == ["ok.png"]
    assert row.more_files == 1


@pytest.mark.parametrize(
    ("path", "content_type", "media"),
    [
        ("a.png", "IMAGE/PNG; x=1", "image/png"),
        ("a.webp", None, "image/webp"),
        ("a.what", None, "application/octet-stream"),
        ("a.png", 5, "image/png"),
    ],
)
def test_the_media_type_is_the_stated_one_or_that_of_the_name(path, content_type, media):
    assert row_of(done("a", output(path, content_type))).files[0].media == media


def test_of_many_outputs_some_are_shown_and_the_rest_counted():
    row = row_of(done("a", *[output(f"{number}.png") for number in range(20)]))

    assert len(row.files) == 16
    assert row.more_files == 4


def test_long_texts_are_cut():
    record = failed("i" * 5000, "m" * 1_000_000)
    record["job"]["config"] = {"prompt": "p" * 1_000_000, "extra": "e" * 1_000_000, "seed": "s" * 5000}
    row = row_of(record)

    assert (len(row.prompt), row.length) == (2001, 1_000_000)
    assert row.prompt.endswith("…")
    assert len(msgspec.json.encode(row)) < 6000


@pytest.mark.parametrize(
    ("seed", "shown"),
    [
        (2**80, str(2**80)),
        (0, "0"),
        (1.5, "1.5"),
        ("abc", '"abc"'),
        (None, ""),
        (True, ""),
        ({}, ""),
        ([1], ""),
    ],
)
def test_a_seed_is_shown_as_it_was_written(seed, shown):
    record = done("a")
    record["job"]["config"]["seed"] = seed

    assert row_of(record).seed == shown


@pytest.mark.parametrize(
    "junk", [None, 5, "text", [], {}, [None], [[]], {"a": None}, True, math.nan, HOSTILE]
)
@pytest.mark.parametrize("key", ["custom_id", "status", "job", "outputs", "error", "attempts"])
@pytest.mark.parametrize("make", [done, failed])
def test_a_record_of_any_shape_makes_a_row(make, key, junk):
    row = row_of(make("a", output("a.png")) | {key: junk})

    assert json.loads(msgspec.json.encode(row))["type"] is not None


@pytest.mark.parametrize("junk", [None, 5, "text", [], {}, True, math.inf, 10**400])
@pytest.mark.parametrize("key", ["type", "config", "metrics", "price"])
def test_a_job_of_any_shape_makes_a_row(key, junk):
    record = done("a")
    record["job"][key] = junk
    row = row_of(record)

    assert json.loads(msgspec.json.encode(row))["id"] == "a"


def test_a_seed_that_is_none_stays_in_the_config():
    record = done("a")
    record["job"]["config"] |= {"seed": [1], "prompt": {"text": "a cat"}}

    row = row_of(record)
    assert (row.seed, row.prompt) == ("", "")
    assert json.loads(row.config) == {"seed": [1], "prompt": {"text": "a cat"}, "width": 64}


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), (True, None), ("1", None), (math.nan, None), (math.inf, None), (10**400, None)],
)
def test_only_finite_numbers_count(value, number):
    record = done("a")
    record["job"] |= {"metrics": {"elapsed": value}, "price": {"dollars": value}}

    row = row_of(record)
    assert (row.elapsed, row.dollars) == (number, number)


def test_what_running_a_job_again_needs_is_there():
    request = {
        "inputs": ["../photos/\u00e4 b.jpg", None, 5, "/etc/x.png"],
        "accept": "image/png",
        "mode": "async",
    }
    row = row_of(done("a", request=request))

    first, *others = row.inputs
    assert first is not None
    assert (first.url, first.path, first.media) == (
        "../photos/%C3%A4%20b.jpg",
        "../photos/\u00e4 b.jpg",
        "image/jpeg",
    )
    assert others == [None, None, None]
    assert json.loads(row.request) == {"accept": "image/png", "mode": "async"}
    assert row.whole


@pytest.mark.parametrize(
    "config",
    [{"x": "e" * 1001}, {"x": 2**60}, {"x": [-(2**60)]}, {"seed": "s" * 1001}],
)
def test_a_job_that_is_not_shown_whole_says_so(config):
    record = done("a")
    record["job"]["config"] |= config

    assert not row_of(record).whole


@pytest.mark.parametrize("job", [{"type": "t"}, {"config": {}}, {"type": 5, "config": {}}, None])
def test_a_job_without_its_type_or_config_is_not_shown_whole(job):
    assert not row_of(done("a", job=job)).whole


@pytest.mark.parametrize("config", [{"seed": 2**60}, {"x": 0.1234567890123456789}, {"x": "1" * 15}, {}])
def test_a_seed_of_any_size_and_a_long_fraction_are_whole(config):
    record = done("a")
    record["job"]["config"] |= config

    assert row_of(record).whole
