"""Putting back what an interrupted transaction left: killed, out of power, or cut off from everything."""

from typing import Any, Dict, List, NamedTuple, Optional

from remediator.host.commit.entries import Entry, PairEntry, RuleEntry
from remediator.host.commit.journal import RECORD, Journal, boot_id, is_in, open_journals, read_document
from remediator.host.commit.outcomes import Result, StepError, plain_line, system_error
from remediator.host.commit.record import log_recovery
from remediator.host.commit.release import mark_broken
from remediator.host.commit.request import Step, healthy_seconds
from remediator.host.commit.restore import Restored, restore_entries
from remediator.host.commit.staged_pair import drop_old_pair, drop_staged_pair
from remediator.host.commit.steps import settle_seconds
from remediator.host.commit.transaction import activate_again, close_journal, end_journal, failure_reason, leave_open
from remediator.host.commit.units import daemon_reload, started_at
from remediator.host.common.serve import ProgramError


class Recovered(NamedTuple):
    """How one interrupted transaction ended after all."""

    run: str
    result: Result

    def document(self) -> Dict[str, Any]:
        """As it stands in the answer."""
        return dict(self.result.document(), run=self.run)


def recover_all(at_boot: bool, give_up: bool = False) -> List[Recovered]:
    """Rolls back every transaction whose journal is still open, the newest first. Raises ProgramError (`state`).

    `at_boot`: nothing that starts from the files runs yet, so nothing needs to be activated. `give_up`: a person has
    seen to it, so what cannot be put back now either leaves no journal open for another try.
    """
    try:
        journals = open_journals()
    except OSError as error:
        raise ProgramError("state", system_error("the journals of this host", error))
    found = [recover(journal, at_boot, give_up) for journal in reversed(journals)]
    return [item for item in found if item is not None]


def recover(journal: Journal, at_boot: bool, give_up: bool) -> Optional[Recovered]:
    """Rolls one transaction back. None for one that had ended: only its tidying was interrupted."""
    if is_in(journal.directory, RECORD):
        applied = ended_applied(journal)
        if applied and not keep_again(journal):
            journal.close()
        else:
            close_journal(journal, applied)
        return None
    rebooted = journal.document["boot_id"] != boot_id()
    early = at_boot and rebooted
    restored = restore_entries(entries_due(journal, early), journal.directory, rebooted)
    trouble = list(restored.trouble)
    try:
        activation = journal.steps("activation")
        running = {name for name in journal.document.get("running", []) if isinstance(name, str)}
        if early:
            trouble += reload_early(list(activation), restored)
        elif activation and is_due_again(journal, restored, rebooted):
            settle = settle_seconds(activation, healthy_seconds(journal.document.get("healthy_seconds")))
            trouble += activate_again(list(activation), list(journal.steps("probe")), running, settle)
    except ProgramError as error:
        trouble.append(error.message)
    result = recovery_result(journal, restored, trouble, "at boot" if early else "afterwards")
    if result.outcome == "broken":
        mark_broken(journal, result)
    log_recovery(journal, result)
    if restored.trouble and not give_up:
        return Recovered(journal.document["run"], leave_open(journal, result))
    journal.document["recovered"] = True  # goes into its record: it did not end by itself
    result = result._replace(
        reason="; ".join([result.reason] + end_journal(journal, result, given_up=bool(restored.trouble)))
    )
    return Recovered(journal.document["run"], result)


def keep_again(journal: Journal) -> bool:
    """Removes the keys that a transaction which stands had still to remove; whether that is done now."""
    try:
        for entry in journal.entries:
            if isinstance(entry, PairEntry):
                drop_old_pair(entry)
        if journal.document.get("moves_own_key") is True:
            drop_staged_pair()
    except (OSError, StepError):
        return False
    return True


def ended_applied(journal: Journal) -> bool:
    """Whether its record says that the change stands; a record that cannot be read keeps the backups."""
    try:
        result = read_document(journal.directory, RECORD).get("result")
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(result, dict) and result.get("outcome") == "applied"


def entries_due(journal: Journal, early: bool) -> List[Entry]:
    """The entries to put back. Early at boot no rule is loaded yet: the files that load them are put right in time."""
    return [entry for entry in journal.entries if not (early and isinstance(entry, RuleEntry))]


def reload_early(activation: List[Step], restored: Restored) -> List[str]:
    """Has systemd read its unit files again where it has read ours at this boot; what failed, in words."""
    if not restored.paths or not any(step.do in ("daemon_reload", "restart") for step in activation):
        return []
    try:
        daemon_reload()
    except (StepError, OSError) as error:
        return [failure_reason(error)]
    return []


def is_due_again(journal: Journal, restored: Restored, rebooted: bool) -> bool:
    """Whether a service may run what is withdrawn now: its activation had begun, or it was started since by others."""
    if journal.is_activating():
        return True
    return bool(restored.paths) and (rebooted or started_since(journal))


def started_since(journal: Journal) -> bool:
    """Whether one of its services was started, by whomever, after the transaction began."""
    since = journal.document.get("monotonic_us")
    if not isinstance(since, int):
        return True
    try:
        units = [step.unit for step in journal.steps("activation") if step.unit]
        return any(started_at(unit) >= since for unit in dict.fromkeys(units))
    except StepError:
        return True


def recovery_result(journal: Journal, restored: Restored, trouble: List[str], when: str) -> Result:
    """How it ended, with what was left alone and what failed."""
    reason = "it was interrupted and rolled back " + when
    if restored.left_alone:
        reason += "; left as it is: " + "; ".join(restored.left_alone)
    if trouble:
        reason += "; putting it back did not help: " + "; ".join(trouble)
    outcome = "broken" if trouble else "rolled_back"
    group, digest = str(journal.document["group"]), str(journal.document["digest"])
    return Result(group, outcome, plain_line(reason, 2000), digest, [], "")
