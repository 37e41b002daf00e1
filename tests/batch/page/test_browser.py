"""The page in a real browser: headless Chromium, from file://."""

from __future__ import annotations

import asyncio
import json
import time
import wave

import pytest
from batch.page.browser import chromium, find_browser
from batch.page.folders import fill
from batch.page.records import HOSTILE, attempt, done, failed, output, picture
from batch.page.test_course import HOUR, sample
from PIL import Image

from prodia_async import Prodia
from prodia_async.batch import check_manifest, run_batch
from prodia_async.batch._journal import Journal
from prodia_async.batch._page import write_report
from prodia_async.emulator import Emulator
from prodia_async.emulator._films import encode_film

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


def film_of(count):
    return encode_film((Image.new("RGB", (64, 32), (255, 40 * n, 0)) for n in range(count)), (64, 32), 6)


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
    assert "seed 7|1.3 s of 2 s" in figures
    assert await page.say("document.querySelectorAll('figure.chart svg path.line').length") == 5
    assert (
        await page.say("document.querySelector('.failure').textContent")
        == "CapacityError 429no idle capacity"
    )
    assert any("report/thumbs/" in url for url in page.requests)
    facts = "[...document.querySelectorAll('.facts div')].map((fact) => fact.textContent)"
    assert await page.say(facts) == [
        "Done8",
        "Failed1",
        "Time49 s",
        "Mean job1.3 s of 2.2 s with waiting",
        "Price$0.28",
    ]
    assert await page.say("document.getElementById('period').textContent") == "22 Nov 2026, 13:28 UTC"
    labels = await page.say("[...document.querySelectorAll('.chart svg')].map((svg) => svg.ariaLabel)")
    assert labels[0].startswith("Throughput in 49 s: 3 jobs/s; highest 3 jobs/s.")
    assert [label.split()[0] for label in labels] == ["Throughput", "Concurrency", "Shed", "Dollars"]

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
    assert await page.say("document.getElementById('q').value") == "chair OWL"

    await page.say("document.querySelector('input[value=failed]').click()")
    assert await page.say(IDS) == []
    assert await page.say("document.getElementById('empty').hidden") is False
    await page.say("document.getElementById('clear').click()")
    assert len(await page.say(IDS)) == 10
    assert await page.say("location.hash") == ""

    await page.say("document.querySelector('button.reason').click()")
    assert await page.say(IDS) == ["bad"]
    assert await page.say("location.hash") == "#state=failed&why=0"
    assert await page.say("document.getElementById('why').innerText.split('\\n')[0]") == (
        "CapacityError 429: no idle capacity Show all failed jobs"
    )

    text = "const text = document.getElementById('q'); text.value = 'dog';"
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
    (folder / "clip.mp4").write_bytes(await asyncio.to_thread(film_of, 3))
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
    assert await page.say("document.querySelector('#viewer video').controls") is True
    links = "[...document.querySelectorAll('#viewer figcaption')].map((caption) => caption.textContent)"
    assert (await page.say(links))[-1] == "model.glbmodel/gltf-binary · 4.2 MB"
    facts = await page.say("document.getElementById('viewer-facts').innerText")
    assert "2: shed (429), done" in facts
    assert "1.3 s at the service" in facts
    assert "4 s, waiting included" in facts
    assert await page.say("location.hash") == "#job=job-000"

    await page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert await page.say("document.getElementById('viewer-title').textContent") == "job-001"
    assert await page.say("document.getElementById('next').disabled") is True
    await page.say("document.getElementById('close').click()")
    await page.until("location.hash === ''")
    assert await page.say("document.activeElement.dataset.place") == "1"


def with_inputs(folder, sizes):
    """Jobs whose outputs were made of pictures beside the folder."""
    records = []
    for number, size in enumerate(sizes):
        picture(folder.parent / f"photos/in {number} ü.png", (300, 200), color=(255, 0, 0))
        picture(folder / f"outputs/00/edit-{number}.png", size, color=(0, 0, 255))
        request = {"inputs": [f"../photos/in {number} ü.png"], "accept": "image/png"}
        records.append(done(f"edit-{number}", output(f"outputs/00/edit-{number}.png"), request=request))
    return records


