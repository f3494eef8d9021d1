#!/bin/sh
# The demo: ingest the handbook, measure the prompt, release it on the evidence, answer a question, then serve.
# `--once` stops after the answer.
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

echo
echo "2. Publishing the prompt in prompts/answer.prompt.md"
published=$("$LLMOPS" prompt publish answer)
echo "$published"

echo
if echo "$published" | grep -q 'new version' || ! "$LLMOPS" release status | grep -q '^prompt:answer@production'; then
  echo "3. Measuring it: every question of evals/handbook.jsonl is asked, and the gate decides"
  if "$LLMOPS" eval run handbook --against none; then
    echo
    echo "4. Releasing it: allowed, because the gate passed on exactly this content"
    "$LLMOPS" release promote prompt:answer
  elif [ -n "$LLMOPS_CHAT_URL" ]; then
    echo
    echo "4. The gate did not pass with your model. Releasing it by force, which the audit log remembers"
    "$LLMOPS" release promote prompt:answer --force --reason "a demo with $LLMOPS_CHAT_MODEL"
  else
    exit 1
  fi
else
  echo "3. It is released already, on this evidence:"
  "$LLMOPS" release status --limit 3
fi

question="Where does a workspace keep its state?"
echo
echo "5. Asking: $question"
echo
"$LLMOPS" ask "$question"

if [ "$once" = no ]; then
  echo
  echo "6. Serving"
  exec "$LLMOPS" up --port "$PORT"
fi
