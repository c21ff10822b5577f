"""The code hash: docstrings and comments do not count, code and what it imports do."""

from pathlib import Path

from vislab.engine.code import closure, code_hash

ENGINE = Path(__file__).resolve().parents[2] / "vislab" / "engine"


def digest(path: Path, text: str) -> str:
    path = path.with_name(f"{abs(hash(text))}.py")
    path.write_text(text)
    return path


def test_only_code_counts(tmp_path):
    from vislab.engine.code import syntax

    base = 'def f(x):\n    """Says a."""\n    return x\n'
    variants = {
        "docstring": 'def f(x):\n    """Says b."""\n    return x\n',
        "comment": 'def f(x):  # why\n    """Says a."""\n\n    return x\n',
        "code": 'def f(x):\n    """Says a."""\n    return x + 1\n',
    }
    found = {name: syntax(digest(tmp_path / "x.py", text)) for name, text in ({"base": base} | variants).items()}
    assert found["base"] == found["docstring"] == found["comment"] != found["code"]


def test_the_closure_follows_imports_and_leaves_out_what_decides_no_number():
    names = {p.name for p in closure(ENGINE / "fit.py")}
    assert {"fit.py", "counter.py", "errors.py"} <= names
    assert not {"card.py", "registry.py", "cli.py"} & names
    assert code_hash(ENGINE / "fit.py") != code_hash(ENGINE / "measure.py")