async def press(page, key):
    code = {"Escape": 27}.get(key, 0)
    for kind in ("keyDown", "keyUp"):
        text = key if len(key) == 1 else ""
        await page.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)


STAGE = "document.querySelector('#viewer .stage')"


async def test_an_input_is_shown_over_its_output_or_beside_it(page, tmp_path):
    folder = tmp_path / "demo"
    path = await made(folder, with_inputs(folder, [(600, 400), (200, 400)]))
    await page.screen(1280, 900)
    await page.open(path)
    assert await page.until("document.querySelector('.inset').naturalWidth") == 256

    await page.say("document.querySelector('.open').click()")
    assert await page.until(f"!{STAGE}.classList.contains('beside')")
    color = """(share) => {
      const [output, input] = document.querySelectorAll('#viewer .stage img');
      const box = output.getBoundingClientRect();
      const clip = /100% - (\\d+)%|(\\d+)%/.exec(getComputedStyle(input).clipPath);
      const isOver = input.getBoundingClientRect().width === box.width;
      return [input.naturalWidth, output.naturalWidth, Number(clip[1] || clip[2]), isOver];
    }"""
    assert await page.say(f"({color})()") == [300, 600, 50, True]
    await page.say("document.querySelector('#viewer .stage input').focus()")
    await press(page, "ArrowLeft")  # moves the line, and does not go to another job
    assert await page.say("document.getElementById('viewer-title').textContent") == "edit-0"

    await page.say("document.querySelector('.modes button').click()")
    assert await page.say(f"{STAGE}.classList.contains('beside')") is True
    lefts = (
        "[...document.querySelectorAll('#viewer .stage img')].map((one) => one.getBoundingClientRect().left)"
    )
    output_left, input_left = await page.say(lefts)
    assert input_left < output_left
    captions = "[...document.querySelectorAll('#viewer figcaption')].map((one) => one.textContent)"
    assert await page.say(captions) == [
        "Input: in 0 ü.pngimage/png",
        "Output: edit-0.pngimage/png · 10 bytes",
    ]

    await page.open(path, "#job=edit-1")  # another shape: one cannot lie over the other
    assert await page.until("[...document.querySelectorAll('#viewer img')].every((one) => one.naturalWidth)")
    assert await page.say(f"{STAGE}.classList.contains('beside')") is True


async def test_an_input_that_is_gone_is_shown_by_its_small_copy(page, tmp_path):
    folder = tmp_path / "demo"
    path = await made(folder, with_inputs(folder, [(600, 400)]))
    (tmp_path / "photos/in 0 ü.png").unlink()
    await page.open(path, "#job=edit-0")

    assert await page.until("document.querySelector('#viewer .stage img + img').naturalWidth") == 256
    page.complaints.clear()  # of the file that is gone


async def test_a_film_is_shown_by_its_first_picture_and_can_be_played(page, tmp_path):
    folder = tmp_path / "demo"
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs/film.mp4").write_bytes(await asyncio.to_thread(film_of, 6))
    (folder / "outputs/none.mp4").write_bytes(b"no film")
    outputs = [output(f"outputs/{name}.mp4", "video/mp4") for name in ("film", "none")]
    path = await made(folder, [done("a", outputs[0]), done("b", outputs[1])])
    await page.open(path)

    assert await page.until("document.querySelector('.film video').readyState >= 2")
    shown = "(({ videoWidth, videoHeight, paused }) => [videoWidth, videoHeight, paused])"
    assert await page.say(f"{shown}(document.querySelector('.film video'))") == [64, 32, True]
    assert (
        await page.until("document.querySelector('.plain-tile .what').textContent") == "video/mp4 · 10 bytes"
    )
    await page.say("document.querySelector('.open').click()")
    await page.say(
        "(() => { const film = document.querySelector('#viewer video'); film.muted = true; film.play(); })()"
    )
    assert await page.until("document.querySelector('#viewer video').currentTime > 0")


