"""The contact sheet of a batch: `report.html`, one page that works from a folder and asks no network.

`sheet.py` joins the rest: `rows.py` and `contents.py` pick what is shown of each job, `previews.py` and
`thumbnails.py` look at the outputs, `timeline.py` and `charts.py` draw the course of the batch, `render.py`
makes the page. Pillow (in `thumbnails.py`) and Jinja2 (in `render.py`) are loaded by the first call.
"""

from prodia_async.batch.page.sheet import write_report

__all__ = ["write_report"]
