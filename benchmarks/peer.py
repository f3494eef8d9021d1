"""Another product in a process and an environment of its own, spoken to in JSON lines."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corpus import MODEL
from llmops.clients.embeddings.model_folder import find_model
from processes import environment

PEERS = Path(__file__).resolve().parent / "peers"


class Peer:
    """A running side; it does nothing between two questions.

    Attributes:
        texts: path of the texts, and `questions` of the questions, as the scripts read them.
    """

    def __init__(self, process: subprocess.Popen[str], *, texts: str, questions: str, errors: Path) -> None:
        self._process, self.texts, self.questions, self._errors = process, texts, questions, errors
        self.versions: dict[str, str] = self._answer()["versions"]

    def ask(self, action: str, **values: Any) -> dict[str, Any]:
        """Let it do something and wait for the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": action, "texts": self.texts, **values}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            said = self._errors.read_text("utf-8", errors="replace")[-2000:]
            raise SystemExit(f"the peer {self._process.args!r} ended:\n{said}")
        found: dict[str, Any] = json.loads(line)
        return found


@contextmanager
def open_peer(
    script: str, *, python: str, texts: Sequence[str], questions: Sequence[str] = ()
) -> Iterator[Peer | None]:
    """Start a script of `peers/` on the packaged weights; None where no Python of the peers was named."""
    if not python:
        yield None
        return
    settings = {
        **environment(),
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "PYTHONWARNINGS": "ignore",
    }
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, found in (("texts", texts), ("questions", questions)):
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps([{"uri": f"{i:05}.txt", "text": text} for i, text in enumerate(found)]))
            paths.append(str(path))
        command = [python, str(PEERS / script), str(find_model(MODEL))]
        said = Path(folder) / "stderr"
        with (
            said.open("w") as errors,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=settings
            ) as process,
        ):
            try:
                yield Peer(process, texts=paths[0], questions=paths[1], errors=said)
            finally:
                assert process.stdin is not None
                process.stdin.close()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def missing(python: str, packages: Sequence[str]) -> list[str]:
    """Which of these modules that Python cannot import."""
    code = "import importlib.util as u, sys; print(*[n for n in sys.argv[1:] if u.find_spec(n) is None])"
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=True)
    return done.stdout.split()