async def read_manifest(page, folder):
    """Save the manifest as a reader does, and return its lines."""
    folder.mkdir(exist_ok=True)
    await page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    await page.say("document.getElementById('again-save').click()")
    for _ in range(300):
        if (folder / "picks.jsonl").exists():
            lines = (folder / "picks.jsonl").read_text(encoding="utf-8").splitlines()
            (folder / "picks.jsonl").unlink()
            return [json.loads(line) for line in lines]
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was saved")


async def type_into(page, name, text):
    await page.say(
        f"(() => {{ const it = document.getElementById('{name}'); it.value = {json.dumps(text)};"
        " it.dispatchEvent(new Event('input')); })()"
    )


async def test_picked_jobs_leave_as_a_manifest_that_runs(page, tmp_path):
    folder = tmp_path / "a demo"
    records = [*with_inputs(folder, [(600, 400)] * 3), failed("bad"), done("long", prompt="word " * 1000)]
    records[0]["job"]["config"] |= {"seed": 2**60, "steps": 4}
    path = await made(folder, records)
    await page.open(path)
    assert await page.say("document.getElementById('picks').hidden") is True
    for name in ("edit-0", "bad", "long"):
        await page.say(f"document.querySelector('input[aria-label=\"Pick {name}\"]').click()")
    assert await page.say("document.getElementById('picked').textContent") == "3 picked"

    await page.say("document.getElementById('run-again').click()")
    assert await page.say("document.getElementById('again-title').textContent") == "Run 3 picked jobs again"
    assert (await page.say("document.getElementById('again-note').textContent")).startswith("1 job left out")
    command = await page.say("document.getElementById('again-command').textContent")
    assert command == "prodia-async batch picks.jsonl --out a-demo-again --allow-outside"
    bad, edit = await read_manifest(page, tmp_path / "saved")
    assert bad == {
        "custom_id": "bad",
        "type": "inference.flux-fast.schnell.txt2img.v2",
        "config": {"prompt": "a cat", "seed": 7, "width": 64},
    }
    assert edit["config"] == {"prompt": "a cat", "seed": 2**60, "steps": 4, "width": 64}
    assert (edit["inputs"], edit["accept"]) == ([str(tmp_path / "photos" / "in 0 ü.png")], "image/png")

    await type_into(page, "again-type", "inference.other.v1")
    await type_into(page, "again-config", 'steps=30\n\nprompt=5\nloras=["a"]\nno pair\nx = y=z')
    await page.say("document.getElementById('again-seed').click()")
    assert '1 line of the config without a "="' in await page.say(
        "document.getElementById('again-note').textContent"
    )
    [_, edit] = lines = await read_manifest(page, tmp_path / "saved")
    assert {line["type"] for line in lines} == {"inference.other.v1"}
    assert edit["config"] == {"prompt": "5", "steps": 30, "width": 64, "loras": ["a"], "x": "y=z"}

    manifest = tmp_path / "picks.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    check = await check_manifest(manifest, allow_outside=True)
    assert (check.jobs, check.problem_count, check.by_type) == (2, 0, {"inference.other.v1": 2})


async def test_jobs_are_picked_by_keys_and_stay_picked(page, tmp_path):
    path = await made(tmp_path / "demo", with_pictures(tmp_path / "demo", 9))
    await page.screen(900, 900)
    await page.open(path)
    await page.say("localStorage.clear()")
    await page.open(path)
    await press(page, "/")
    assert await page.say("document.activeElement.id") == "q"
    await press(page, "x")  # is a letter there
    assert await page.say("document.getElementById('q').value") == "x"

    await page.open(path)
    await page.say("document.querySelector('.open').focus()")
    await press(page, "x")
    for key in ("ArrowRight", "ArrowDown"):
        await press(page, key)
    in_row = await page.say(
        "[...document.querySelectorAll('.card')].filter((card) => card.offsetTop === "
        "document.querySelector('.card').offsetTop).length"
    )
    place = await page.say("Number(document.activeElement.dataset.place)")
    assert place == 1 + in_row
    await press(page, "Enter")
    await press(page, "x")
    assert await page.say("document.getElementById('viewer-pick').checked") is True
    await press(page, "Escape")
    await page.until("!document.getElementById('viewer').open")
    assert await page.say("Number(document.activeElement.dataset.place)") == place

    await page.open(path, "#state=picked")
    assert await page.say(IDS) == ["job-000", f"job-{place:03}"]
    assert await page.say("document.querySelectorAll('.card input:checked').length") == 2
    await page.say("document.getElementById('unpick').click()")
    assert await page.say(IDS) == []
    assert await page.say("document.getElementById('picks').hidden") is True


