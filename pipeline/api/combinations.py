"""What a model refuses, said before anything is sent. Pure rules over configuration and catalogue."""

from datetime import date, timedelta

from pipeline.api.catalogue import Model
from pipeline.settings import Config

__all__ = ["refusals", "remarks"]

_NEAR = timedelta(days=90)
_THINKING_ROOM = 1024


def refusals(config: Config, model: Model) -> list[str]:
    """Combinations that the service answers with 400, or that we cannot keep, each naming the key and the remedy."""
    api, prompt = config.api, config.prompt
    found = []
    sampling = [name for name in ("temperature", "top_p", "top_k") if getattr(api, name) is not None]
    if sampling and not model.sampling:
        found.append(f"api.{sampling[0]}: {model.id} takes no sampling parameters; leave it out")
    elif sampling and api.version >= "2026-10-21":
        found.append(f"api.{sampling[0]}: version {api.version} has no sampling parameters; use version 2023-06-01")
    if not model.temperature_with_top_p and api.temperature is not None and api.top_p is not None:
        found.append(f"api.top_p: {model.id} takes temperature or top_p, not both")
    if prompt.prefill and prompt.prefill.strip() and not model.prefill:
        found.append(f"prompt.prefill: {model.id} takes no prefill; say in the prompt how the answer begins")
    if prompt.prefill and prompt.json_schema is not None:
        found.append("prompt.prefill: cannot be combined with prompt.schema")
    if config.limits.budget_usd is not None and not model.priced:
        found.append(
            f"limits.budget_usd: the price of {model.id} is not known, so no budget can be kept; "
            f'give models."{model.id}".input and .output, or leave the budget out'
        )
    if model.max_output_tokens is not None and api.max_tokens > model.max_output_tokens:
        found.append(f"api.max_tokens: found {api.max_tokens}; {model.id} allows at most {model.max_output_tokens}")
    if prompt.json_schema is not None and prompt.schema_via == "tool" and not model.forced_tools:
        found.append(f'prompt.schema_via: {model.id} takes no forced tool; use "output"')
    return [*found, *_tools(config), *_thinking(config, model)]


def remarks(config: Config, model: Model, today: date) -> list[str]:
    """What works and should be known: unknown price, retirement, too little room for thinking."""
    found = []
    if not model.known:
        found.append(f'api.model: "{model.id}" is not in the catalogue; it is sent as it is')
    if not model.priced:
        found.append(
            f'models."{model.id}".input and .output: the price is not known, so costs are 0; give it to see them'
        )
    if model.retires_on is not None and model.retires_on - today <= _NEAR:
        verb = "retires" if model.retires_on >= today else "was to retire"
        instead = f"; its replacement is {model.replacement}" if model.replacement else ""
        found.append(f"api.model: {model.id} {verb} on {model.retires_on}{instead}")
    if model.always_thinks and config.api.max_tokens < _THINKING_ROOM:
        found.append(
            f"api.max_tokens: {model.id} always thinks, and thinking counts: {config.api.max_tokens} may leave no "
            f"text; {_THINKING_ROOM} or more is safer"
        )
    return found


def _tools(config: Config) -> list[str]:
    """What does not go together with tools."""
    prompt, found = config.prompt, []
    if prompt.tools and prompt.prefill and prompt.prefill.strip():
        found.append("prompt.prefill: cannot be combined with prompt.tools; say in the prompt how the answer begins")
    if prompt.tools and prompt.json_schema is not None and prompt.schema_via == "tool":
        found.append('prompt.schema_via: a forced tool leaves no other to be called; use "output" with prompt.tools')
    return found


def _thinking(config: Config, model: Model) -> list[str]:
    if config.api.thinking is None:
        return []
    wanted = config.api.thinking.get("type")
    if not isinstance(wanted, str):
        return ['api.thinking: has no type; allowed: such as { type = "disabled" }']
    if model.thinking is not None and wanted not in model.thinking:
        return [f'api.thinking: {model.id} does not take type "{wanted}"; allowed: {", ".join(model.thinking)}']
    found = []
    budget = config.api.thinking.get("budget_tokens")
    if wanted == "enabled" and (not isinstance(budget, int) or not 1024 <= budget < config.api.max_tokens):
        found.append("api.thinking: type enabled needs budget_tokens of at least 1024 and below api.max_tokens")
    if wanted != "disabled" and config.prompt.prefill and config.prompt.prefill.strip():
        found.append("prompt.prefill: cannot be combined with thinking; leave out one of them")
    if wanted == "enabled" and config.prompt.json_schema is not None and config.prompt.schema_via == "tool":
        found.append('prompt.schema_via: a forced tool cannot be combined with thinking; use "output"')
    return found
