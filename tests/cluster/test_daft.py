"""Daft, on the same core as Ray Data."""

from __future__ import annotations


def test_100_jobs_and_the_same_again(place, tmp_path):
    table = tmp_path / "captions.csv"
    table.write_text("sku,caption\n" + "".join(f"sku-{number},cat {number}\n" for number in range(100)))
    program = "daft_pictures.py", str(table), f"{place.bucket.url}/out/", str(tmp_path / "results")
    assert place.run(*program) == "done: 100 rows\n$0.2500\n"
    first = place.emulator.stats()
    assert (first.completed, first.repeated, len(place.bucket.names())) == (100, 0, 100)
    assert first.peak_busy > 16
    assert place.run(*program) == "exists: 100 rows\n$0.0000\n"
    assert place.emulator.stats().requests == first.requests
