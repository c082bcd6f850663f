"""A headless Chromium for tests of report.html, on pages drawn from records; nothing of it reaches a network.

Without a Chromium, or without Playwright (requirements-dev.txt), such tests are skipped and say so. CHROMIUM_REQUIRED=1
makes that a failure; CHROMIUM names one that is not on the path.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.records import RunRecord
from reports.html import html_page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
COMMAND = "python run_bench.py --methods dct,ptq,qat,prune --seeds 0,1,2 --out runs/a"


def chromium() -> str:
    """The browser's path; skips the test where there is none, or fails where there has to be one."""
    found = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), "")
    missing = "" if found else "no Chromium: apt-get install chromium, or name one in CHROMIUM"
    try:
        import playwright  # noqa: F401
    except ModuleNotFoundError:
        missing = "no Playwright: pip install -r requirements-dev.txt"
    if missing and os.environ.get("CHROMIUM_REQUIRED"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    return found


@contextmanager
def browser() -> Iterator[Any]:
    """A browser with a new, empty profile."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield started
        started.close()


class Opened:
    """A page in a browser, and what it complained about or asked a network for."""

    def __init__(self, started: Any, path: Path, **context: Any) -> None:
        self.troubles: list[str] = []
        self.context = started.new_context(**({"viewport": {"width": 1440, "height": 900}} | context))
        self.page = self.context.new_page()
        self.page.set_default_timeout(90_000)
        self.page.on("console", lambda message: self.troubles.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html.drawn", state="attached")

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.troubles.append(f"asked for {url}")

    def texts(self, selector: str) -> list[str]:
        """The texts of all visible elements that fit."""
        found = self.page.locator(selector)
        return [found.nth(i).inner_text() for i in range(found.count()) if found.nth(i).is_visible()]

    def press(self, case_label: str, *, chart: int = 0, shift: bool = False) -> None:
        """Clicks the point of a row, once its chart says that the pointer is over it.

        A chart is laid out anew at a time of its own, beside a panel that opens or closes, and is deaf meanwhile.
        """
        over = """([line, at]) =>
          document.querySelectorAll('#charts .plot')[at]._hoverdata?.[0]?.customdata === line"""
        until = time.monotonic() + 90
        while True:
            across, up, line = self._point(case_label, chart)
            self.page.mouse.move(across - 40, up - 40)
            self.page.mouse.move(across, up)
            self.page.wait_for_timeout(200)
            if self._point(case_label, chart) == (across, up, line) and self.page.evaluate(over, [line, chart]):
                break
            assert time.monotonic() < until, f"the chart never says that the pointer is over {case_label}"
        if shift:
            self.page.keyboard.down("Shift")
        self.page.mouse.down()
        self.page.mouse.up()
        if shift:
            self.page.keyboard.up("Shift")

    def _point(self, case_label: str, chart: int) -> tuple[float, float, int]:
        """Where the point of a row is on the screen, in pixels, and which line of the table is its."""
        across, up, line = self.page.evaluate(
            """([label, at]) => {
              const plot = document.querySelectorAll('#charts .plot')[at];
              plot.scrollIntoView({ block: 'center', behavior: 'instant' });
              const box = plot.getBoundingClientRect();
              for (const trace of plot.data) for (let i = 0; i < (trace.customdata ?? []).length; i += 1) {
                const row = document.querySelector(`tr[data-line="${trace.customdata[i]}"] .open`);
                if (row.textContent !== label) continue;
                const { xaxis, yaxis } = plot._fullLayout;
                const [across, up] = [xaxis.d2p(trace.x[i]), yaxis.d2p(trace.y[i])];
                return [box.left + xaxis._offset + across, box.top + yaxis._offset + up, trace.customdata[i]];
              }
              return null;
            }""",
            [case_label, chart],
        )
        return across, up, line


def written(folder: Path, records: Sequence[RunRecord], **texts: str) -> Path:
    """The page of `records` as a file."""
    path = folder / "report.html"
    page = html_page(records, **({"title": "A run", "command": COMMAND} | texts))  # type: ignore[arg-type]
    path.write_text(page, encoding="utf-8")
    return path
