"""Plant one bug after another in a copy of the package, and see the simulation find each of them.

`python -m simulation.mutants` prints a table: bug, seed that found it, what it broke; it fails where one survives.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parents[1]
PACKAGE: Final = TESTS.parent / "src" / "hookline"
SEEDS_MAX: Final = 10_000
SECONDS_MAX: Final = 900
"""Of one bug: far more than 10,000 schedules take."""


class Mutant(NamedTuple):
    """One planted bug: `before` stands in `file`, and each place of it becomes `after`."""

    name: str
    file: str
    before: str
    after: str


CLAIMING: Final = "storage/sqlite/claiming.py"
SETTLING: Final = "storage/sqlite/settling.py"
VALIDATING: Final = "storage/sqlite/validating.py"
FORGETTING: Final = "storage/sqlite/forgetting.py"
REPLAYING: Final = "storage/sqlite/replaying.py"
RECEIVERS: Final = "storage/sqlite/receivers.py"
REDELIVERING: Final = "storage/sqlite/redelivering.py"
PUBLISHING: Final = "storage/sqlite/publishing.py"
SUBSCRIPTIONS: Final = "storage/sqlite/subscriptions.py"
LANES: Final = "storage/sqlite/lanes.py"
UPKEEP: Final = "storage/sqlite/upkeep.py"
COMMITTING: Final = "storage/sqlite/committing.py"

MUTANTS: Final = (
    # claim
    Mutant(
        "claims what is not due",
        CLAIMING,
        "due_at <= walk.due_by",
        "due_at > 0",
    ),
    Mutant("claims without raising the fence", CLAIMING, "attempt = attempt + 1, ", ""),
    Mutant("claims without a lease", CLAIMING, "(transaction.now + request.lease_ms, ", "(transaction.now, "),
    Mutant("claims of closed lanes", CLAIMING, "WHERE is_open = 1 AND next_due <= ?1", "WHERE next_due <= ?1"),
    Mutant(
        "claims the newest first", CLAIMING, "ORDER BY n.due_at, n.id LIMIT 1", "ORDER BY n.due_at, n.id DESC LIMIT 1"
    ),
    Mutant("sends by an outdated revision", CLAIMING, "request.known.get(key) != revision", "key not in request.known"),
    Mutant("sends several suspects at once", CLAIMING, "            if has_suspect:\n                continue\n", ""),
    Mutant(
        "counts nothing in flight",
        CLAIMING,
        "WHERE d.state = 'sending' AND d.subscription_id = lane",
        "WHERE d.id < 0 AND d.subscription_id = lane",
    ),
    # fence
    Mutant(
        "settles by id alone",
        SETTLING,
        "is_current = flying.get(fence.delivery_id) == fence.attempt",
        "is_current = fence.delivery_id in flying",
    ),
    Mutant(
        "releases by id alone",
        SETTLING,
        "if flying.get(fence.delivery_id) == fence.attempt]",
        "if fence.delivery_id in flying]",
    ),
    Mutant(
        "settles whatever the state",
        SETTLING,
        "WHERE id IN (SELECT value FROM json_each(?1)) AND state = 'sending')",
        "WHERE id IN (SELECT value FROM json_each(?1)))",
    ),
    Mutant(
        "answers every settlement with yes",
        SETTLING,
        "return [tuple([next(answer) for _ in request]) for request in requests]",
        "return [tuple([next(answer) or True for _ in request]) for request in requests]",
    ),
    # settle
    Mutant(
        "takes a redirect for a success", "lifecycle.py", "200 <= outcome.status <= 299", "200 <= outcome.status <= 399"
    ),
    Mutant(
        "counts no failure",
        SETTLING,
        "settlement.fence, settlement.verdict, 1, 0",
        "settlement.fence, settlement.verdict, 0, 0",
    ),
    Mutant("forgets no loss at a success", SETTLING, "state = 'succeeded', losses = 0,", "state = 'succeeded',"),
    Mutant(
        "retries at once",
        SETTLING,
        "failures, losses, now + wait_ms, None, None)",
        "failures, losses, now, None, None)",
    ),
    Mutant(
        "shows a retry inside a hold",
        SETTLING,
        "return wall + max(wait_ms, hold_until - now), False",
        "return wall + wait_ms, False",
    ),
    Mutant("shows no dead letter", SETTLING, "                return None, True", "                return None, False"),
    Mutant(
        "leaves a 410's lane open",
        RECEIVERS,
        "    transaction.run(_CLOSE, (json_ids(deactivated),))\n",
        "",
    ),
    Mutant("takes any late status for gone", "lifecycle.py", "outcome.status == GONE", "outcome.status >= GONE"),
    Mutant(
        "records the wrong wait",
        "dispatch.py",
        "delivery.failures, fraction)",
        "max(0, delivery.failures - 1), fraction)",
    ),
    # retry
    Mutant("waits one step too far", "retry.py", "schedule[failures] * 1000", "schedule[failures - 1] * 1000"),
    Mutant("retries once too often", "retry.py", "if failures >= len(schedule):", "if failures > len(schedule):"),
    Mutant("retries early", "retry.py", "(1 + JITTER_SHARE_MAX * fraction)", "(1 - JITTER_SHARE_MAX * fraction)"),
    Mutant(
        "starts the schedule again after a loss",
        SETTLING,
        "self._move(fence, verdict, 0, losses + 1,",
        "self._move(fence, verdict, 1, losses + 1,",
    ),
    # cancel
    Mutant(
        "retries after a delete",
        SETTLING,
        "case Retry() | GiveUp() if is_deleted or fence.delivery_id in self._erased:",
        "case Retry() | GiveUp() if False:",
    ),
    Mutant(
        "deletes and leaves the lane open", SUBSCRIPTIONS, "    transaction.run(_CLOSE_LANE, (subscription_id,))\n", ""
    ),
    Mutant(
        "answers a delete at once",
        "api/webhooks.py",
        "        while await api.storage.has_fresh_claims(subscription_id, lifecycle.START_WINDOW_MS):",
        "        while False:",
    ),
    Mutant(
        "looks for fresh claims in the wrong span",
        "storage/sqlite/engine.py",
        "since = self._clock.schedule_ms() - window_ms",
        "since = self._clock.schedule_ms() + window_ms",
    ),
    Mutant(
        "starts however late",
        "engine.py",
        "        if self._clock.monotonic_seconds() > start_by:",
        "        if self._clock.monotonic_seconds() > start_by + 3600:",
    ),
    Mutant(
        "leaves deliveries of the deleted open",
        UPKEEP,
        "WHERE s.deleted_at IS NOT NULL LIMIT ?2)",
        "WHERE s.deleted_at IS NOT NULL LIMIT ?2 * 0)",
    ),
    # hold
    Mutant(
        "lets a new event into a hold",
        LANES,
        "SET next_due = max(?1, {NOT_BEFORE}, coalesce(probe_at, 0))\n",
        "SET next_due = max(?1, coalesce(probe_at, 0))\n",
    ),
    Mutant(
        "forgets a hold where rows are looked at",
        LANES,
        "SELECT max({NOT_BEFORE}, CASE",
        "SELECT max(0, CASE",
    ),
    Mutant(
        "shortens a hold",
        RECEIVERS,
        "coalesce(max(coalesce(hold_until, 0), g.column3), hold_until)",
        "coalesce(g.column3, hold_until)",
    ),
    Mutant("heeds no 503", "retry.py", "status not in {429, 503}", "status not in {429}"),
    Mutant("holds for longer than a day", "retry.py", "return min(asked, HOLD_MS_MAX) if", "return asked if"),
    Mutant(
        "reads a date without its clock",
        "retry.py",
        ".timestamp() * 1000) - wall_ms",
        ".timestamp() * 1000) - wall_ms + 1000",
    ),
    Mutant(
        "lifts no hold",
        SUBSCRIPTIONS,
        "SET hold_until = NULL, ",
        "SET hold_until = hold_until, ",
    ),
    Mutant("reactivates and looks nowhere", SUBSCRIPTIONS, "    lanes.refresh(transaction, [subscription.id])\n", ""),
    # idempotency
    Mutant("stores no key", PUBLISHING, "        _INSERT_KEYS.run(transaction, self._keys)\n", ""),
    Mutant(
        "answers a key whatever is asked",
        PUBLISHING,
        "return Published(events=answer) if fingerprint == _hex(key.fingerprint) else KeyConflict()",
        "return Published(events=answer)",
    ),
    Mutant(
        "answers an id whatever is asked",
        PUBLISHING,
        "if known and known[0] != _hex(event.fingerprint):",
        "if known and not known[0]:",
    ),
    Mutant(
        "forgets the key within a commit",
        PUBLISHING,
        "            self._known.answers[key.key] = (_hex(key.fingerprint), answer)\n",
        "",
    ),
    Mutant(
        "lets keys live for a moment",
        PUBLISHING,
        "expires_at = self._transaction.wall + key.lives_ms",
        "expires_at = self._transaction.wall + 1",
    ),
    Mutant(
        "takes a stale match of subscriptions",
        PUBLISHING,
        "if revisions.get(recipient.company_id) != recipient.company_revision",
        "if recipient.company_id not in revisions",
    ),
    Mutant("forgets no stale match", "publishing.py", "            self._forget(result)\n", ""),
    Mutant(
        "creates no revision",
        SUBSCRIPTIONS,
        "SET revision = revision + 1 WHERE id = ? RETURNING",
        "SET revision = revision WHERE id = ? RETURNING",
    ),
    # recovery
    Mutant(
        "begins and leaves leases to run",
        "storage/sqlite/engine.py",
        "            await self._write(upkeep.end_leases)\n",
        "",
    ),
    Mutant(
        "tries lost attempts again at once", "lifecycle.py", "return Retry(LOSS_WAITS_MS[losses])", "return Retry(0)"
    ),
    Mutant(
        "parks one loss too early",
        "lifecycle.py",
        "if losses < len(LOSS_WAITS_MS):",
        "if losses < len(LOSS_WAITS_MS) - 1:",
    ),
    Mutant(
        "counts no loss",
        SETTLING,
        "self._move(fence, verdict, 0, losses + 1,",
        "self._move(fence, verdict, 0, max(losses, 1),",
    ),
    Mutant(
        "confirms before the commit",
        COMMITTING,
        '        self._connection.execute("COMMIT")\n',
        '        self._connection.execute("ROLLBACK")\n',
    ),
    Mutant(
        "lets a stranger's row fail the group",
        COMMITTING,
        "            if len(requests) == 1:\n                return [Broken(error)]",
        "            return [Broken(error)] * len(requests)",
    ),
    # engine
    Mutant(
        "drops what was not confirmed",
        "engine.py",
        "            self._ended[:0] = ended\n            raise\n        except",
        "            raise\n        except",
    ),
    Mutant(
        "never hands back what was not sent",
        "engine.py",
        "            self._unsent.append(fence_of(delivery))\n            return\n        outcome",
        "            return\n        outcome",
    ),
    Mutant(
        "counts what has ended as in flight",
        "engine.py",
        "            self._in_flight.remove(delivery)\n",
        "            pass\n",
    ),
    Mutant(
        "claims nothing more after a fault", "engine.py", "        else:\n            self._is_behind = False\n", ""
    ),
    Mutant(
        "ends before what is in flight",
        "engine.py",
        "return self._is_stopping and not (self._in_flight.total or self._ended or self._unsent or self._unreadable)",
        "return self._is_stopping",
    ),
    Mutant(
        "keeps an outdated target",
        "dispatch.py",
        "            self._forget(subscription_id)\n            self._subs",
        "            self._subs",
    ),
    Mutant(
        "signs something else",
        "dispatch.py",
        "self._signer.hub_signature(body)",
        "self._signer.hub_signature(delivery.data)",
    ),
    # slots and lanes
    Mutant(
        "halves no slots", "fairness.py", "for _ in range(min(timeouts, grown.bit_length())):", "for _ in range(0):"
    ),
    Mutant(
        "grows slots that were not taken",
        "fairness.py",
        "if in_flight >= slots else min(slots, slots_max)",
        "if in_flight >= 0 else min(slots, slots_max)",
    ),
    Mutant(
        "grants more than the slots",
        "fairness.py",
        "if lane.in_flight + granted.get(lane.subscription_id, 0) < lane.slots and room.take(lane):",
        "if room.take(lane):",
    ),
    Mutant(
        "knows no host cap",
        "fairness.py",
        "if at_host >= (flight.host_capacity if is_quiet else self._host_busy_max) and",
        "if at_host >= 9 * flight.host_capacity and",
    ),
    Mutant(
        "knows no node cap",
        "fairness.py",
        "(flight.capacity if is_quiet and of_company < self._share_max else self._busy_max)",
        "9 * flight.capacity",
    ),
    Mutant("keeps slots over a lower maxInFlight", SUBSCRIPTIONS, "slots = min(slots, ?4)", "slots = min(slots, 100)"),
    Mutant(
        "wakes no lane for a new event",
        PUBLISHING,
        "        if self._deliveries:\n",
        "        if not self._deliveries:\n",
    ),
    Mutant(
        "looks at no lane after a settle",
        SETTLING,
        "holds, rules)\n        lanes.refresh(transaction, its_lanes)\n",
        "holds, rules)\n",
    ),
    # order and rate
    Mutant(
        "orders by what is due first",
        CLAIMING,
        "AND n.settled_at IS NULL ORDER BY n.id LIMIT 1)",
        "AND n.settled_at IS NULL ORDER BY n.due_at, n.id LIMIT 1)",
    ),
    Mutant(
        "passes over an ordered one that waits",
        CLAIMING,
        "AND n.settled_at IS NULL ORDER BY n.id LIMIT 1)",
        "AND n.due_at <= walk.due_by ORDER BY n.id LIMIT 1)",
    ),
    Mutant("sends two of an ordered lane", "fairness.py", "room = 1 - lane.in_flight", "room = 2 - lane.in_flight"),
    Mutant(
        "looks at an ordered lane for whatever is due",
        LANES,
        "WHERE subscription_id = lane.subscription_id AND settled_at IS NULL ORDER BY id LIMIT 1)",
        "WHERE subscription_id = lane.subscription_id AND settled_at IS NULL ORDER BY id DESC LIMIT 1)",
    ),
    Mutant(
        "counts a rate for each claim alone",
        LANES,
        "UPDATE lanes SET next_start_us = g.column2, probe_at",
        "UPDATE lanes SET next_start_us = next_start_us, probe_at",
    ),
    Mutant("starts two at once whatever the rate", "rate.py", "burst = max(1,", "burst = max(2,"),
    Mutant("lets a rate save up", "rate.py", "max(earliest, before_us or 0)", "(before_us or earliest)"),
    Mutant(
        "counts a claim as one start",
        "fairness.py",
        "next_start_us, now * 1000, started)",
        "next_start_us, now * 1000, 1)",
    ),
    # circuit
    Mutant("opens no circuit", "circuit.py", "        rules.is_on\n", "        False\n"),
    Mutant(
        "opens a circuit by failures alone",
        "circuit.py",
        "now - health.failing_since >= SPAN_MS_TO_OPEN",
        "now - health.failing_since >= 0",
    ),
    Mutant("closes no circuit", "circuit.py", "            health = HEALTHY\n", "            pass\n"),
    Mutant(
        "lets two nodes make one probe",
        "fairness.py",
        "    if probe_at is not None and probe_at <= now:\n        probe_at = now + circuit.PROBE_MS\n",
        "",
    ),
    Mutant(
        "sends all that is due when a probe is",
        "fairness.py",
        "        room = min(room, 1)\n    elif",
        "        room = min(room, 9)\n    elif",
    ),
    Mutant("never probes", LANES, "min(max(due_at, probe_at), due_at + ", "max(due_at + 0 * probe_at, due_at + "),
    Mutant(
        "lets nothing out of an open circuit after a day",
        "fairness.py",
        "due_by = now - circuit.WAITED_MS_MAX",
        "due_by = -1",
    ),
    Mutant("lifts no circuit", SUBSCRIPTIONS, "failing_since = NULL, probe_at = NULL", "failing_since = NULL"),
    Mutant(
        "deactivates whom it likes to",
        "circuit.py",
        "now - since >= rules.deactivate_after_ms",
        "now - since >= rules.deactivate_after_ms // 2",
    ),
    Mutant("never deactivates", "circuit.py", "            return HEALTHY, Change.DEACTIVATED\n", "            pass\n"),
    Mutant(
        "overlooks a success beside a failure",
        RECEIVERS,
        " and lane.subscription_id not in ended\n",
        "\n",
    ),
    # validation
    Mutant(
        "sends before it is granted",
        SUBSCRIPTIONS,
        "?4 AND ?9 IS NULL, ?5, ?6, ?7, ?8, ?9,",
        "?4, ?5, ?6, ?7, ?8, ?9,",
    ),
    Mutant(
        "asks nobody again after a change of URL",
        SUBSCRIPTIONS,
        "SELECT is_granted AND validation_url IS ?7 AS is_kept",
        "SELECT is_granted AS is_kept",
    ),
    Mutant(
        "takes any answer for a grant",
        "validating.py",
        "if allowed is None or allowed",
        "if allowed is not None and not allowed",
    ),
    Mutant("takes a refusal for a grant", "validating.py", "if not 200 <= outcome.status <= 299:", "if False:"),
    Mutant(
        "takes a grant of another URL",
        VALIDATING,
        "WHERE subscription_id = ?1 AND validation_url = ?2 AND validate_at IS NOT NULL",
        "WHERE subscription_id = ?1 AND validation_url >= '' || ?2 * 0 AND validate_at IS NOT NULL",
    ),
    Mutant(
        "sends quicker than the receiver allows",
        VALIDATING,
        "coalesce(min(rate_per_second, ?3), rate_per_second, ?3)",
        "rate_per_second",
    ),
    Mutant("asks at once again", VALIDATING, "?1 + (?2 << min(", "?1 + 0 * (?2 << min("),
    Mutant(
        "asks those who are deleted",
        SUBSCRIPTIONS,
        "SET is_open = 0, validate_at = NULL WHERE subscription_id = ?",
        "SET is_open = 0 WHERE subscription_id = ?",
    ),
    Mutant(
        "asks those who are switched off",
        RECEIVERS,
        "SET is_open = 0, validate_at = NULL WHERE",
        "SET is_open = 0 WHERE",
    ),
    # replays
    Mutant(
        "begins a pending retry again by a replay",
        REPLAYING,
        "ELSE d.state IN (SELECT value FROM json_each(:states)) AND d.settled_at <= :created_at",
        "ELSE d.due_at > 0 OR d.state IN (SELECT value FROM json_each(:states)) AND d.settled_at <= :created_at",
    ),
    Mutant("replays what ended meanwhile", REPLAYING, " AND d.settled_at <= :created_at\n", "\n"),
    Mutant(
        "replays what was not asked for",
        "replays.py",
        "(SUCCEEDED, DEAD) if status is None else (status,)",
        "(SUCCEEDED, DEAD)",
    ),
    Mutant("replays into a closed lane", REPLAYING, "        elif is_open:\n", "        else:\n"),
    Mutant("fills a lane with a replay", "replays.py", "slots // LANE_SHARE) - open_now", "slots) + 1 - open_now"),
    Mutant(
        "ends a replay before what it has opened", REPLAYING, "part.last_key and not its_own + opened", "part.last_key"
    ),
    Mutant("ends a replay before it has looked", REPLAYING, "is_over = cursor >= part.last_key and", "is_over = "),
    Mutant(
        "puts nothing back",
        REPLAYING,
        "            if state is not None\n",
        "            if state is None and before\n",
    ),
    Mutant("puts back what is being sent", REPLAYING, " AND d.state = 'pending'\nWHERE p.sub", "\nWHERE p.sub"),
    Mutant("counts what a replay put back", REPLAYING, "if row[2] not in unstarted]", "if row[2]]"),
    # retention
    Mutant("halves the retention", "retention.py", "days * DAY_MS", "days * DAY_MS // 2"),
    Mutant("keeps what was held too long", FORGETTING, "        transaction.run(_EXPIRE, (", "        len((_EXPIRE, "),
    Mutant(
        "ends what is held by its age alone",
        FORGETTING,
        "s.inactive_at IS NOT NULL AND s.deleted_at IS NULL AND s.inactive_at < {_CUTOFF}",
        "s.deleted_at IS NULL",
    ),
    Mutant(
        "forgets events and keeps who they were for", FORGETTING, "    transaction.run(_FORGET_RECIPIENTS, span)\n", ""
    ),
    # fairness
    Mutant(
        "keeps no place for the quiet at a host",
        "fairness.py",
        "self._host_busy_max = _unreserved(",
        "self._host_busy_max = int(",
    ),
    Mutant("begins with many slots", "fairness.py", "SLOTS_AT_FIRST: Final = 2", "SLOTS_AT_FIRST: Final = 5"),
    # filters
    Mutant(
        "asks no filter",
        "matching.py",
        "demands.expression is not None and not",
        "demands.expression is not None and None and not",
    ),
    Mutant(
        "lets another type match",
        "filtering.py",
        "    if comparable is None:\n        return False\n",
        "    if comparable is None:\n        return True\n",
    ),
    Mutant(
        "takes direction and partner of two entries",
        "matching.py",
        "        entries = [entry for entry in entries if entry.case_direction in directions]\n        if not entries:",
        "        if not [entry for entry in entries if entry.case_direction in directions]:",
    ),
    # rotation
    Mutant("drops the old secret at once", "rotation.py", "expires_at=switch_at)", "expires_at=now)"),
    Mutant("lets the old secret sign for ever", "rotation.py", "expires_at=switch_at)", "expires_at=None)"),
    Mutant(
        "lets the old secret sign past its end",
        "signing.py",
        "secret.expires_at > now",
        "secret.expires_at > now - 1000",
    ),
    Mutant("keeps the signer of an overlap", "dispatch.py", "wall_ms >= self._signer_until", "not self._signer_until"),
    Mutant(
        "switches X-Hub-Signature at once",
        "rotation.py",
        'hub_from=switch_at if request.hub_signature == "old" else None',
        "hub_from=None",
    ),
    Mutant("forgets all but the last secret", "rotation.py", "secrets=(new, *live)", "secrets=(new, *live[:1])"),
    # redelivery
    Mutant("redelivers with the retries used up", REDELIVERING, "failures = 0, ", ""),
    Mutant(
        "redelivers and wakes nobody",
        REDELIVERING,
        "        lanes.wake(transaction, [subscription_id])\n",
        "",
    ),
)


class Found(NamedTuple):
    """What became of one bug."""

    mutant: Mutant
    seed: int | None
    violation: str


def main(names: list[str]) -> int:
    chosen = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    survivors = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(hunt, chosen):
            survivors += found.seed is None
            seed = "SURVIVES" if found.seed is None else f"seed {found.seed}"
            print(f"{found.mutant.name:<42} {seed:>10}  {found.violation}", flush=True)
    print(f"\n{len(chosen)} bugs planted, {survivors} survived {SEEDS_MAX:,} schedules")
    return 1 if survivors else 0


def hunt(mutant: Mutant) -> Found:
    """Plant the bug and play seeds until one of them shows it."""
    with tempfile.TemporaryDirectory(prefix="hookline-mutant-") as folder:
        copy = Path(folder) / "hookline"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutant.file
        text = file.read_text("utf-8")
        if mutant.before not in text:
            return Found(mutant, None, f"the place is gone from {mutant.file}: plant it anew")
        file.write_text(text.replace(mutant.before, mutant.after), "utf-8")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join((folder, str(TESTS))), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "simulation.mutants", "--hunt", str(SEEDS_MAX)]
        try:
            run = subprocess.run(
                command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
            )
        except subprocess.TimeoutExpired:
            return Found(mutant, None, f"not found within {SECONDS_MAX} s")
    seed, _, violation = run.stdout.strip().partition(" ")
    if seed.isdigit():
        return Found(mutant, int(seed), violation)
    return Found(mutant, None, run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "")


def _hunt_here(seeds: int) -> None:
    """Print the first seed that shows a violation, and its first line."""
    from simulation.play import Stage  # noqa: PLC0415 - the package it imports is the one that was changed

    stage = Stage()
    for seed in range(seeds):
        result = stage.play(seed)
        if result.violation:
            print(seed, result.violation.splitlines()[0][:110])
            return


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hunt"]:
        _hunt_here(int(sys.argv[2]))
    else:
        sys.exit(main(sys.argv[1:]))
