"""Money: no attempt is sent that a batch's spending limit might not pay for.

Those wait whose money depends on attempts under way. A limit can only be
overrun by attempts that cost more than was reserved for them: by at most the sum, over the attempts in flight
when the limit was reached, of what each cost above its reservation.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from prodia_async._errors import BudgetExceededError, quoted
from prodia_async._settings import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prodia_async.batch._journal import Totals

_PLACES: Final = 10**9  # sums are kept in whole billionths of a dollar: they add up exactly
_MOST = 1e9  # dollars: what is dearer is taken for a mistake
_MARGIN = 1.5  # prices vary within a type: so many times the dearest seen is reserved
_MOST_BLIND = 20  # attempts of unknown outcome for which nothing could be reserved, as no price was known


class Till:
    """What is spent, reserved and left, and what each job type costs; for one event loop.

    `max_spend`: dollars; None for no limit. `prices`: dollars by job type, where they are known beforehand.
    Raises InputError for a negative or endless sum.
    """

    def __init__(self, max_spend: float | None, prices: Mapping[str, float], totals: Totals) -> None:
        if max_spend is not None:
            _check("max_spend", max_spend)
        for job_type, price in prices.items():
            _check(f"the price of {quoted(job_type, str)}", price)
        self.limit: int | None = None if max_spend is None else _exact(max_spend)
        self.reserved: int = 0
        self.uncertain_attempts: int = totals.uncertain_attempts
        self._given = {job_type: _exact(price) for job_type, price in prices.items()}
        self._dearest = {job_type: _exact(price) for job_type, price in totals.dearest.items()}
        for job_type, price in self._given.items():
            self._dearest[job_type] = max(price, self._dearest.get(job_type, 0))
        self._reported = None if totals.dollars is None else _exact(totals.dollars)
        self._uncertain = _exact(totals.uncertain)
        self._on_trial: set[str] = set()
        self._blind = 0
        self._unpriced: set[str] = set()
        self._line: dict[asyncio.Future[float], str] = {}

    @property
    def dollars(self) -> float | None:
        """The sum of all prices; None if none was reported, or given where none was reported."""
        return None if self._reported is None else self._reported / _PLACES

    @property
    def uncertain(self) -> float:
        """What is reckoned for attempts whose price will never be known."""
        return self._uncertain / _PLACES

    @property
    def overrun(self) -> float:
        """By how much the limit is exceeded."""
        return 0.0 if self.limit is None else max(0, self.spent - self.limit) / _PLACES

    @property
    def spent(self) -> int:
        """What counts as spent, in billionths of a dollar."""
        return (self._reported or 0) + self._uncertain

    def is_on_trial(self, job_type: str) -> bool:
        """Whether the first job of a type without a price is out: the others wait for it."""
        return job_type in self._on_trial

    def grant(self, job_type: str) -> float | None:
        """Reserve for one attempt and return the sum in dollars; None if it does not fit now.

        Without a price, the type's first attempt runs alone, on what other types cost as far as it is there.
        """
        if self.limit is None:
            return 0.0
        left = self.limit - self.spent - self.reserved
        need = self._need(job_type)
        if need is None:
            if left <= 0:
                return None
            need = min(left, max(map(_with_margin, self._dearest.values()), default=0))
            self._on_trial.add(job_type)
        elif need > left:
            return None
        self.reserved += need
        return need / _PLACES

    def refusal(self, job_type: str) -> str | None:
        """Say why no attempt of the type may be sent whatever becomes of others; None if one may."""
        if job_type in self._unpriced:
            return f"{quoted(job_type, str)} reports no price, so max_spend cannot be kept: {_give(job_type)}"
        if self._blind >= _MOST_BLIND and not self._dearest:
            return (
                f"{self._blind} attempts had an unknown outcome before any told a price, so max_spend cannot "
                f"be kept: {_give(job_type)}"
            )
        return None

    def shortage(self, job_type: str) -> str:
        """Say that an attempt does not fit, and what to do."""
        limit, need = self.limit or 0, self._need(job_type)
        reckoned = ""
        if self.uncertain_attempts:
            attempts = "1 attempt" if self.uncertain_attempts == 1 else f"{self.uncertain_attempts} attempts"
            reckoned = f", {_money(self._uncertain)} of it reckoned for {attempts} of unknown outcome"
        cost = "has no price yet" if need is None else f"may cost up to {_money(need)}"
        return (
            f"the money is spent: {_money(self.spent)} of max_spend {_money(limit)} is gone{reckoned}, "
            f"{_money(max(0, limit - self.spent))} is left, and the next job, {quoted(job_type, str)}, "
            f"{cost}. Run the batch again with a higher max_spend: what is done is not paid again."
        )

    async def reserve(self, job_type: str) -> float:
        """Reserve for one attempt and return the sum in dollars: `release`, `settle` or `lose` takes it back.

        Waits while what does not fit may fit once others are settled, and while the first job of a type
        without a price is out. Raises BudgetExceededError when it will not fit, or when the type's price
        cannot be known.
        """
        if self.limit is None:
            return 0.0
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._line[waiter] = job_type
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._line.pop(waiter, None)
            elif waiter.exception() is None:  # it was granted in the same moment
                self._free(job_type, waiter.result())
            self._serve()
            raise

    def adopt(self, reserved: float) -> None:
        """Count what was reckoned for a job of an earlier run as reserved: it is about to be settled."""
        self._uncertain -= _exact(reserved)
        self.uncertain_attempts -= 1
        self.reserved += _exact(reserved)

    def release(self, job_type: str, reserved: float) -> None:
        """Free the reservation of an attempt that did not run."""
        self._free(job_type, reserved)
        self._serve()

    def settle(self, job_type: str, reserved: float, dollars: float | None) -> float | None:
        """Count an attempt that ran, and return what it cost: as reported, or else as given; None if neither.

        Under a limit, one without a price counts with what was reserved, and its type is refused from now on.
        """
        if reserved or self.limit is not None:
            self._free(job_type, reserved)
        cost: int | None = self._given.get(job_type)
        if dollars is not None and 0 <= dollars <= _MOST:
            cost = _exact(dollars)
            self._dearest[job_type] = max(cost, self._dearest.get(job_type, 0))
            self._unpriced.discard(job_type)
        if cost is not None:
            self._reported = (self._reported or 0) + cost
        elif self.limit is not None:
            self._unpriced.add(job_type)
            self._reckon(reserved)
        if self._line:
            self._serve()
        return None if cost is None else cost / _PLACES

    def lose(self, job_type: str, reserved: float) -> float:
        """Count an attempt of unknown outcome with what was reserved; return that."""
        self._free(job_type, reserved)
        self._blind += self.limit is not None and not self._dearest
        self._reckon(reserved)
        self._serve()
        return reserved

    def _reckon(self, reserved: float) -> None:
        self._uncertain += _exact(reserved)
        self.uncertain_attempts += 1

    def _need(self, job_type: str) -> int | None:
        dearest = self._dearest.get(job_type)
        return None if dearest is None else _with_margin(dearest)

    def _free(self, job_type: str, reserved: float) -> None:
        self.reserved -= _exact(reserved)
        self._on_trial.discard(job_type)

    def _serve(self) -> None:
        """Answer all who need not wait, in order. None overtakes one who waits for money."""
        for waiter, job_type in list(self._line.items()):
            if self.is_on_trial(job_type):
                continue
            if not waiter.done() and not self._answer(waiter, job_type):
                return
            del self._line[waiter]

    def _answer(self, waiter: asyncio.Future[float], job_type: str) -> bool:
        """Answer one who waits; False if it is reserved money that it waits for."""
        refusal = self.refusal(job_type)
        reserved = self.grant(job_type) if refusal is None else None
        if reserved is not None:
            waiter.set_result(reserved)
        elif refusal is None and self.reserved:
            return False
        else:
            waiter.set_exception(BudgetExceededError(refusal or self.shortage(job_type)))
        return True


def _check(what: str, dollars: float) -> None:
    require(0 <= dollars <= _MOST, what, dollars)


def _exact(dollars: float) -> int:
    return round(dollars * _PLACES)


def _with_margin(price: int) -> int:
    return math.ceil(price * _MARGIN)


def _money(exact: int) -> str:
    """Write a sum as people do: cents, and more places where they matter."""
    text = f"{exact / _PLACES:.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}"


def _give(job_type: str) -> str:
    name = quoted(job_type, str)
    return f"give one, prices={{{name!r}: ...}} (--price {name}=...), or run without the limit."
