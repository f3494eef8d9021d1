#!/bin/sh
# The demo: ingest the handbook, answer one question, then serve. `--once` stops after the answer.
set -e
once=no
for argument in "$@"; do
  case "$argument" in
    --once) once=yes ;;
    *) echo "demo: unknown argument '$argument'; the only one is --once" >&2; exit 2 ;;
  esac
done

echo "1. Ingesting docs/ into the collection 'handbook'"
"$LLMOPS" ingest run handbook

question="Where does a workspace keep its state?"
echo
echo "2. Asking: $question"
echo
"$LLMOPS" ask "$question"

if [ "$once" = no ]; then
  echo
  echo "3. Serving"
  exec "$LLMOPS" up --port "$PORT"
fi
