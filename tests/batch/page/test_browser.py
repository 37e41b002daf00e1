"""The page in a real browser: headless Chromium, from file://."""

from __future__ import annotations

import json
import wave

import pytest
from batch.page.browser import chromium, find_browser
from batch.page.folders import fill
from batch.page.records import HOSTILE, attempt, done, failed, output, picture
from batch.page.test_timeline import sample

from prodia_async.batch.page import write_report

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(
        find_browser() is None, reason="no Chromium is installed (Debian: apt install chromium)"
    ),
]

IDS = "[...document.querySelectorAll('.card .name')].map((name) => name.lastChild.data)"
LOADED = (
    "[...document.querySelectorAll('.card img')].every((image) => image.complete && image.naturalWidth > 0)"
)


@pytest.fixture
async def page(tmp_path):
    async with chromium(tmp_path / "profile") as browser:
        yield browser
        assert browser.complaints == []
        assert browser.dialogs == []
        assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []


def with_pictures(folder, count):
    animals = ("cat", "dog", "owl")
    records = []
    for number in range(count):
        path = f"outputs/{number % 16:02x}/job {number:03}#.png"
        picture(folder / path, (300, 200), color=(number % 256, 90, 160))
        prompt = f"a {animals[number % 3]} on chair {number}"
        records.append(done(f"job-{number:03}", output(path), prompt=prompt, dollars=number / 100))
    return records


async def made(folder, records, samples=()):
    await fill(folder, records, samples)
    return await write_report(folder)


async def test_it_shows_jobs_thumbnails_and_charts(page, tmp_path):
    course = [sample(at, 3 * at, limit=8, requests=4 * at, shed=at, dollars=at / 10) for at in range(50)]
    path = await made(tmp_path / "demo", [*with_pictures(tmp_path / "demo", 8), failed("bad")], course)
    await page.screen(1280, 3000)
    await page.open(path)

    assert await page.say("document.querySelector('h1').textContent") == "demo"
    assert await page.say("document.getElementById('count').textContent") == "9 jobs"
    assert await page.say(IDS) == ["bad", *(f"job-{number:03}" for number in range(8))]
    assert await page.until(LOADED)
    assert await page.say("document.querySelectorAll('.card img').length") == 8
    alt = await page.say("document.querySelector('.card img').alt")
    assert alt == "a cat on chair 0"
    figures = await page.say(
        "document.querySelectorAll('.card .figures')[2].innerText.split(/\\s*\\n\\s*/).join('|')"
    )
    assert "seed 7" in figures
    assert await page.say("document.querySelectorAll('figure.chart svg path.line').length") == 5
    assert (
        await page.say("document.querySelector('.failure').textContent")
        == "CapacityError 429no idle capacity"
    )
    assert any("report/thumbs/" in url for url in page.requests)

    headline = "document.querySelector('.chart-value').textContent"
    box = await page.say("JSON.stringify(document.querySelector('figure.chart svg').getBoundingClientRect())")
    x, y, width, height = (json.loads(box)[key] for key in ("x", "y", "width", "height"))
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + width / 2, y=y + height / 2)
    assert await page.until(f"{headline}.startsWith('3 jobs/s at ')")
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert await page.until(f"{headline} === '3 jobs/s'")


async def test_a_link_leads_to_the_whole_file(page, tmp_path):
    path = await made(tmp_path / "demo", with_pictures(tmp_path / "demo", 1))
    await page.open(path)
    url = await page.say("document.querySelector('.card a').href")

    assert url == (tmp_path / "demo/outputs/00/job 000#.png").as_uri()


async def test_filters_narrow_the_list_and_the_address_keeps_them(page, tmp_path):
    path = await made(tmp_path / "demo", [*with_pictures(tmp_path / "demo", 9), failed("bad")])
    await page.open(path, "#state=done&q=chair+OWL")
    assert await page.say(IDS) == ["job-002", "job-005", "job-008"]
    assert await page.say("document.getElementById('count').textContent") == "3 of 10 jobs"
    assert await page.say("document.getElementById('text').value") == "chair OWL"

    await page.say("document.querySelector('input[value=failed]').click()")
    assert await page.say(IDS) == []
    assert await page.say("document.getElementById('empty').hidden") is False
    await page.say("document.getElementById('clear').click()")
    assert len(await page.say(IDS)) == 10
    assert await page.say("location.hash") == ""

    await page.say("document.querySelector('button.reason').click()")
    assert await page.say(IDS) == ["bad"]
    assert await page.say("location.hash") == "#state=failed&q=CapacityError+429"

    text = "const text = document.getElementById('text'); text.value = 'dog';"
    await page.say("document.querySelector('input[value=all]').click()")
    await page.say(f"{text} text.dispatchEvent(new Event('input'))")
    await page.until("location.hash === '#q=dog'")
    assert await page.say(IDS) == ["job-001", "job-004", "job-007"]


async def test_jobs_can_be_put_in_order(page, tmp_path):
    path = await made(tmp_path / "demo", [*with_pictures(tmp_path / "demo", 3), failed("bad")])
    await page.open(path, "#order=dear")
    assert await page.say(IDS) == ["job-002", "job-001", "job-000", "bad"]

    await page.open(path, "#order=tries")
    assert (await page.say(IDS))[0] == "bad"


async def test_ten_thousand_jobs_are_read_a_page_at_a_time(page, tmp_path):
    records = [done(f"{number:05}", prompt=f"a prompt {number}") for number in range(10_000)]
    path = await made(tmp_path / "demo", records)
    await page.open(path, "#page=2")

    assert (await page.say(IDS))[0] == "00060"
    assert len(await page.say(IDS)) == 60
    assert await page.say("document.getElementsByTagName('*').length < 1500")
    await page.say("[...document.querySelectorAll('#pager button')].at(-1).click()")
    assert (await page.say(IDS))[0] == "00120"
    await page.say("[...document.querySelectorAll('#pager button')].at(-2).click()")
    assert (await page.say(IDS))[-1] == "09999"
    assert await page.say("[...document.querySelectorAll('#pager button')].at(-1).disabled") is True
    await page.open(path, "#q=9998&page=700")
    assert await page.say(IDS) == ["09998"]


