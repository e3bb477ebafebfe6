"""`pipeline manifest`, from a folder to a run."""

import json
from pathlib import Path
from typing import Any

from support.jobs import make_job, run_pipeline


def test_a_made_manifest_can_be_run(tmp_path: Path, start_standin: Any) -> None:
    """Images below the manifest's folder need nothing more; others need `manifest.root`, and the command says so."""
    job = make_job(tmp_path / "job", start_standin().url, images=3, settings={"prompt": {"user": "Describe."}})
    manifest = tmp_path / "made.parquet"
    done = run_pipeline("manifest", job.folder, "-o", manifest, "--sizes")
    assert done.returncode == 0, done.stderr
    assert "3 images listed" in done.stdout
    assert "manifest.root" not in done.stdout
    ran = run_pipeline("run", job.config_path, "--json", "--set", f"manifest.path={manifest}")
    assert json.loads(ran.stdout)["items"]["succeeded"] == 3
    (tmp_path / "elsewhere").mkdir()
    apart = run_pipeline("manifest", job.folder, "-o", tmp_path / "elsewhere" / "made.csv")
    assert f'manifest.root = "{job.folder}"' in apart.stdout


def test_a_folder_without_images_is_wrong_usage(tmp_path: Path) -> None:
    """Nothing is written."""
    (tmp_path / "empty").mkdir()
    done = run_pipeline("manifest", tmp_path / "empty", "-o", tmp_path / "made.csv")
    assert done.returncode == 2
    assert not (tmp_path / "made.csv").exists()
