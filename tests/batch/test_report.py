"""The report of all published results: complete, self-contained, and it says what changed."""

import csv
import io
import json
import re
import subprocess
import sys

import pytest

from vislab import registry
from vislab.batch import report
from vislab.engine.records import read_published
from vislab.errors import UserError


def test_every_published_part_has_a_row():
    found = report.rows("tutorial")
    records = {s: r for s in registry.slugs() if (r := read_published("tutorial", s)) is not None}
    published = [(s, c["id"], c["verdict"]) for s, record in records.items() for c in record.claims]
    assert published
    assert [(r["paper"], r["claim"], r["verdict"]) for r in found] == published
    assert all(r["statement"] and r["reported"] and r["compared"] for r in found)
    assert len({r["id"] for r in found}) == len(found)


def test_csv_reads_back():
    found = report.rows("tutorial")
    back = list(csv.DictReader(io.StringIO(report.as_csv(found))))
    assert len(back) == len(found) and tuple(back[0]) == report.COLUMNS
    assert [r["verdict"] for r in back] == [r["verdict"] for r in found]


def test_page_needs_no_other_file():
    page = report.as_html("tutorial", report.rows("tutorial"))
    assert not re.search(r'(src|href)="(?!#)', page) and "<script" not in page
    assert all(r["paper"] in page for r in report.rows("tutorial"))


def test_a_change_of_verdict_is_flagged_once():
    found = report.rows("tutorial")
    assert report.changes(found) == []
    other = [dict(r) for r in found]
    other[0]["verdict"] = "failed"
    report.remember("tutorial", other)
    again = report.rows("tutorial")
    assert len(report.changes(again)) == 1 and "failed -> " in report.changes(again)[0]
    assert "class=flag" in report.as_html("tutorial", again)
    report.remember("tutorial", again)
    assert report.changes(report.rows("tutorial")) == []


def test_a_damaged_memory_is_named():
    report.remember("tutorial", report.rows("tutorial"))
    report.state_path().write_text("{")
    with pytest.raises(UserError, match=r"report\.json"):
        report.rows("tutorial")


def test_command_line(tmp_path):
    page, table = tmp_path / "report.html", tmp_path / "report.csv"
    command = [sys.executable, "-m", "vislab", "report", "--html", str(page), "--csv", str(table)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert page.read_text().startswith("<!doctype html>") and table.read_text().startswith("paper,")
    rows = subprocess.run([*command[:4], "--json"], capture_output=True, text=True, check=False)
    assert len(json.loads(rows.stdout)) == len(report.rows("tutorial"))