async def test_a_range_and_all_that_is_found_can_be_picked_and_their_ids_copied(page, tmp_path):
    path = await made(tmp_path / "demo", with_pictures(tmp_path / "demo", 9))
    await page.open(path)
    await page.say("document.querySelectorAll('.card input')[1].click()")
    await page.say(
        "document.querySelectorAll('.card input')[4]"
        ".dispatchEvent(new MouseEvent('click', { shiftKey: true, bubbles: true, cancelable: true }))"
    )
    assert await page.say("document.getElementById('picked').textContent") == "4 picked"
    await page.open(path, "#q=owl")
    await page.say("document.getElementById('pick-all').click()")
    assert await page.say("document.getElementById('picked').textContent") == "6 picked"
    await page.say(
        "document.addEventListener('copy', () => { window.copied = document.activeElement.value; });"
        "navigator.clipboard.writeText = async (text) => { window.copied = text; }; 0"
    )
    await page.say("document.getElementById('copy-ids').click()")
    ids = "".join(f"job-{number:03}\n" for number in (1, 2, 3, 4, 5, 8))
    assert await page.until("window.copied") == ids


async def test_a_sheet_of_two_folders_shows_both(page, tmp_path):
    for name in ("A", "B"):
        await fill(tmp_path / name, with_pictures(tmp_path / name, 2))
    path = await write_report(tmp_path / "A", tmp_path / "B", to=tmp_path / "all.html")
    await page.open(path)

    assert await page.say(IDS) == ["job-000", "job-001", "job-000", "job-001"]
    assert await page.until(LOADED)
    assert (
        await page.say("document.getElementById('period').textContent")
        == "22 Nov 2026, 13:28 UTC · 2 folders"
    )
    await page.open(path, "#folder=1")
    assert await page.say("document.querySelector('.open').href") == (
        (tmp_path / "B/outputs/00/job 000#.png").as_uri()
    )
    await page.say("document.querySelectorAll('.card input').forEach((box) => box.click())")
    await page.say("document.getElementById('run-again').click()")
    saved = await read_manifest(page, tmp_path / "saved")
    assert [line["custom_id"] for line in saved] == [f"job-00{n} ({tmp_path / 'B'})" for n in range(2)]


async def test_the_page_says_that_an_emulator_made_the_results_and_what_is_not_shown(page, tmp_path):
    folder = tmp_path / "demo"
    journal = await Journal.open(folder, wall=time.time, about={"service": "a service on this computer"})
    await journal.aclose()
    path = await made(folder, [done(f"job-{number}") for number in range(5)])
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"done":5', '"done":1000000'), encoding="utf-8")
    await page.open(path)

    assert await page.say("document.getElementById('notice').textContent") == (
        "Not Prodia's results: these jobs ran on a service on this computer."
    )
    assert await page.say("document.getElementById('only').textContent") == (
        "5 jobs are shown here, failed ones first; 999,995 more stand in results.jsonl."
    )


async def test_numbers_and_times_are_read_easily(page, tmp_path):
    path = await made(tmp_path / "demo", [failed("a")])
    text = path.read_text(encoding="utf-8")
    start = text.index("<script>") + len("<script>")
    script = text[start : text.rindex("</script>")]
    helpers = script[: script.index("const byId")].replace('"use strict";\n(() => {\n', "")
    await page.open(path)

    async def shown(expression):
        data = "document.getElementById('data')"
        return await page.say(f"{{ {data}; {helpers} {expression} }}")

    assert await shown("[0, 0.042, 0.5, 1.54, 12.4, 320, 12345.6, 1e-9].map(amount)") == [
        "0",
        "0.042",
        "0.5",
        "1.5",
        "12",
        "320",
        "12,346",
        "0",
    ]
    assert await shown("[0, 0.0025, 0.039, 0.5, 1234.5].map(dollars)") == [
        "$0.00",
        "$0.0025",
        "$0.039",
        "$0.50",
        "$1,234.50",
    ]
    assert await shown("[0, 0.54, 42, 200, 3600, 3605, 7500, 90000].map(duration)") == [
        "0 s",
        "0.54 s",
        "42 s",
        "3 min 20 s",
        "1 h",
        "1 h",
        "2 h 5 min",
        "1 d 1 h",
    ]
    times = ["2026-11-22T13:28:39.817526Z", "2026-11-22T13:28:39+02:00", "2026-11-02T13:28:39Z", "yesterday"]
    assert await shown(f"{json.dumps(times)}.map(moment)") == [
        "22 Nov 2026, 13:28 UTC",
        "22 Nov 2026, 11:28 UTC",
        "2 Nov 2026, 13:28 UTC",
        None,
    ]


