"""What the build adds to a chapter: links to the glossary in running text alone, the paper's entry, downloads, buttons."""

import nbformat
import pytest

from vislab.batch import extras

KNOWN = ["transformer", "vision transformer", "logit", "PSNR"]


def test_first_mentions_in_running_text_become_links():
    text = """# A transformer in a heading

The vision transformer is first, `transformer` and `logit`; $logit$ too, [logit](x.md), **logit**.
Logits are outputs, and a logit again.

```{figure} transformer.png
PSNR
```

$$
PSNR
$$ (eq-x)

| PSNR | table |

The psnr rises.
A transformer last."""
    (found,) = extras.linked([text], KNOWN)
    assert "{term}`vision transformer <vision transformer>` is first, `transformer`" in found
    assert "`logit`; $logit$ too, [logit](x.md), **logit**." in found
    assert "{term}`Logits <logit>` are outputs, and a logit again." in found
    assert "The {term}`psnr <PSNR>` rises." in found
    assert "A {term}`transformer <transformer>` last." in found
    assert found.count("{term}") == 4 and "# A transformer in a heading" in found


def test_a_term_is_linked_once_in_a_chapter():
    first, second = extras.linked(["A logit.", "A logit."], KNOWN)
    assert "{term}" in first and second == "A logit."


def test_terms_of_a_glossary():
    assert extras.terms("# G\n\n```{glossary}\none\n  what it is\n\ntwo words\n  what it is\n```\n") == [
        "one",
        "two words",
    ]
    assert extras.terms("") == []


def test_entries_of_a_bibliography():
    text = "% papers\n@inproceedings{a,\n  title = {{A}: b},\n}\n\n@article{b_c,\n  title = {C}\n}\n"
    assert extras.entries(text) == {
        "a": "@inproceedings{a,\n  title = {{A}: b},\n}",
        "b_c": "@article{b_c,\n  title = {C}\n}",
    }


@pytest.mark.parametrize("url", ["https://github.com/someone/vislab", "https://github.com/someone/vislab.git"])
def test_one_setting_turns_on_colab_and_binder(url):
    row = extras.buttons("eva", "trust", url, "main", api=False)
    assert "colab.research.google.com/github/someone/vislab/blob/gh-pages/_static/notebooks/eva.ipynb" in row
    assert "mybinder.org/v2/gh/someone/vislab/main?urlpath=lab%2Ftree%2Fbook%2Ftrust%2Feva.md" in row


def test_without_a_repository_there_are_downloads_only():
    row = extras.buttons("eva", "trust", "", "main", api=True)
    assert row.count("<a ") == 3 and "colab" not in row and "papers_trust.html#vislab-papers-trust-eva" in row


def test_a_notebook_from_a_repository_installs_the_package():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1", metadata={"vislab": {"stamp": "s"}})])
    files = extras.downloads(notebook, "eva", "https://github.com/someone/vislab")
    found = nbformat.reads(files["book/_static/notebooks/eva.ipynb"].decode(), as_version=4)
    assert "pip install" in found.cells[0].source and "git+https://github.com/someone/vislab" in found.cells[0].source
    assert "vislab" not in found.cells[1].metadata and "pip" not in files["book/_static/notebooks/eva.py"].decode()
