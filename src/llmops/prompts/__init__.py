"""Prompts as files: YAML front matter and a sandboxed Jinja2 template with a system and a user part."""

from llmops.prompts.load import load_prompt, parse_prompt
from llmops.prompts.render import Prompt
from llmops.prompts.spec import PromptSpec

__all__ = ["Prompt", "PromptSpec", "load_prompt", "parse_prompt"]
