"""House pages: links to chapters that a book leaves out."""

from vislab.batch import pages


def test_links_to_chapters_that_are_left_out_become_text():
    text = "See [BalPoE](balpoe.md), [DNF](../restoration/dnf.md) and [all claims](results.md)."
    assert pages.fill(text, "book/recognition/index.md", ["balpoe", "dnf"], {}, "tutorial") == text
    alone = pages.fill(text, "book/recognition/index.md", ["balpoe"], {}, "tutorial")
    assert alone == "See [BalPoE](balpoe.md), DNF and [all claims](results.md)."
