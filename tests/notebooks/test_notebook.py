"""The example notebook, run by Jupyter's own machinery in a kernel of its own, against the emulator."""

from __future__ import annotations

import pathlib

import pytest

from prodia_async.emulator import background_emulator

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("ipywidgets")

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "notebook.ipynb"
pytestmark = [
    pytest.mark.newest,
    # Jupyter's own: it warns of itself.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Return the outputs of each cell, by its name."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with background_emulator(capacity=2, latency=0.05) as emulator, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRODIA_BASE_URL", emulator.base_url)
        patch.setenv("PRODIA_TOKEN", emulator.token)
        client = nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(folder)}})
        client.execute()
    assert len(list((folder / "lighthouses").glob("*.jpg"))) == 4
    return {cell.id: cell.get("outputs", []) for cell in notebook.cells} | {"state": notebook.metadata}


def test_it_is_stored_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []


def test_a_result_shows_its_picture(cells):
    (output,) = cells["run"]
    assert "data:image/jpeg;base64," in output.data["text/html"]


def test_an_outcome_shows_the_picture_that_went_into_a_file(cells):
    (output,) = cells["first"]
    assert "data:image/jpeg;base64," in output.data["text/html"]
    assert "/lighthouses/" in output.data["text/html"]


def test_the_bar_is_drawn_and_ends_full(cells):
    said = str(cells["track"]) + str(cells["state"].get("widgets"))
    assert "4/4" in said
    assert "failed" not in said


def test_the_table_tells_of_each(cells):
    (output,) = cells["dicts"]
    assert output.data["text/plain"].count("'done'") == 4
