"""`python -m tests.hub`: a hub on this machine to try publishing with; forgets all when it ends."""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

from surgery import specimen
from tests.hub import TOKEN, Hub, serve

CARD = "---\nlicense: apache-2.0\nlanguage: [en]\n---\n\n# {}\n\nA tiny model for trying things.\n"


def main() -> None:
    """Serve the specimen as org/in and org/rl until Ctrl-C."""
    hub = Hub(xet_hashes=True)
    with tempfile.TemporaryDirectory() as name:
        for stage in ("in", "rl"):
            folder = Path(name) / stage
            shutil.copytree(specimen.path(stage), folder)
            (folder / "README.md").write_text(CARD.format(stage))
            hub.add(f"org/{stage}", folder)
    with serve(hub) as address:
        print("A hub with org/in and org/rl, where you are 'somebody'. In another shell:\n")
        print(f"  export HF_ENDPOINT={address} HF_TOKEN={TOKEN} HF_HUB_DISABLE_XET=1")
        print("  export HF_HOME=$(mktemp -d)\n")
        print("Ctrl-C ends it.", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
