from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from batch.page.records import HOSTILE, attempt, done, failed, output
from batch.page.test_timeline import sample

from prodia_async.batch.page.contents import gather
from prodia_async.batch.page.render import json_for_script, render
from prodia_async.batch.page.timeline import timeline

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


def page(records, samples=(), title="demo", **options) -> Parsed:
    return Parsed(render(title, gather(records, **options), timeline(samples)))


def data_of(parsed: Parsed) -> dict:
    return json.loads(parsed.text("script")[0])


SAMPLES = [sample(at, at, limit=4, requests=2 * at, shed=at, dollars=at / 4) for at in range(9)]


def test_the_page_says_what_the_batch_was():
    parsed = page([done("a", output("a.png"), dollars=0.5), failed("b")], SAMPLES)

    assert parsed.text("h1") == ["demo"]
    facts = dict(zip(parsed.text("dt"), parsed.text("dd"), strict=True))
    assert facts == {"Done": "1", "Failed": "1", "Time": "8 s", "Mean job": "1.2 s", "Price": "$0.50"}
    assert "22 Nov 2026, 13:28 UTC" in parsed.text("p")
    labels = [attributes["aria-label"] for attributes in parsed.all("svg")]
    assert [label.split()[0] for label in labels if label] == ["Throughput", "Concurrency", "Shed", "Dollars"]
    [reason] = [attributes for attributes in parsed.all("button") if attributes.get("class") == "reason"]
    assert reason["data-reason"] == "CapacityError 429"


def test_the_same_batch_gives_the_same_bytes():
    contents, course = gather([done("a", output("a.png")), failed("b")]), timeline(SAMPLES)

    assert render("demo", contents, course) == render("demo", contents, course)


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
    parsed, plain = (
        page(records, SAMPLES, title=HOSTILE),
        page([done("a"), failed("b"), failed("c")], SAMPLES),
    )

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
    assert (row["id"], row["prompt"], row["seed"], row["elapsed"], row["dollars"]) == (
        "a",
        "a cat",
        "7",
        1.25,
        0.5,
    )
    file = dict(zip(data["file"], row["files"][0], strict=True))
    assert file == {"url": "outputs/a%20b.png", "media": 0, "size": 5, "preview": False}
    assert data["tables"]["media"] == ["image/png"]
    error = dict(zip(data["error"], data["rows"][0][data["columns"].index("error")], strict=True))
    assert error == {
        "kind": "CapacityError",
        "message": "no idle capacity",
        "status": 429,
        "request_id": "r9",
        "may_have_run": False,
        "label": "CapacityError 429",
    }


def test_jobs_that_are_not_shown_are_counted():
    parsed = page([done(f"d{number}") for number in range(1234)], most=4)

    [note] = [text for text in parsed.text("p") if "more stand in" in text]
    assert "4 jobs are shown here, failed ones first; 1,230 more stand in" in note
    assert len(data_of(parsed)["rows"]) == 4


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

    assert len(render("demo", gather(records), timeline(SAMPLES))) < 5_000_000


def test_a_batch_that_took_longer_says_from_when_to_when():
    starts = ("2026-11-22T23:58:00Z", "2026-11-23T06:00:00Z")
    parsed = page(done(start, attempts=[attempt(started_at=start)]) for start in starts)

    assert "22 Nov 2026, 23:58 UTC to 23 Nov 2026, 06:00 UTC" in parsed.text("p")


def test_an_empty_batch_has_a_page():
    parsed = page([])

    assert dict(zip(parsed.text("dt"), parsed.text("dd"), strict=True)) == {"Done": "0", "Failed": "0"}
    assert parsed.all("svg") == []
