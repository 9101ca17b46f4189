"""The tables of the reference pages, made from the code: settings, metrics, codes.

`python -m tests.support.reference` rewrites them between their markers; `tests/test_docs.py` fails
while a page differs from the code. Prose around the tables is written by hand.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from control_plane.dev.settings import DevSettings
from control_plane.metrics import METRICS as CONTROL_PLANE_METRICS
from control_plane.settings import Settings
from proxy.contract.settings import rows
from proxy.metrics import METRICS as SIDECAR_METRICS
from proxy.settings import ProxySettings

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"


def settings_table(kind: type) -> str:
    """Return the rows of one program's settings."""
    lines = ["| variable | flag | default | meaning |", "|---|---|---|---|"]
    for row in rows(kind):
        flag = "none: a secret" if row.flag is None else f"`{row.flag}`"
        default = row.default
        if isinstance(default, tuple):
            default = ",".join(map(str, default))
        shown = "" if default in (None, "") else f"`{default}`"
        lines.append(f"| `{row.env}` | {flag} | {shown} | {row.doc.rstrip('.')} |")
    return "\n".join(lines)


def metrics_table(metrics: Iterable[object]) -> str:
    """Return the rows of one program's metrics."""
    lines = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
    for row in metrics:
        labels = ", ".join(f"`{label}`" for label in row.labels)  # type: ignore[attr-defined]
        lines.append(
            f"| `{row.name}` | {row.kind} | {labels} | {row.help.rstrip('.')} |"  # type: ignore[attr-defined]
        )
    return "\n".join(lines)


def api_codes() -> Iterator[str]:
    """Yield every `code` that the control plane can put into an error, read off its source."""
    for path in sorted((ROOT / "control_plane").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                if name in _API_ERRORS:
                    for keyword in node.keywords:
                        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                            yield str(keyword.value.value)
            elif (
                isinstance(node, ast.AnnAssign | ast.Assign)
                and isinstance(node.value, ast.Constant)
                and any(
                    isinstance(t, ast.Name) and t.id == "default_code"
                    for t in (node.targets if isinstance(node, ast.Assign) else [node.target])
                )
            ):
                yield str(node.value.value)


def _error_names() -> set[str]:
    tree = ast.parse((ROOT / "control_plane" / "errors.py").read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


_API_ERRORS = _error_names()

TABLES = {
    ("settings.md", "sidecar"): settings_table(ProxySettings),
    ("settings.md", "control-plane"): settings_table(Settings),
    ("settings.md", "dev"): settings_table(DevSettings),
    ("metrics.md", "sidecar"): metrics_table(SIDECAR_METRICS),
    ("metrics.md", "control-plane"): metrics_table(CONTROL_PLANE_METRICS.values()),
}


def between(name: str) -> re.Pattern[str]:
    """Return a pattern of what stands between the markers of a table."""
    return re.compile(rf"(<!-- {name} -->\n)(.*?)(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    """Rewrite every table."""
    for (page, name), table in TABLES.items():
        path = DOCS / page
        text = path.read_text()
        new, count = between(name).subn(lambda m, t=table: m[1] + t + m[3], text)
        assert count == 1, f"{page} has no markers for {name}"
        path.write_text(new)


if __name__ == "__main__":
    main()
