from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from batch.page.records import HOSTILE, done, failed, output
from batch.page.test_course import sample

from prodia_async.batch._page.contents import gather
from prodia_async.batch._page.course import course
from prodia_async.batch._page.render import Folder, Told, json_for_script, render

pytestmark = pytest.mark.newest


class Parsed(HTMLParser):
    """A page as a browser's first step sees it: tags with their attributes, and the text of each element."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[tuple[str, list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input"):
            self._open.append((tag, []))
            self._texts.append(self._open[-1])

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][1].append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag: str) -> list[str]:
        return ["".join(texts) for name, texts in self._texts if name == tag]


def told(records, samples=(), title="demo", folder=Folder("out", ""), **options) -> Told:  # noqa: B008
    return Told(title, (folder,), gather([records], **options), course([samples]))


def page(records, samples=(), **options) -> Parsed:
    return Parsed(render(told(records, samples, **options)))


def data_of(parsed: Parsed) -> dict:
    return json.loads(parsed.text("script")[0])


SAMPLES = [sample(at, at, limit=4, requests=2 * at, shed=at, dollars=at / 4) for at in range(9)]


def test_the_page_says_what_the_batch_was():
    parsed = page([done("a", output("a.png"), dollars=0.5), failed("b")], SAMPLES)
    data = data_of(parsed)

    assert parsed.text("h1") == ["demo"]
    assert parsed.text("title") == ["demo · 1 done, 1 failed"]
    assert (data["done"], data["failed"], data["dollars"]) == (1, 1, 0.5)
    assert data["first"] == data["last"] == "2026-11-22T13:28:39.817526Z"
    assert data["reasons"] == [["CapacityError 429", "no idle capacity", 1]]
    assert (data["course"]["seconds"], data["course"]["total_shed"]) == (8, 8)
    assert data["course"]["limit"] == [4] * 8


def test_the_page_names_the_service_and_the_shard_of_its_jobs():
    folder = Folder("out", "../out/", "https://inference.prodia.com", "shard 1/3")
    assert data_of(page([done("a")], folder=folder))["folders"] == [
        {"name": "out", "url": "../out/", "service": "https://inference.prodia.com", "shard": "shard 1/3"}
    ]


def test_the_same_batch_gives_the_same_bytes():
    page = told([done("a", output("a.png")), failed("b")], SAMPLES)

    assert render(page) == render(page)


def test_nothing_but_the_page_s_own_script_and_style_may_run():
    parsed = page([failed("a", HOSTILE)], SAMPLES)

    [policy] = [
        attributes["content"]
        for attributes in parsed.all("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert not re.search(r"https?:|unsafe|\*", policy)
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        text = parsed.text(tag)[-1]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_a_page_asks_no_network():
    parsed = page([done("a", output("a.png"))], SAMPLES)

    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            value = attributes.get(name) or ""
            assert not re.match(r"\w+:|//", value) or value.startswith("data:")
    assert not re.search(r"@import|url\(|https?://", parsed.text("style")[0])


def test_hostile_texts_stay_texts():
    records = [
        done(HOSTILE, output("a.png"), prompt=HOSTILE),
        failed("b" + HOSTILE, HOSTILE),
        failed("c") | {"error": {"type": HOSTILE, "message": HOSTILE, "status": 400}},
    ]
    records[0]["job"]["type"] = HOSTILE
    records[0]["request"] = {"inputs": [HOSTILE], "accept": HOSTILE}
    folder = Folder(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    parsed, plain = (
        page(records, SAMPLES, title=HOSTILE, folder=folder),
        page([done("a"), failed("b"), failed("c")], SAMPLES),
    )

    assert [name for name, _ in parsed.tags] == [name for name, _ in plain.tags]

    assert len(parsed.all("script")) == len(plain.all("script")) == 2
    assert parsed.all("img") == []
    assert parsed.text("h1") == [HOSTILE]
    data = data_of(parsed)
    prompts = [dict(zip(data["columns"], row, strict=True))["prompt"] for row in data["rows"]]
    assert HOSTILE in prompts


def test_data_cannot_end_the_element_that_it_stands_in():
    text = json_for_script([HOSTILE, "<!--", "\u2028\u2029"])

    assert not re.search("[<\u2028\u2029]", text)
    assert json.loads(text) == [HOSTILE, "<!--", "\u2028\u2029"]


def test_the_page_s_data_holds_each_job():
    records = [done("a", output("outputs/a b.png", size=5), dollars=0.5), failed("b")]
    data = data_of(page(records))

    row = dict(zip(data["columns"], data["rows"][1], strict=True))
    texts = data["texts"]
    assert (row["id"], row["prompt"], row["seed"], row["elapsed"], row["dollars"]) == (
        "a",
        "a cat",
        "7",
        1.25,
        0.5,
    )
    assert texts[row["type"]] == "inference.flux-fast.schnell.txt2img.v2"
    assert row["files"] == [["outputs/a%20b.png", texts.index("image/png"), 5, False]]
    label, message, *others = dict(zip(data["columns"], data["rows"][0], strict=True))["error"]
    assert (texts[label], texts[message], others) == (
        "CapacityError 429",
        "no idle capacity",
        ["r9", False, 0],
    )


def test_jobs_that_are_not_shown_are_counted():
    data = data_of(page([done(f"d{number}") for number in range(1234)], most=4))

    assert (len(data["rows"]), data["done"]) == (4, 1234)


@pytest.mark.parametrize(("jobs", "most"), [(500, 2001), (3000, 1001), (20_000, 251)])
def test_the_more_jobs_the_shorter_their_long_prompts(jobs, most):
    record = done("a", prompt="p" * 5000)
    data = data_of(page(record for _ in range(jobs)))

    column = data["columns"].index("prompt")
    assert {len(row[column]) for row in data["rows"]} == {most}


def test_ten_thousand_jobs_make_a_page_of_a_few_megabytes():
    prompt = "a harbour at dusk, watercolour on rough paper, loose brushwork, " * 3
    records = (
        done(
            f"txt2img-{number:05}",
            output(f"outputs/{number % 256:02x}/txt2img-{number:05}.png"),
            prompt=prompt,
        )
        for number in range(10_000)
    )

    assert len(render(told(records, SAMPLES))) < 5_000_000


def test_an_empty_batch_has_a_page():
    data = data_of(page([]))

    assert (data["done"], data["failed"], data["rows"], data["course"]) == (0, 0, [], None)
