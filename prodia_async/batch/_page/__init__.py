"""The contact sheet of a batch: `report.html`, one page that works from a folder and asks no network.

`sheet.py` joins the rest: `contents.py` and `rows.py` pick what is shown of each job, `course.py` tells how
the batch went, `thumbs.py` looks at the files, `render.py` makes the page, whose own script (`templates/`)
draws all of it from data. Pillow (in `thumbs.py`) is loaded by the first call.
"""

from prodia_async.batch._page.sheet import write_report

__all__ = ["write_report"]
