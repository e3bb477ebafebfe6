"""Pages by ids, as the lists of models and batches have them."""

from collections.abc import Mapping, Sequence

from pipeline.standin.problems import Problem

__all__ = ["window"]

_DEFAULT_LIMIT = 20
_MOST = 1000


def window(names: Sequence[str], query: Mapping[str, str], kind: str, most: int = _MOST) -> tuple[Sequence[str], bool]:
    """The ids of a page, and whether there are more: `limit` (1 to 1000, 20 by default), after or before an id.

    Args:
        names: of the whole list, in its order.
        query: the request's parameters.
        kind: what is listed, for messages.
        most: ids of a page, whatever its limit.

    Raises:
        Problem: 400 for a bad parameter or an id that is not in the list.
    """
    unknown = sorted(set(query) - {"limit", "after_id", "before_id"})
    if unknown:
        raise Problem.invalid(f"{unknown[0]}: Extra inputs are not permitted")
    if "after_id" in query and "before_id" in query:
        raise Problem.invalid("after_id, before_id: only one of the two can be given")
    text = query.get("limit", str(_DEFAULT_LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MOST:
        raise Problem.invalid(f"limit: Input should be from 1 to {_MOST}")
    limit = min(int(text), most)
    if "before_id" in query:
        end = _position(names, query["before_id"], "before_id", kind)
        return names[max(0, end - limit) : end], end > limit
    start = _position(names, query["after_id"], "after_id", kind) + 1 if "after_id" in query else 0
    return names[start : start + limit], len(names) > start + limit


def _position(names: Sequence[str], name: str, key: str, kind: str) -> int:
    if name not in names:
        raise Problem.invalid(f"{key}: no such {kind}: {name}")
    return names.index(name)