POINTS = """[...document.querySelectorAll('.chart svg')].every((svg) => {
  const all = (selector) => [...svg.querySelectorAll(selector)];
  const right = svg.viewBox.baseVal.width - 6;
  const within = (point) => {
    const [x, y] = point.split(' ').map(Number);
    return x >= 34 && x <= right && y >= 8 && y <= 108;
  };
  const points = all('path.line').flatMap((path) => path.getAttribute('d').match(/[\\d.]+ [\\d.]+/g));
  const times = all('.tick[y="124"]').map((tick) => tick.textContent);
  return points.length > 9 && points.every(within)
    && all('.tick').every((tick) => tick.getAttribute('x') <= right && !/NaN|Infinity/.test(tick.textContent))
    && times.length >= 1 && times.length <= 5 && new Set(times).size === times.length
    && all('.grid').length >= 2 && all('.grid').length <= 4;
})"""


@pytest.mark.parametrize("top", [0, 0.003, 1, 7, 99, 12_345, 9_999_999])
async def test_every_point_and_mark_lies_in_the_picture(page, tmp_path, top):
    for seconds in (0.01, 0.4, 3, 59, 700, 5 * HOUR, 400 * HOUR):
        steps = [sample(at * seconds / 9, limit=top, requests=at, dollars=top * at) for at in range(10)]
        path = await made(tmp_path / f"{seconds}", [failed("a")], steps)
        await page.open(path)
        assert await page.say("document.querySelectorAll('.chart').length") == 4
        assert await page.say(POINTS), (top, seconds)


async def test_charts_are_read_by_keys_too_and_mark_a_break(page, tmp_path):
    course = [sample(at, 3 * at) for at in range(11)] + [sample(HOUR + at, 30 + at) for at in range(11)]
    path = await made(tmp_path / "demo", [failed("a")], course)
    await page.open(path)
    middle = "(34 + document.querySelector('.chart svg').viewBox.baseVal.width - 6) / 2"
    assert await page.say(f"document.querySelector('.chart .break').x1.baseVal.value === {middle}")
    assert await page.say("document.querySelectorAll('.chart').length") == 3  # no price, no dollars

    await page.say("document.querySelector('.chart svg').focus()")
    await press(page, "ArrowRight")
    await press(page, "ArrowRight")
    value = "document.querySelector('.chart-value').textContent"
    assert (await page.say(value)).startswith("3 jobs/s at 1.")


async def test_a_batch_of_a_few_seconds_has_no_charts(page, tmp_path):
    path = await made(tmp_path / "demo", [failed("a")], [sample(at, at) for at in range(5)])
    await page.open(path)
    assert await page.say("document.getElementById('charts').hidden") is True
    assert "4 s" in await page.say("document.getElementById('facts').textContent")


