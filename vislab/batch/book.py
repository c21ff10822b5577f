"""The book: chapters executed by papermill in parallel, their outputs grafted onto a build copy that Jupyter Book renders.

Execution and rendering are apart.
`_build/executed/<profile>/` keeps one executed notebook a chapter, named by a stamp over everything that decides its outputs.
`_build/src/<profile>/` is the copy that is rendered; it is written anew by every build, from the sources, the executed notebooks
and the records, so that nothing stale can be found.
"""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from vislab import registry
from vislab.batch import extras, pages, reference
from vislab.cards import PROFILES, pick
from vislab.engine.code import code_hash, syntax
from vislab.engine.files import write_atomically
from vislab.engine.records import results_folder, runs_folder, versions
from vislab.errors import UserError

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
CELL_SECONDS = 900
FOLD_LINES = 40
"""A longer listing is folded on the page."""
THUMBNAIL_BYTES = 15_000
THUMBNAIL_WIDTH = 440
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Chapter:
    """One chapter's text, as it was when the build began, with the values of its parameters.

    `stamp` is over everything that decides its outputs.
    """

    slug: str
    part: str
    source: Path
    text: str
    profile: str
    device: str
    seed: int
    changes: Mapping[str, Any]
    stamp: str

    @property
    def document(self) -> str:
        """Its page, relative to the book, without an ending."""
        return f"book/{self.part}/{self.slug}"


