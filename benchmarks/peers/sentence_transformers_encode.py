"""sentence-transformers as it comes: `SentenceTransformer(folder).encode(texts)`, torch in fp32, batches of 32."""

from __future__ import annotations

import sys
import time
from typing import Any

from turns import read_texts, serve, timed


def main() -> None:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(sys.argv[1], device="cpu")

    def encode(command: dict[str, Any]) -> dict[str, Any]:
        texts = [item["text"] for item in read_texts(command["texts"])]
        return {"n": len(texts), **timed(lambda: model.encode(texts, show_progress_bar=False))}

    def queries(command: dict[str, Any]) -> dict[str, Any]:
        taken = []
        for item in read_texts(command["texts"]):
            started = time.perf_counter()
            model.encode(item["text"], show_progress_bar=False)
            taken.append(1000 * (time.perf_counter() - started))
        return {"ms": taken}

    serve({"encode": encode, "queries": queries}, packages=["sentence-transformers", "torch", "transformers"])


if __name__ == "__main__":
    main()