async def test_hostile_texts_run_no_script(page, tmp_path):
    picture(tmp_path / "demo/x.png")
    records = [done(HOSTILE, output("x.png"), prompt=HOSTILE), failed("b" + HOSTILE, HOSTILE)]
    records += [done("long", output("x.png"), prompt="word " * 200_000)]
    records[0]["job"]["type"] = records[1]["error"]["type"] = HOSTILE
    named = HOSTILE.replace("\0", "")
    records[0]["request"] = {"inputs": [named, "../x.png"], "accept": HOSTILE, "extra": {HOSTILE: HOSTILE}}
    about = {"service": HOSTILE.replace("\0", ""), "shard": f"shard {named}"}
    await (await Journal.open(tmp_path / "demo", wall=time.time, about=about)).aclose()
    path = await made(tmp_path / "demo", records)
    await page.open(path)
    assert "onerror" in await page.say("document.getElementById('notice').textContent")
    await page.say("document.querySelectorAll('.card input').forEach((box) => box.click())")
    await page.say("document.getElementById('run-again').click()")
    await page.say("document.getElementById('again-close').click()")

    assert sorted(await page.say(IDS)) == sorted([HOSTILE, "b" + HOSTILE, "long"])
    for place in range(3):
        await page.say(f"document.querySelectorAll('.open')[{place}].click()")
        await page.say("document.getElementById('close').click()")
    assert await page.until(LOADED)
    assert (await page.say("document.title")).startswith("demo ·")
    assert await page.say("document.querySelectorAll('img[onerror], .card script').length") == 0


async def test_picks_of_a_real_batch_run_again_as_they_are(page, tmp_path):
    picture(tmp_path / "photos" / "cat ä.png", (300, 200))
    job = {"type": "inference.flux.schnell.img2img.v1", "inputs": ["photos/cat ä.png"], "accept": "image/png"}
    job["config"] = {"prompt": "in oil", "image": "cat ä.png", "seed": 2**32 - 1, "steps": 2}
    lines = [{"custom_id": f"cat-{number}"} | job for number in range(2)]
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with (
        Emulator(latency=0.01) as emulator,
        Prodia(base_url=emulator.base_url, token=emulator.token) as prodia,
    ):
        await run_batch(tmp_path / "jobs.jsonl", tmp_path / "out", prodia=prodia)
        await page.open(await write_report(tmp_path / "out"), "#job=cat-1")
        assert await page.until(f"{STAGE} && !{STAGE}.classList.contains('beside')")
        assert "an emulator" in await page.say("document.getElementById('notice').textContent")
        await page.say("document.getElementById('viewer-pick').click()")
        await page.say("document.getElementById('close').click()")
        await page.say("document.getElementById('run-again').click()")
        [line] = await read_manifest(page, tmp_path / "saved")
        (tmp_path / "saved" / "picks.jsonl").write_text(json.dumps(line) + "\n")
        again = tmp_path / "again"
        report = await run_batch(tmp_path / "saved/picks.jsonl", again, prodia=prodia, allow_outside=True)

    assert (report.done, report.failed) == (1, 0)
    [first], [second] = (list((tmp_path / name).glob("outputs/*/cat-1.png")) for name in ("out", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("wish", ["no-preference", "reduce"])
async def test_a_film_moves_under_the_mouse_unless_the_reader_wants_no_motion(page, tmp_path, wish):
    folder = tmp_path / "demo"
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs/film.mp4").write_bytes(await asyncio.to_thread(film_of, 6))
    path = await made(folder, [done("a", output("outputs/film.mp4", "video/mp4"))])
    await page.call(
        "Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": wish}]
    )
    await page.open(path)
    assert await page.until("document.querySelector('.film video').readyState >= 2")
    await page.say("document.querySelector('.open').focus()")
    if wish == "reduce":
        await asyncio.sleep(0.3)
        assert await page.say("document.querySelector('.film video').paused") is True
    else:
        assert await page.until("!document.querySelector('.film video').paused")


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
@pytest.mark.parametrize("width", [390, 900, 1280])
async def test_it_fits_and_can_be_read(page, tmp_path, dark, width):
    long = failed("x" * 290, "y" * 900)
    course = [sample(at, 3 * at, limit=8, dollars=at / 10) for at in range(50)]
    path = await made(tmp_path / ("z" * 80), [*with_pictures(tmp_path / ("z" * 80), 4), long], course)
    await page.screen(width, 900, dark=dark)
    await page.open(path)

    assert await page.say("document.documentElement.scrollWidth") <= width
    size = "(svg) => [svg.clientWidth, svg.viewBox.baseVal.width]"
    for shown, drawn in await page.say(
        f"[...document.querySelectorAll('.chart svg')].map({size})"
    ):  # or its text would be larger or smaller than the page's
        assert shown == drawn > 200
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