async def test_one_job_can_be_looked_at(page, tmp_path):
    folder = tmp_path / "demo"
    records = with_pictures(folder, 2)
    (folder / "message.txt").write_text("A <b>message</b>\nof two lines")
    with wave.open(str(folder / "tone.wav"), "wb") as tone:
        tone.setparams((1, 2, 8000, 0, "NONE", ""))
        tone.writeframes(bytes(1600))
    records[0]["outputs"] += [output("message.txt", "text/plain"), output("tone.wav", "audio/wav")]
    records[0]["outputs"] += [
        output("clip.mp4", "video/mp4"),
        output("model.glb", "model/gltf-binary", 4_200_000),
    ]
    records[0]["attempts"] = [attempt("shed"), attempt()]
    path = await made(folder, records)
    await page.open(path)
    await page.say("document.querySelector('.card a').click()")

    assert await page.say("document.getElementById('viewer').open") is True
    assert await page.until("document.querySelector('#viewer img').naturalWidth") == 300
    assert (
        await page.say("document.querySelector('#viewer pre').textContent")
        == "A <b>message</b>\nof two lines"
    )
    assert await page.say("document.querySelector('#viewer audio').preload") == "none"
    assert await page.say("document.querySelector('#viewer video').preload") == "none"
    links = "[...document.querySelectorAll('#viewer figcaption')].map((caption) => caption.textContent)"
    assert (await page.say(links))[-1] == "model.glbmodel/gltf-binary · 4.2 MB"
    facts = await page.say("document.getElementById('viewer-facts').innerText")
    assert "2: shed (429), done" in facts
    assert await page.say("location.hash") == "#job=job-000"

    await page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert await page.say("document.getElementById('viewer-title').textContent") == "job-001"
    assert await page.say("document.getElementById('next').disabled") is True
    await page.say("document.getElementById('close').click()")
    await page.until("location.hash === ''")
    assert await page.say("document.activeElement.dataset.place") == "1"


async def test_hostile_texts_run_no_script(page, tmp_path):
    picture(tmp_path / "demo/x.png")
    records = [done(HOSTILE, output("x.png"), prompt=HOSTILE), failed("b" + HOSTILE, HOSTILE)]
    records += [done("long", output("x.png"), prompt="word " * 200_000)]
    records[0]["job"]["type"] = records[1]["error"]["type"] = HOSTILE
    path = await made(tmp_path / "demo", records)
    await page.open(path)

    assert sorted(await page.say(IDS)) == sorted([HOSTILE, "b" + HOSTILE, "long"])
    for place in range(3):
        await page.say(f"document.querySelectorAll('.open')[{place}].click()")
        await page.say("document.getElementById('close').click()")
    assert await page.until(LOADED)
    assert (await page.say("document.title")).startswith("demo ·")
    assert await page.say("document.querySelectorAll('img[onerror], .card script').length") == 0


async def test_a_file_that_could_run_scripts_is_shown_without_a_link(page, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    script = "<script>document.title = 'owned'</script>"
    (folder / "x.html").write_text(script)
    start = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30">'
    (folder / "x.svg").write_text(f"{start}{script}</svg>")
    outputs = [output("x.svg", "image/svg+xml"), output("x.html", "text/html"), output("y.htm", "text/plain")]
    path = await made(folder, [done("a", *outputs)])
    await page.open(path)
    await page.say("document.querySelector('.open').click()")

    assert await page.until("document.querySelector('#viewer img').naturalWidth") == 40
    assert await page.say("document.querySelectorAll('.card a, #viewer a').length") == 0
    assert await page.say("document.querySelector('#viewer pre').textContent") == script
    assert (await page.say("document.title")).startswith("demo ·")


async def test_the_page_s_policy_holds_even_for_a_script_that_got_in(page, tmp_path):
    path = await made(tmp_path / "demo", [failed("a")])
    injected = b"<script>document.title = 'owned'</script><img src='http://127.0.0.1:9/x.png'></body>"
    path.write_bytes(path.read_bytes().replace(b"</body>", injected))
    await page.open(path)

    assert (await page.say("document.title")).startswith("demo ·")
    assert len(page.complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in page.complaints)
    page.complaints.clear()
    page.requests.clear()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
async def test_it_fits_and_can_be_read(page, tmp_path, dark, width):
    long = failed("x" * 290, "y" * 900)
    course = [sample(at, 3 * at, limit=8, dollars=at / 10) for at in range(50)]
    path = await made(tmp_path / ("z" * 80), [*with_pictures(tmp_path / ("z" * 80), 4), long], course)
    await page.screen(width, 900, dark=dark)
    await page.open(path)

    assert await page.say("document.documentElement.scrollWidth") <= width
    luminance = """(name) => {
      const color = getComputedStyle(document.documentElement).getPropertyValue(name);
      const canvas = document.createElement('canvas').getContext('2d');
      canvas.fillStyle = color.trim(); canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
        (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }"""
    for text in ("--text", "--soft", "--accent", "--bad"):
        for ground in ("--ground", "--sheet", "--well"):
            first, second = [await page.say(f"({luminance})('{name}')") for name in (text, ground)]
            contrast = (max(first, second) + 0.05) / (min(first, second) + 0.05)
            assert contrast >= 4.5, (text, ground)  # WCAG 2.2, 1.4.3
