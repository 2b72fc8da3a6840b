"""Call forwarding that leads nowhere, or back to where it began."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

KINDS = ("always", "busy", "no_answer", "unreachable")


def problems(
    forwards: Mapping[str, Mapping[str, str]],
    numbers: Container[str],
    aliases: Mapping[str, str],
) -> Iterator[tuple[str, str, str]]:
    """(number, kind, what is wrong) for each forward that is.

    forwards: {number: {kind: target}}. aliases: {E.164: number}. A loop counts whatever conditions
    its parts have: all of them may hold at once. It is told once, at its smallest number.
    """
    edges: dict[str, dict[str, str]] = {}
    for number, targets in forwards.items():
        for kind, target in targets.items():
            reached = aliases.get(target, target)
            if not reached.startswith("+") and reached not in numbers:
                yield number, kind, f"a subscriber's number or E.164 expected: {target} is nobody's"
            else:
                edges.setdefault(number, {}).setdefault(reached, kind)
    for loop in _loops(edges):
        first = loop.index(min(loop))
        turned = loop[first:] + loop[:first]
        way = " → ".join([*turned, turned[0]])
        yield turned[0], edges[turned[0]][turned[1 % len(turned)]], f"a forwarding loop: {way}"


def _loops(edges: Mapping[str, Mapping[str, str]]) -> Iterator[list[str]]:
    """A loop for each way back that a depth-first walk meets; no recursion: chains may be long."""
    done: set[str] = set()
    for start in sorted(edges):
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, Iterator[str]]] = []
        if start not in done:
            stack.append((start, iter(edges[start])))
            path.append(start)
            on_path.add(start)
        while stack:
            number, left = stack[-1]
            target = next(left, None)
            if target is None:
                stack.pop()
                path.pop()
                on_path.discard(number)
                done.add(number)
            elif target in on_path:
                yield path[path.index(target) :]
            elif target in edges and target not in done:
                stack.append((target, iter(edges[target])))
                path.append(target)
                on_path.add(target)
