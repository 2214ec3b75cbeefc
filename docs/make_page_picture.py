"""Make docs/images/serving-page.png: the server's page in Chromium, with runs on made-up films and real requests.

It needs a Chromium and playwright, trains three small runs, and takes a few minutes.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import uvicorn
from playwright.sync_api import sync_playwright

from llmrec_peft.recipe import load_recipe
from llmrec_peft.serving.http.app import make_app
from llmrec_peft.serving.http.host import Host
from llmrec_peft.serving.http.settings import Settings
from llmrec_peft.workflows.train import train

PICTURE = Path(__file__).parent / "images" / "serving-page.png"
WIDTH = 1120
TENANTS = ("films", "matinee")
USERS = [str(number) for number in range(1, 61)]
ROUNDS = 20
SMALL = {
    "data.path": "demo",
    "training.epochs": 2,
    "training.refit": False,
    "evaluation.bootstrap": 0,
    "evaluation.ablations": (),
}


def trained(folder: Path) -> list[Path]:
    """Train three runs that answer differently."""
    runs = [folder / f"films-{seed}" for seed in (1, 2, 3)]
    for seed, run in enumerate(runs, 1):
        if not (run / "manifest.json").is_file():
            train(load_recipe("movies", changes={**SMALL, "seed": seed}), run, show=False)
    return runs


def prepared(client: httpx.Client, runs: list[Path]) -> None:
    """Register the tenants, put a run on trial, and ask for lists."""
    first, second, other = map(str, runs)
    for tenant, run in zip(TENANTS, (first, other), strict=True):
        client.put(f"/v1/tenants/{tenant}", json={"run": run}).raise_for_status()
    client.put(f"/v1/tenants/{TENANTS[0]}", json={"run": second, "share": 0.05}).raise_for_status()
    client.post(f"/v1/tenants/{TENANTS[1]}/pin", json={}).raise_for_status()
    for _ in range(ROUNDS):
        for tenant in TENANTS:
            for user in USERS:
                client.post("/v1/recommend", json={"tenant": tenant, "user_id": user}).raise_for_status()


def photographed(origin: str, key: str, picture: Path) -> None:
    """Open a tenant, try a list with the evidence of its first item, and write the page's picture."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        page.goto(origin)
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.get_by_role("button", name=TENANTS[0], exact=True).click()
        page.get_by_label("User", exact=True).fill("7")
        page.get_by_label("Items", exact=True).fill("3")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Explain").first.click()
        page.get_by_role("heading", name="Why").wait_for()
        page.set_viewport_size({"width": WIDTH, "height": page.evaluate("document.body.scrollHeight")})
        after = page.get_by_role("table", name="Items of the user's history")
        end = after.evaluate("(table) => table.getBoundingClientRect().top")
        page.screenshot(path=picture, clip={"x": 0, "y": 0, "width": WIDTH, "height": end})
        browser.close()


def main(runs_folder: Path | None) -> None:
    """Train, serve, ask and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        runs = trained(runs_folder or Path(folder) / "runs")
        host = Host(Settings(state=Path(folder) / "state", roots=(runs[0].parent,), device="cpu"))
        config = uvicorn.Config(make_app(host), host="127.0.0.1", port=0, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                thread.join(0.01)
            origin = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            key = host.admin_key.read_text(encoding="ascii").strip()
            with httpx.Client(base_url=origin, headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
                prepared(client, runs)
            photographed(origin, key, PICTURE)
        finally:
            server.should_exit = True
            thread.join()
            host.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
