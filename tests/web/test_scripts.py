"""The scripts that know no page, run by node where there is one; a browser runs all of them (``test_browser.py``)."""

import shutil
import subprocess
from pathlib import Path

import pytest

from rankstream.web.files import static_files
from tests.builders.patience import PATIENCE_S

HERE = Path(__file__).parent


@pytest.mark.skipif(not shutil.which("node"), reason="runs the page's scripts with node")
def test_orders_words_visitors_and_the_queue_are_right(tmp_path):
    for name, text in static_files().items():
        (tmp_path / name).write_bytes(text)
    shutil.copy(HERE / "scripts.mjs", tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        ["node", "--test", "scripts.mjs"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stdout
    assert "# pass 15" in done.stdout
