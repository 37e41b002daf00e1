"""requests in threads, replies taken apart by requests_toolbelt, as the vendor's documentation shows."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import measure
import requests
from requests.adapters import HTTPAdapter
from requests_toolbelt import MultipartDecoder


def main() -> None:
    given = measure.options()
    window, lock = measure.Window(given), threading.Lock()
    with requests.Session() as session:
        session.headers.update(measure.HEADERS)
        session.mount("http://", HTTPAdapter(pool_maxsize=given.at_once))

        def work() -> None:
            while window.figures is None:
                with lock:
                    task = window.take()
                _run(session, given.url, task)
                with lock:
                    window.ended()

        with ThreadPoolExecutor(given.at_once) as pool:
            working = [pool.submit(work) for _ in range(given.at_once)]
        for each in working:
            each.result()
    print(json.dumps(window.figures))


def _run(session: requests.Session, url: str, task: measure.Task) -> None:
    if task.input is None:
        _store(session.post(url, json=task.job, timeout=300), task)
        return
    with task.input.open("rb") as file:
        files = {"job": ("job.json", task.json, "application/json"), "input": file}
        _store(session.post(url, files=files, timeout=300), task)


def _store(response: requests.Response, task: measure.Task) -> None:
    response.raise_for_status()
    for part in MultipartDecoder.from_response(response).parts:
        if b'name="output"' in part.headers[b"Content-Disposition"]:
            task.output.write_bytes(part.content)


if __name__ == "__main__":
    main()
