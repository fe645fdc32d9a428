"""Open a page in a real browser, act on it, and read the document."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSERS = [found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))]
needs_browser = pytest.mark.skipif(not BROWSERS, reason="needs Chromium or Chrome")


def dom(page: str, directory: Path, action: str = "") -> str:
    """Return the document after a browser has run the page, and then `action`, a script."""
    if action:  # the policy would not let a test act on the page
        page = re.sub("<meta http-equiv.*>", "", page).replace("</body>", f"<script>{action}</script></body>")
    path = directory / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [BROWSERS[0], "--headless", "--disable-gpu", f"--user-data-dir={directory}/profile", "--dump-dom"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    return subprocess.run([*command, path.as_uri()], capture_output=True, encoding="utf-8", timeout=60).stdout
