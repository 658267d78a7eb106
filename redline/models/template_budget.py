"""Budget: what one rendering of a chat template may cost. A template is code from a model file."""

from __future__ import annotations

from collections.abc import Iterator
from time import thread_time
from typing import Any

from jinja2.utils import Namespace

MAX_TEXT = 16 * 2**20  # characters of one value, or of the rendered prompt
MAX_PRODUCED = 8 * MAX_TEXT  # characters of all values made on the way
MAX_STEPS = 20_000_000  # loop passes, calls, operations and elements looked at
MAX_SECONDS = 2.0  # processor time
MAX_DEPTH = 64  # lists in lists
MAX_BITS = 2**14  # of an integer
_STEP_WORK, _CLOCK_WORK = 100, 200_000  # the clock is read once per this much work; a character is 1


class BudgetExceeded(Exception):
    """A rendering costs too much. Not a TemplateError: nothing inside the template may handle it."""


class Budget:
    """Counts the cost of one rendering. Every method raises BudgetExceeded when a limit is passed."""

    def __init__(self) -> None:
        self._steps = 0
        self._produced = 0
        self._work = 0
        self._deadline = thread_time() + MAX_SECONDS

    def step(self, count: int = 1) -> None:
        """Count operations."""
        self._steps += count
        if self._steps > MAX_STEPS:
            raise BudgetExceeded(f"it takes more than {MAX_STEPS} steps")
        self.read(count * _STEP_WORK)

    def read(self, num_chars: int) -> None:
        """Count characters that an operation looks at."""
        self._work += num_chars
        if self._work >= _CLOCK_WORK:
            self._work = 0
            if thread_time() > self._deadline:
                raise BudgetExceeded(f"it takes more than {MAX_SECONDS:g} seconds")

    def foresee(self, num_chars: int) -> None:
        """Refuse a value before it is made."""
        if num_chars > MAX_TEXT:
            raise BudgetExceeded(f"it makes a value of more than {MAX_TEXT} characters")

    def produce(self, num_chars: int) -> None:
        """Count a value that was made."""
        self.foresee(num_chars)
        self._produced += num_chars
        if self._produced > MAX_PRODUCED:
            raise BudgetExceeded(f"it makes values of more than {MAX_PRODUCED} characters together")
        self.read(num_chars)

    def admit(self, value: Any) -> Any:
        """Count the result of an operation; elements of a list, without looking into them."""
        if isinstance(value, str):
            self.produce(len(value))
        elif isinstance(value, list | tuple | dict | set | frozenset):
            self.step(len(value))
        elif isinstance(value, int):
            foresee_integer(value.bit_length())
        return value

    def weigh(self, value: Any) -> tuple[int, int]:
        """How many elements and characters `value` has, written out in full.

        The same list can be in others many times, so that a short template names more elements than there is
        memory: whatever writes out or compares a value weighs it first.
        """
        items, chars, stack = 0, 0, [(value, 0)]
        while stack:
            current, depth = stack.pop()
            items += 1
            self.step()
            if isinstance(current, str):
                chars += len(current)
                self.foresee(chars)
            elif depth >= MAX_DEPTH:
                raise BudgetExceeded(f"it nests lists more than {MAX_DEPTH} deep")
            else:
                stack += [(part, depth + 1) for part in _parts(current)]
        return items, chars

    def loop(self, iterable: Any) -> Counted:
        """`iterable`, each pass counted."""
        return Counted(iterable, self)


class Counted:
    """Something to iterate over that counts what it yields; has a length if the original has one."""

    def __init__(self, iterable: Any, budget: Budget) -> None:
        self._iterable = iterable
        self._budget = budget

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            self._budget.step()
            yield item

    def __len__(self) -> int:
        return len(self._iterable)


def foresee_integer(num_bits: int) -> None:
    """Refuse an integer before it is made."""
    if num_bits > MAX_BITS:
        raise BudgetExceeded(f"it makes an integer of more than {MAX_BITS} bits")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Namespace):
        value = object.__getattribute__(value, "_Namespace__attrs")
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return list(value) if isinstance(value, list | tuple | set | frozenset) else []