def build(
    slugs: tuple[str, ...] | None = None,
    profile: str = "tutorial",
    jobs: int = 1,
    retrain: bool = False,
    api: bool = False,
    device: str = "auto",
    root: Path = ROOT,
    out: Path | None = None,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Execute what has changed, render the book, and give the folder of its pages.

    `slugs` limits the book to these chapters; `retrain` runs their arms again first; `api` adds the reference pages.
    `root` holds `_config.yml`, `_toc.yml` and `book/`; everything is written below `out`, by default `root/_build`.
    Raises UserError for a missing or damaged chapter, a chapter that fails, and a page that Sphinx warns about.
    """
    pick(profile, dict.fromkeys(PROFILES), "profile")
    if not (root / "_toc.yml").exists():
        raise UserError(f"{root} has no _toc.yml: the book is built in a checkout of the repository")
    out = out or root / "_build"
    if out.name != "_build":
        raise UserError(f"the book is built into a folder called _build, not {out}")
    report = report or partial(print, file=sys.stderr)
    chosen = slugs if slugs is not None else registry.slugs()
    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / ".lock"):
        if retrain:
            _retrain(chosen, profile, jobs, device, report)
        found = [chapter(slug, profile, device, root) for slug in chosen]
        notebooks = execute(found, jobs, out, report)
        source = _write_copy(found, notebooks, slugs is not None, api, profile, root, out)
        _fill_cache(found, source, notebooks, out)
        return _render(source, out, report)


def chapter(
    slug: str,
    profile: str,
    device: str = "auto",
    root: Path = ROOT,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> Chapter:
    """The chapter of a paper, with values for its parameters; raises UserError when its file is missing."""
    part = pick(slug, registry.places(), "paper")
    source = root / "book" / part / f"{slug}.md"
    if not source.exists():
        raise UserError(f"{slug} has no chapter: {source} is missing")
    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"chapter {source} cannot be read: {error}") from error
    changes = dict(changes or {})
    return Chapter(
        slug, part, source, text, profile, device, seed, changes, _stamp(slug, text, profile, device, seed, changes)
    )


def _stamp(slug: str, text: str, profile: str, device: str, seed: int, changes: Mapping[str, Any]) -> str:
    """A digest of the chapter's text and parameters, the code it runs, and the records it may read."""
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update("\0".join(map(str, values)).encode() + b"\n")

    add(profile, device, seed, sorted(changes.items()), sorted(versions().items()))
    add(hashlib.sha256(text.encode()).hexdigest())
    for path in sorted(registry.room(slug).glob("*.py")):
        add(path.name, syntax(path) if path.name == "card.py" else code_hash(path))
    for path in sorted((ROOT / "vislab" / "viz").glob("*.py")):
        add(path.name, syntax(path))
    for path in sorted((runs_folder() / slug).glob("*.json")):
        add(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    for folder in dict.fromkeys((profile, "tutorial")):
        for ending in ("json", "safetensors"):
            path = results_folder() / folder / f"{slug}.{ending}"
            add(path.name, hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "")
    return digest.hexdigest()[:20]


def read_source(chapter: Chapter) -> "NotebookNode":
    """The chapter as a notebook, its parameters cell filled and stamped.

    Raises UserError naming the file when it cannot be read as a notebook or has no parameters cell.
    """
    import jupytext

    try:
        notebook = jupytext.reads(chapter.text, fmt="md:myst")
    except Exception as error:
        raise UserError(f"chapter {chapter.source} cannot be read: {error}") from error
    cells = [c for c in notebook.cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise UserError(f"chapter {chapter.source} has {len(cells)} cells tagged parameters; it needs one")
    if "kernelspec" not in notebook.metadata:
        raise UserError(f"chapter {chapter.source} has no kernelspec in its header")
    cells[
        0
    ].source = f'profile = "{chapter.profile}"\nseed = {chapter.seed}\ndevice = "{chapter.device}"\nchanges = {chapter.changes!r}'
    cells[0].metadata["vislab"] = {"stamp": chapter.stamp}
    return notebook


def _retrain(slugs: Sequence[str], profile: str, jobs: int, device: str, report: Callable[[str], None]) -> None:
    from vislab.batch.plan import plan
    from vislab.batch.pool import run_all

    units = [p.unit for p in plan(slugs, profile, device=device)]
    results = run_all(units, jobs, True, None, None, lambda r, done, n: report(f"[{done}/{n}] {r.unit.name}"))
    failed = [r.unit.name for r in results if r.record is None or r.record.status == "failed"]
    if failed:
        report(f"{len(failed)} runs failed: {', '.join(failed)}")


# Execution


def executed_path(chapter: Chapter, out: Path) -> Path:
    """Where the executed notebook of a chapter lies; one with other parameters than the book's lies apart."""
    usual = chapter.seed == 0 and not chapter.changes
    return (
        out
        / "executed"
        / (chapter.profile if usual else f"{chapter.profile}-changed")
        / f"{chapter.slug}-{chapter.stamp}.ipynb"
    )


def execute(
    chapters: Sequence[Chapter], jobs: int, out: Path, report: Callable[[str], None] = print
) -> dict[str, "NotebookNode"]:
    """{slug: executed notebook}; chapters whose stamp is known are not executed again, the others side by side in processes.

    Raises UserError naming every chapter that failed, after the others have finished.
    """
    todo = [c for c in chapters if not executed_path(c, out).exists()]
    failures = []
    if todo:
        with ProcessPoolExecutor(min(jobs, len(todo)), get_context("spawn"), _start_worker) as pool:
            waiting = {pool.submit(execute_one, c, out): c for c in todo}
            for future in as_completed(waiting):
                failures += _reported(waiting[future], future.result, report)
    if failures:
        raise UserError("\n".join(failures))
    return {c.slug: read_executed(c, out) for c in chapters}


def _start_worker() -> None:
    """One thread a kernel, and no lines of the kernels' own on the terminal: a failing cell comes back as an exception."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _reported(chapter: Chapter, call: Callable[[], float], report: Callable[[str], None]) -> list[str]:
    try:
        seconds = call()
    except UserError as error:
        report(f"{chapter.slug}: failed")
        return [str(error)]
    except BrokenProcessPool:
        report(f"{chapter.slug}: failed")
        return [
            f"chapter {chapter.source}: the process that executed it, or one beside it, died; is there enough memory?"
        ]
    report(f"{chapter.slug}: executed at {chapter.profile} in {seconds:.1f} s")
    return []


def execute_one(chapter: Chapter, out: Path) -> float:
    """Execute one chapter by papermill, unless another process has just done so; seconds that it took."""
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    target = executed_path(chapter, out)
    target.parent.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    with FileLock(target.parent / f"{chapter.slug}.lock"):
        if target.exists():
            return 0.0
        notebook = read_source(chapter)
        source = target.with_name(f".{chapter.slug}.{os.getpid()}.in.ipynb")
        result = target.with_name(f".{chapter.slug}.{os.getpid()}.out.ipynb")
        nbformat.write(notebook, source)
        try:
            papermill.execute_notebook(
                source,
                result,
                kernel_name="python3",
                cwd=Path.cwd(),
                progress_bar=False,
                log_output=False,
                execution_timeout=CELL_SECONDS,
            )
            content = result.read_bytes()
        except PapermillExecutionError as error:
            raise UserError(
                f"chapter {chapter.source} failed in code cell {error.exec_count}: {error.ename}: {error.evalue}\n{error.source}"
            ) from None
        finally:
            source.unlink(missing_ok=True)
            result.unlink(missing_ok=True)
        for old in target.parent.glob(f"{chapter.slug}-*.ipynb"):
            old.unlink()
        write_atomically(target, content)
    return time.perf_counter() - begin


def read_executed(chapter: Chapter, out: Path) -> "NotebookNode":
    """The executed notebook of a chapter; raises UserError naming a damaged file."""
    import nbformat

    path = executed_path(chapter, out)
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        raise UserError(
            f"executed chapter {path} is damaged ({str(error)[:200]}); delete it to execute it again"
        ) from error
    return notebook


# The build copy


def graft(chapter: Chapter, executed: "NotebookNode") -> "NotebookNode":
    """The chapter's source with the outputs of its execution.

    Sections that come from records are rendered from them here, not taken from the outputs; widgets keep their static form;
    figures get the width at which they were drawn.
    """
    notebook = read_source(chapter)
    ours = [c for c in notebook.cells if c.cell_type == "code"]
    theirs = [c for c in executed.cells if c.cell_type == "code"]
    if [c.source for c in ours] != [c.source for c in theirs]:
        raise UserError(f"the executed notebook of {chapter.slug} is not of {chapter.source}; delete _build/executed")
    for number, (mine, done) in enumerate(zip(ours, theirs, strict=True), 1):
        mine.execution_count = number
        mine.outputs = [_static(o) for o in done.outputs]
        for output in mine.outputs:
            if "execution_count" in output:
                output["execution_count"] = number
        width = _width(mine.outputs)
        if width is not None and "image" in mine.metadata.get("mystnb", {}):
            mine.metadata["mystnb"]["image"].setdefault("width", f"{width}px")
    # Sphinx reads a page again when its source differs: so the source names its outputs
    marked = next(c for c in ours if "parameters" in c.metadata.get("tags", []))
    content = json.dumps([c.outputs for c in ours], sort_keys=True)
    marked.metadata["vislab"]["outputs"] = hashlib.sha256(content.encode()).hexdigest()[:20]
    return notebook


def _static(output: Any) -> Any:
    from vislab.viz.sections import render

    data = output.get("data", {})
    section = output.get("metadata", {}).get("vislab", {}).get("section")
    if section:
        marked = output["metadata"]["vislab"]
        data["text/html"], data["text/plain"] = render(
            section, marked["slug"], marked["profile"], marked["device"], marked.get("changes")
        )
    if "text/html" in data:
        data.pop(WIDGET, None)
    listing = data.get("text/markdown", "")
    lines = listing.count("\n") - 4
    if lines > FOLD_LINES:
        name, _, code = listing.partition("\n")
        data["text/markdown"] = f"<details><summary>{lines} lines</summary>\n{code}\n\n</details>\n"
        data["text/markdown"] = f"{name}\n\n{data['text/markdown']}"
    return output


def _width(outputs: Sequence[Any]) -> int | None:
    """Width in page pixels of a cell's pictures, where they agree."""
    widths = {o["metadata"].get("image/png", {}).get("width") for o in outputs if "image/png" in o.get("data", {})}
    return widths.pop() if len(widths) == 1 else None


def _write_copy(
    chapters: Sequence[Chapter],
    notebooks: dict[str, "NotebookNode"],
    subset: bool,
    api: bool,
    profile: str,
    root: Path,
    out: Path,
) -> Path:
    """Write the sources that are rendered; files whose content stays the same are left alone, so that only changed pages are built."""
    import jupytext
    import yaml

    folder = out / "src" / profile
    files: dict[str, bytes] = {"_config.yml": (root / "_config.yml").read_bytes()}
    toc = _toc(yaml.safe_load((root / "_toc.yml").read_text()), [c.slug for c in chapters], subset)
    for path in (root / "book").rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_file() and (path.suffix != ".md" or name.removesuffix(".md") in _documents(toc)):
            files[name] = path.read_bytes()
    pictures = {}
    config = yaml.safe_load(files["_config.yml"])
    entries = extras.entries(files.get("book/references.bib", b"").decode())
    known = extras.terms(files.get("book/glossary.md", b"").decode())
    for c in chapters:
        picture = _thumbnail(c, notebooks[c.slug])
        if picture is not None:
            pictures[c.slug] = f"thumbnails/{c.slug}.webp"
            files[f"book/_static/{pictures[c.slug]}"] = picture
        files |= extras.downloads(read_source(c), c.slug, (config.get("repository") or {}).get("url") or "")
        notebooks[c.slug] = graft(c, notebooks[c.slug])
        extras.add(notebooks[c.slug], c.slug, c.part, config, entries.get(c.slug), known, api)
        files[f"{c.document}.md"] = jupytext.writes(notebooks[c.slug], fmt="md:myst").encode()
    slugs = [c.slug for c in chapters]
    for name in [n for n in files if n.endswith(".md") and n.removesuffix(".md") not in {c.document for c in chapters}]:
        files[name] = pages.fill(files[name].decode(), name, slugs, pictures, profile).encode()
    if api:
        written = reference.reference(ROOT / "vislab", slugs)
        files |= {f"book/api/{name}.md": text.encode() for name, text in written.items()}
        toc["parts"].append({"caption": "Reference", "chapters": [{"file": f"book/api/{name}"} for name in written]})
        files["_config.yml"] = reference.reference_config(files["_config.yml"].decode()).encode()
    files["_toc.yml"] = yaml.safe_dump(toc, sort_keys=False).encode()
    _sync(folder, files)
    return folder


def _documents(toc: Mapping[str, Any]) -> set[str]:
    found = {toc["root"]}
    for part in toc["parts"]:
        for entry in part["chapters"]:
            found |= {entry["file"], *(s["file"] for s in entry.get("sections", []))}
    return found


def _toc(toc: dict[str, Any], slugs: Sequence[str], subset: bool) -> dict[str, Any]:
    """The table of contents with these chapters only; parts left without one go too."""
    listed = {
        Path(s["file"]).name for part in toc["parts"] for entry in part["chapters"] for s in entry.get("sections", [])
    }
    lacking = [s for s in slugs if s not in listed]
    if lacking:
        raise UserError(f"_toc.yml does not list {', '.join(lacking)}")
    parts = []
    for part in toc["parts"]:
        entries = []
        for entry in part["chapters"]:
            if "sections" in entry:
                kept = [s for s in entry["sections"] if Path(s["file"]).name in slugs]
                if not kept:
                    continue
                entry = entry | {"sections": kept}
            entries.append(entry)
        if entries:
            parts.append(part | {"chapters": entries})
    return toc | {"parts": parts}


def _sync(folder: Path, files: Mapping[str, bytes]) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)


def thumbnail(notebook: "NotebookNode") -> bytes | None:
    """The figure of the cell tagged `thumbnail` as WebP of at most 15 KB, or None when it drew none."""
    import base64
    import io

    from PIL import Image

    cells = [c for c in notebook.cells if c.cell_type == "code" and "thumbnail" in c.metadata.get("tags", [])]
    data = next((o["data"]["image/png"] for c in cells for o in c.outputs if "image/png" in o.get("data", {})), None)
    if data is None:
        return None
    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
    for width in (THUMBNAIL_WIDTH, 360, 280, 200):
        small = picture.resize((width, max(1, round(picture.height * width / picture.width))), Image.Resampling.LANCZOS)
        for quality in (85, 70, 55, 40):
            file = io.BytesIO()
            small.save(file, "WEBP", quality=quality, method=6)
            if file.tell() <= THUMBNAIL_BYTES:
                return file.getvalue()
    return None


def make_thumbnail(slug: str, profile: str = "tutorial", out: Path = ROOT / "_build") -> bytes | None:
    """The thumbnail that `vislab publish` writes: from the chapter at `profile`, executed when it has to be."""
    found = chapter(slug, profile)
    return thumbnail(execute([found], 1, out, lambda _line: None)[slug])


def _thumbnail(chapter: Chapter, notebook: "NotebookNode") -> bytes | None:
    """The published thumbnail, else one made from this execution."""
    for folder in dict.fromkeys((chapter.profile, "tutorial")):
        path = results_folder() / folder / f"{chapter.slug}.webp"
        if path.exists():
            return path.read_bytes()
    return thumbnail(notebook)


def _fill_cache(chapters: Sequence[Chapter], source: Path, notebooks: Mapping[str, "NotebookNode"], out: Path) -> None:
    """Put the grafted notebooks into an empty jupyter-cache, so that Jupyter Book finds every chapter executed.

    The cache's key covers code, cell metadata and kernelspec: outputs are put on the notebook as read back from the copy.
    """
    import jupytext
    from jupyter_cache import get_cache
    from jupyter_cache.base import CacheBundleIn

    shutil.rmtree(out / ".jupyter_cache", ignore_errors=True)
    cache = get_cache(out / ".jupyter_cache")
    for c in chapters:
        path = source / f"{c.document}.md"
        notebook = jupytext.read(path, fmt="md:myst")
        done = [cell for cell in notebooks[c.slug].cells if cell.cell_type == "code"]
        for cell, other in zip([n for n in notebook.cells if n.cell_type == "code"], done, strict=True):
            cell.outputs, cell.execution_count = other.outputs, other.execution_count
        cache.cache_notebook_bundle(CacheBundleIn(notebook, str(path)), overwrite=True)


# Rendering


def _render(source: Path, out: Path, report: Callable[[str], None]) -> Path:
    """Run Jupyter Book over the copy, warnings being errors; the folder of the pages."""
    from jupyter_cache import get_cache

    html = out / "html"
    names = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.md"))
    # Sphinx looks at changed pages alone: whatever they have in common starts the pages afresh
    common = [p for p in sorted(source.rglob("*")) if p.is_file() and p.suffix != ".md"]
    digests = [f"{p.relative_to(source)} {hashlib.sha256(p.read_bytes()).hexdigest()}" for p in common]
    mark = "\n".join([str(source), *digests, *names])
    marker = out / ".pages"
    if not marker.exists() or marker.read_text() != mark or not (html / "index.html").exists():
        for folder in (html, out / ".doctrees"):
            shutil.rmtree(folder, ignore_errors=True)
    marker.write_text("")
    before = {r.hashkey for r in get_cache(out / ".jupyter_cache").list_cache_records()}
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(source), "--path-output", str(out.parent)]
    command += ["-W", "-n", "--keep-going", "-q"]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise UserError("the book was not built:\n" + "\n".join(lines[-40:]))
    after = {r.hashkey for r in get_cache(out / ".jupyter_cache").list_cache_records()}
    if after != before:
        raise RuntimeError("a chapter was executed while rendering: its outputs were not found in the cache")
    lighten(html)
    marker.write_text(mark)
    report(f"rendered {len(names)} pages in {time.perf_counter() - begin:.1f} s")
    return html


# the theme brings its icons as a font too; searching loads its index on its own page; mathematics is set where there is some
_ICONS = re.compile(r"<script[^>]*scripts/fontawesome\.js[^>]*></script>\s*")
_SEARCH = re.compile(r"<script[^>]*(?:searchtools|language_data|searchindex)\.js[^>]*></script>\s*")
_MATHS = re.compile(r"<script[^>]*mathjax/[^>]*></script>\s*")


def lighten(html: Path) -> None:
    """Take from every page the large scripts that it does not need."""
    for path in html.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        less = _ICONS.sub("", text)
        if path.name != "search.html":
            less = _SEARCH.sub("", less)
        if not re.search(r'class="[^"]*\bmath\b', less):
            less = _MATHS.sub("", less)
        if less != text:
            path.write_text(less, encoding="utf-8")


# Serving


class _Quiet(http.server.SimpleHTTPRequestHandler):
    """Files of one folder, without a line a request."""

    def log_message(self, *_args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    """Says nothing of browsers that leave before a file has arrived."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def server(html: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the pages on this machine only, not yet started; port 0 takes a free one."""
    return _Server(("127.0.0.1", port), partial(_Quiet, directory=str(html)))


def serve(html: Path, port: int = 8000) -> None:
    """Serve the pages until interrupted."""
    try:
        found = server(html, port)
    except OSError:
        found = server(html)
    print(f"http://127.0.0.1:{found.server_port}/  (Ctrl+C stops)", flush=True)
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        found.shutdown()
